"""How often somebody may try: counts by key within a window, then a lock for a time."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from access.moment import Clock


@dataclass(slots=True)
class _Tries:
    at: list[float] = field(default_factory=list)
    locked_until: float = 0.0


class Throttle:
    """At most `limit` tries by key within `window_s`, then none for `lock_s`; all in seconds of `clock`.

    A try is counted before its outcome is known, so that tries in parallel count like any others, and
    forgiven if it was right. Kept in memory, for at most `capacity` keys: beyond that the key
    counted longest ago is forgotten, so a second throttle should count on something that cannot be varied.
    """

    def __init__(
        self,
        limit: int,
        window_s: float,
        lock_s: float,
        *,
        clock: Clock = time.monotonic,
        capacity: int = 10_000,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._lock_s = lock_s
        self._clock = clock
        self._capacity = capacity
        self._keys: OrderedDict[Hashable, _Tries] = OrderedDict()

    def locked_s(self, key: Hashable) -> float:
        """Seconds until `key` may try again; 0.0 where it may now. Counts nothing."""
        tries = self._keys.get(key)
        return max(0.0, tries.locked_until - self._clock()) if tries is not None else 0.0

    def count(self, key: Hashable) -> bool:
        """Count one try and say whether it may go on. While locked it may not, and is not counted."""
        now = self._clock()
        tries = self._keys.get(key)
        if tries is None:
            if len(self._keys) >= self._capacity:
                self._keys.popitem(last=False)
            tries = self._keys[key] = _Tries()
        if now < tries.locked_until:
            return False
        if tries.locked_until:
            self._keys[key] = tries = _Tries()
        self._keys.move_to_end(key)
        tries.at = [at for at in tries.at if now - at < self._window_s]
        tries.at.append(now)
        if len(tries.at) >= self._limit:
            tries.locked_until = now + self._lock_s
        return True

    def forgive(self, key: Hashable) -> None:
        """Take one counted try back: it was right. A lock that it completed is lifted."""
        tries = self._keys.get(key)
        if tries is None or not tries.at:
            return
        tries.at.pop()
        tries.locked_until = 0.0

    def forget(self, key: Hashable) -> None:
        """Start `key` anew."""
        self._keys.pop(key, None)
