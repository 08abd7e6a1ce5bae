"""The admin's first page: who is in. Opened for somebody, prolonged, closed."""

from dataclasses import dataclass

from aiohttp import web

from access.gate import GateRefusal, Grant
from access.services import Service
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.holders import Holder, Holders
from portal.knocks import day
from portal.me import check_own, durations, need_address, usual
from portal.moments import Moment, moment
from portal.site import Site
from portal.sizes import Size, size

SHOWN = 200
"""Rows of a list on one page; a search finds the others."""

_OPEN = Fields(one=("address", "for", "note"), many=("services",))
_ONE = Fields(one=("address", "service"))


@dataclass(frozen=True, slots=True)
class Row:
    """A grant. `service` None: no longer configured, so nothing can be done to it."""

    grant: Grant
    title: str
    service: Service | None
    holder: Holder
    note: str
    until: Moment
    traffic: Size | None


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Grants(site)
    # A form that went wrong leaves the browser at its own path, which must be there to be opened anew.
    for path in ("/admin", "/admin/open", "/admin/prolong"):
        door.page(path, "admin", pages.show)
    door.form("/admin/open", "admin", pages.open, _OPEN)
    door.form("/admin/prolong", "admin", pages.prolong, _ONE)
    door.form("/admin/revoke", "admin", pages.revoke, _ONE)


class _Grants:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._grants = site.access.grants
        self._services = site.settings.services
        self._prefix = site.settings.ipv6_prefix

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """Who is in, and the form to let somebody in: for ?address, where another page sent it."""
        return await self._page(request, caller, self._blank(request.query.get("address", "")[:64]))

    async def open(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Open services for the address typed."""
        services = check_own(form, self._services.values())
        duration_s, address = form.duration("for"), form.address("address", self._prefix)
        note = form.text("note")
        if address is None:
            form.fail("address", "Write the address to open for")
        elif not form.errors:
            try:
                with form.catch():
                    await self._grants.open(caller.actor, services, address, duration_s=duration_s, note=note)
            except GateRefusal as refusal:
                if refusal.code == "too-many":
                    raise
                form.fail("address", "This address cannot be let in; write that of a line in the Internet")
        if form.errors:
            return await self._page(request, caller, form)
        return redirect("/admin", done="opened")

    async def prolong(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Start a grant's time anew, for its holder."""
        address = need_address(form, self._prefix)
        with form.catch():
            await self._grants.prolong(caller.actor, form.text("service"), address)
        if form.errors:
            return await self._page(request, caller, self._blank(str(address)), gone=True)
        return redirect("/admin", done="prolonged")

    async def revoke(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Close a service at an address, whoever holds it."""
        address = need_address(form, self._prefix)
        await self._grants.revoke(caller.actor, service=form.text("service"), address=address)
        return redirect("/admin", done="closed")

    def _blank(self, address: str) -> Form:
        # Where there is one service there is nothing to choose.
        only = list(self._services) if len(self._services) == 1 else []
        return Form(_OPEN, {"address": [address], "services": only})

    async def _page(
        self, request: web.Request, caller: Caller, form: Form, *, gone: bool = False
    ) -> web.Response:
        wanted = request.query.get("q", "")[:64].strip()
        rows = self._rows(caller, await self._grants.list(caller.actor), wanted.lower())
        services = tuple(self._services.values())
        return self._site.pages.answer(
            request,
            "admin_grants.html",
            status=422 if form.errors or gone else 200,
            path="/admin",
            form=form,
            gone=gone,
            rows=[self._row(grant, holder) for holder, grant in rows[:SHOWN]],
            all=len(rows),
            more=max(0, len(rows) - SHOWN),
            wanted=wanted,
            hours=await day(self._site),
            services=[(service.name, service.title) for service in services],
            durations=durations(services),
            usual=usual(services),
        )

    def _rows(self, caller: Caller, grants: list[Grant], wanted: str) -> list[tuple[Holder, Grant]]:
        holders = Holders(self._site.access, caller.actor)
        rows = [(holders.holder(grant.holder, grant.note), grant) for grant in grants]
        found = [(holder, grant) for holder, grant in rows if wanted in self._text(holder, grant).lower()]
        return sorted(found, key=lambda row: (row[0].name.lower(), row[1].address, row[1].service))

    def _row(self, grant: Grant, holder: Holder) -> Row:
        now = self._site.clock()
        return Row(
            grant,
            self._title(grant),
            self._services.get(grant.service),
            holder,
            "" if grant.note == holder.name else grant.note,
            moment(now + grant.remaining_ms / 1000, now),
            size(grant.bytes) if grant.packets else None,
        )

    def _text(self, holder: Holder, grant: Grant) -> str:
        """What a search looks at."""
        return "\n".join((holder.name, holder.owner or "", grant.note, grant.address, self._title(grant)))

    def _title(self, grant: Grant) -> str:
        service = self._services.get(grant.service)
        return grant.service if service is None else service.title
