"""The portal's keys of safeip.toml that take more than a parser of their value."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address

from access.duration import format_duration
from portal.settings import Files, Listen, Network, Settings, Tls
from safeip import values
from safeip.problem import WrongValueError, shown
from safeip.section import Section

_DEFAULT_LISTEN = (Listen("0.0.0.0", 8443), Listen("::", 8443))  # noqa: S104 - the Internet is meant to reach the portal
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


def listen(portal: Section) -> tuple[Listen, ...]:
    """Where the portal listens."""
    found: dict[Listen, None] = {}
    for index, listen in portal.need_many("listen", values.listen, _DEFAULT_LISTEN, '["0.0.0.0:8443", "[::]:8443"]'):
        if listen in found:
            portal.problem_at("listen", index, f'"{listen}" is listed twice', "write it once")
        found[listen] = None
    return tuple(found)


def portal_ports(listen: tuple[Listen, ...]) -> tuple[int, ...]:
    """Where the Internet reaches the portal. On loopback it is behind a proxy, and the port may be a service's."""
    return tuple(sorted({own.port for own in listen if not ip_address(own.host).is_loopback}))


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
