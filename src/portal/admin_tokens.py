"""The admin's API tokens, which there are none of yet."""

from aiohttp import web

from portal.caller import Caller
from portal.door import Door
from portal.site import Site


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""

    async def show(request: web.Request, _caller: Caller) -> web.Response:
        return site.pages.answer(request, "admin_tokens.html")

    door.page("/admin/tokens", "admin", show)
