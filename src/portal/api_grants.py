"""The API's grants."""

from collections.abc import Iterable, Iterator
from typing import Any

from access.address import Address
from access.gate import Grant
from access.inputs import BadInput
from portal import api_answers as answers
from portal.api_kinds import DURATION, SERVICE, Field, Fields, Text, Yes, address, address_or_self
from portal.api_problem import ApiProblem
from portal.operation import Call, Operation, Reply
from portal.site import Site

_HOLDER = Text(48, 1, example="link:k3v9aa")
_GATE = ("gate-unavailable",)
_OPENS = ("unknown-service", "trusted-address", "too-many", *_GATE)


def operations(site: Site) -> tuple[Operation, ...]:
    """What this module answers."""
    api, prefix = _Grants(site), site.settings.ipv6_prefix
    chosen = (
        Field("service", SERVICE, "Only of this service."),
        Field("address", address(prefix), "Only of this address."),
        Field("holder", _HOLDER, "Only of this holder."),
    )
    place = Fields(
        (
            Field("service", SERVICE, "The service's name.", needed=True),
            Field(
                "address",
                address_or_self(prefix),
                "The address, an IPv6 one for its line; or self: the one that asks.",
                needed=True,
            ),
        )
    )
    wanted = Fields(
        (
            Field("for", DURATION, "How long, from now; else the token's, or the service's default.", into="duration_s"),
            Field("note", Text(128, example="Mamie"), "Who or what it is for."),
        )
    )
    return (
        Operation(
            "GET", "/grants", "grant:self", "What is open: to the scope read all of its services, else what the token itself holds.",
            api.all, answers.many(answers.GRANT), query=Fields(chosen), also="read", reader=True, problems=_GATE,
        ),
        Operation(
            "PUT", "/grants/{service}/{address}", "grant:self",
            "Open a service for an address; never shortens. 201 where the token did not hold it before. "
            "Another address than the one that asks needs the scope grant:any.",
            api.put, answers.GRANT, places=place, body=wanted, statuses=(201,), problems=_OPENS,
        ),
        Operation(
            "DELETE", "/grants/{service}/{address}", "grant:self",
            "Close a service for an address: what the token itself holds, or with the scope admin whoever does.",
            api.close, answers.REVOKED, places=place, problems=("unknown-service", *_GATE),
        ),
        Operation(
            "DELETE", "/grants", "grant:self", "Close all that matches: what the token itself holds, or with the scope admin whoever does.",
            api.revoke, answers.REVOKED, query=Fields((*chosen, Field("all", Yes(), "Everything there is, and nothing else."))), problems=_GATE,
        ),
    )  # fmt: skip


class _Grants:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._grants = site.access.grants

    async def all(self, call: Call) -> Iterator[dict[str, Any]]:
        self._check_service(call)
        found = await self._grants.list(call.by, **call.query)
        return (self._shown(call, grant) for grant in found)

    async def put(self, call: Call) -> Reply:
        service, address = self._place(call)
        granted = await self._grants.open(call.by, [service], address, **call.body)
        return Reply(self._shown(call, granted.grants[0]), 200 if granted.renewed else 201)

    async def close(self, call: Call) -> dict[str, int]:
        service, address = self._place(call)
        return {"revoked": await self._grants.revoke(call.by, service=service, address=address)}

    async def revoke(self, call: Call) -> dict[str, int]:
        self._check_service(call)
        chosen = dict(call.query)
        everything = chosen.pop("all", False)
        if bool(chosen) == everything:
            raise BadInput("all", "goes alone; else give a service, an address or a holder")
        return {"revoked": await self._grants.revoke(call.by, **chosen, everything=everything)}

    def _place(self, call: Call) -> tuple[str, Address]:
        """The service and the address of the path, both within reach."""
        service, address = call.path["service"], call.path["address"]
        if service not in (known := call.by.reaches(self._site.settings.services)):
            raise ApiProblem("unknown-service", _no_service(service, known))
        own = None if call.visitor is None else call.visitor.address
        if (address := address or own) is None:
            raise BadInput("address", "is self, which nobody is on the control socket")
        if call.visitor is not None and call.visitor.trusted and address == own:
            raise ApiProblem(
                "trusted-address", f"{own} is in a trusted network, which is never closed: nothing needs opening"
            )
        return service, address

    def _check_service(self, call: Call) -> None:
        name = call.query.get("service")
        if name is not None and name not in (known := call.by.reaches(self._site.settings.services)):
            raise BadInput("service", _no_service(name, known))

    def _shown(self, call: Call, grant: Grant) -> dict[str, Any]:
        service = self._site.settings.services.get(grant.service)
        shown = grant.as_json(self._site.clock()) | {"reached": service is None or service.is_reached(grant.address)}
        if grant.holder != call.by.holder and not call.by.may("read"):
            shown |= {"holder": None, "note": None}
        return shown


def _no_service(name: str, known: Iterable[str]) -> str:
    return f"{name[:40]!a} is not a service; choose from {', '.join(known)}"
