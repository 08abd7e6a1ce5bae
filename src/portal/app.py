"""The two applications: public pages with the API, and the API on the control socket."""

from collections.abc import Mapping

from aiohttp import web

from portal import (
    admin,
    also,
    ask,
    auth,
    home,
    invitation,
    link_page,
    links,
    manifest,
    me,
    me_password,
    me_sessions,
    me_totp,
    metrics,
    nic_update,
    sign_in,
    stay,
)
from portal.api import Api
from portal.api_problem import problem_json
from portal.door import Door, add_route, allow_origin
from portal.headers import NO_STORE, POLICY, security_headers
from portal.health import Health
from portal.operation import BODY_MOST
from portal.peer import ControlPeers
from portal.problems import problem_pages
from portal.settings import Files
from portal.site import Site

_PAGES = (home, link_page, stay, also, auth, nic_update, manifest, sign_in, ask, invitation, me, links, me_password, me_totp, me_sessions, admin)


def public_door(site: Site) -> Door:
    """What everybody reaches: an application, and the only way into it."""
    middlewares = [site.measures.around(problem_pages(site.pages)), problem_json(lambda request: request.path.startswith("/api/"))]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_MOST)
    door = Door(app, site)
    for pages in _PAGES:
        pages.add_routes(door, site)
    api = Api(site)
    for operation in api.operations:
        if operation.public:
            door.api(operation, api.for_tokens(operation))
    metrics.add_routes(door, site)
    door.page("/healthz", "anyone", Health(site.gate).show)
    door.page("/static/{digest}/{name}", "anyone", site.pages.assets.show)

    headers = every_answer(site)

    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)
        response.headers.setdefault("Cache-Control", NO_STORE)
        policy = response.headers.get(POLICY, headers[POLICY])
        response.headers.update(headers)
        response.headers[POLICY] = policy
        allow_origin(request, response)

    app.on_response_prepare.append(finish)
    return door


def every_answer(site: Site) -> Mapping[str, str]:
    """The headers of every answer of the public pages, errors too."""
    return security_headers(real_tls=isinstance(site.settings.tls, Files))


def control_app(site: Site, peers: ControlPeers) -> web.Application:
    """What root, and whom `peers` allows, reaches through the Unix socket."""
    app = web.Application(middlewares=[problem_json(lambda _request: True)], client_max_size=BODY_MOST)
    api = Api(site)
    for operation in api.operations:
        add_route(app, operation, api.for_peers(operation, peers))
    app.on_shutdown.append(api.stop)

    async def finish(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)

    app.on_response_prepare.append(finish)
    return app
