"""How often somebody may try: counts by key within a window, then a lock for a time."""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from access.moment import Clock
from access.shape import Fields

_MOST_S = 10**9
_TRY = re.compile(r"[0-9]{1,9} [^ ]*")  # its age and its tag


@dataclass(slots=True)
class _Tries:
    at: list[tuple[float, str]] = field(default_factory=list)  # when, and its tag
    locked_until: float = 0.0


class Throttle:
    """At most `limit` tries by key within `window_s`, then none for `lock_s`; all in seconds of `clock`.

    After a lock a key starts anew, or with `afresh` False goes on counting, so that each further try within
    the window locks again. A try is counted before its outcome is known, so that tries in parallel count
    like any others, and taken back or forgotten if it was right. Tries may carry a tag, so that being right
    at one thing excuses nothing else. At most `capacity` keys: beyond that the key counted longest ago is
    forgotten, so a second throttle should count on something that cannot be varied.
    """

    def __init__(
        self,
        limit: int,
        window_s: float,
        lock_s: float,
        *,
        afresh: bool = True,
        clock: Clock = time.monotonic,
        capacity: int = 10_000,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._lock_s = lock_s
        self._afresh = afresh
        self._clock = clock
        self._capacity = capacity
        self._keys: OrderedDict[Hashable, _Tries] = OrderedDict()

    def locked_s(self, key: Hashable) -> float:
        """Seconds until `key` may try again; 0.0 where it may now. Counts nothing."""
        tries = self._keys.get(key)
        return max(0.0, tries.locked_until - self._clock()) if tries is not None else 0.0

    def count(self, key: Hashable, tag: str = "") -> bool:
        """Count one try and say whether it may go on. While locked it may not, and is not counted."""
        now = self._clock()
        tries = self._touch(key)
        if now < tries.locked_until:
            return False
        if tries.locked_until and self._afresh:
            tries.at = []
        tries.locked_until = 0.0
        tries.at = [(at, name) for at, name in tries.at if now - at < self._window_s]
        tries.at.append((now, tag))
        if len(tries.at) >= self._limit:
            tries.locked_until = now + self._lock_s
        return True

    def forgive(self, key: Hashable, tag: str = "") -> None:
        """Take one counted try back. A lock that it completed is lifted."""
        self._excuse(key, tag, most=1)

    def forget(self, key: Hashable, tag: str | None = None) -> None:
        """Take back every try of `key` with this tag; without one, start `key` anew."""
        if tag is None:
            self._keys.pop(key, None)
        else:
            self._excuse(key, tag, most=len(self._keys.get(key, _Tries()).at))

    def lock(self, key: Hashable, lock_s: float) -> None:
        """Let `key` try nothing for `lock_s`, however little it tried."""
        tries = self._touch(key)
        tries.at = []
        tries.locked_until = self._clock() + lock_s

    def _touch(self, key: Hashable) -> _Tries:
        tries = self._keys.get(key)
        if tries is None:
            if len(self._keys) >= self._capacity:
                self._keys.popitem(last=False)
            tries = self._keys[key] = _Tries()
        self._keys.move_to_end(key)
        return tries

    def _excuse(self, key: Hashable, tag: str, most: int) -> None:
        tries = self._keys.get(key)
        if tries is None:
            return
        for index in range(len(tries.at) - 1, -1, -1):
            if most and tries.at[index][1] == tag:
                del tries.at[index]
                most -= 1
                if len(tries.at) < self._limit:
                    tries.locked_until = 0.0
        if not tries.at and not tries.locked_until:
            del self._keys[key]

    def dump(self) -> dict[str, Any]:
        """What still counts, as JSON: ages and seconds left, for they outlast a clock that is set."""
        now = self._clock()
        found = {}
        for key, tries in self._keys.items():
            at = [f"{int(now - at)} {tag}" for at, tag in tries.at if now - at < self._window_s]
            left = math.ceil(max(0.0, tries.locked_until - now))
            if left or at:
                found[str(key)] = {"left": left, "tries": at}
        return found

    def load(self, file: str, place: str, dumped: Mapping[str, Any]) -> None:
        """Go on with what dump gave, as if no time had passed since. Raises StateError."""
        now = self._clock()
        for key, value in dumped.items():
            fields = Fields(file, f"{place}.{key[:80]}", value)
            left = fields.number("left", 0, _MOST_S)
            texts = fields.names("tries", _TRY, empty=True)
            fields.end()
            tries = self._touch(key)
            tries.locked_until = now + left if left else 0.0
            for text in texts:
                age, _, tag = text.partition(" ")
                tries.at.append((now - int(age), tag))
