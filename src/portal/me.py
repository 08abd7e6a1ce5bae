"""What somebody who is signed in opens: the address they come from, or one they type."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from aiohttp import web

from access.address import Address
from access.gate import GateRefusal, Grant
from access.services import Service
from access.shared import Why
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.moments import Span, span
from portal.needs import needs
from portal.opens import Opens, opens_from
from portal.problems import Problem
from portal.site import Site

_OPEN = Fields(one=("address", "for"), many=("services",))
_CLOSE = Fields(one=("address", "service"))
_MOVE = Fields(one=("address",))
_OFFERED_S = tuple(hours * 3600 for hours in (1, 4, 12, 24, 72, 168, 720))


@dataclass(frozen=True, slots=True)
class Held:
    """What the caller has open at one address. `moved`: they may have been there, and are not any more."""

    address: str
    here: bool
    moved: bool
    opens: list[Opens]


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Me(site)
    door.page("/me", "person", pages.show)
    door.form("/me/open", "person", pages.open, _OPEN)
    door.form("/me/close", "person", pages.close, _CLOSE)
    door.form("/me/move", "person", pages.move, _MOVE)


class _Me:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._prefix = site.settings.ipv6_prefix

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """What is open, and the form with everything chosen: one tap opens it."""
        names = [service.name for service in self._services(caller)]
        return await self._page(request, caller, Form(_OPEN, {"services": names}))

    async def open(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Open the chosen services for the visitor's address, or for the one typed."""
        services = check_own(form, self._services(caller))
        duration_s, typed = form.duration("for"), form.address("address", self._prefix)
        if typed is None and caller.visitor.trusted:
            form.fail("address", "From here everything is open; write the address to open for")
        if not form.errors:
            address = typed or caller.visitor.address
            try:
                with form.catch():
                    await self._site.access.grants.open(
                        caller.actor, services, address, duration_s=duration_s
                    )
            except GateRefusal as refusal:
                if refusal.code == "too-many" or typed is None:
                    raise
                form.fail("address", "This address cannot be let in; write that of a line in the Internet")
        if form.errors:
            return await self._page(request, caller, form)
        return redirect("/me", done="opened")

    async def close(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Close a service, or all, at an address that the caller opened it for."""
        await self._site.access.grants.revoke(
            caller.actor,
            service=form.text("service") or None,
            address=need_address(form, self._prefix),
            holder=caller.actor.holder,
        )
        return redirect("/me", done="closed")

    async def move(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Open here what the caller has open at another address, with the time left, and close it there."""
        old = need_address(form, self._prefix)
        await self._site.access.grants.move(caller.actor, old, caller.visitor.address)
        return redirect("/me", done="moved")

    def _services(self, caller: Caller) -> tuple[Service, ...]:
        return caller.person.opens(self._site.settings.services)

    async def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        site, services = self._site, self._services(caller)
        grants = await site.access.grants.list(caller.actor, holder=caller.actor.holder)
        held = self._held(caller, grants)
        return site.pages.answer(
            request,
            "me.html",
            status=422 if form.errors else 200,
            form=form,
            held=held,
            # Somebody who has something open here did not just come from elsewhere.
            moved=[] if any(at.here for at in held) else [at for at in held if at.moved],
            services=services,
            needs=needs(site, services, caller.visitor.address, "/me"),
            durations=durations(services),
            usual=usual(services),
            address=str(caller.visitor.address),
            trusted=caller.visitor.trusted,
            shared=await self._shared(caller),
            shortened=not caller.actor.hand and any(service.shared_max_duration_s for service in services),
        )

    async def _shared(self, caller: Caller) -> Why | None:
        visitor = caller.visitor
        return None if visitor.trusted else await self._site.access.shared.why(caller.actor.holder, visitor.address)

    def _held(self, caller: Caller, grants: Iterable[Grant]) -> list[Held]:
        site, here = self._site, str(caller.visitor.address)
        rows = sorted(grants, key=lambda grant: (grant.address != here, grant.address, grant.service))
        return [
            Held(
                address,
                address == here,
                # An IPv4 host and an IPv6 line may well be the same household.
                address != here and not caller.visitor.trusted and (":" in address) == (":" in here),
                opens,
            )
            for address, at in groupby(rows, key=lambda grant: grant.address)
            if (opens := opens_from(at, site.settings.services, site.clock()))
        ]


def check_own(form: Form, services: Iterable[Service]) -> tuple[str, ...]:
    """What was chosen in the field `services`, all of `services`; says nothing of other services."""
    own = {service.name for service in services}
    chosen = form.many("services")
    if not chosen:
        form.fail("services", "Choose at least one")
    elif not own.issuperset(chosen):
        form.fail("services", "There is something that you may not open; choose again")
    return chosen


def need_address(form: Form, prefix: int) -> Address:
    """The field `address` of a form whose page filled it in. Raises Problem."""
    address = form.address("address", prefix)
    if address is None:
        raise Problem("bad-form", 422)
    return address


def durations(services: Iterable[Service]) -> list[tuple[str, Span]]:
    """Durations to choose from, that one of the services allows at least."""
    most = max((service.max_duration_s for service in services), default=0)
    return [(f"{seconds // 3600}h", span(seconds)) for seconds in _OFFERED_S if seconds <= most]


def usual(services: Iterable[Service]) -> Span | None:
    """For how long services open where nothing is chosen, if that is the same for all."""
    lengths = {service.default_duration_s for service in services}
    return span(lengths.pop()) if len(lengths) == 1 else None
