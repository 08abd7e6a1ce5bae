"""The API's status, blocked and bans: what the gate knows, and an admin's acts on who may knock at all."""

from collections.abc import Iterator
from typing import Any

from access.actor import Actor
from access.bans import DEFAULT_S
from access.moment import moment_text
from portal import api_answers as answers
from portal import masked
from portal.api_kinds import DURATION, Field, Fields, address
from portal.operation import Call, Operation
from portal.site import Site

_GATE = ("gate-unavailable",)


def operations(site: Site) -> tuple[Operation, ...]:
    """What this module answers."""
    api = _Gate(site)
    whom = Field("address", address(site.settings.ipv6_prefix), "The address.", needed=True)
    lasts = Field("for", DURATION, "How long; a day where nothing is said.", into="duration_s")
    return (
        Operation("GET", "/status", "read", "What runs, what is protected, how many are in.", api.status, answers.STATUS, reader=True, problems=_GATE),
        Operation(
            "GET", "/blocked", "read", "Who knocked in the last day, the latest first.",
            api.blocked, answers.many(answers.BLOCKED), house=True, reader=True, problems=_GATE,
        ),
        Operation("GET", "/banned", "read", "Who is banned.", api.banned, answers.many(answers.BANNED), house=True, problems=_GATE),
        Operation(
            "POST", "/bans", "admin", "Ban an address. It reaches neither the portal nor a service.",
            api.ban, answers.BAN, body=Fields((whom, lasts)), house=True, status=201, problems=("trusted-address", "too-many", *_GATE),
        ),
        Operation(
            "DELETE", "/bans", "admin", "Let an address back in; no error where it was not banned.",
            api.unban, answers.UNBANNED, query=Fields((whom,)), house=True, problems=_GATE,
        ),
    )  # fmt: skip


class _Gate:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._bans = site.access.bans

    async def status(self, call: Call) -> dict[str, Any]:
        """The gate's account, with the services' titles and what the portal adds."""
        settings = self._site.settings
        status: dict[str, Any] = await self._site.gate.status()
        reached = call.by.reaches(settings.services)
        services = status.get("services", {})
        status["services"] = {
            name: {**services.get(name, {}), "title": service.title} for name, service in reached.items()
        }
        if call.by.token is not None and call.by.token.services is not None:
            return {"url": settings.url, "services": status["services"]}
        now, links = self._site.clock(), self._site.access.links.list(Actor.CLI)
        return {
            **status,
            "certificate": self._certificate(),
            "warnings": [*settings.warnings, *masked.sentences(status["masks"], settings.wan)],
            "url": settings.url,
            "links": {"all": len(links), "open": sum(link.state(now) == "open" for link in links)},
        }

    def _certificate(self) -> str | None:
        """What is wrong with the certificate's files as they are now, or that the one in use ends."""
        if (certificate := self._site.certificate) is None:
            return None
        certificate.look()
        return certificate.trouble or certificate.ending(self._site.clock())

    async def blocked(self, _call: Call) -> Iterator[dict[str, Any]]:
        now = self._site.clock()
        rows = sorted(await self._site.gate.blocked(), key=lambda row: row.last_ms)
        return (
            {
                "address": row.address,
                "protocol": row.protocol,
                "port": row.port,
                "packets": row.packets,
                "bytes": row.bytes,
                "last_at": moment_text(now - row.last_ms / 1000),
            }
            for row in rows
        )

    async def banned(self, call: Call) -> list[dict[str, Any]]:
        now = self._site.clock()
        return [
            {
                "address": row.address,
                "expires_at": moment_text(now + row.remaining_ms / 1000),
                "remaining_s": row.remaining_ms // 1000,
                "packets": row.packets,
            }
            for row in await self._bans.list(call.by)
        ]

    async def ban(self, call: Call) -> dict[str, Any]:
        address, duration_s = call.body["address"], call.body.get("duration_s", DEFAULT_S)
        await self._bans.ban(call.by, address, duration_s)
        return {"address": str(address), "expires_at": moment_text(self._site.clock() + duration_s)}

    async def unban(self, call: Call) -> dict[str, Any]:
        await self._bans.unban(call.by, call.query["address"])
        return {"address": str(call.query["address"])}
