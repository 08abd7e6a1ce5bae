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
_SIFT = 4  # ends that each put looks at while those that have been replaced are sifted out


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
        self._ends: list[Entry] = []  # a heap
        self._sifted: list[Entry] = []  # another, from which what still holds moves to the first
        self._size = 0
        self._beside: dict[tuple[str, bytes], Beside] = {}
        self._places: dict[str, dict[tuple[str, bytes], None]] = {}  # where each holder is beside another

    def __len__(self) -> int:
        return self._size

    def get(self, set_name: str, key: bytes) -> Entry | None:
        """The entry for a key, if there is one."""
        entries = self._sets.get(set_name)
        return entries.get(key) if entries else None

    def put(self, entry: Entry) -> None:
        """Write an entry, in the place of one with the same key; it becomes its holder's newest. Who is beside it stays."""
        entries = self._sets.setdefault(entry.set, {})
        if (replaced := entries.get(entry.key)) is not None:
            self._let_go(replaced)
        entries[entry.key] = entry  # in its place: a dict that many are taken out of is made anew, all in one go
        self._holders.setdefault(entry.holder, {})[entry] = None
        self._size += 1
        heapq.heappush(self._ends, entry)
        if not self._sifted and len(self._ends) > 2 * self._size + 64:  # mostly ends that have been replaced since
            self._ends, self._sifted = [], self._ends
        for _ in range(min(_SIFT, len(self._sifted))):
            old = self._sifted.pop()  # a heap without its last is a heap
            if self._holds(old):
                heapq.heappush(self._ends, old)

    def take(self, set_name: str, key: bytes) -> Entry | None:
        """Strike an entry out, with who is beside it; None if there is none."""
        self._leave((set_name, key))
        entry = self._sets.get(set_name, {}).pop(key, None)
        if entry is not None:
            self._let_go(entry)
        return entry

    def _let_go(self, entry: Entry) -> None:
        self._size -= 1
        held = self._holders[entry.holder]
        del held[entry]
        if not held:
            del self._holders[entry.holder]

    def beside(self, set_name: str, key: bytes) -> Beside:
        """Who else was let in at the place of an entry. Kept in memory alone."""
        return self._beside.get((set_name, key), ())

    def put_beside(self, set_name: str, key: bytes, beside: Beside) -> None:
        """Say so; in place of who was there."""
        self._leave((set_name, key))
        if beside:
            if len(self._beside) >= _MOST_BESIDE:
                self._leave(next(iter(self._beside)))
            self._beside[set_name, key] = beside
            for holder, _ in beside:
                self._places.setdefault(holder, {})[set_name, key] = None

    def places_beside(self, holder: str, key: bytes | None = None) -> list[tuple[str, bytes]]:
        """Where a holder is beside another: everywhere, or in the sets for one key."""
        places = self._places.get(holder, {})
        return list(places) if key is None else [place for name in self._sets if (place := (name, key)) in places]

    def _leave(self, place: tuple[str, bytes]) -> None:
        for holder, _ in self._beside.pop(place, ()):
            places = self._places[holder]
            del places[place]
            if not places:
                del self._places[holder]

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
        ends = self._earliest()
        return ends[0].end_ms if ends else None

    def expire(self, now_ms: int, most: int = 250) -> list[Entry]:
        """Strike out and give back what has ended, of at most `most` ends: again while `next_end_ms` has passed."""
        ended: list[Entry] = []
        for _ in range(most):
            ends = self._earliest()
            if not ends or ends[0].end_ms > now_ms:
                break
            entry = heapq.heappop(ends)
            if self._holds(entry):
                self.take(entry.set, entry.key)
                ended.append(entry)
        return ended

    def _earliest(self) -> list[Entry]:
        """The heap with the earliest end."""
        return self._sifted if self._sifted and (not self._ends or self._sifted[0] < self._ends[0]) else self._ends

    def _holds(self, entry: Entry) -> bool:
        return self.get(entry.set, entry.key) is entry
