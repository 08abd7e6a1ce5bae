"""What the gate knows to be open, without asking the kernel: the book of elements with an end."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

BANS = ("banned4", "banned6")
"""The sets that hold bans; every other holds grants."""


Beside = tuple[tuple[str, int], ...]
"""Who else was let in where an entry names one holder alone: each with the end of their own time in ms, as Entry's."""

_MOST_BESIDE = 10_000  # places that have such; the oldest are forgotten


@dataclass(frozen=True, slots=True)
class Entry:
    """An element of a set: a grant, or a ban.

    `end_ms` is in milliseconds of the monotonic clock, like the kernel's own timeouts: setting the wall
    clock moves no end. `timeout_ms` is the whole time that it was given.
    """

    set: str
    key: bytes
    holder: str
    note: str
    end_ms: int
    timeout_ms: int

    def __hash__(self) -> int:
        return hash(self.key)

    def __lt__(self, other: "Entry") -> bool:
        """Entries are in the order of their ends."""
        return self.end_ms < other.end_ms


class Book:
    """Entries by set and key, by holder, and by end. Not thread-safe; changes cost O(log n).

    With 100,000 entries each word counts: the three views hold the entries themselves.
    """

    def __init__(self) -> None:
        self._sets: dict[str, dict[bytes, Entry]] = {}
        self._holders: dict[str, dict[Entry, None]] = {}
        self._ends: list[Entry] = []
        self._size = 0
        self._beside: dict[tuple[str, bytes], Beside] = {}

    def __len__(self) -> int:
        return self._size

    def get(self, set_name: str, key: bytes) -> Entry | None:
        """The entry for a key, if there is one."""
        return self._sets.get(set_name, {}).get(key)

    def put(self, entry: Entry) -> None:
        """Write an entry, in the place of one with the same key; it becomes its holder's newest. Who is beside it stays."""
        self._strike(entry.set, entry.key)
        self._sets.setdefault(entry.set, {})[entry.key] = entry
        self._holders.setdefault(entry.holder, {})[entry] = None
        self._size += 1
        if len(self._ends) > 2 * self._size + 64:  # mostly ends that have been replaced since
            self._ends = list(self)
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, entry)

    def take(self, set_name: str, key: bytes) -> Entry | None:
        """Strike an entry out, with who is beside it; None if there is none."""
        self._beside.pop((set_name, key), None)
        return self._strike(set_name, key)

    def _strike(self, set_name: str, key: bytes) -> Entry | None:
        entry = self._sets.get(set_name, {}).pop(key, None)
        if entry is not None:
            self._size -= 1
            held = self._holders[entry.holder]
            del held[entry]
            if not held:
                del self._holders[entry.holder]
        return entry

    def beside(self, set_name: str, key: bytes) -> Beside:
        """Who else was let in at the place of an entry. Kept in memory alone."""
        return self._beside.get((set_name, key), ())

    def put_beside(self, set_name: str, key: bytes, beside: Beside) -> None:
        """Say so; in place of who was there."""
        self._beside.pop((set_name, key), None)
        if beside:
            if len(self._beside) >= _MOST_BESIDE:
                del self._beside[next(iter(self._beside))]
            self._beside[set_name, key] = beside

    def places_beside(self, holder: str) -> list[tuple[str, bytes]]:
        """Where a holder is beside another."""
        return [place for place, beside in self._beside.items() if any(who == holder for who, _ in beside)]

    def others(self, entry: Entry, now_ms: int) -> bool:
        """Whether somebody else than its holder is let in at the address of a grant, by whatever service."""
        key, holder = entry.key, entry.holder
        for name, entries in self._sets.items():
            found = entries.get(key)
            if found is None or name in BANS:
                continue
            if found.holder != holder or any(who != holder and end > now_ms for who, end in self.beside(name, key)):
                return True
        return False

    def count(self, *set_names: str) -> int:
        """How many entries some sets have."""
        return sum(len(self._sets.get(name, ())) for name in set_names)

    def grants(self) -> int:
        """How many entries are no bans."""
        return self._size - len(self._sets.get(BANS[0], ())) - len(self._sets.get(BANS[1], ()))

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(entries.values() for entries in self._sets.values())

    def of_set(self, set_name: str) -> list[Entry]:
        """The entries of a set."""
        return list(self._sets.get(set_name, {}).values())

    def of_holder(self, holder: str) -> list[Entry]:
        """The entries of a holder, the one put longest ago first."""
        return list(self._holders.get(holder, ()))

    def next_end_ms(self) -> int | None:
        """When `expire` next has something to do, or earlier."""
        return self._ends[0].end_ms if self._ends else None

    def expire(self, now_ms: int, most: int = 1000) -> list[Entry]:
        """Strike out and give back what has ended, `most` at a time."""
        ended: list[Entry] = []
        while self._ends and self._ends[0].end_ms <= now_ms and len(ended) < most:
            entry = heapq.heappop(self._ends)
            if self.get(entry.set, entry.key) is entry:
                self.take(entry.set, entry.key)
                ended.append(entry)
        return ended
