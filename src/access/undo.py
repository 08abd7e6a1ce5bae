"""What an admin did on a page a moment ago, and how it is taken back."""

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from access.actor import Actor
from access.address import Address
from access.bans import DEFAULT_S, Bans
from access.finish import finish
from access.gate import Banned, Gate, Grant
from access.grants import MOST_ADDRESSES, MOST_OF_TOKEN, Grants
from access.history import History
from access.links import Links
from access.moment import Clock
from access.services import Service
from access.state import State
from access.underway import Underway

LASTS_S = 600
"""How long a step can be undone, in seconds."""
MOST = 100
"""Steps of all admins together; the oldest is forgotten first."""

_SAME_MS = 2000  # an end that is off by less is the end that was set
Kind = Literal["revoked", "prolonged", "banned"]


class CannotUndo(Exception):
    """Nothing was changed.

    "unknown": not there, done already, too old, or another's; "changed": somebody did something there since;
    "not-allowed": whose it was may not have it any more; "over": its time is.
    """

    def __init__(self, reason: Literal["unknown", "changed", "not-allowed", "over"]) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Step:
    """What was done: `grants` are as they were before, at `at`; `left_ms`: what was left then of what was set.

    `at` in seconds of the monotonic clock. `ban`: the ban that held before this one.
    """

    id: str
    kind: Kind
    by: Actor
    at: float
    address: Address
    grants: tuple[Grant, ...] = ()
    left_ms: int = 0
    ban: Banned | None = None


class Undo:
    """Acts of an admin's hand that can be taken back for LASTS_S, once, by nobody but that admin.

    Kept in memory alone: a restart forgets them. Everything raises NotAllowed, GateUnavailable and GateRefusal.
    """

    def __init__(
        self,
        state: State,
        links: Links,
        services: Mapping[str, Service],
        gate: Gate,
        grants: Grants,
        bans: Bans,
        history: History,
        underway: Underway,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._state = state
        self._links = links
        self._services = services
        self._gate = gate
        self._grants = grants
        self._bans = bans
        self._history = history
        self._underway = underway
        self._clock = clock
        self._monotonic = monotonic
        self._steps: dict[str, Step] = {}
        self._withdrawn = 0  # how often somebody lost a right
        # A link that is paused and taken up again gives nothing back of what its pause closed.
        underway.on_closing(self._forget)

    async def revoke(self, by: Actor, service: str, address: Address) -> Step | None:
        """As Grants.revoke. None where nothing was open."""
        by.need_admin()
        held = await self._gate.grants(service=service, address=address) if service in self._services else []
        at, withdrawn = self._monotonic(), self._withdrawn
        revoked = await self._grants.revoke(by, service=service, address=address)
        if not revoked or not held or self._withdrawn != withdrawn:
            return None
        return self._keep(Step(_new_id(), "revoked", by, at, address, tuple(held)))

    async def prolong(self, by: Actor, service: str, address: Address) -> tuple[Grant, Step | None]:
        """As Grants.prolong, for the service's default. None where it lasted longer already."""
        by.need_admin()
        held = await self._gate.grants(service=service, address=address) if service in self._services else []
        at, withdrawn = self._monotonic(), self._withdrawn
        after = await self._grants.prolong(by, service, address)
        same = [grant for grant in held if grant.holder == after.holder]
        longer = same and after.remaining_ms > same[0].remaining_ms + _SAME_MS
        if not longer or self._withdrawn != withdrawn:
            return after, None
        return after, self._keep(
            Step(_new_id(), "prolonged", by, at, address, tuple(same), after.remaining_ms)
        )

    async def ban(self, by: Actor, address: Address, duration_s: int = DEFAULT_S) -> Step | None:
        """As Bans.ban, and closes what is open there. None where a ban lasts longer already."""
        by.need_admin()
        before = await self._ban_of(address)
        held = await self._gate.grants(address=address)
        at, withdrawn = self._monotonic(), self._withdrawn
        await self._bans.ban(by, address, duration_s)
        if held:
            await self._grants.revoke(by, address=address)
        left_ms = max(duration_s * 1000, before.remaining_ms if before else 0)
        if before is not None and before.remaining_ms == left_ms and not held:
            return None
        given = tuple(held) if self._withdrawn == withdrawn else ()
        return self._keep(Step(_new_id(), "banned", by, at, address, given, left_ms, before))

    def find(self, by: Actor, step_id: str) -> Step | None:
        """The step that this admin may undo now."""
        step = self._steps.get(step_id)
        # A name may be given to somebody else, or to the same person with other rights.
        mine = step is not None and step.by.holder == by.holder and _era(step.by) == _era(by)
        return step if step is not None and mine and self._passed_s(step) < LASTS_S else None

    async def undo(self, by: Actor, step_id: str) -> Step:
        """Take a step back. Raises CannotUndo; the step is spent all the same, unless it is another's."""
        by.need_admin()
        step = self.find(by, step_id)
        if step is None:
            raise CannotUndo("unknown")
        del self._steps[step_id]
        by.need_still(self._state)
        work = {"revoked": self._reopen, "prolonged": self._shorten, "banned": self._lift}[step.kind]
        await finish(work(by, step))
        return step

    async def _reopen(self, by: Actor, step: Step) -> None:
        for grant in step.grants:
            await self._give_back(by, step, grant)
        self._record(by, step, step.grants)

    async def _shorten(self, by: Actor, step: Step) -> None:
        (before,) = step.grants
        with self._underway.opening(before.holder):
            found = await self._gate.grants(
                service=before.service, address=step.address, holder=before.holder
            )
            closing = self._underway.closes(before.holder)
            if closing or not found or not self._still(found[0].remaining_ms, step):
                raise CannotUndo("changed")
            by.need_still(self._state)
            took_back = self._gate.revoke(service=before.service, address=step.address, holder=before.holder)
            left_s = self._left_s(before.remaining_ms, step)
            if left_s < 1:
                await took_back
            else:
                # Asked at once, so that the gate makes one transaction of both and no packet falls between.
                put = self._gate.grant(
                    {before.service: left_s}, step.address, holder=before.holder, note=before.note
                )
                await asyncio.gather(took_back, put)
        self._record(by, step, step.grants)

    async def _lift(self, by: Actor, step: Step) -> None:
        banned = await self._ban_of(step.address)
        if banned is None or not self._still(banned.remaining_ms, step):
            raise CannotUndo("changed")
        by.need_still(self._state)
        left_s = self._left_s(step.ban.remaining_ms, step) if step.ban else 0
        await self._bans.set_back(by, step.address, left_s)
        given = []
        for grant in step.grants if left_s < 1 else ():
            try:
                await self._give_back(by, step, grant)
            except CannotUndo:
                continue  # the ban is lifted; what they may not have stays closed
            given.append(grant)
        self._record(by, step, given)

    async def _give_back(self, by: Actor, step: Step, grant: Grant) -> None:
        with self._underway.opening(grant.holder):
            held = await self._gate.grants(holder=grant.holder)
            there = await self._gate.grants(service=grant.service, address=step.address)
            # Looked up last: whoever withdraws the right from here on waits for this.
            by.need_still(self._state)
            most = self._may(grant)
            if most is None or self._underway.closes(grant.holder) or self._full(held, grant, most):
                raise CannotUndo("not-allowed")
            if there:
                raise CannotUndo("changed")
            left_s = int(min(self._left_s(grant.remaining_ms, step), self._longest_s(grant)))
            if left_s < 1:
                raise CannotUndo("over")
            await self._gate.grant(
                {grant.service: left_s}, step.address, holder=grant.holder, note=grant.note
            )

    def _may(self, grant: Grant) -> float | None:
        """How many addresses of a family the holder may have the service open for; None where they may not at all."""
        kind, _, name = grant.holder.partition(":")
        most: float | None = None
        services: Iterable[Service] = ()
        if kind == "cli":
            services, most = self._services.values(), float("inf")
        elif kind == "person" and (person := self._state.people.get(name)) is not None:
            services = person.opens(self._services)
            most = float("inf") if person.admin else MOST_ADDRESSES
        elif kind == "link" and (link := self._state.links.get(name)) is not None:
            # Used up is no obstacle: this opening was paid for.
            services = self._links.opens(link) if link.state(self._clock()) in {"open", "used-up"} else ()
            most = link.addresses or float("inf")
        elif kind == "token" and (token := self._state.tokens.get(name)) is not None:
            opens = token.may("grant:self") and not token.expired(self._clock())
            services = token.reaches(self._services).values() if opens else ()
            most = MOST_OF_TOKEN if token.may("grant:any") else MOST_ADDRESSES
        return most if grant.service in {service.name for service in services} else None

    def _full(self, held: Iterable[Grant], grant: Grant, most: float) -> bool:
        ipv6 = ":" in grant.address
        others = {one.address for one in held if (":" in one.address) == ipv6} - {grant.address}
        return len(others) >= most

    def _longest_s(self, grant: Grant) -> float:
        """The service's maximum may be another by now, and links and tokens end."""
        kind, _, name = grant.holder.partition(":")
        found = self._state.links.get(name) if kind == "link" else self._state.tokens.get(name)
        ends_s = float("inf") if found is None or found.expires_at is None else found.expires_at - self._clock()
        return min(self._services[grant.service].max_duration_s, ends_s)

    def _passed_s(self, step: Step) -> float:
        return self._monotonic() - step.at

    def _left_s(self, remaining_ms: int, step: Step) -> int:
        return int(remaining_ms / 1000 - self._passed_s(step))

    def _still(self, remaining_ms: int, step: Step) -> bool:
        """Whether an end is the one that the step set."""
        return abs(remaining_ms - (step.left_ms - self._passed_s(step) * 1000)) <= _SAME_MS

    async def _ban_of(self, address: Address) -> Banned | None:
        return next((one for one in await self._gate.banned() if one.address == str(address)), None)

    def _keep(self, step: Step) -> Step:
        self._steps = {key: one for key, one in self._steps.items() if self._passed_s(one) < LASTS_S}
        while len(self._steps) >= MOST:
            del self._steps[next(iter(self._steps))]
        self._steps[step.id] = step
        return step

    def _forget(self, holder: str) -> None:
        self._withdrawn += 1
        for step in list(self._steps.values()):
            kept = tuple(grant for grant in step.grants if grant.holder != holder)
            if kept != step.grants and step.kind == "banned":
                self._steps[step.id] = replace(step, grants=kept)
            elif kept != step.grants:
                del self._steps[step.id]

    def _record(self, by: Actor, step: Step, grants: Iterable[Grant]) -> None:
        given = list(grants)
        self._history.record(
            "undone",
            reason=step.kind,
            by=by.holder,
            source=by.address,
            holder=given[0].holder if given else None,
            note=(given[0].note or None) if given else None,
            address=str(step.address),
            services=[grant.service for grant in given],
        )


def _new_id() -> str:
    return secrets.token_hex(8)


def _era(actor: Actor) -> str | None:
    return None if actor.person is None else actor.person.era
