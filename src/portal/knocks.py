"""Who knocked, by address, by port and over the day. Sixty thousand may have, so that only what is shown is put into words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from typing import Self

from access.gate import Blocked
from access.services import Service
from portal.moments import Moment, moment
from portal.site import Site


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the last day, and the packets that were blocked in it."""

    begin: Moment
    packets: int


@dataclass(frozen=True, slots=True)
class Source:
    """What came from one address; `ports` such as tcp/22, the last first. `last_ms`: milliseconds ago."""

    address: str
    ports: list[str]
    packets: int
    last_ms: int

    @classmethod
    def of(cls, rows: Sequence[Blocked]) -> Self:
        """The rows of one address, the last first."""
        ports = list(dict.fromkeys(port_text(row) for row in rows))
        return cls(rows[0].address, ports, sum(row.packets for row in rows), rows[0].last_ms)


@dataclass(frozen=True, slots=True)
class Port:
    """What came to one port, such as tcp/22. `title`: of the service that it is of, "" where it is none's any more."""

    port: str
    title: str
    packets: int
    addresses: int


async def day(site: Site) -> list[Hour]:
    """The last 24 hours up to this moment, the oldest first. Raises GateUnavailable."""
    knocks, now = site.access.knocks, site.clock()
    await knocks.look()
    return [Hour(moment(begin, now), packets) for begin, packets in knocks.hours()]


def port_text(row: Blocked) -> str:
    """Where it knocked, such as tcp/22."""
    return f"{row.protocol}/{row.port}"


def by_address(blocked: Iterable[Blocked]) -> list[list[Blocked]]:
    """The rows of each address, the last first; and whoever knocked last first."""
    together: dict[str, list[Blocked]] = {}
    for row in sorted(blocked, key=attrgetter("last_ms")):
        together.setdefault(row.address, []).append(row)
    return list(together.values())


def top_sources(sources: Iterable[Sequence[Blocked]], most: int) -> list[Source]:
    """Of rows by address, the addresses that sent the most."""
    counted = ((sum(row.packets for row in rows), rows) for rows in sources)
    return [Source.of(rows) for _, rows in nlargest(most, counted, key=lambda source: source[0])]


def top_ports(blocked: Iterable[Blocked], services: Mapping[str, Service], most: int) -> list[Port]:
    """The ports to which the most was sent."""
    packets: dict[tuple[str, int], int] = {}
    addresses: dict[tuple[str, int], int] = {}
    for row in blocked:
        port = (row.protocol, row.port)
        packets[port] = packets.get(port, 0) + row.packets
        addresses[port] = addresses.get(port, 0) + 1  # an address has one row a port
    return [
        Port(
            f"{protocol}/{number}",
            _title(services, protocol, number),
            packets[protocol, number],
            addresses[protocol, number],
        )
        for protocol, number in nlargest(most, packets, key=packets.__getitem__)
    ]


def _title(services: Mapping[str, Service], protocol: str, number: int) -> str:
    for service in services.values():
        for port in service.ports:
            kind, _, numbers = port.partition("/")
            first, _, last = numbers.partition("-")
            if kind == protocol and int(first) <= number <= int(last or first):
                return service.title
    return ""
