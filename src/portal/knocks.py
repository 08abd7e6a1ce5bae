"""Who knocked, by address and over the day. Sixty thousand may have, so that only what is shown is put into words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from access.gate import Blocked

HOURS = 24
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Knocks:
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


def port_text(row: Blocked) -> str:
    """Where it knocked, such as tcp/22."""
    return f"{row.protocol}/{row.port}"


def by_address(blocked: Iterable[Blocked]) -> list[list[Blocked]]:
    """The rows of each address, the last first; and whoever knocked last first."""
    together: dict[str, list[Blocked]] = {}
    for row in sorted(blocked, key=lambda row: row.last_ms):
        together.setdefault(row.address, []).append(row)
    return list(together.values())


def by_hour(blocked: Iterable[Blocked]) -> list[int]:
    """How many addresses knocked last in each of the 24 hours before now, the oldest hour first."""
    last: dict[str, int] = {}
    for row in blocked:
        last[row.address] = min(row.last_ms, last.get(row.address, row.last_ms))
    hours = [0] * HOURS
    for last_ms in last.values():
        hours[HOURS - 1 - min(last_ms // _HOUR_MS, HOURS - 1)] += 1
    return hours
