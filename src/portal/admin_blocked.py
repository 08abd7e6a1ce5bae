"""Who knocked at a protected port without a grant, and the button that shuts them out."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from access.gate import Blocked
from portal.admin_bans import shut_out
from portal.admin_grants import SHOWN
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.moments import Moment, moment
from portal.site import Site

_BAN = Fields(one=("address",))
_PORTS = 6
"""Ports of an address that are named; of the others only how many."""


@dataclass(frozen=True, slots=True)
class Knocks:
    """What came from one address; `ports` such as tcp/22, the last first, with `more` behind them."""

    address: str
    ports: list[str]
    more: int
    packets: int
    last_ms: int


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
        await shut_out(self._site, caller, form)
        if form.errors:
            return await self._page(request, caller, form)
        return redirect("/admin/blocked", done="banned")

    async def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        site, now = self._site, self._site.clock()
        wanted = request.query.get("q", "")[:64].strip()
        everyone = by_address(await site.gate.blocked())
        found = [
            knocks
            for knocks in everyone
            if wanted.lower() in knocks.address or wanted.lower() in knocks.ports
        ]
        rows: list[tuple[Knocks, Moment]] = [
            (knocks, moment(now - knocks.last_ms / 1000, now)) for knocks in found[:SHOWN]
        ]
        return site.pages.answer(
            request,
            "admin_blocked.html",
            status=422 if form.errors else 200,
            form=form,
            rows=rows,
            all=len(found),
            more=len(found) - len(rows),
            wanted=wanted,
            shown_ports=_PORTS,
            here=str(caller.visitor.address),
            banned={banned.address for banned in await site.access.bans.list(caller.actor)},
        )


def by_address(blocked: Iterable[Blocked]) -> list[Knocks]:
    """One for each address, whoever knocked last first."""
    together: dict[str, list[Blocked]] = {}
    for row in sorted(blocked, key=lambda row: row.last_ms):
        together.setdefault(row.address, []).append(row)
    return [
        Knocks(
            address,
            list(dict.fromkeys(f"{row.protocol}/{row.port}" for row in rows)),
            max(0, len({(row.protocol, row.port) for row in rows}) - _PORTS),
            sum(row.packets for row in rows),
            rows[0].last_ms,
        )
        for address, rows in together.items()
    ]
