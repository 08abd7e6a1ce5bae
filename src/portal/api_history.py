"""The API's history: what happened, and what happens now."""

import asyncio
import json
from contextlib import suppress

from aiohttp import web

from access.history import LARGEST_READ, Follower, Wanted
from portal.api_input import Input
from portal.api_problem import ApiProblem
from portal.site import Site

_LAST = 100
_FOLLOWERS = 16
_LOOK_S = 5.0
"""How long a follower that has gone unnoticed stays, in seconds."""


def add_routes(app: web.Application, site: Site) -> None:
    """Add what this module answers."""
    api = _HistoryApi(site)
    app.router.add_get("/api/v1/history", api.read)
    app.on_shutdown.append(api.stop)


class _HistoryApi:
    def __init__(self, site: Site) -> None:
        self._history = site.access.history
        self._following: set[asyncio.Task[None]] = set()

    async def read(self, request: web.Request) -> web.StreamResponse:
        """The ?last entries that ?event, ?who, ?address and ?outcome want, the oldest first.

        With ?follow=true a line of JSON for each, and for all to come.
        """
        query = Input.of_query(request)
        last, follow = query.take_count("last", _LAST, LARGEST_READ), query.take_flag("follow")
        wanted = Wanted(**{key: query.take_text(key) for key in ("event", "who", "address", "outcome")})
        query.end()
        if not follow:
            return web.json_response(await self._history.read(last, wanted))
        if len(self._following) >= _FOLLOWERS:
            raise ApiProblem(503, "busy", f"{_FOLLOWERS} follow the history already")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        with self._history.follow() as entries:
            task = asyncio.create_task(self._follow(request, response, last, wanted, entries))
            self._following.add(task)
            try:
                # Cancelled by stop(), which is no reason to cancel the answer too.
                await asyncio.wait([task])
            finally:
                self._following.discard(task)
                task.cancel()
        return response

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, last: int, wanted: Wanted, entries: Follower
    ) -> None:
        with suppress(ConnectionError):
            await response.prepare(request)
            for entry in await self._history.read(last, wanted):
                await response.write(_line(entry))
            while request.transport is not None and not request.transport.is_closing():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        entry = await anext(entries)
                    if wanted.holds(entry):
                        await response.write(_line(entry))

    async def stop(self, _app: web.Application) -> None:
        """Let followers go when the portal ends."""
        for task in self._following:
            task.cancel()


def _line(entry: object) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
