"""The one operation: a visitor opens a link."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from access.address import Address
from access.files import NotSaved
from access.finish import finish
from access.gate import Gate, GateRefusal, GateUnavailable, Grant
from access.guard import Guard
from access.history import History
from access.link import Link
from access.links import Links, UsedUp
from access.moment import Clock
from access.opened import Opened, Reason, Refused, View
from access.pins import Pins
from access.services import Service
from access.shared import Shared, Why, why_for
from access.state import UnknownLink
from access.telling import Telling
from access.tickets import BadTicket, Tickets
from access.underway import Underway

_LOW_S = 120
"""A grant that is kept open is renewed when so little is left of it, or less than a quarter."""

_BY_CODE = {
    "trusted-address": Reason.TRUSTED,
    "special-address": Reason.ADDRESS,
    "bad-address": Reason.ADDRESS,
    "too-many": Reason.FULL,
}


@dataclass(frozen=True, slots=True)
class _Came:
    """How somebody came to open: with the link's PIN; after the same browser had opened before (`again`); `asked`: where it did."""

    pin: bool = False
    again: bool = False
    asked: tuple[Address, ...] = ()


class Opening:
    """Looks at links and opens them.

    Unknown tokens are strikes against the address (Guard), as wrong PINs are.
    Refusals enter the history as Telling has it, by link, and of all unknown tokens together.
    """

    def __init__(
        self,
        links: Links,
        gate: Gate,
        history: History,
        pins: Pins,
        guard: Guard,
        underway: Underway,
        shared: Shared,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._links = links
        self._gate = gate
        self._history = history
        self._clock = clock
        self._pins = pins
        self._guard = guard
        self._underway = underway
        self._shared = shared
        self._tickets = Tickets(monotonic)
        self._telling = Telling(clock=monotonic)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def look(self, token: str, address: Address, *, trusted: bool = False) -> View:
        """What the link's page shows. Changes nothing, whoever asks and however often. Raises Refused."""
        link, services = self._first_usable(token, address, trusted=trusted)
        grants = await self._held(link, services, address)
        shared = None if trusted else await self._why(link, address)
        view = View(link, services, grants, shared=shared)
        if link.used_up and not view.remaining_ms:
            raise Refused(Reason.USED_UP, link)
        if view.lacks_pin and not view.remaining_ms:
            raise Refused(Reason.SHARED, link)
        return view

    async def open(
        self, token: str, address: Address, pin: str | None = None, *, trusted: bool = False
    ) -> Opened:
        """Grant the link's services to `address`, all or none. Raises Refused, and then nothing was opened.

        A link with `uses` spends one where the address was not open by it already, and refuses (OTHER_FAMILY)
        where none of its services is reached by that address's family. The use is on disk before the gate is
        asked, and is given back if the gate refuses. If the gate does not answer, the use stays spent, because
        the way may be open. A grant never outlives its link's end. Goes on to its end when the caller is cancelled.

        From a shared address services give what they give there (Service), each by its own limit; without the PIN that one
        wants there the whole link is refused (SHARED where it has none).
        """
        return await finish(self._open(token, address, pin, trusted=trusted))

    async def stay(self, token: str, address: Address, asked: Address, *, trusted: bool = False) -> Opened:
        """Keep open what was opened from `asked` with this link: now from `address`. Raises Refused.

        As open(), but needs no PIN, and so refuses (ENDED) where neither address is open: time that is over, and what
        was taken back, comes by open() alone. Where time enough is left, nothing changes.
        Where a service wants a PIN at a shared address it goes on if the link has it open there already.
        """
        return await finish(self._tell(self._stay(token, address, asked, trusted=trusted), address))

    async def also(self, ticket: str, address: Address) -> Opened:
        """Open the link's services for the visitor's other family. Needs no PIN and spends no use: its first address did.

        Refused (ENDED) where the address that got the ticket is not open any more. Raises Refused.
        """
        return await finish(self._tell(self._also(ticket, address), address))

    async def _open(self, token: str, address: Address, pin: str | None, *, trusted: bool) -> Opened:
        return await self._tell(self._try(token, address, pin, trusted=trusted), address)

    async def _tell(self, opening: Coroutine[None, None, Opened], address: Address) -> Opened:
        """Put what comes of an opening into the history."""
        try:
            opened = await opening
        except Refused as refused:
            self._tell_refusal(refused, address)
            raise
        if opened.how != "open":
            self._history.record(
                "link-opened",
                holder=opened.link.holder,
                note=opened.link.label,
                address=str(address),
                services=[service.name for service in opened.services],
            )
        return opened

    async def _try(self, token: str, address: Address, pin: str | None, *, trusted: bool) -> Opened:
        link, _services = self._first_usable(token, address, trusted=trusted)
        with self._underway.opening(link.holder):
            if link.pin is not None and not link.used_up:
                await self._pins.check(link, address, pin, trusted=trusted)
            return await self._let_in(token, address, _Came(pin=link.pin is not None))

    async def _stay(self, token: str, address: Address, asked: Address, *, trusted: bool) -> Opened:
        link, services = self._first_usable(token, address, trusted=trusted)
        with self._underway.opening(link.holder):
            found = await self._open_at(link, address)
            shared = why_for(link.holder, address, found)
            here = View(link, services, _of(found, services), shared=shared)
            # Somebody else may hold it longer; what the link itself has is what is kept
            mine = View(link, services, await self._held(link, services, address))
            if not here.grants and (asked == address or not await self._open_from(link, services, asked)):
                raise Refused(Reason.ENDED, link)
            enough_s = max(_LOW_S, min(self._durations(link, services, shared).values()) / 4)
            if (mine.remaining_ms or here.remaining_ms) > enough_s * 1000 and not link.used_up:
                return Opened(link, services, here.grants, "open", shared=shared)
            return await self._let_in(token, address, _Came(again=True))

    async def _also(self, text: str, address: Address) -> Opened:
        try:
            ticket = self._tickets.read(text)
            if ticket.family != address.version:
                raise Refused(Reason.SAME_FAMILY)
            self._tickets.use_up(ticket)
        except BadTicket:
            raise Refused(Reason.TICKET) from None
        link, services = self._still_usable(self._links.known(ticket.link_id, ticket.generation))
        with self._underway.opening(link.holder):
            if not await self._open_from(link, services, ticket.asked):
                raise Refused(Reason.ENDED, link)
            if not (ticket.adds or await self._open_from(link, services, address)):
                raise Refused(Reason.ENDED, link)
            return await self._grant(link, address, _Came(ticket.pin, again=True, asked=(ticket.asked,)))

    async def _open_from(
        self, link: Link, services: tuple[Service, ...], address: Address, *, holder: str | None = None
    ) -> tuple[Grant, ...]:
        """What of the services is open from an address; by None: whoever, for the gate leaves it to who holds longer."""
        return _of(await self._open_at(link, address, holder), services)

    async def _open_at(self, link: Link, address: Address, holder: str | None = None) -> list[Grant]:
        try:
            return await self._gate.grants(address=address, holder=holder)
        except GateUnavailable as error:
            raise Refused(Reason.GATE_UNAVAILABLE, link, str(error)) from None

    async def _why(self, link: Link, *addresses: Address) -> Why | None:
        try:
            return await self._shared.why(link.holder, *addresses)
        except GateUnavailable as error:
            raise Refused(Reason.GATE_UNAVAILABLE, link, str(error)) from None

    async def _let_in(self, token: str, address: Address, came: _Came) -> Opened:
        """Open, now that nothing but the link's state and its uses can be in the way."""
        link, services = self._usable(token)
        if link.used_up:
            return await self._still_open(link, services, address)
        if link.uses is None:
            opened = await self._grant(link, address, came)
            self._links.count_use(link.id)
        else:
            # One at a time: a double tap spends one use, and a use given back is there for the next.
            async with self._turns[link.id]:
                opened = await self._open_limited(token, address, came)
        if opened.how == "still":
            return opened
        # What a limited link renews brings no address in that spent nothing.
        adds = link.uses is None or opened.how != "renewed"
        return replace(opened, ticket=self._tickets.give(opened.link, address, adds=adds, pin=came.pin))

    async def _open_limited(self, token: str, address: Address, came: _Came) -> Opened:
        link, services = self._usable(token)
        if link.used_up:
            return await self._still_open(link, services, address)
        if View(link, services, await self._held(link, services, address)).remaining_ms:
            return await self._grant(link, address, came)
        _check_family(link, services, address)
        try:
            await self._links.spend_use(link.id)
        except NotSaved as error:
            raise Refused(Reason.NOT_SAVED, link, str(error)) from None
        except UnknownLink:
            raise Refused(Reason.UNKNOWN) from None
        except UsedUp:
            raise Refused(Reason.USED_UP, link) from None
        try:
            return await self._grant(link, address, came)
        except Refused as refused:
            if refused.reason is not Reason.GATE_UNAVAILABLE:
                self._links.give_use_back(link.id)
            raise

    def _usable(self, token: str) -> tuple[Link, tuple[Service, ...]]:
        return self._still_usable(self._links.find(token))

    def _still_usable(self, link: Link | None) -> tuple[Link, tuple[Service, ...]]:
        if link is None:
            raise Refused(Reason.UNKNOWN)
        state = link.state(self._clock())
        if state == "paused":
            raise Refused(Reason.PAUSED, link)
        if state == "expired":
            raise Refused(Reason.EXPIRED, link)
        services = self._links.opens(link)
        if not services:
            raise Refused(Reason.NO_SERVICE, link)
        return link, services

    def _first_usable(
        self, token: str, address: Address, *, trusted: bool
    ) -> tuple[Link, tuple[Service, ...]]:
        """As the visitor comes with it: a wrong token is a strike, the same one again is the same strike."""
        try:
            return self._usable(token)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN:
                self._guard.count("link", address, trusted=trusted, guess=token)
            raise

    async def _still_open(self, link: Link, services: tuple[Service, ...], address: Address) -> Opened:
        shared = await self._why(link, address)
        opened = Opened(link, services, await self._held(link, services, address), "still", shared=shared)
        if not opened.remaining_ms:
            raise Refused(Reason.USED_UP, link)
        return opened

    async def _held(self, link: Link, services: tuple[Service, ...], address: Address) -> tuple[Grant, ...]:
        return await self._open_from(link, services, address, holder=link.holder)

    async def _grant(self, link: Link, address: Address, came: _Came) -> Opened:
        async with self._shared.turn(address):
            here = await self._why(link, address)
            shared = here or await self._why(link, *came.asked)
            held = await self._held(link, self._links.opens(link), address) if here and came.again else ()
            # Disk and gate took their time
            link, services = self._still_usable(self._links.known(link.id, link.generation))
            wanting = {service.name for service in services if here and service.shared_pin}
            if not came.pin and wanting - {grant.service for grant in held}:
                raise Refused(Reason.PIN_NEEDED if link.pin else Reason.SHARED, link)
            try:
                granted = await self._gate.grant(
                    self._durations(link, services, shared),
                    address,
                    holder=link.holder,
                    note=link.label,
                    addresses=link.addresses,
                )
            except GateUnavailable as error:
                raise Refused(Reason.GATE_UNAVAILABLE, link, str(error)) from None
            except GateRefusal as refusal:
                raise Refused(_BY_CODE.get(refusal.code, Reason.GATE), link, refusal.message) from None
        how: Literal["opened", "renewed", "moved"] = "opened"
        if granted.left:
            how = "moved"
        elif granted.renewed:
            how = "renewed"
        return Opened(link, services, tuple(granted.grants), how, tuple(granted.left), shared=shared)

    def _durations(self, link: Link, services: tuple[Service, ...], shared: Why | None) -> dict[str, int]:
        """For how many seconds each service opens now."""
        left_s = math.inf if link.expires_at is None else max(1, math.ceil(link.expires_at - self._clock()))
        return {
            service.name: int(
                min(
                    link.duration_s or service.default_duration_s,
                    service.longest_s(shared=shared is not None),
                    left_s,
                )
            )
            for service in services
        }

    def _tell_refusal(self, refused: Refused, address: Address) -> None:
        link = refused.link
        self._history.tally["link-refused", refused.reason.value] += 1
        if not self._telling.tells(address, link.id if link else None):
            return
        self._history.record(
            "link-refused",
            outcome="refused",
            reason=refused.reason.value,
            holder=link.holder if link else None,
            note=link.label if link else None,
            address=str(address),
            services=link.services if link else (),
        )


def _check_family(link: Link, services: tuple[Service, ...], address: Address) -> None:
    """Refuse a limited link where what it would open is of no use. Not granted either: `families` closes nothing."""
    if link.uses is not None and not any(service.is_reached(address) for service in services):
        raise Refused(Reason.OTHER_FAMILY, link)


def _of(grants: Iterable[Grant], services: tuple[Service, ...]) -> tuple[Grant, ...]:
    names = {service.name for service in services}
    return tuple(grant for grant in grants if grant.service in names)
