"""When grants last passed a packet, as far as looking at the kernel's counters now and then can tell."""

from collections.abc import Iterable
from dataclasses import dataclass

from access.gate import Grant

Key = tuple[str, str]
"""Service and address: what a grant is told from others by."""
SHARP_S = 60
_SAME_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The last packet came before `at`, in seconds since 1970; if `sharp`, less than SHARP_S before."""

    at: float
    sharp: bool


# Of ten thousand: holder, end, packets, when looked at, and what is known of the last packet.
_Known = tuple[str, float, int, float, Seen | None]


class Traffic:
    """Remembers the counters of the last look; a grant that nobody looked at costs nothing."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}
        self._looked = False

    def of(self, grant: Grant) -> Seen | None:
        """None: no packet since the grant was opened or renewed, or not looked at yet."""
        known = self._known.get(key(grant))
        return None if known is None else known[4]

    def look(self, grants: Iterable[Grant], now: float) -> set[Key]:
        """Look at some; gives back those of which packets were counted since the last look."""
        counted: set[Key] = set()
        for grant in grants:
            place = key(grant)
            known = self._known.get(place)
            self._known[place] = _look(grant, known, now)
            if known is not None and known[2] != grant.packets:
                counted.add(place)
        return counted

    def look_at_all(self, grants: Iterable[Grant], now: float) -> tuple[set[Key], set[str]]:
        """Look at all there are. Gives back what `look` does, and the addresses where something else changed.

        The first look tells of no change.
        """
        before, self._known = self._known, {}
        counted: set[Key] = set()
        changed: set[str] = set()
        for grant in grants:
            place = (grant.service, grant.address)
            known = before.pop(place, None)
            self._known[place] = seen = _look(grant, known, now)
            if known is None or known[0] != seen[0] or abs(known[1] - seen[1]) > _SAME_S:
                changed.add(grant.address)
            elif known[2] != grant.packets:
                counted.add(place)
        changed.update(address for _service, address in before)
        first, self._looked = not self._looked, True
        return counted, set() if first else changed

    def forget(self) -> None:
        """Know nothing any more."""
        self._known = {}
        self._looked = False


def key(grant: Grant) -> Key:
    """What a grant is told from others by."""
    return grant.service, grant.address


def _look(grant: Grant, known: _Known | None, now: float) -> _Known:
    seen = None if known is None else known[4]
    if not grant.packets:
        seen = None
    elif known is None or grant.packets != known[2]:
        seen = Seen(now, sharp=known is not None and now - known[3] < SHARP_S)
    return grant.holder, now + grant.remaining_ms / 1000, grant.packets, now, seen
