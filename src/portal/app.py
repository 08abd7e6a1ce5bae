"""The two applications: public pages, and the API on the control socket."""

from aiohttp import web

from portal import api_gate, api_history, api_links
from portal.api_problem import problem_json
from portal.headers import security_headers
from portal.health import Health
from portal.home import Home
from portal.link_page import LinkPage
from portal.peer import ControlPeers
from portal.problems import problem_pages
from portal.settings import Files
from portal.site import Site

_FORM_LIMIT = 16 * 1024
_JSON_LIMIT = 64 * 1024


def public_app(site: Site) -> web.Application:
    """What everybody reaches. Only POST /l/{token} changes anything."""
    app = web.Application(middlewares=[problem_pages(site.pages)], client_max_size=_FORM_LIMIT)
    link, home, health = LinkPage(site), Home(site), Health(site.gate)
    app.router.add_get("/l/{token}", link.show)
    app.router.add_post("/l/{token}", link.open)
    app.router.add_get("/", home.show)
    app.router.add_get("/healthz", health.show)
    app.router.add_get("/static/{digest}/{name}", site.pages.assets.show)

    headers = security_headers(real_tls=isinstance(site.settings.tls, Files))

    async def finish(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)
        response.headers.update(headers)

    app.on_response_prepare.append(finish)
    return app


def control_app(site: Site, peers: ControlPeers) -> web.Application:
    """What root, and whom `peers` allows, reaches through the Unix socket."""
    app = web.Application(middlewares=[problem_json(peers)], client_max_size=_JSON_LIMIT)
    api_gate.add_routes(app, site)
    api_links.add_routes(app, site)
    api_history.add_routes(app, site)

    async def finish(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)

    app.on_response_prepare.append(finish)
    return app
