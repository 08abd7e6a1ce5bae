"""The portal's keys of safeip.toml that take more than a parser of their value."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address

from access.duration import format_duration
from portal.settings import Files, Listen, Network, Settings, Tls
from safeip import values
from safeip.problem import WrongValueError, shown
from safeip.section import Section

_DEFAULT_LISTEN = (Listen("0.0.0.0", 8443), Listen("::", 8443))  # noqa: S104 - the Internet is meant to reach the portal
PROXIED = "listen_proxy_protocol"
_DEFAULT_SESSION_IDLE_S = 12 * 3600
_DEFAULT_SESSION_LIFETIME_S = 30 * 86400


def networks(section: Section, key: str, default: tuple[Network, ...]) -> tuple[Network, ...]:
    """Networks without overlaps, which interval sets of the kernel refuse."""
    found = [network for _, network in section.many(key, values.network, default, '["192.168.1.0/24"]')]
    four = [network for network in found if isinstance(network, IPv4Network)]
    six = [network for network in found if isinstance(network, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def hosts(section: Section, key: str) -> tuple[Network, ...]:
    """As `networks`, but neighbours stay two: each is looked at by itself."""
    found = dict.fromkeys(network for _, network in section.many(key, values.network, (), '["192.168.1.2"]'))
    return tuple(network for network in found if found.keys().isdisjoint(_around(network)))


def _around(network: Network) -> Iterator[Network]:
    for length in range(network.prefixlen):
        yield network.supernet(new_prefix=length)


def listening(portal: Section, proxies: tuple[Network, ...]) -> tuple[tuple[Listen, ...], tuple[Listen, ...]]:
    """Where the portal listens, and where it listens for a PROXY header, which is for `proxies` alone."""
    proxied = _listens(portal, PROXIED, portal.many(PROXIED, values.listen, (), '["127.0.0.1:8444"]'))
    example = '["0.0.0.0:8443", "[::]:8443"]'
    read = portal.many if proxied or not portal.sound(PROXIED) else portal.need_many
    usual = _listens(portal, "listen", read("listen", values.listen, _DEFAULT_LISTEN, example))
    if proxied and not proxies and portal.sound("trusted_proxies"):
        right = 'name the proxy in trusted_proxies, such as ["127.0.0.1/32"]'
        portal.problem(PROXIED, "is for trusted proxies alone, and there are none", right)
    for own in proxied:
        for other in usual:
            if _same_port(own, other):
                right = "give it a port of its own: what comes there begins with a PROXY header, or is hung up on"
                portal.problem(PROXIED, f'"{own}" is in portal.listen too, as "{other}"', right)
    return usual, proxied


def _listens(portal: Section, key: str, written: tuple[tuple[int, Listen], ...]) -> tuple[Listen, ...]:
    found: dict[Listen, None] = {}
    for index, own in written:
        if own in found:
            portal.problem_at(key, index, f'"{own}" is listed twice', "write it once")
        found[own] = None
    return tuple(found)


def _same_port(one: Listen, other: Listen) -> bool:
    ours, theirs = ip_address(one.host), ip_address(other.host)
    overlap = ours == theirs or ours.is_unspecified or theirs.is_unspecified
    return one.port == other.port and ours.version == theirs.version and overlap


def portal_ports(listens: tuple[Listen, ...]) -> tuple[int, ...]:
    """Where the Internet reaches the portal. On loopback it is behind a proxy, and the port may be a service's."""
    return tuple(sorted({own.port for own in listens if not ip_address(own.host).is_loopback}))


def session(portal: Section) -> tuple[int, int]:
    """How long a session lasts unused and in all, in seconds."""
    lifetime = portal.get("session_lifetime", values.duration, _DEFAULT_SESSION_LIFETIME_S)
    idle = portal.get("session_idle", values.duration, min(_DEFAULT_SESSION_IDLE_S, lifetime))
    if idle > lifetime and portal.sound("session_idle", "session_lifetime"):
        wrong = f'"{format_duration(idle)}" is longer than session_lifetime, "{format_duration(lifetime)}"'
        portal.problem("session_idle", wrong, "shorten it, or write a longer session_lifetime")
    return idle, lifetime


def tls(portal: Section) -> Tls:
    """What the portal's listeners speak TLS with."""
    if not portal.is_table("tls"):
        return portal.get("tls", _tls_word, "auto")
    files = portal.section("tls")
    paths = [
        files.need(key, values.absolute_path, "", f'write the path of a PEM file, such as "/etc/safeip/{key}.pem"')
        for key in ("certificate", "key")
    ]
    files.close()
    return Files(*paths)


def _tls_word(value: object) -> Tls:
    if value == "auto":
        return "auto"
    if value == "off":
        return "off"
    right = 'write "auto", "off" or { certificate = "/path/cert.pem", key = "/path/key.pem" }'
    raise WrongValueError(f"{shown(value)} is none of the choices", right)


def check_schemes(portal: Section, settings: Settings) -> None:
    """With TLS on, the portal answers nothing over plain HTTP, so that such links would be dead."""
    for key, url in (("url", settings.url), ("url_ipv4", settings.url_ipv4), ("url_ipv6", settings.url_ipv6)):
        if url and url.startswith("http:") and settings.tls != "off" and portal.sound("tls"):
            right = f'write "https:{url.removeprefix("http:")}", or tls = "off"'
            portal.problem(key, f"{shown(url)} is plain HTTP, and portal.tls is on", right)
