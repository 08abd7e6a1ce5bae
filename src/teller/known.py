"""Which holders came from which addresses before."""

from typing import Literal

_MOST_HOLDERS = 10_000
_MOST_ADDRESSES = 200  # of one holder; who moves about more hears of an old address again

Addresses = dict[str, dict[str, int]]
"""Of each holder the addresses, each with the moment when it was seen last, in seconds since 1970."""


class Known:
    """Remembers what was seen last, and forgets what was not seen for the longest."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses

    def opened(self, holder: str, address: str, at: int) -> Literal["first-use", "new-address"] | None:
        """Take down that a holder has an address; what is new about it. A first use is a link's."""
        first = holder not in self.addresses
        seen = self.addresses.pop(holder, {})
        new = seen.pop(address, None) is None
        seen[address] = at
        self.addresses[holder] = seen  # at the end: the order is that of the last use
        while len(seen) > _MOST_ADDRESSES:
            del seen[next(iter(seen))]
        while len(self.addresses) > _MOST_HOLDERS:
            del self.addresses[next(iter(self.addresses))]
        if first and holder.startswith("link:"):
            return "first-use"
        return "new-address" if new else None

    def forget(self, holder: str) -> None:
        """A holder that is no more."""
        self.addresses.pop(holder, None)
