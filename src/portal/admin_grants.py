"""The admin's first page: who is in. Opened for somebody, prolonged, closed, shut out, and what was done taken back."""

import asyncio

from aiohttp import web

from access.address import Address
from access.gate import GateRefusal
from access.inputs import BadInput
from access.undo import CannotUndo, Step
from portal import admin_live, masked
from portal.admin_bans import shut_out
from portal.caller import Caller
from portal.door import Door
from portal.form import Fields, Form
from portal.grant_parts import Parts, lines
from portal.grant_rows import KINDS, Wanted
from portal.hub import LAST, Hub
from portal.knocks import day
from portal.me import check_own, durations, need_address, usual
from portal.problems import Problem
from portal.site import Site
from portal.undoing import back_to, step_id, what_was_done

_OPEN = Fields(one=("address", "for", "note"), many=("services",))
_ONE = Fields(one=("address", "service", "back"))
_UNDO = Fields(one=("id", "to", "back"))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    hub = Hub(site)
    pages = _Grants(site, hub)
    # A form that went wrong leaves the browser at its own path, which must be there to be opened anew.
    for path in ("/admin", "/admin/open", "/admin/prolong"):
        door.page(path, "admin", pages.show)
    door.form("/admin/open", "admin", pages.open, _OPEN)
    door.form("/admin/prolong", "admin", pages.prolong, _ONE)
    door.form("/admin/revoke", "admin", pages.revoke, _ONE)
    door.form("/admin/shut-out", "admin", pages.shut_out, _ONE)
    door.form("/admin/undo", "admin", pages.undo, _UNDO)
    admin_live.add_routes(door, site, hub)


class _Grants:
    def __init__(self, site: Site, hub: Hub) -> None:
        self._site = site
        self._hub = hub
        self._parts = Parts(site, hub.rows)
        self._grants = site.access.grants
        self._undo = site.access.undo
        self._services = site.settings.services
        self._prefix = site.settings.ipv6_prefix

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """Who is in, and the form to let somebody in: for ?address, where another page sent it."""
        form, wanted = self._blank(request.query.get("address", "")[:64]), Wanted.read(request.query)
        return await self._page(request, caller, form, wanted, said=request.query.get("done", ""))

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
            return await self._page(request, caller, form, Wanted(), status=422)
        return back_to("in", "opened")

    async def prolong(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Start a grant's time anew, for its holder."""
        address = need_address(form, self._prefix)
        try:
            _grant, step = await self._undo.prolong(caller.actor, form.text("service"), address)
        except BadInput as bad:
            if bad.field != "address":
                raise
            if _by_script(request):
                return await self._done(request, caller, form, address, "gone", None, status=422)
            wanted = Wanted.parse(form.text("back"))
            return await self._page(
                request, caller, self._blank(str(address)), wanted, said="gone", status=422
            )
        return await self._done(request, caller, form, address, "prolonged", step)

    async def revoke(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Close a service at an address, whoever holds it."""
        address = need_address(form, self._prefix)
        step = await self._undo.revoke(caller.actor, form.text("service"), address)
        return await self._done(request, caller, form, address, "closed", step)

    async def shut_out(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Ban an address of the list, for the usual time, and close what is open there."""
        address = need_address(form, self._prefix)
        step = await shut_out(self._site, caller, form)
        if form.errors:  # the button is not there for such an address
            raise Problem("bad-form", 422)
        return await self._done(request, caller, form, address, "banned", step)

    async def undo(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Take back what the caller did a moment ago, and go back to the page on which they did it."""
        to, back = form.text("to"), form.text("back")
        try:
            step = await self._undo.undo(caller.actor, form.text("id"))
        except CannotUndo as error:
            said = f"not-undone-{error.reason}"
            if not _by_script(request):
                return back_to(to, said, back=back)
            return web.json_response({"said": self._parts.said(request, said, None, "")}, status=409)
        if to != "in" or not _by_script(request):
            return back_to(to, "undone", back=back)
        return await self._done(request, caller, form, step.address, "undone", None)

    async def _done(
        self,
        request: web.Request,
        caller: Caller,
        form: Form,
        address: Address,
        said: str,
        step: Step | None,
        *,
        status: int = 200,
    ) -> web.Response:
        """Back to the page with its search; to a script, what is open at the address now."""
        wanted = Wanted.parse(form.text("back"))
        if not _by_script(request):
            return back_to("in", said, step, back=wanted.query())
        grants = await self._grants.list(caller.actor, address=address)
        answer = {
            "said": self._parts.said(request, said, step_id(step), wanted.query()),
            "scope": {"address": str(address)},
            "rows": self._parts.rows(request, caller, wanted, grants),
        }
        return web.json_response(answer, status=status)

    def _blank(self, address: str) -> Form:
        # Where there is one service there is nothing to choose.
        only = list(self._services) if len(self._services) == 1 else []
        return Form(_OPEN, {"address": [address], "services": only})

    async def _page(
        self,
        request: web.Request,
        caller: Caller,
        form: Form,
        wanted: Wanted,
        *,
        said: str = "",
        status: int = 200,
    ) -> web.Response:
        site, mark = self._site, self._hub.now
        grants, entries, hours, gate = await asyncio.gather(
            self._grants.list(caller.actor), site.access.history.read(LAST), day(site), site.gate.status()
        )
        self._hub.look(grants)
        rows = self._hub.rows
        part = rows.part(rows.chosen(caller.actor, grants, wanted), wanted)
        services = tuple(self._services.values())
        return site.pages.answer(
            request,
            "admin_grants.html",
            status=status,
            path="/admin",
            form=form,
            **what_was_done(site, request, caller, said),
            part=part,
            here=str(caller.visitor.address),
            mark=mark,
            kinds=KINDS,
            last=lines(site, caller, entries),
            hours=hours,
            services=[(service.name, service.title) for service in services],
            durations=durations(services),
            usual=usual(services),
            masked=masked.addresses(gate["masks"]),
            wan=site.settings.wan,
        )


def _by_script(request: web.Request) -> bool:
    """Whether a script asks, which puts the answer in its place, and not a browser that shows it."""
    return request.headers.get("Accept") == "application/json"
