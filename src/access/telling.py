"""Which refusals enter the history: whoever guesses is to be seen there, and nobody can push all else out of it."""

import time
from collections.abc import Hashable

from access.address import Address
from access.moment import Clock
from access.throttle import Throttle

_WINDOW_S = 900
_OF_SOURCE, _OF_ALL = 5, 200
_ABOUT_MOST = 256


class Telling:
    """Counts entries within a quarter of an hour, by what they are `about`: 5 of each address, and 200 of all addresses of a family.

    So who wants to hide another address's guesses needs forty of that family, and IPv6 hides nothing of IPv4.
    At most 10,000 addresses are counted.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._sources = Throttle(_OF_SOURCE, _WINDOW_S, _WINDOW_S, clock=clock)
        self._all = Throttle(_OF_ALL, _WINDOW_S, _WINDOW_S, clock=clock, capacity=_ABOUT_MOST)

    def tells(self, address: Address, about: Hashable = None) -> bool:
        """Whether one more is to be told; counts it."""
        return self._sources.count((address, about)) and self._all.count((address.version, about))
