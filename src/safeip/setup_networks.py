"""The networks of this host's interfaces, as the kernel's routes tell them (/proc/net/route, /proc/net/ipv6_route)."""

import contextlib
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from portal.settings import Network

_REJECT = 0x0200  # RTF_REJECT


@dataclass(frozen=True, slots=True)
class Attached:
    """A network that an interface is in. `outward`: the way to the Internet leads through this interface."""

    interface: str
    network: Network
    outward: bool


def attached() -> list[Attached]:
    """The networks that this host has an address in, without loopback, link-local and single addresses."""
    routes = _routes4() + _routes6()
    outward = {interface for interface, network, _ in routes if network.prefixlen == 0}
    return [
        Attached(interface, network, interface in outward)
        for interface, network, direct in routes
        if direct and 0 < network.prefixlen < network.max_prefixlen and not network.is_link_local and not network.is_multicast
    ]


def _routes4() -> list[tuple[str, Network, bool]]:
    """Interface, destination, and whether no router stands between."""
    found: list[tuple[str, Network, bool]] = []
    for words in _lines("/proc/net/route", skip=1):
        interface, destination, gateway, flags, mask = words[0], words[1], words[2], int(words[3], 16), words[7]
        if not flags & _REJECT:
            bits = int(mask, 16).bit_count()
            network = IPv4Network((int(destination, 16).to_bytes(4, sys.byteorder), bits), strict=False)
            found.append((interface, network, int(gateway, 16) == 0))
    return found


def _routes6() -> list[tuple[str, Network, bool]]:
    found: list[tuple[str, Network, bool]] = []
    for words in _lines("/proc/net/ipv6_route", skip=0):
        destination, bits, gateway, flags, interface = words[0], int(words[1], 16), words[4], int(words[8], 16), words[9]
        if interface != "lo" and not flags & _REJECT:
            network = IPv6Network((bytes.fromhex(destination), bits), strict=False)
            found.append((interface, network, int(gateway, 16) == 0))
    return found


def _lines(path: str, *, skip: int) -> list[list[str]]:
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        return [line.split() for line in Path(path).read_text("ascii").splitlines()[skip:]]
    return []
