"""A visitor's other family: a page that a link opened asks here, under the name that only this family reaches."""

from aiohttp import web

from access.opened import Refused
from portal.door import Door
from portal.refusals import link_problem
from portal.site import Site
from portal.stay import told


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.ours("/also/{ticket}", _Also(site).open)


class _Also:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def open(self, request: web.Request) -> web.Response:
        """Open what the ticket is for. From a network that is never closed there is nothing to do."""
        site, visitor = self._site, self._site.visitor(request)
        if visitor.trusted:
            return web.json_response({"how": "trusted", "address": str(visitor.address)})
        try:
            opened = await site.access.opening.also(request.match_info["ticket"], visitor.address)
        except Refused as refused:
            raise link_problem(refused) from None
        return web.json_response(told(site, opened, visitor.address))
