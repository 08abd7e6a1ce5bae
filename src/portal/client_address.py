"""The address that asks: the socket's peer, or what a trusted proxy says of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from access.address import Address, parse_address
from portal.settings import Network

Host = IPv4Address | IPv6Address

HOPS = 32
"""Proxies in a row; more are nobody's."""

# RFC 7239, 4 and 6. A comma within quotes is refused with all that has a quote on one side only, so that nothing a client
# left open swallows what a proxy wrote behind it.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf"""({_WORD})=({_WORD}|"[^"\\,;\x00-\x1f]*")""")
_ELEMENT = re.compile(rf"{_PAIR.pattern}(?:;{_PAIR.pattern})*")
_NODE = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\])(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?")


class BadClientAddress(Exception):
    """The address that asks cannot be told. The message says why, for the admin."""


class HiddenAddress(BadClientAddress):
    """A trusted address that came in where none is: spoofed, or a router's that hides who asks."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, or whom its PROXY header names; None: not known.

    `outside`: it came in by one of `gate.wan_interfaces`, where no source is trusted.
    """

    host: str | None
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from. `trusted`: in a network that is never closed, so nothing needs opening."""

    address: Address
    trusted: bool


@dataclass(slots=True)
class ClientAddress:
    """Tells a request's visitor.

    `header` is believed only from peers in `proxies`. `X-Forwarded-For` and `Forwarded` (RFC 7239) are lists, read from
    the right over at most HOPS hops that are proxies too: what lies left of the first other one is the client's own
    invention. Every other header holds exactly one address. One that names nobody but proxies names nobody. `trusted` changes when the gate reloads its configuration.
    """

    proxies: tuple[Network, ...]
    header: str
    trusted: tuple[Network, ...]
    ipv6_prefix: int

    def visitor(self, peer: Peer, headers: Sequence[str]) -> Visitor:
        """Who asks, given the peer and every line of `header`. Raises BadClientAddress."""
        host = self.host(peer, headers)
        trusted = _within(host, self.trusted)
        if isinstance(host, IPv6Address) and host.scope_id is not None:
            # Its address means nothing beyond the link it is on, so it cannot be granted.
            if not trusted:
                raise BadClientAddress(
                    "the client has a link-local address; let it use another of its addresses"
                )
            host = IPv6Address(host.packed)
        return Visitor(parse_address(str(host), self.ipv6_prefix), trusted)

    def host(self, peer: Peer, headers: Sequence[str]) -> Host:
        """The same before it becomes what is granted: one host, IPv6 too. Raises BadClientAddress."""
        host = _host(peer.host or "", "the connection")
        if _within(host, self.proxies):
            host = self._forwarded(headers)
        elif headers and host.is_loopback and _within(host, self.trusted):
            # a browser on the gateway sends none; a proxy there would make everybody a trusted visitor
            raise BadClientAddress(f"{host} passes visitors on and is not in portal.trusted_proxies")
        if peer.outside and _within(host, self.trusted):
            raise HiddenAddress(f"{host} is in trusted_networks and came in by one of gate.wan_interfaces")
        return host

    def is_proxy(self, peer: Peer) -> bool:
        """Whether the header is believed from there. Raises BadClientAddress."""
        return _within(_host(peer.host or "", "the peer"), self.proxies)

    def behind_proxy(self, peer: Peer, headers: Sequence[str]) -> Visitor:
        """As `visitor`, for the answer to a proxy.

        Raises BadClientAddress too where the peer passes somebody on and is not in `proxies`, and where a trusted
        address is the peer's own.
        """
        visitor = self.visitor(peer, headers)
        if (headers or visitor.trusted) and not self.is_proxy(peer):
            raise BadClientAddress("whoever asks here is not in portal.trusted_proxies")
        return visitor

    def _forwarded(self, headers: Sequence[str]) -> Host:
        if not headers:
            raise BadClientAddress(f"the proxy sent no {self.header} (portal.client_ip_header)")
        read = _READ.get(self.header.lower())
        if read is None and len(headers) > 1:
            raise BadClientAddress(f"the proxy sent more than one {self.header}")
        hops = headers if read is None else reversed(",".join(headers).rsplit(",", HOPS)[-HOPS:])
        for hop in hops:
            text = hop.strip(" \t")
            host = _host(text if read is None else read(text), self.header)
            if isinstance(host, IPv6Address) and host.scope_id is not None:
                raise BadClientAddress(f"{self.header} names an interface of another host")
            if not _within(host, self.proxies):
                return host
        raise BadClientAddress(f"{self.header} names nobody but proxies")


def _host(text: str, where: str) -> Host:
    try:
        host = ip_address(text)
    except ValueError:
        raise BadClientAddress(f"{where} holds no address") from None
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host


def _without_port(hop: str) -> str:
    """Some proxies add the port: 203.0.113.7:1234, [2001:db8::1]:1234. Brackets alone occur too."""
    if hop.startswith("["):
        host, bracket, port = hop[1:].partition("]")
        return host if bracket and (not port or _is_port(port)) else hop
    host, _, port = hop.partition(":")
    return host if "." in host and _is_port(f":{port}") else hop


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _node(element: str) -> str:
    """Whom `for=` of one forwarded-element names; "" where it names no address, or more than one."""
    if not _ELEMENT.fullmatch(element):
        return ""
    nodes = [value for name, value in _PAIR.findall(element) if name.lower() == "for"]
    found = _NODE.fullmatch(nodes[0].strip('"')) if len(nodes) == 1 else None
    return (found[1] or found[2]) if found else ""


_READ = {"x-forwarded-for": _without_port, "forwarded": _node}


def _within(host: Host, networks: Iterable[Network]) -> bool:
    # IPv6Address.__contains__ of ipaddress does not look at scopes.
    return any(host in network for network in networks)
