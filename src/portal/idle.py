"""Connections that never ask anything are ended, so that nobody can hold all of them.

aiohttp ends connections that fall silent after a request (keep-alive), but waits for the first request
for ever.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

FIRST_REQUEST_WITHIN_S = 20.0
_LOOK_S = 5.0


class Idle:
    """Looks after the connections of one runner. `monotonic` gives seconds."""

    def __init__(self, runner: web.AppRunner, monotonic: Callable[[], float]) -> None:
        self._runner = runner
        self._monotonic = monotonic
        self._silent_since: dict[web.RequestHandler, float] = {}
        self._asked: set[web.RequestHandler] = set()
        runner.app.on_response_prepare.append(self._answered)

    async def watch(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.end_silent()

    def end_silent(self) -> None:
        """End each connection that was first seen FIRST_REQUEST_WITHIN_S ago and has had no answer since."""
        now = self._monotonic()
        connections = self._runner.server.connections if self._runner.server is not None else []
        self._asked.intersection_update(connections)
        self._silent_since = {
            connection: self._silent_since.get(connection, now)
            for connection in connections
            if connection not in self._asked
        }
        for connection, since in self._silent_since.items():
            if now - since >= FIRST_REQUEST_WITHIN_S:
                connection.force_close()

    async def _answered(self, request: web.Request, _response: web.StreamResponse) -> None:
        self._asked.add(request.protocol)
