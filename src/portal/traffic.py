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


@dataclass(frozen=True, slots=True)
class _Known:
    holder: str
    ends: float
    packets: int
    looked: float
    seen: Seen | None


class Traffic:
    """Remembers the counters of the last look; a grant that nobody looked at costs nothing."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}

    def of(self, grant: Grant) -> Seen | None:
        """None: no packet since the grant was opened or renewed, or not looked at yet."""
        known = self._known.get(key(grant))
        return None if known is None else known.seen

    def look(self, grants: Iterable[Grant], now: float) -> set[Key]:
        """Look at some; gives back those of which packets were counted since the last look."""
        counted: set[Key] = set()
        for grant in grants:
            known, place = self._known.get(key(grant)), key(grant)
            self._known[place] = _Known(
                grant.holder,
                now + grant.remaining_ms / 1000,
                grant.packets,
                now,
                _seen(grant, known, now),
            )
            if known is not None and known.packets != grant.packets:
                counted.add(place)
        return counted

    def look_at_all(self, grants: Iterable[Grant], now: float) -> tuple[set[Key], set[str]]:
        """Look at all there are. Gives back what `look` does, and the addresses where something else changed."""
        before, self._known = self._known, {}
        counted, changed = set(), set()
        for grant in grants:
            place = key(grant)
            known, ends = before.get(place), now + grant.remaining_ms / 1000
            self._known[place] = _Known(grant.holder, ends, grant.packets, now, _seen(grant, known, now))
            if known is None or known.holder != grant.holder or abs(known.ends - ends) > _SAME_S:
                changed.add(grant.address)
            elif known.packets != grant.packets:
                counted.add(place)
        changed.update(address for service, address in before.keys() - self._known.keys())
        return counted, changed

    def forget(self) -> None:
        """Know nothing any more."""
        self._known = {}


def key(grant: Grant) -> Key:
    """What a grant is told from others by."""
    return grant.service, grant.address


def _seen(grant: Grant, known: _Known | None, now: float) -> Seen | None:
    if not grant.packets:
        return None
    if known is None or grant.packets != known.packets:
        return Seen(now, sharp=known is not None and now - known.looked < SHARP_S)
    return known.seen or Seen(now, sharp=False)
