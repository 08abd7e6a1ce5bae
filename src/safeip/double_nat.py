"""Routers in front that hide where visitors come from: what the configuration, this host and the kernel tell of them."""

import contextlib
import fcntl
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from nft import listing, rules
from nft.sets import KernelError
from portal import masked
from safeip.config import Config

_ROUTES = "/proc/net/route"  # proc_net(5); numbers in the host's byte order
_UP = 0x1  # RTF_UP
_SIOCGIFADDR = 0x8915


def warnings(config: Config) -> Iterator[str]:
    """What wan_interfaces cannot do, and whoever wrote it may take for done."""
    settings = config.settings
    if settings.wan and settings.trusted_proxies:
        proxies = ", ".join(map(str, settings.trusted_proxies))
        yield (
            f"gate.wan_interfaces: who comes by a proxy ({proxies}) comes in by the proxy's interface, and is trusted by the address that it "
            "names: where a router in front may hide visitors, leave that router's address out of gate.trusted_networks"
        )


def found(config: Config) -> list[str]:
    """What this host and the kernel tell at this moment; as root, who alone sees the kernel's. Raises nothing."""
    return [*_of_routes(config), *_of_kernel(config)]


def _of_kernel(config: Config) -> list[str]:
    if config.policy.mode == "table":
        with contextlib.suppress(KernelError, PermissionError), contextlib.closing(rules.sets_of(config.policy)) as sets:
            return masked.sentences(listing.masks(sets), config.settings.wan)
    return []


def _of_routes(config: Config) -> Iterator[str]:
    """IPv4 alone: IPv6 routers are known by link-local addresses, and seldom masquerade."""
    if config.settings.wan or (way := _way_out()) is None:
        return
    interface, router = way
    # a line without a router's address, as ppp: what is at its other end has one like ours
    said = router or _own_address(interface)
    if said is not None and any(said in network for network in config.settings.trusted_networks):
        yield (
            f"gate.trusted_networks: {said}, on the way to the Internet ({interface}), is in it: if the router there masquerades what it "
            f'forwards to this host, everybody is trusted; write gate.wan_interfaces = ["{interface}"] if your own devices come in by other '
            f"interfaces, else leave {said} out of gate.trusted_networks"
        )


def _way_out() -> tuple[str, IPv4Address | None] | None:
    """The interface of the default route, and the router where it has an address."""
    try:
        lines = Path(_ROUTES).read_text(encoding="ascii").splitlines()[1:]
        rows = [line.split() for line in lines]
        ways = [
            (int(row[6]), row[0], struct.pack("=I", int(row[2], 16)))
            for row in rows
            if int(row[1], 16) == int(row[7], 16) == 0 and int(row[3], 16) & _UP
        ]
    except (OSError, ValueError, IndexError, struct.error):
        return None
    if not ways:
        return None
    _metric, interface, router = min(ways)
    return interface, IPv4Address(router) if any(router) else None


def _own_address(interface: str) -> IPv4Address | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
        return IPv4Address(answer[20:24])
    return None
