"""What the gate may do: the part of the configuration that it checks every request against."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from nft.spans import Spans


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports of one transport protocol, both ends included, 1 to 65535."""

    protocol: Literal["tcp", "udp"]
    first: int
    last: int

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol}/{ports}"


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """A protected service as the kernel knows it.

    `max_duration_s` is the longest grant in seconds. With `existing` "keep", connections that were
    established under a grant may finish after it; with "cut" they end with it.
    """

    name: str
    ports: tuple[PortRange, ...]
    max_duration_s: int
    existing: Literal["cut", "keep"] = "cut"


@dataclass(frozen=True)
class Policy:
    """Everything that the gate decides by. Written by root, read once at start.

    `mode` "table": SafeIP owns table `family table` with its chains. "sets": it keeps sets only, in a
    table of the admin's. `ipv6_prefix` is the length in bits of what one IPv6 grant covers.

    At the portal's TCP ports `portal_ports`, which no service may have, connections are limited by source;
    not from `portal_proxies`, which bring everybody's. What comes in by one of `wan_interfaces` (`eth0`, `ppp*`) is not
    trusted by its source.
    """

    services: Mapping[str, ServiceRule]
    trusted: tuple[IPv4Network | IPv6Network, ...]
    mode: Literal["table", "sets"] = "table"
    family: str = "inet"
    table: str = "safeip"
    ipv6_prefix: int = 64
    max_grants: int = 100_000
    portal_ports: tuple[int, ...] = ()
    portal_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    wan_interfaces: tuple[str, ...] = ()

    @cached_property
    def trusted4(self) -> Spans:
        """The trusted networks of IPv4."""
        return Spans(network for network in self.trusted if isinstance(network, IPv4Network))

    @cached_property
    def trusted6(self) -> Spans:
        """The trusted networks of IPv6."""
        return Spans(network for network in self.trusted if isinstance(network, IPv6Network))
