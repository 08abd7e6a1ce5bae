"""What deciding needs of the gate, whichever way it is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from access.address import Address
from access.moment import moment_text
from access.shared import Why, why


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as the kernel has it: milliseconds left, and what passed since it was last renewed.

    `others`: somebody else than the holder is let in at the address too.
    """

    service: str
    address: str
    holder: str
    note: str
    remaining_ms: int
    packets: int
    bytes: int
    others: bool = False

    @property
    def shared(self) -> Why | None:
        """Why its address is a shared one; None: as far as is known it is not."""
        return why(self.address, others=self.others)

    def as_json(self, now: float) -> dict[str, Any]:
        """For interfaces. `now` in seconds since 1970."""
        return {
            "service": self.service,
            "address": self.address,
            "holder": self.holder,
            "note": self.note,
            "expires_at": moment_text(now + self.remaining_ms / 1000),
            "remaining_s": self.remaining_ms // 1000,
            "packets": self.packets,
            "bytes": self.bytes,
            "shared": self.shared,
        }


@dataclass(frozen=True, slots=True)
class Granted:
    """What holds now. `left`: the holder's addresses that had to leave; `renewed`: the holder had all of it open before."""

    grants: list[Grant]
    left: list[str]
    renewed: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """Packets to a protected port from an address without a grant. `last_ms`: milliseconds since the last."""

    address: str
    protocol: str
    port: int
    packets: int
    bytes: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Banned:
    """An address that may not even reach the portal, for `remaining_ms` more."""

    address: str
    remaining_ms: int
    packets: int


class GateRefusal(Exception):
    """The gate said no. `code` is one of the wire's codes, `message` a sentence for the one who asked."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class GateUnavailable(Exception):
    """The gate does not answer. Whether it did what was asked is unknown."""


class Gate(Protocol):
    """Every method raises GateUnavailable; those that change something GateRefusal, and then changed nothing."""

    async def grant(
        self,
        services: Mapping[str, int],
        address: Address,
        *,
        holder: str,
        note: str,
        addresses: int | None = None,
    ) -> Granted:
        """Open or renew `services` (name: seconds) in one transaction, all or none; never shortens.

        With `addresses`, at most so many of the holder's addresses of this family stay: the oldest
        leave in the same transaction, 1,000 at once.
        """

    async def revoke(
        self,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
        everything: bool = False,
    ) -> int:
        """Close what matches all that is given, and say how many grants that were."""

    async def grants(
        self, *, service: str | None = None, address: Address | None = None, holder: str | None = None
    ) -> list[Grant]:
        """What is open and matches all that is given.

        Each grant names one holder. By address and holder comes also what the holder was let in for where a grant names
        another, who holds it longer: with the end of the holder's own time.
        """

    async def held(self, service: str, address: Address) -> bool:
        """Whether a service is open for an address now. Does not wait for the kernel. GateRefusal where there is no such service."""

    async def blocked(self) -> list[Blocked]:
        """Who knocked."""

    async def ban(self, address: Address, duration_s: int) -> None:
        """Shut `address` out of the portal too, for seconds; 0 lifts the ban."""

    async def banned(self) -> list[Banned]:
        """Who is shut out."""

    async def status(self) -> dict[str, Any]:
        """How the gate is."""
