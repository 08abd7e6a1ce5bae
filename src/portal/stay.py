"""A page that a link opened keeps it open: its script posts here, and says what the answer tells."""

from aiohttp import web

from access.address import Address, read_address
from access.moment import moment_text
from access.opened import Opened, Refused, View
from portal.browsers import FORM_LIFE_S, said
from portal.caller import Caller
from portal.door import Door
from portal.form import Form
from portal.problems import Problem
from portal.refusals import link_problem
from portal.site import Site


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.form("/l/{token}/stay", "anyone", _Stay(site).stay, script=True)


def stay_path(site: Site, view: View) -> str:
    """Where the page of a link asks to stay."""
    return f"/l/{site.access.links.token(view.link)}/stay"


def stay_token(site: Site, request: web.Request, opened: Opened, address: Address) -> str:
    """What lets this browser stay without a PIN, as long as what it opened from `address` lasts."""
    lives_s = max(FORM_LIFE_S, opened.remaining_ms // 1000)
    token, _new = site.browsers.token(request, stay_path(site, opened), says=str(address), lives_s=lives_s)
    return token


def told(site: Site, opened: Opened, address: Address) -> dict[str, object]:
    """What scripts are told of an opening. `until`: the end of what ends first."""

    def end(remaining_ms: int) -> str:
        return moment_text(site.clock() + remaining_ms / 1000)

    return {
        "how": opened.how,
        "until": end(opened.remaining_ms),
        "services": {grant.service: end(grant.remaining_ms) for grant in opened.grants},
        "remaining_ms": opened.remaining_ms,
        "address": str(address),
        "left": list(opened.left),
    }


class _Stay:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def stay(self, request: web.Request, _caller: Caller | None, form: Form) -> web.Response:
        """Start the time again, from wherever the browser is by now. Answers the token for the next time."""
        site, visitor = self._site, self._site.visitor(request)
        address = visitor.address
        try:
            asked = read_address(said(form.token))
        except ValueError:
            raise Problem("old-form", 403) from None
        if visitor.trusted:
            raise Problem("trusted-address", 409)
        try:
            opened = await site.access.opening.stay(request.match_info["token"], address, asked)
        except Refused as refused:
            raise link_problem(refused) from None
        return web.json_response(
            {
                **told(site, opened, address),
                "form": stay_token(site, request, opened, address),
                "also": site.also_url(address, opened.ticket),
                "here": site.pages.part(
                    request,
                    "link_here.html",
                    address=str(address),
                    family=f"IPv{address.version}",
                    shared=opened.shared,
                    shortened=opened.shortened,
                ),
            }
        )
