"""Which entries of the history are new."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress

from access.moment import parse_moment
from teller.source import Json

_TAIL = 16


class Cursor:
    """How far the history was read: the digests of the last entries, and the last one's moment (seconds since 1970).

    Entries have no number, and clocks are set back: the place is found by what stands there. Where that is gone,
    by the moment. Entries of one second that say the same count as one.
    """

    def __init__(self, tail: Sequence[str] = (), at: int = 0) -> None:
        self.tail = list(tail)
        self.at = at

    @property
    def begun(self) -> bool:
        """Whether anything was read yet."""
        return self.at > 0

    def begin(self, entries: Sequence[Json], now: int) -> None:
        """All there is was read, at this moment."""
        self.move(entries)
        self.at = self.at or now

    def found(self, entries: Sequence[Json]) -> bool:
        """Whether the place is among these entries, so that no earlier ones are needed."""
        return self._place([digest(entry) for entry in entries]) is not None

    def new(self, entries: Sequence[Json]) -> list[Json]:
        """Those after the place."""
        digests = [digest(entry) for entry in entries]
        place = self._place(digests)
        if place is not None:
            return list(entries[place + 1 :])
        passed = set(self.tail)
        return [entry for entry, mark in zip(entries, digests, strict=True) if moment(entry) >= self.at and mark not in passed]

    def move(self, entries: Sequence[Json]) -> None:
        """These were read."""
        if entries:
            self.tail = [*self.tail, *(digest(entry) for entry in entries[-_TAIL:])][-_TAIL:]
            self.at = moment(entries[-1])

    def _place(self, digests: Sequence[str]) -> int | None:
        for end in range(len(digests) - 1, -1, -1):
            if self.tail and digests[end] == self.tail[-1]:
                count = min(len(self.tail), end + 1)
                if list(digests[end + 1 - count : end + 1]) == self.tail[-count:]:
                    return end
        return None


def digest(entry: Json) -> str:
    """What stands for an entry."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def moment(entry: Json) -> int:
    """When it happened, in seconds since 1970; 0 where it does not say."""
    at = entry.get("at")
    with suppress(ValueError):
        return parse_moment(at) if isinstance(at, str) else 0
    return 0
