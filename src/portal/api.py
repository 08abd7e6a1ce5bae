"""The API: the one table of its operations, and the two doors that they stand behind."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from access.actor import Actor
from portal import api_answers as answers
from portal import api_gate, api_grants, api_links, api_people, api_tokens, openapi
from portal.api_bearer import bearer
from portal.api_history import HistoryApi
from portal.api_kinds import Field, Fields, Text
from portal.api_problem import PROBLEMS, TYPES, ApiProblem, as_problem, denied
from portal.operation import Call, Operation
from portal.peer import ControlPeers
from portal.site import Site

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NOBODY = Actor("nobody", admin=False)
_DESCRIPTION: dict[str, Any] = {"type": "object", "description": "This description: OpenAPI 3.1."}


class Api:
    """Every operation of one portal."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._history = HistoryApi(site)
        self._said: dict[bool, bytes] = {}  # the description, for the command line and for the others
        problem = Field("name", Text(32, 1, example="bad-input"), "What follows the last slash.", needed=True)
        self.operations: tuple[Operation, ...] = (
            *api_gate.operations(site),
            *api_grants.operations(site),
            *api_links.operations(site),
            *self._history.operations,
            *api_people.operations(site),
            *api_tokens.operations(site),
            Operation("GET", "/openapi.json", "nobody", "What there is.", self._describe, _DESCRIPTION),
            Operation(
                "GET", "/problems/{name}", "nobody", "What a type of problem means.", self._explain,
                answers.PROBLEM_TYPE, places=Fields((problem,)),
            ),
        )  # fmt: skip

    def for_tokens(self, operation: Operation) -> Handler:
        """The handler of the public door: a token in Authorization counts, and nothing else that the request brings."""

        async def handler(request: web.Request) -> web.StreamResponse:
            if operation.needs == "nobody":
                return await operation.answered(request, _NOBODY, None)
            by, visitor = bearer(self._site, request)
            try:
                return await operation.answered(request, by, visitor)
            except Exception as error:  # noqa: BLE001 - raised again, as the problem that it is
                raise denied(self._site.access.tokens, by, as_problem(error)) from None

        return handler

    def for_peers(self, operation: Operation, peers: ControlPeers) -> Handler:
        """The handler of the control socket, for root and for readers."""

        async def handler(request: web.Request) -> web.StreamResponse:
            if not peers.allows(request, reading=operation.reader and operation.method == "GET"):
                raise ApiProblem("not-allowed", "only root and the daemon's own user may ask here")
            return await operation.answered(request, Actor.CLI, None)

        return handler

    async def stop(self, app: web.Application) -> None:
        """Let who follows the history go when the portal ends."""
        await self._history.stop(app)

    async def _describe(self, call: Call) -> web.Response:
        everything = call.by is Actor.CLI
        if everything not in self._said:
            chosen = (one for one in self.operations if everything or one.public)
            said = openapi.document(chosen, self._site.settings.url)
            self._said[everything] = json.dumps(said, separators=(",", ":")).encode()
        return web.Response(body=self._said[everything], content_type="application/json")

    async def _explain(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        if name not in PROBLEMS:
            raise ApiProblem("not-found")
        kind = PROBLEMS[name]
        return {"type": TYPES + name, "title": kind.title, "status": kind.status, "means": kind.means}
