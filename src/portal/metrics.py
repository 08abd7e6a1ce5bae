"""GET /metrics: what Prometheus scrapes. A token with the scope read, or portal.metrics_networks."""

import asyncio
import importlib
import logging
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from access.actor import NotAllowed
from access.gate import GateUnavailable
from access.guard import Throttled
from access.tokens import BadToken
from portal.api_bearer import bearer
from portal.api_problem import ApiProblem, as_problem, denied
from portal.client_address import BadClientAddress
from portal.door import Door
from portal.metrics_samples import samples
from portal.site import Site

log = logging.getLogger(__name__)

_FRESH_S = 1.0  # what several scrapers, or an eager one, cost
_GATE_WITHIN_S = 3.0  # Prometheus waits for 10
_TEXT = "portal.metrics_text"
# What reverse proxies write. Behind one that is not in trusted_proxies everybody comes from its address.
_PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "CF-Connecting-IP", "Via")


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.page("/metrics", "anyone", Metrics(site).show)


class Metrics:
    """Text that is made at most once a second."""

    def __init__(self, site: Site, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._fresh_until = -1.0
        self._latest = b""
        self._type = ""
        self._missing = False

    async def show(self, request: web.Request, _caller: object) -> web.Response:
        """The metrics, to who may read them; else a problem as the API has it. No cookie counts."""
        try:
            self._check(request)
        except (ApiProblem, BadToken, Throttled, BadClientAddress) as error:
            return as_problem(error).response()
        try:
            async with self._turn:
                await self._refresh()
        except ImportError as error:
            if not self._missing:
                log.warning("/metrics needs the package python3-prometheus-client: %s", error)
            self._missing = True
            return web.Response(text="the package python3-prometheus-client is missing\n", status=501)
        return web.Response(body=self._latest, headers={"Content-Type": self._type})

    def _check(self, request: web.Request) -> None:
        if "Authorization" in request.headers or not self._in_network(request):
            actor, _visitor = bearer(self._site, request)
            try:
                actor.need_house("read")
            except NotAllowed as error:
                raise denied(self._site.access.tokens, actor, as_problem(error)) from None

    def _in_network(self, request: web.Request) -> bool:
        clients, networks = self._site.clients, self._site.settings.metrics_networks
        if not networks:
            return False
        if not clients.is_proxy(self._site.peer(request)) and any(name in request.headers for name in _PASSED_ON):
            return False
        host = self._site.host(request)
        return any(host in network for network in networks)

    async def _refresh(self) -> None:
        if self._monotonic() < self._fresh_until:
            return
        library = await asyncio.to_thread(importlib.import_module, _TEXT)
        self._latest = library.render(samples(self._site, await self._status()))
        self._type = library.CONTENT_TYPE
        self._fresh_until = self._monotonic() + _FRESH_S

    async def _status(self) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_GATE_WITHIN_S):
                return await self._site.gate.status()
        except (GateUnavailable, TimeoutError):
            return None
