"""history.jsonl: what happened, one JSON object a line; and in systemd's journal too."""

import asyncio
import json
import logging
import os
import stat
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from access import journal
from access.files import StateError, reason
from access.moment import Clock, moment_text

log = logging.getLogger(__name__)

Entry = dict[str, Any]
LARGEST_READ = 10_000
LARGEST_WAIT = 1000

_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to read; what is None does not matter.

    `event` and `outcome` are whole words. `who`: a name, as by whom, about whom or for whom. `address`: as
    from where or of what.
    """

    event: str | None = None
    who: str | None = None
    address: str | None = None
    outcome: str | None = None

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        return (
            (self.event is None or entry.get("event") == self.event)
            and (self.outcome is None or entry.get("outcome") == self.outcome)
            and (self.who is None or self._about(entry, "by", "person", "holder", "note"))
            and (self.address is None or self.address in {entry.get("from"), entry.get("address")})
        )

    def _about(self, entry: Entry, *keys: str) -> bool:
        names = {str(entry.get(key, "")).lower() for key in keys}
        who = (self.who or "").lower()
        return bool(names & {who, f"person:{who}", f"link:{who}", f"token:{who}"})


class History:
    """Appends entries and rotates the file by size: at most `keep` + 1 files of `size` bytes and one entry.

    An entry that cannot be written (a full disk) is logged and lost; it never stops what it tells of.
    Entries reach the disk when the system writes them, not before. Mode 0600.
    """

    def __init__(
        self, path: str, *, size: int = 2 * 1024 * 1024, keep: int = 4, clock: Clock = time.time
    ) -> None:
        """Raises StateError where the file cannot be appended to."""
        self._path = path
        self._size = size
        self._keep = keep
        self._clock = clock
        self._whole = False  # whether the file is known to end with a line's end
        self._failing = False
        self._followers: set[Follower] = set()
        self.number = 0
        """How many entries were added since the start."""
        self.tally: Counter[tuple[str, str]] = Counter()
        """How often it came since the start, told here or not: of some events, each with an outcome or a reason of the program's own words."""
        try:
            os.close(self._open())
        except OSError as error:
            raise StateError(path, "", f"cannot be appended to ({reason(error)})") from None

    def record(
        self,
        event: str,
        *,
        outcome: Literal["allowed", "refused"] = "allowed",
        reason: str | None = None,
        by: str | None = None,
        source: str | None = None,
        person: str | None = None,
        holder: str | None = None,
        note: str | None = None,
        address: str | None = None,
        services: Iterable[str] = (),
    ) -> None:
        """Add an entry: event "link-opened" and the like; keys without a value are left out.

        `by`: who acted, as a holder, from the address `source`. `person`: whom it is about. `holder`, `note`,
        `address` and `services`: what it is about. Never pass a token, a PIN or a URL. Texts are cut at 200 characters.
        """
        texts = {
            "event": event,
            "by": by,
            "from": source,
            "person": person,
            "holder": holder,
            "note": note,
            "address": address,
            "outcome": outcome,
            "reason": reason,
        }
        entry: Entry = {"at": moment_text(self._clock())}
        entry |= {key: text[:_LONGEST_TEXT] for key, text in texts.items() if text is not None}
        if names := list(services):
            entry["services"] = names
        try:
            self._append(json.dumps(entry, ensure_ascii=False).encode(errors="replace") + b"\n")
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("%s: entries are lost (%s)", self._path, error.strerror)
            self._failing = True
        journal.tell(entry)
        self.number += 1
        for follower in self._followers:
            follower.put(entry)

    async def read(self, last: int = 100, wanted: Wanted | None = None) -> list[Entry]:
        """The `last` entries that are wanted, at most 10,000, the oldest first.

        Lines torn by a power cut are left out.
        """
        # Opened here, where nothing rotates meanwhile, and read in a thread.
        opened: list[BinaryIO] = []
        for path in self._paths():
            with suppress(FileNotFoundError):
                opened.append(os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb"))
        return await asyncio.to_thread(_read, opened, min(last, LARGEST_READ), wanted or Wanted())

    def follow(self) -> "Follower":
        """The entries from now on; close it, or use it in a `with`."""
        follower = Follower(self._followers)
        self._followers.add(follower)
        return follower

    def _paths(self) -> list[str]:
        """The newest first."""
        return [self._path] + [f"{self._path}.{number}" for number in range(1, self._keep + 1)]

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(0, "not a regular file")
        return fd

    def _append(self, line: bytes) -> None:
        fd = self._open()
        try:
            size = os.fstat(fd).st_size
            if size and size + len(line) > self._size:
                os.close(fd)
                fd = -1
                self._rotate()
                fd, size = self._open(), 0
            if not self._whole and size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # what a power cut or a full disk left stays a line of its own
            self._whole = os.write(fd, line) == len(line)
        finally:
            if fd >= 0:
                os.close(fd)

    def _rotate(self) -> None:
        paths = self._paths()
        for newer, older in zip(reversed(paths[:-1]), reversed(paths[1:]), strict=True):
            with suppress(FileNotFoundError):
                Path(newer).replace(older)


class Follower:
    """An iterator of entries. One who does not keep up misses the oldest."""

    def __init__(self, followers: "set[Follower]") -> None:
        self._followers = followers
        self._entries: deque[Entry] = deque(maxlen=LARGEST_WAIT)
        self._some = asyncio.Event()

    def put(self, entry: Entry) -> None:
        """Give it an entry."""
        self._entries.append(entry)
        self._some.set()

    def waiting(self) -> list[Entry]:
        """What waits, at once. As many as LARGEST_WAIT: older ones may have been missed."""
        entries = list(self._entries)
        self._entries.clear()
        return entries

    def close(self) -> None:
        """Stop listening."""
        self._followers.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while not self._entries:
            self._some.clear()
            await self._some.wait()
        return self._entries.popleft()


def _read(newest_first: list[BinaryIO], last: int, wanted: Wanted) -> list[Entry]:
    entries: deque[Entry] = deque()
    for file in newest_first:
        with file:
            if len(entries) >= last:
                continue
            for line in reversed(file.read().splitlines()):
                if len(entries) >= last:
                    break
                with suppress(ValueError, RecursionError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and wanted.holds(entry):
                        entries.appendleft(entry)
    return list(entries)
