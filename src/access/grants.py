"""Grants that people, tokens and the command line make, see and end: one implementation for pages, API and CLI."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from access.actor import Actor, NotAllowed
from access.address import Address, read_address
from access.duration import format_duration
from access.finish import finish
from access.gate import Gate, Grant, Granted
from access.history import History
from access.inputs import BadInput, check_duration, check_label, check_services
from access.moment import Clock
from access.pace import Pace
from access.services import Service
from access.shared import Shared
from access.state import State
from access.throttle import Throttle
from access.underway import Underway

MOST_ADDRESSES = 20
"""Of one family that a member, or a token with grant:self, can have open at once; the oldest leave."""
MOST_OF_TOKEN = 1_000
"""The same for a token with grant:any."""


class Grants:
    """An admin's hand reaches all grants, a member's only their own; a token's nothing beyond its services.

    Within them a token sees all with read, closes whoever's with admin, and with grant:self or grant:any its own;
    Throttled where it changes too much (Pace). Whoever is no admin's hand opens from and for a shared address for no longer
    than a service gives there; what is open then says so.
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
        pace: Pace,
        shared: Shared,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._state = state
        self._services = services
        self._gate = gate
        self._history = history
        self._underway = underway
        self._pace = pace
        self._shared = shared
        self._clock = clock
        self._told = Throttle(20, 900, 900, clock=monotonic)

    async def open(
        self,
        by: Actor,
        services: Sequence[str],
        address: Address,
        *,
        duration_s: int | None = None,
        note: str = "",
        addresses: int | None = None,
    ) -> Granted:
        """Open `services` for an address, all or none; None: for each service's default, or the token's own time.

        A token's grant never outlives the token. `addresses`: how many of this family the holder may have open
        then; the oldest leave. Goes on to its end when the caller is cancelled.
        """

        async def work() -> Granted:
            with self._underway.opening(by.holder):
                self._pace.need(by)
                names = check_services(services, self._opens(by))
                durations = self._durations(by, names, duration_s)
                _check_where(by, address)
                clean = check_label(note, "note") if note else ""
                granted = await self._grant(by, durations, address, clean, addresses)
            if not granted.renewed:
                self._pace.count(by)
            # A token that asks without end is not to push all else out of the history.
            if by.token is None or not granted.renewed or self._told.count(by.holder):
                self._record("granted", by, address=address, services=names, note=clean)
            return granted

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
        if by.token is not None and not by.may("admin"):
            by.need("grant:self")
        if service is not None:
            check_services([service], by.reaches(self._services), "service")
        if not (everything or service or address or holder):
            raise BadInput("address", "is missing; say what to close")
        if everything:
            by.need_whole()
        self._pace.need(by)
        by.need_still(self._state)
        whose = holder if by.may("admin") else by.holder
        if by.limited and service is None and whose != by.holder:
            within = [
                self._gate.revoke(service=name, address=address, holder=whose)
                for name in by.reaches(self._services)
            ]
            revoked = sum(await asyncio.gather(*within))
        else:
            revoked = await self._gate.revoke(
                service=service, address=address, holder=whose, everything=everything and whose is None
            )
        if revoked:
            self._pace.count(by)
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
        by.need("admin")
        check_services([service], by.reaches(self._services), "service")
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
                granted = await self._put(by, {service: seconds}, address, holder=holder, note=found[0].note)
            self._record("prolonged", by, address=address, services=(service,), holder=holder)
            return granted.grants[0]

        return await finish(work())

    async def move(self, by: Actor, old: Address, new: Address) -> list[Grant]:
        """Open at `new` what the actor has open at `old`, with the time left, then close it at `old`."""

        async def work() -> list[Grant]:
            with self._underway.opening(by.holder):
                opens = self._opens(by)
                _check_where(by, new)
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
                granted = await self._grant(by, left_s, new, note)
                await self._gate.revoke(address=old, holder=by.holder)
            self._record("moved", by, address=new, services=left_s, reason=f"from {old}")
            return granted.grants

        return await finish(work())

    async def _grant(
        self,
        by: Actor,
        durations: Mapping[str, int],
        address: Address,
        note: str,
        addresses: int | None = None,
    ) -> Granted:
        most = _most(by)
        if addresses is not None:
            most = addresses if most is None else min(most, addresses)
        label = "" if by.token is None else by.token.label
        return await self._put(by, durations, address, holder=by.holder, note=note or label, addresses=most)

    async def _put(
        self,
        by: Actor,
        durations: Mapping[str, int],
        address: Address,
        *,
        holder: str,
        note: str,
        addresses: int | None = None,
    ) -> Granted:
        """Ask the gate, for no longer than a shared address allows."""
        async with self._shared.turn(address):
            careful = {
                name: service.longest_s(shared=True)
                for name in durations
                if (service := self._services.get(name)) is not None and service.shared_max_duration_s
            }
            if careful and not by.hand:
                places = [address] if by.address is None else [address, read_address(by.address)]
                if await self._shared.why(holder, *places):
                    durations = {
                        name: min(seconds, careful.get(name, seconds)) for name, seconds in durations.items()
                    }
            return await self._gate.grant(durations, address, holder=holder, note=note, addresses=addresses)

    def _opens(self, by: Actor) -> Mapping[str, Service]:
        """What the actor may open at this moment."""
        by.need_still(self._state)
        if by.person is None:
            return by.reaches(self._services)
        person = self._state.people[by.person.name]
        return {service.name: service for service in person.opens(self._services)}

    def _durations(self, by: Actor, names: tuple[str, ...], duration_s: int | None) -> dict[str, int]:
        """For how many seconds each service opens now. Raises BadInput for more than may be asked for."""
        services, token = self._services, by.token
        chosen_s = check_duration(duration_s, names, services)
        if token is None:
            return {name: chosen_s or services[name].default_duration_s for name in names}
        own_s = token.duration_s
        if chosen_s is not None and own_s is not None and chosen_s > own_s:
            raise BadInput("for", "is above the token's own; write at most %(most)s", most=format_duration(own_s))
        left_s = token.left_s(self._clock())
        if left_s < 1:
            raise NotAllowed(f"{by.holder} has expired meanwhile")
        wanted_s = chosen_s or own_s
        return {
            name: int(
                min(wanted_s or services[name].default_duration_s, services[name].max_duration_s, left_s)
            )
            for name in names
        }

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
        if by.token is not None and not by.may("read"):
            by.need("grant:self")
        found = await self._gate.grants(
            service=service, address=address, holder=holder if by.may("read") else by.holder
        )
        within = by.reaches(self._services)
        return [grant for grant in found if grant.service in within] if by.limited else found


def _check_where(by: Actor, address: Address) -> None:
    """Raise NotAllowed where a token may not open for this address."""
    if by.token is None or by.may("grant:any"):
        return
    by.need("grant:self")
    if by.address != str(address):
        raise NotAllowed(f"{by.holder} may open for the address that it comes from alone")


def _most(by: Actor) -> int | None:
    """How many addresses of a family the actor may have open."""
    if by.admin:
        return None
    return MOST_OF_TOKEN if by.may("grant:any") else MOST_ADDRESSES
