"""Grants that people and the command line make, see and end: one implementation for pages, API and CLI."""

from collections.abc import Mapping, Sequence

from access.actor import Actor
from access.address import Address
from access.finish import finish
from access.gate import Gate, Grant
from access.history import History
from access.inputs import BadInput, check_duration, check_label, check_services
from access.services import Service
from access.state import State
from access.underway import Underway

MOST_ADDRESSES = 20
"""Of one family that a member can have open at once; the oldest leave."""


class Grants:
    """An admin's hand reaches all grants, a member's only their own.

    Everything raises GateUnavailable; what changes something also GateRefusal, BadInput and NotAllowed, and
    then changed nothing.
    """

    def __init__(
        self,
        state: State,
        services: Mapping[str, Service],
        gate: Gate,
        history: History,
        underway: Underway,
    ) -> None:
        self._state = state
        self._services = services
        self._gate = gate
        self._history = history
        self._underway = underway

    async def open(
        self,
        by: Actor,
        services: Sequence[str],
        address: Address,
        *,
        duration_s: int | None = None,
        note: str = "",
    ) -> list[Grant]:
        """Open `services` for an address, all or none; None: for each service's default.

        Goes on to its end when the caller is cancelled.
        """

        async def work() -> list[Grant]:
            with self._underway.opening(by.holder):
                names = check_services(services, self._opens(by))
                chosen_s = check_duration(duration_s, names, self._services)
                durations = {name: chosen_s or self._services[name].default_duration_s for name in names}
                clean = check_label(note, "note") if note else ""
                grants = await self._grant(by, durations, address, clean)
            self._record("granted", by, address=address, services=names, note=clean)
            return grants

        return await finish(work())

    async def revoke(
        self,
        by: Actor,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
        everything: bool = False,
    ) -> int:
        """Close what matches all that is given, or everything; for a member their own. Says how many."""
        if service is not None:
            check_services([service], self._services, "service")
        if not (everything or service or address or holder):
            raise BadInput("address", "is missing; say what to close")
        whose = holder if by.admin else by.holder
        revoked = await self._gate.revoke(
            service=service, address=address, holder=whose, everything=everything and whose is None
        )
        if revoked:
            self._record(
                "revoked",
                by,
                address=address,
                services=() if service is None else (service,),
                holder=whose,
                reason="all" if everything else None,
            )
        return revoked

    async def prolong(
        self, by: Actor, service: str, address: Address, *, duration_s: int | None = None
    ) -> Grant:
        """Start a grant's time again, for its holder: `duration_s`, or the service's default. Never shortens."""
        by.need_admin()
        check_services([service], self._services, "service")
        chosen_s = check_duration(duration_s, (service,), self._services)
        seconds = chosen_s or self._services[service].default_duration_s

        async def work() -> Grant:
            found = await self._gate.grants(service=service, address=address)
            holder = found[0].holder if found else ""
            with self._underway.opening(holder):
                by.need_still(self._state)
                # Looked up again: what is closed for good meanwhile must not come back. A closing that begins
                # from here on waits for this.
                gone = self._underway.closes(holder)
                found = await self._gate.grants(service=service, address=address, holder=holder)
                if gone or not found:
                    raise BadInput("address", "is not open any more; open it anew")
                granted = await self._gate.grant(
                    {service: seconds}, address, holder=holder, note=found[0].note
                )
            self._record("prolonged", by, address=address, services=(service,), holder=holder)
            return granted.grants[0]

        return await finish(work())

    async def move(self, by: Actor, old: Address, new: Address) -> list[Grant]:
        """Open at `new` what the actor has open at `old`, with the time left, then close it at `old`."""

        async def work() -> list[Grant]:
            with self._underway.opening(by.holder):
                opens = self._opens(by)
                held = await self._gate.grants(address=old, holder=by.holder)
                left_s = {
                    grant.service: min(
                        max(1, grant.remaining_ms // 1000), opens[grant.service].max_duration_s
                    )
                    for grant in held
                    if grant.service in opens
                }
                if not left_s or old == new:
                    raise BadInput("address", "has nothing open that could be moved; open it anew")
                note = next((grant.note for grant in held if grant.note), "")
                grants = await self._grant(by, left_s, new, note)
                await self._gate.revoke(address=old, holder=by.holder)
            self._record("moved", by, address=new, services=left_s, reason=f"from {old}")
            return grants

        return await finish(work())

    async def _grant(
        self, by: Actor, durations: Mapping[str, int], address: Address, note: str
    ) -> list[Grant]:
        granted = await self._gate.grant(
            durations,
            address,
            holder=by.holder,
            note=note,
            addresses=None if by.admin else MOST_ADDRESSES,
        )
        return granted.grants

    def _opens(self, by: Actor) -> Mapping[str, Service]:
        """What the actor may open at this moment."""
        if by.person is None:
            return self._services
        by.need_still(self._state)
        person = self._state.people[by.person.name]
        return {service.name: service for service in person.opens(self._services)}

    def _record(
        self,
        event: str,
        by: Actor,
        *,
        address: Address | None,
        services: Sequence[str] | Mapping[str, int],
        holder: str | None = None,
        note: str = "",
        reason: str | None = None,
    ) -> None:
        self._history.record(
            event,
            by=by.holder,
            source=by.address,
            holder=holder,
            address=None if address is None else str(address),
            services=services,
            note=note or None,
            reason=reason,
        )

    async def list(
        self,
        by: Actor,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
    ) -> list[Grant]:
        """What is open and matches all that is given; for a member their own, whatever `holder` says."""
        return await self._gate.grants(
            service=service, address=address, holder=holder if by.admin else by.holder
        )
