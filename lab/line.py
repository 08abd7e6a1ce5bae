"""A visitor's line: slow, of one family only, or changed for another one."""

import contextlib
import socket
from collections.abc import Callable, Iterator

from lab.gateway import Gateway
from lab.process import wait_for

ELSEWHERE4, ELSEWHERE6 = "192.0.2.77", "2001:db8:3::77"
_HOP4, _HOP6, _ELSEWHERE_HOP6 = "192.0.2.1", "2001:db8:1::1", "2001:db8:3::1"


@contextlib.contextmanager
def slow(gateway: Gateway, rate: str) -> Iterator[None]:
    """The visitor's line at `rate`, such as `16kbit`, both ways, for a `with` block."""
    ends = ((gateway.visitor.namespace, "eth0", _HOP4), (gateway.internet, "visitor", gateway.visitor.ipv4))
    shape = f"root tbf rate {rate} burst 1600 limit 256kb".split()
    for namespace, name, peer in ends:
        namespace.run("tc", "qdisc", "add", "dev", name, *shape)
        # the bucket begins full, and what is in it would pass at once
        with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as filler:
            filler.sendto(bytes(1400), (peer, 9))
    try:
        yield
    finally:
        for namespace, name, _ in ends:
            namespace.run("tc", "qdisc", "del", "dev", name, "root")


@contextlib.contextmanager
def without_ipv6(gateway: Gateway) -> Iterator[None]:
    """What the visitor sends by IPv6 is lost and nobody says so, the worst kind of broken IPv6, for a `with` block."""
    rules = "table ip6 line { chain out { type filter hook output priority 0; oifname eth0 drop; }; }"
    gateway.visitor.namespace.run("nft", "-f", "-", input=rules)
    try:
        yield
    finally:
        gateway.visitor.namespace.run("nft", "delete", "table", "ip6", "line")


@contextlib.contextmanager
def elsewhere(gateway: Gateway, noticed: Callable[[], bool]) -> Iterator[None]:
    """The visitor comes from ELSEWHERE4 and ELSEWHERE6 for a `with` block, as a phone that leaves its Wi-Fi.

    The line is down until `noticed`, so that every connection is lost, and comes up with other addresses; so again at
    the end. Browsers overlook what takes less than a tenth of a second.
    """
    visitor = gateway.visitor
    gateway.internet.configure(f"addr add {_ELSEWHERE_HOP6}/64 dev visitor nodad")
    _leave(gateway, noticed)
    _join(gateway, ELSEWHERE4, ELSEWHERE6, _ELSEWHERE_HOP6)
    try:
        yield
    finally:
        _leave(gateway, noticed)
        _join(gateway, visitor.ipv4, visitor.ipv6, _HOP6)
        gateway.internet.configure(f"addr del {_ELSEWHERE_HOP6}/64 dev visitor")


def _leave(gateway: Gateway, noticed: Callable[[], bool]) -> None:
    gateway.visitor.namespace.configure("link set eth0 down", "addr flush dev eth0")
    wait_for("the browser sees that it is offline", noticed)


def _join(gateway: Gateway, ipv4: str, ipv6: str, hop6: str) -> None:
    gateway.visitor.namespace.configure(
        f"addr add {ipv4}/25 dev eth0",
        "link set eth0 up",
        f"addr add {ipv6}/64 dev eth0 nodad",
        f"route add default via {_HOP4}",
        f"route add default via {hop6}",
    )
