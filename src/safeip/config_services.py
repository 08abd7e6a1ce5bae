"""The services of the configuration, as the portal shows them and as the gate protects them."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal

from access.duration import format_duration
from access.services import FAMILIES, Family, Service
from nft.policy import PortRange, ServiceRule
from portal.settings import Listen
from safeip import values
from safeip.problem import WrongValueError, shown
from safeip.section import Section

_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
_RESERVED = frozenset(  # sets, chains and words of nft that sets NAME4, NAME6 and chains would collide with
    ("blocked", "banned", "trusted", "closed", "custom", "gate", "ranges", "ports", "arrivals", "held", "masks", "ip", "icmpv")
)
_MOST_SERVICES = 256  # with their ports they fit a line of the wire
_MOST_PORTS = 1024  # ports and ranges of all services
_DEFAULT_DURATION_S = 12 * 3600
_DEFAULT_MAX_DURATION_S = 30 * 86400

Protected = tuple[str, PortRange]
"""Dotted path of a port in the file, and the port."""


def read_services(
    root: Section, listen: tuple[Listen, ...], proxied: tuple[Listen, ...]
) -> tuple[Mapping[str, Service], Mapping[str, ServiceRule]]:
    """All [services.NAME] tables, by name and in the order of the file; `listen` and `proxied` are the portal's own."""
    table = root.section("services")
    services: dict[str, Service] = {}
    rules: dict[str, ServiceRule] = {}
    protected: list[Protected] = []
    for name, section in table.sections():
        _check_name(table, name)
        services[name], rules[name] = _service(name, section, protected)
        section.close()
    if not services and root.sound("services"):
        root.problem("services", "names no service", 'write [services.NAME] with ports = ["tcp/443"], for each that is to be closed')
    if len(services) > _MOST_SERVICES:
        root.problem("services", f"names {len(services)} services", f"write {_MOST_SERVICES} at most")
    if len(protected) > _MOST_PORTS:
        root.problem("services", f"names {len(protected)} ports", f'write ranges, such as "tcp/25565-25570", and {_MOST_PORTS} at most')
    _check_overlaps(root, protected)
    _check_portal(root, protected, "listen", listen)
    _check_portal(root, protected, "listen_proxy_protocol", proxied)
    return services, rules


def service_name(name: str) -> str:
    """A name that a service can have. Raises WrongValueError."""
    if not _NAME.fullmatch(name):
        right = 'write a letter a-z, then letters a-z, digits and "-", 24 characters at most'
        raise WrongValueError(f"{shown(name)} is not a service name", right)
    if name in _RESERVED:
        raise WrongValueError(f"{shown(name)} is a name that SafeIP uses itself", f'write another, such as "my-{name}"')
    return name


def family(value: object) -> Family:
    """A family of addresses."""
    return values.choice(*FAMILIES)(value)


def _check_name(table: Section, name: str) -> None:
    try:
        service_name(name)
    except WrongValueError as error:
        table.problem(name, error.wrong, error.right)


def _service(name: str, section: Section, protected: list[Protected]) -> tuple[Service, ServiceRule]:
    title = section.get("title", values.title, name)
    by_proxy = section.get("closed_by", values.choice("kernel", "proxy"), "kernel") == "proxy"
    read = section.many if by_proxy else section.need_many
    ports = read("ports", values.port_range, (), '["tcp/443"]')
    if by_proxy and ports:
        section.problem("ports", 'closes ports, but closed_by is "proxy"', "leave out one of the two: the kernel closes ports, a proxy names")
    protected += [(f"{section.at('ports')}[{index}]", port) for index, port in ports]
    url = section.get("url", values.url, None)
    longest = section.get("max_duration", values.duration, _DEFAULT_MAX_DURATION_S)
    usual = section.get("default_duration", values.duration, min(_DEFAULT_DURATION_S, longest))
    if usual > longest and section.sound("default_duration", "max_duration"):
        wrong = f'"{format_duration(usual)}" is longer than max_duration, "{format_duration(longest)}"'
        section.problem("default_duration", wrong, "shorten it, or write a longer max_duration")
    existing: Literal["cut", "keep"] = section.get("existing", values.choice("cut", "keep"), "cut")
    families = tuple(dict.fromkeys(one for _, one in section.need_many("families", family, FAMILIES, '["ipv4"]')))
    shared = section.get("shared_max_duration", values.duration, None)
    if shared is not None and shared > longest and section.sound("shared_max_duration", "max_duration"):
        wrong = f'"{format_duration(shared)}" is longer than max_duration, "{format_duration(longest)}"'
        section.problem("shared_max_duration", wrong, "shorten it: it caps what max_duration allows")
    ranges = tuple(port for _, port in ports)
    service = Service(
        name=name, title=title, url=url, default_duration_s=usual, max_duration_s=longest, ports=tuple(map(str, ranges)), families=families,
        shared_max_duration_s=shared, shared_pin=section.get("shared_pin", values.true_or_false, False),
    )  # fmt: skip
    return service, ServiceRule(name=name, ports=ranges, max_duration_s=longest, existing=existing)


def _check_overlaps(root: Section, protected: list[Protected]) -> None:
    """A port leads to one service: the kernel looks it up in one map."""
    order = sorted(range(len(protected)), key=lambda index: (protected[index][1].protocol, protected[index][1].first, index))
    reaching: Protected | None = None  # of those passed, the one that reaches furthest
    for place, port in (protected[index] for index in order):
        if reaching and reaching[1].protocol == port.protocol and port.first <= reaching[1].last:
            wrong = f'"{port}" overlaps "{reaching[1]}" of {reaching[0]}'
            root.report.add(place, wrong, "a port belongs to one service, once")
        if not reaching or reaching[1].protocol != port.protocol or port.last > reaching[1].last:
            reaching = (place, port)


def _check_portal(root: Section, protected: list[Protected], key: str, listen: tuple[Listen, ...]) -> None:
    """Behind a protected port nobody could open a link. On loopback the portal is behind a proxy."""
    for place, port in protected:
        for own in listen:
            if port.protocol == "tcp" and port.first <= own.port <= port.last and not ip_address(own.host).is_loopback:
                wrong = f'"{port}" holds the portal\'s own port: portal.{key} has "{own}"'
                root.report.add(place, wrong, "leave it out, or let the portal listen elsewhere: nobody could open a link")
                break
