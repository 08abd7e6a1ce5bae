"""Which refusals enter the history: whoever guesses is to be seen there, and nobody can push all else out of it in hours."""

import time
from collections.abc import Hashable

from access.address import Address
from access.moment import Clock
from access.throttle import Throttle

_OF_SOURCE, _OF_SOURCE_S = 5, 900
_OF_ALL, _OF_ALL_S = 200, 3600
_ABOUT_MOST = 1024


class Telling:
    """Counts entries by what they are `about`: 5 of each address in 15 minutes, and 200 of all addresses of a family in an hour.

    So who wants to hide another address's guesses needs forty of that family, and IPv6 hides nothing of IPv4. Who fills all
    there is, of both families, makes some 40,000 entries a day, and with each name or link that they know 10,000 more. At most
    10,000 addresses are counted.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._sources = Throttle(_OF_SOURCE, _OF_SOURCE_S, _OF_SOURCE_S, clock=clock)
        self._all = Throttle(_OF_ALL, _OF_ALL_S, _OF_ALL_S, clock=clock, capacity=_ABOUT_MOST)

    def tells(self, address: Address, about: Hashable = None) -> bool:
        """Whether one more is to be told; counts it."""
        return self._sources.count((address, about)) and self._all.count((address.version, about))
