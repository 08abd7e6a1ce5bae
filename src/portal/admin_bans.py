"""Who may not even reach the portal: listed, added, let back in."""

from aiohttp import web

from access.bans import DEFAULT_S
from access.gate import GateRefusal
from access.undo import Step
from portal.caller import Caller
from portal.door import Door
from portal.form import Fields, Form
from portal.me import need_address
from portal.moments import moment, span
from portal.paging import page_number, paged
from portal.site import Site
from portal.undoing import back_to, what_was_done

_BAN = Fields(one=("address", "for"))
_UNBAN = Fields(one=("address", "back"))
_LENGTHS = tuple((f"{hours}h", span(hours * 3600)) for hours in (1, 24, 168, 720))
_LONGEST_S = 30 * 86400  # which is also the gate's
_USUAL = f"{DEFAULT_S // 3600}h"


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Bans(site)
    # A form that went wrong leaves the browser at its own path, which must be there to be opened anew.
    for path in ("/admin/banned", "/admin/ban"):
        door.page(path, "admin", pages.show)
    door.form("/admin/ban", "admin", pages.ban, _BAN)
    door.form("/admin/unban", "admin", pages.unban, _UNBAN)


async def shut_out(site: Site, caller: Caller, form: Form, duration_s: int | None = None) -> Step | None:
    """Ban the form's `address`, and close what is open there; gives back how to undo it.

    What is wrong with the address stands in the form then, and nothing was done.
    """
    address = form.address("address", site.settings.ipv6_prefix)
    if address is None:
        form.fail("address", "Write the address to shut out")
    elif address == caller.visitor.address:
        form.fail("address", "This is your own address: you would shut yourself out")
    if address is None or form.errors:
        return None
    try:
        return await site.access.undo.ban(caller.actor, address, duration_s or DEFAULT_S)
    except GateRefusal as refusal:
        if refusal.code == "too-many":
            raise
        form.fail("address", "This address cannot be shut out; it is trusted, or none of the Internet")
        return None


class _Bans:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """Who is banned, and the form for one more."""
        return await self._page(request, caller, Form(_BAN, {"for": [_USUAL]}))

    async def ban(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Shut an address out."""
        duration_s, step = form.duration("for"), None
        if duration_s is not None and duration_s > _LONGEST_S:
            form.fail("for", "A ban lasts 30 days at most")
        else:
            step = await shut_out(self._site, caller, form, duration_s)
        if form.errors:
            return await self._page(request, caller, form)
        return back_to("banned", "banned", step)

    async def unban(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Let an address back in."""
        address = need_address(form, self._site.settings.ipv6_prefix)
        await self._site.access.bans.unban(caller.actor, address)
        return back_to("banned", "unbanned", back=form.text("back"))

    async def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        now, query = self._site.clock(), request.query
        text = query.get("q", "")[:64].strip()
        found = [
            banned
            for banned in await self._site.access.bans.list(caller.actor)
            if text.lower() in banned.address
        ]
        found.sort(key=lambda banned: -banned.remaining_ms)
        there = paged(found, page_number(query.get("page", "")))
        return self._site.pages.answer(
            request,
            "admin_banned.html",
            status=422 if form.errors else 200,
            path="/admin/banned",
            form=form,
            **what_was_done(self._site, request, caller),
            rows=[(banned, moment(now + banned.remaining_ms / 1000, now)) for banned in there.rows],
            all=there.all,
            page=there.page,
            pages=there.pages,
            wanted=text,
            lengths=_LENGTHS,
        )
