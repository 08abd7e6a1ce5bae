"""What is open, on disk for the next boot: `grants.jsonl`, a stamp and then one change a line."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from json import JSONEncoder
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop

from nft.book import Book, Entry
from nft.disk import Append, Begin, Disk, Finish, GiveUp, More, Over
from nft.recall import RecordError, read
from nft.stamps import Clock, Stamp

__all__ = ["Clock", "Record", "RecordError", "read"]

_STAMP_S = 50.0  # at most 60 s apart, also where the loop is late
_NEXT_MS = 60_000
_GATHER_S = 0.02
_SLICE_S = 0.001
_AT_ONCE = 2000  # changes noted at once that are put into words at once
_PENDING = 300_000  # changes that wait to be put into words, beyond which the file is given up
_WAITING = 4 << 20  # bytes that wait for the disk, beyond which it is given up
_AHEAD = 1 << 20  # bytes of a rewriting that may wait for the disk
_MEANWHILE = 16 << 20  # bytes noted during a rewriting
_FLOOR = 1000  # lines
_FEW = 50  # lines between two looks at the clock
_LOOK_S = 0.05  # between two looks at what the disk has done
_PATIENCE_S = 10.0

_quoted = JSONEncoder(ensure_ascii=False).encode

Change = tuple[str, bytes, Entry | None]


class Record:
    """Writes what is in a book to disk, in the background. One thread calls it, and never waits but in `close`.

    Nothing is written before `rewrite`, and the disk's thread is not started but by `go_on` or `note` after
    it: so it may be made, and asked, before a fork, and before the process gives up what a thread would keep.
    `tell` hears from `go_on` why the file cannot be written or kept, and None once it is whole again; until
    then it is tried anew every 50 s.
    """

    def __init__(self, path: Path, book: Book, ipv6_prefix: int, tell: Callable[[str | None], None]) -> None:
        self._book = book
        self._suffix = f"/{ipv6_prefix}"
        self._tell = tell
        self._told: str | None = None
        self._disk = Disk(path)
        self._boot = Clock.now()
        self._pending: deque[Change] = deque()
        self._lines = 0  # of the file, once everything that waits is in it
        self._began_s: float | None = None  # the last rewriting
        self._stamped_s = 0.0
        self._rest: Iterator[Entry] | None = None  # of the rewriting that is under way
        self._since_s = 0.0  # when the oldest of what is pending came
        self._asked = self._must = False
        self._meanwhile: list[bytes] = []
        self._meanwhile_size = 0

    def note(self, changes: Iterable[Change]) -> None:
        """Tell what the book has put (an entry) or taken out (None), in order. Some 10 µs for one.

        What ends by itself need not be told. An entry that ends earlier than the one in its place is told
        as taken out first, so that the file goes if the new one cannot be written.
        """
        if self._began_s is None:
            return  # the rewriting will find it in the book
        if not self._pending:
            self._since_s = time.monotonic()
        self._pending.extend(changes)
        if len(self._pending) > _PENDING:
            self._give_up()
            return
        self._stamp_if_due()
        if not self._due():
            return
        done = self._note_on(_AT_ONCE)
        if self._rest is not None and self._disk.waiting < _AHEAD:
            self._copy(2 * done, 0.0)  # so that it ends, however much is noted

    def rewrite(self) -> None:
        """Have the file written whole anew from the book. If that fails, the one that is there goes."""
        self._asked = True

    def go_on(self) -> None:
        """One slice of what is to be done, about 1 ms."""
        if self._asked:
            self._asked = False
            self._begin(must=True)
        if self._began_s is None:
            return
        until_s = time.monotonic() + _SLICE_S
        if self._told != (problem := self._disk.problem):
            self._told = problem
            self._tell(problem)
        self._stamp_if_due()
        due = self._due()
        while due and self._pending and time.monotonic() < until_s:
            self._note_on(_FEW)
        if self._rest is None and self._rewrite_in_s() == 0:
            self._begin(must=False)
        elif self._rest is not None and not self._pending and self._disk.waiting < _AHEAD:
            self._copy(_FEW, until_s)

    def next_s(self) -> float | None:
        """Seconds until `go_on` has something to do; None: not before the next call."""
        if self._at_once():
            return 0.0
        if self._began_s is None:
            return None
        if self._pending:
            return max(0.0, self._since_s + _GATHER_S - time.monotonic())  # nothing else is in such a hurry
        waits = [_LOOK_S] if self._rest is not None or self._disk.busy() else []
        if len(self._book):
            waits.append(max(0.0, self._stamped_s + _STAMP_S - time.monotonic()))
        if self._rest is None and (in_s := self._rewrite_in_s()) is not None:
            waits.append(in_s)
        return min(waits, default=None)

    def close(self) -> None:
        """Write what waits and a last stamp, and end the thread. Waits for the disk, for some 10 s at most."""
        if self._began_s is None and not self._asked:
            return
        until_s = time.monotonic() + _PATIENCE_S
        while (self._asked or self._pending or self._rest is not None) and time.monotonic() < until_s:
            self.go_on()
            if not self._at_once():
                time.sleep(_LOOK_S / 10)  # the disk has enough to do
        if len(self._book):
            self._stamp(0)
        self._disk.close(max(0.0, until_s - time.monotonic()))

    def _due(self) -> bool:
        """Whether what is pending goes to the disk: one by one, each grant would wait for the thread to wake up and take it."""
        return bool(self._pending) and (
            self._rest is not None or len(self._pending) >= _AT_ONCE or time.monotonic() >= self._since_s + _GATHER_S
        )

    def _at_once(self) -> bool:
        return (
            self._asked
            or self._due()
            or self._told != self._disk.problem
            or (self._rest is not None and self._disk.waiting < _AHEAD)
        )

    def _rewrite_in_s(self) -> float | None:
        """Seconds until the file is to be written whole again; None: it need not be, or the disk is behind."""
        if self._began_s is None or self._disk.waiting >= _AHEAD:
            return None
        if self._disk.problem is not None:
            return max(0.0, self._began_s + _STAMP_S - time.monotonic())
        return 0.0 if self._lines > 2 * len(self._book) + _FLOOR else None

    def _begin(self, *, must: bool) -> None:
        self._began_s = time.monotonic()
        self._must = must or (self._must and self._rest is not None)
        self._rest = iter(list(self._book))
        self._lines = len(self._book)
        self._meanwhile, self._meanwhile_size = [], 0
        self._disk.ask(Begin(self._stamp_line(_NEXT_MS)))

    def _copy(self, least: int, until_s: float) -> None:
        """Put some of the rest into the new file: so many lines, and on until a time; then what was noted."""
        rest = self._rest or iter(())
        while True:
            part = list(islice(rest, least))
            self._disk.ask(More(self._words((e.set, e.key, e) for e in part)))
            if len(part) < least:
                break
            if time.monotonic() >= until_s:
                return
        self._rest = None
        self._disk.ask(More(b"".join(self._meanwhile)))
        self._meanwhile, self._meanwhile_size = [], 0
        self._disk.ask(Finish(self._stamp_line(_NEXT_MS), self._must))
        self._stamped_s = time.monotonic()

    def _note_on(self, most: int) -> int:
        """Hand some of what is pending to the disk; gives back how many changes."""
        part = [self._pending.popleft() for _ in range(min(most, len(self._pending)))]
        words = self._words(part)
        self._disk.ask(Append(words, any(entry is None for _, _, entry in part)))
        self._lines += len(part)
        if self._rest is not None:
            self._meanwhile.append(words)
            self._meanwhile_size += len(words)
        if self._disk.waiting > _WAITING or self._meanwhile_size > _MEANWHILE:
            self._give_up()
        return len(part)

    def _give_up(self) -> None:
        self._pending.clear()
        self._rest, self._meanwhile, self._meanwhile_size = None, [], 0
        self._disk.ask(GiveUp("the disk does not keep up"))

    def _stamp_if_due(self) -> None:
        if len(self._book) and time.monotonic() >= self._stamped_s + _STAMP_S:
            self._stamp(_NEXT_MS)

    def _stamp(self, next_ms: int) -> None:
        self._disk.ask(Over(self._stamp_line(next_ms)))
        self._stamped_s = time.monotonic()

    def _stamp_line(self, next_ms: int) -> bytes:
        return Stamp(self._boot.later(), next_ms).line()

    def _words(self, changes: Iterable[Change]) -> bytes:
        """Changes as lines. `until` is for people, and not read."""
        ahead_ms = (time.time_ns() - time.monotonic_ns()) // 1_000_000
        lines, second, until = [], -1, ""
        for set_name, key, entry in changes:
            address = inet_ntop(AF_INET, key) if len(key) == 4 else inet_ntop(AF_INET6, key) + self._suffix
            if entry is None:
                lines.append(f'{{"taken": "{set_name}", "address": "{address}"}}\n')
                continue
            if second != (second := (entry.end_ms + ahead_ms) // 1000):
                until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            lines.append(  # a third of the time that json takes for the whole
                f'{{"put": "{set_name}", "address": "{address}", "holder": {_quoted(entry.holder)}, '
                f'"note": {_quoted(entry.note)}, "until": "{until}", '
                f'"end_ms": {entry.end_ms}, "timeout_ms": {entry.timeout_ms}}}\n'
            )
        return "".join(lines).encode()
