"""The API's grants, bans, blocked and status: what the gate knows, and the admin's own acts on it."""

from typing import Any

from aiohttp import web

from access.actor import Actor
from access.bans import DEFAULT_S
from access.gate import Grant
from access.inputs import BadInput
from access.moment import moment_text
from portal.api_input import Input
from portal.site import Site


def add_routes(app: web.Application, site: Site) -> None:
    """Add what this module answers."""
    api = _GateApi(site)
    router = app.router
    router.add_get("/api/v1/status", api.status)
    router.add_get("/api/v1/grants", api.grants)
    router.add_post("/api/v1/grants", api.grant)
    router.add_delete("/api/v1/grants", api.revoke)
    router.add_get("/api/v1/blocked", api.blocked)
    router.add_get("/api/v1/banned", api.banned)
    router.add_post("/api/v1/bans", api.ban)
    router.add_delete("/api/v1/bans", api.unban)


class _GateApi:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._prefix = site.settings.ipv6_prefix
        self._grants = site.access.grants
        self._bans = site.access.bans

    async def status(self, _request: web.Request) -> web.Response:
        """The gate's account, with the services' titles and what the portal adds."""
        settings, links = self._site.settings, self._site.access.links.list(Actor.CLI)
        status: dict[str, Any] = await self._site.gate.status()
        for name, service in settings.services.items():
            status.setdefault("services", {}).setdefault(name, {})["title"] = service.title
        now = self._site.clock()
        open_links = sum(link.state(now) == "open" for link in links)
        return web.json_response(
            {
                **status,
                "certificate": self._certificate(),
                "url": settings.url,
                "links": {"all": len(links), "open": open_links},
            }
        )

    def _certificate(self) -> str | None:
        """What is wrong with the certificate's files as they are now."""
        if (certificate := self._site.certificate) is None:
            return None
        certificate.look()
        return certificate.trouble

    async def grants(self, request: web.Request) -> web.Response:
        """All grants, or those of ?service, ?holder and ?address."""
        query = Input.of_query(request)
        service, holder = self._service(query), query.take_text("holder")
        address = query.take_address("address", self._prefix)
        query.end()
        found = await self._grants.list(Actor.CLI, service=service, address=address, holder=holder)
        return self._answer(found)

    async def grant(self, request: web.Request) -> web.Response:
        """Open a service for an address, held by `cli`."""
        body = await Input.of_body(request)
        name = body.need_text("service")
        if name not in self._site.settings.services:
            raise self._unknown_service(name)
        address = body.need_address("address", self._prefix)
        duration_s, note = body.take_duration("for"), body.take_text("note") or ""
        body.end()
        grants = await self._grants.open(Actor.CLI, [name], address, duration_s=duration_s, note=note)
        return self._answer(grants, status=201)

    async def revoke(self, request: web.Request) -> web.Response:
        """Close what ?service, ?address and ?holder match together, or ?all=true."""
        query = Input.of_query(request)
        service, holder = self._service(query), query.take_text("holder")
        address = query.take_address("address", self._prefix)
        everything = query.take_flag("all")
        query.end()
        chosen = service is not None or holder is not None or address is not None
        if chosen == everything:
            raise BadInput("all", "goes alone; else give a service, an address or a holder")
        revoked = await self._grants.revoke(
            Actor.CLI, service=service, address=address, holder=holder, everything=everything
        )
        return web.json_response({"revoked": revoked})

    async def blocked(self, _request: web.Request) -> web.Response:
        """Who knocked, the last first."""
        now = self._site.clock()
        rows = sorted(await self._site.gate.blocked(), key=lambda row: row.last_ms)
        return web.json_response(
            [
                {
                    "address": row.address,
                    "protocol": row.protocol,
                    "port": row.port,
                    "packets": row.packets,
                    "bytes": row.bytes,
                    "last_at": moment_text(now - row.last_ms / 1000),
                }
                for row in rows
            ]
        )

    async def banned(self, _request: web.Request) -> web.Response:
        """Who is shut out of the portal too."""
        now = self._site.clock()
        return web.json_response(
            [
                {
                    "address": row.address,
                    "expires_at": moment_text(now + row.remaining_ms / 1000),
                    "remaining_s": row.remaining_ms // 1000,
                    "packets": row.packets,
                }
                for row in await self._bans.list(Actor.CLI)
            ]
        )

    async def ban(self, request: web.Request) -> web.Response:
        """Shut an address out, for a day where nothing else is said."""
        body = await Input.of_body(request)
        address = body.need_address("address", self._prefix)
        duration_s = body.take_duration("for") or DEFAULT_S
        body.end()
        await self._bans.ban(Actor.CLI, address, duration_s)
        until = moment_text(self._site.clock() + duration_s)
        return web.json_response({"address": str(address), "expires_at": until}, status=201)

    async def unban(self, request: web.Request) -> web.Response:
        """Let an address back in; no error where it was not banned."""
        query = Input.of_query(request)
        address = query.need_address("address", self._prefix)
        query.end()
        await self._bans.unban(Actor.CLI, address)
        return web.json_response({"address": str(address)})

    def _service(self, query: Input) -> str | None:
        name = query.take_text("service")
        if name is not None and name not in self._site.settings.services:
            raise self._unknown_service(name)
        return name

    def _unknown_service(self, name: str) -> BadInput:
        known = ", ".join(self._site.settings.services)
        return BadInput("service", f"{name[:40]!a} is not a service; choose from {known}")

    def _answer(self, grants: list[Grant], *, status: int = 200) -> web.Response:
        now = self._site.clock()
        return web.json_response([grant.as_json(now) for grant in grants], status=status)
