"""The first page: what is open from here, and the way to sign in."""

from aiohttp import web

from portal.caller import Caller
from portal.door import Door, redirect
from portal.opens import opens_from
from portal.site import Site


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.page("/", "anyone", _Home(site).show)


class _Home:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller | None) -> web.Response:
        """What the visitor's address holds, whoever opened it, and not by whom; /me for who is signed in.

        Names only services that are open from here: what else there is, is nobody's business.
        """
        if caller is not None:
            return redirect("/me")
        site, visitor = self._site, self._site.visitor(request)
        grants = await site.gate.grants(address=visitor.address)
        return site.pages.answer(
            request,
            "home.html",
            opens=opens_from(grants, site.settings.services, site.clock()),
            trusted=visitor.trusted,
            address=str(visitor.address),
            may_ask=site.settings.registration == "approval",
        )
