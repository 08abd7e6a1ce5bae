"""Who knocked at a protected port without a grant, and the button that shuts them out."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from access.gate import Blocked
from portal.admin_bans import shut_out
from portal.caller import Caller
from portal.door import Door
from portal.form import Fields, Form
from portal.knocks import Source, by_address, day, port_text, top_ports, top_sources
from portal.moments import moment
from portal.paging import SHOWN
from portal.site import Site
from portal.undoing import back_to, what_was_done

_BAN = Fields(one=("address", "back"))
_PORTS = 6
"""Ports of an address that are named; of the others only how many."""
_TOP = 5


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Blocked(site)
    door.page("/admin/blocked", "admin", pages.show)
    door.form("/admin/blocked", "admin", pages.ban, _BAN)


class _Blocked:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """Who knocked, the last first."""
        return await self._page(request, caller, Form(_BAN))

    async def ban(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Shut an address of the list out, for the usual time."""
        step = await shut_out(self._site, caller, form)
        if form.errors:
            return await self._page(request, caller, form)
        return back_to("blocked", "banned", step, back=form.text("back"))

    async def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        site, now = self._site, self._site.clock()
        wanted = request.query.get("q", "")[:64].strip().lower()
        hours = await day(site)
        blocked = await site.gate.blocked()
        # In a thread: of sixty thousand it takes a fifth of a second, and visitors must not wait for that.
        sources, found = await asyncio.to_thread(_found, blocked, wanted)
        shown = [Source.of(rows) for rows in found[:SHOWN]]
        rows = [(source, moment(now - source.last_ms / 1000, now)) for source in shown]
        several = len(sources) > 1 and not wanted
        return site.pages.answer(
            request,
            "admin_blocked.html",
            status=422 if form.errors else 200,
            form=form,
            **what_was_done(site, request, caller),
            rows=rows,
            all=len(found),
            more=len(found) - len(rows),
            wanted=wanted,
            shown_ports=_PORTS,
            hours=hours,
            sources=top_sources(sources, _TOP) if several else [],
            ports=top_ports(blocked, site.settings.services, _TOP) if several else [],
            seen=site.access.knocks.seen,
            here=str(caller.visitor.address),
            banned={banned.address for banned in await site.access.bans.list(caller.actor)},
        )


def _found(blocked: list[Blocked], wanted: str) -> tuple[list[list[Blocked]], list[list[Blocked]]]:
    """Everything by address, and of that what is wanted."""
    sources = by_address(blocked)
    return sources, [rows for rows in sources if _wanted(wanted, rows)]


def _wanted(text: str, rows: Sequence[Blocked]) -> bool:
    return text in rows[0].address or any(text == port_text(row) for row in rows)
