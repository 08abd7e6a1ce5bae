"""The API's links."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from access.actor import Actor
from access.inputs import BadInput
from access.link import Link
from portal.api_input import Input
from portal.site import Site


def add_routes(app: web.Application, site: Site) -> None:
    """Add what this module answers."""
    api, links, router = _LinksApi(site), site.access.links, app.router
    router.add_get("/api/v1/links", api.all)
    router.add_post("/api/v1/links", api.add)
    router.add_get("/api/v1/links/{id}", api.one)
    router.add_delete("/api/v1/links/{id}", api.act(links.remove))
    router.add_post("/api/v1/links/{id}/pause", api.act(links.pause))
    router.add_post("/api/v1/links/{id}/resume", api.act(links.resume))
    router.add_post("/api/v1/links/{id}/rotate", api.act(links.rotate, with_url=True))


class _LinksApi:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._links = site.access.links

    async def all(self, _request: web.Request) -> web.Response:
        """All links, the oldest first, without their URLs."""
        now = self._site.clock()
        return web.json_response([link.as_json(now) for link in self._links.list(Actor.CLI)])

    async def one(self, request: web.Request) -> web.Response:
        """One link, with its URL."""
        return web.json_response(self._with_url(self._links.get(Actor.CLI, request.match_info["id"])))

    async def add(self, request: web.Request) -> web.Response:
        """Make a link."""
        body = await Input.of_body(request)
        if (label := body.take("label")) is None:
            raise BadInput("label", "is missing")
        if (services := body.take("services")) is None:
            raise BadInput("services", "is missing")
        values: dict[str, Any] = {
            "duration_s": body.take_duration("for"),
            "expires_s": body.take_duration("expires"),
            **{key: body.take(key) for key in ("uses", "addresses", "pin", "to")},
        }
        body.end()
        link = await self._links.add(Actor.CLI, label, services, **values)
        return web.json_response(self._with_url(link), status=201)

    def act(
        self, act: Callable[[Actor, str], Awaitable[Link]], *, with_url: bool = False
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that does `act` to the link and answers what it is then, or was."""

        async def handler(request: web.Request) -> web.Response:
            link = await act(Actor.CLI, request.match_info["id"])
            return web.json_response(self._with_url(link) if with_url else link.as_json(self._site.clock()))

        return handler

    def _with_url(self, link: Link) -> dict[str, Any]:
        return {**link.as_json(self._site.clock()), "url": self._site.link_url(self._links.token(link))}
