"""A link as an icon on a home screen (W3C Web Application Manifest)."""

import json

from aiohttp import web

from access.opened import Refused
from portal.caller import Caller
from portal.door import Door
from portal.link_page import link_token
from portal.refusals import link_problem
from portal.site import Site

_PAPER, _ACCENT = "#f6f1e7", "#16594a"  # as in style.css


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.page("/l/{token}/app.webmanifest", "anyone", _Manifest(site).show)


class _Manifest:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, _caller: Caller | None) -> web.Response:
        """What the home screen calls it, and where it leads: the link's page. Answers for a link as that page does."""
        site, visitor = self._site, self._site.visitor(request)
        token, asset = link_token(request), site.pages.assets.path
        try:
            view = await site.access.opening.look(token, visitor.address, trusted=visitor.trusted)
        except Refused as refused:
            raise link_problem(refused) from None
        titles = [service.title for service in view.services]
        icons = [
            {"src": asset(f"icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"} for size in (192, 512)
        ]
        mask = {"src": asset("icon-mask.png"), "sizes": "512x512", "type": "image/png", "purpose": "maskable"}
        return web.json_response(
            {
                "name": ", ".join(titles),
                "short_name": titles[0],
                "start_url": f"/l/{token}",
                "scope": "/",
                "display": "standalone",
                "background_color": _PAPER,
                "theme_color": _ACCENT,
                "icons": [*icons, mask],
            },
            content_type="application/manifest+json",
            dumps=lambda value: json.dumps(value, ensure_ascii=False),
        )
