"""Networks as spans of numbers: whether an address is in one of a thousand costs a microsecond."""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TypeVar

Network = TypeVar("Network", IPv4Network, IPv6Network)
_BEYOND = 1 << 128


class Spans:
    """Networks of one family."""

    def __init__(self, networks: Iterable[Network]) -> None:
        """Those that overlap or touch become one; what is left is in order and apart."""
        apart = collapse_addresses(networks)
        self._spans = [(int(network.network_address), int(network.broadcast_address)) for network in apart]

    def meet(self, first: int, last: int) -> bool:
        """Whether one of them has an address in common with those from `first` to `last`."""
        place = bisect_right(self._spans, (last, _BEYOND))
        return place > 0 and self._spans[place - 1][1] >= first
