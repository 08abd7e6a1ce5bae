"""GET /admin/live: what changes on the admin's first page, as server-sent events (WHATWG HTML, 9.2)."""

import asyncio
import json
from collections.abc import Iterable

from aiohttp import web

from portal.caller import Caller, Callers
from portal.door import Door
from portal.grant_parts import Parts
from portal.grant_rows import Wanted
from portal.hub import Hub
from portal.problems import Problem
from portal.site import Site
from portal.traffic import key
from portal.watcher import Watcher

HEARTBEAT_S = 15.0
TAKEN_WITHIN_S = 10.0
"""How long a watcher may leave an event unread, in seconds, before they are cut off."""
_AGAIN_MS = 3000
_RETRY_AFTER_S = 60


def add_routes(door: Door, site: Site, hub: Hub) -> None:
    """Add what this module answers."""
    live = Live(site, hub)
    door.page("/admin/live", "admin", live.show)

    async def close(_app: web.Application) -> None:
        hub.close()

    # aiohttp 3.8 calls the first only for listeners that it made itself, 3.11 the second only once streams have ended.
    door.app.on_shutdown.append(close)
    door.app.on_cleanup.append(close)


class Live:
    """Sends events: `rows`, `last`, `knocks`, `counts`, and `again` where the page has to be loaded anew."""

    def __init__(self, site: Site, hub: Hub) -> None:
        self._site = site
        self._hub = hub
        self._callers = Callers(site)
        self._parts = Parts(site, hub.rows)

    async def show(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Stream what happens to what ?q, ?service, ?family, ?kind and ?page want, while the caller is an admin.

        ?from, or the event that a browser saw last: the mark of what is on the page.
        """
        if request.method != "GET" or "text/event-stream" not in request.headers.get("Accept", ""):
            raise Problem("bad-form", 406)
        if self._hub.full(caller.actor):
            raise Problem("watched", 503, retry_after_s=_RETRY_AFTER_S)
        watcher = Watcher(caller.actor, Wanted.read(request.query), request.transport)
        seen = request.headers.get("Last-Event-ID") or request.query.get("from", "")
        response = web.StreamResponse(
            # nginx would hold events back
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        response.force_close()
        with self._hub.watching(watcher):
            if seen != self._hub.now:
                watcher.load_again()
            await response.prepare(request)
            try:
                await self._send(request, response, f"retry: {_AGAIN_MS}\n\n")
                await self._events(request, response, watcher)
            except (TimeoutError, ConnectionError):  # who does not read, or has gone
                if request.transport is not None:
                    request.transport.abort()
        return response

    async def _events(self, request: web.Request, response: web.StreamResponse, watcher: Watcher) -> None:
        while not watcher.over:
            # Asked before each event: a session ends, an admin becomes a member.
            caller = request["caller"] = self._callers.still(request)
            if caller is None or not caller.admin:
                return
            watcher.by = caller.actor
            text = "".join(self._take(request, caller, watcher))
            await self._send(request, response, text or ":\n\n")
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await watcher.wake.wait()
            except TimeoutError:
                continue

    async def _send(self, request: web.Request, response: web.StreamResponse, text: str) -> None:
        """Raises TimeoutError where the watcher does not read."""
        async with asyncio.timeout(TAKEN_WITHIN_S):
            await response.write(text.encode())
            # What is written so far is not what was taken: nobody gets a second helping before the first is gone.
            while request.transport is not None and request.transport.get_write_buffer_size():  # noqa: ASYNC110 - told in no other way
                await asyncio.sleep(0.05)

    def _take(self, request: web.Request, caller: Caller, watcher: Watcher) -> Iterable[str]:
        """What the watcher was not told yet, as events."""
        watcher.wake.clear()
        if watcher.again:
            watcher.again = False
            yield self._event("again", {})
        rows, watcher.rows = watcher.rows, {}
        for (kind, name), grants in rows.items():
            told = self._parts.rows(request, caller, watcher.wanted, grants)
            if watcher.shown is not None:
                watcher.shown.update(key(grant) for grant in grants)
            yield self._event("rows", {"scope": {kind: name}, "rows": told})
        if watcher.last:
            watcher.last = False
            yield self._event("last", {"html": self._parts.last(request, caller, self._hub.last)})
        if watcher.knocks:
            watcher.knocks = False
            yield self._event("knocks", {"html": self._parts.knocks(request, self._hub.hours)})
        if watcher.counts or watcher.all is not None:
            counts, watcher.counts = watcher.counts, {}
            counted = self._parts.counts(request, caller, watcher.wanted, counts.values())
            yield self._event("counts", {"all": watcher.all, "rows": counted})
            watcher.all = None

    def _event(self, name: str, data: object) -> str:
        return f"event: {name}\nid: {self._hub.told}\ndata: {json.dumps(data)}\n\n"
