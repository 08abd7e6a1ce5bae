"""What is open and by which policy: the book, the record of it on disk, and what there is to tell of changes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nft import checks, listing
from nft.book import BANS, Book, Entry
from nft.listing import now_ms
from nft.policy import Policy
from nft.recall import of_another_boot, read
from nft.record import Record
from nft.stamps import Clock

_EVENTS = 5000

Event = dict[str, Any]


class Ledger:
    """The book of one gate. Whoever changes the book tells `note`, or does it through `put` and `take`."""

    def __init__(self, policy: Policy, path: Path | None) -> None:
        """`path` is the record's; None: there is none."""
        self.policy = policy
        self.book = Book()
        self.begun = False
        self.unrecorded: str | None = None
        self._path = path
        self._record = None if path is None else Record(path, self.book, policy.ipv6_prefix, self._recorded)
        self._events: list[Event] = []

    def recorded(self) -> list[Entry]:
        """What the record says is open. Raises RecordError."""
        return [] if self._path is None else read(self._path, self.policy, Clock.now())

    def rebooted(self) -> bool:
        """Whether the record is of another boot. Raises RecordError."""
        return self._path is not None and of_another_boot(self._path, Clock.now())

    def clear(self) -> None:
        """Before it has begun: the book is empty, and nothing has happened."""
        for entry in list(self.book):
            self.book.take(entry.set, entry.key)
        self._events.clear()

    def begin(self) -> None:
        """The book is what is open: from now on the record follows it, and changes are told."""
        self.begun = True
        if self._record is not None:
            self._record.rewrite()

    def put(self, entry: Entry, event: str | None = None) -> None:
        """Write an entry that the kernel holds, and tell of it."""
        before = self.book.get(entry.set, entry.key)
        self.book.put(entry)
        shorter = before is not None and before.end_ms > entry.end_ms
        self.note([(entry.set, entry.key, None)] * shorter + [(entry.set, entry.key, entry)])
        self._tell_of(event, entry)

    def take(self, set_name: str, key: bytes, event: str | None = None) -> None:
        """Strike out an entry that the kernel no longer holds, if there is one, and tell of it."""
        if (entry := self.book.take(set_name, key)) is not None:
            self.note([(set_name, key, None)])
            self._tell_of(event, entry)

    def note(self, changes: Iterable[tuple[str, bytes, Entry | None]]) -> None:
        """The book was changed: what was put, or taken out (None)."""
        if self._record is not None:
            self._record.note(changes)

    def expire(self) -> None:
        """Strike out what the kernel has forgotten by now; of very many, a part that holds up nobody."""
        for entry in self.book.expire(now_ms()):
            self._tell_of("grant-expired", entry)

    def most_ms(self, set_name: str) -> int:
        """The longest that an element of a set may last, in milliseconds."""
        rule = self.policy.services.get(set_name[:-1])
        return (rule.max_duration_s if rule else checks.BAN_MAX_S) * 1000

    def tell(self, event: Event) -> None:
        """Something happened. Of more than some thousands that wait the rest is left out."""
        if len(self._events) < _EVENTS:
            self._events.append(event)

    def events(self) -> list[Event]:
        """What happened since the last call."""
        happened, self._events = self._events, []
        return happened

    def go_on(self) -> None:
        """One slice of the record's work, about 1 ms."""
        if self._record is not None:
            self._record.go_on()

    def next_s(self) -> float | None:
        """Seconds until `expire` or `go_on` has something to do; None: not before the next change."""
        end_ms = self.book.next_end_ms()
        end_s = None if end_ms is None else max(0.0, (end_ms - now_ms()) / 1000)
        return end_s if self._record is None else sooner(end_s, self._record.next_s())

    def close(self) -> None:
        """Finish the record; waits for the disk, but not for ever."""
        if self._record is not None:
            self._record.close()

    def _recorded(self, problem: str | None) -> None:
        self.unrecorded = problem
        self.tell({"event": "recorded"} if problem is None else {"event": "unrecorded", "error": problem})

    def _tell_of(self, name: str | None, entry: Entry) -> None:
        if name is None:
            return
        if entry.set in BANS:
            self.tell({"event": name.replace("grant", "ban"), "address": checks.address(self.policy, entry.key)})
        else:
            self.tell({"event": name, "grant": listing.show(self.policy, self.book, [entry])[0]})


def sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two waits; None never ends."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
