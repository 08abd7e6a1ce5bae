"""Errors of the API: application/problem+json (RFC 9457), each of a type that is described."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from access.actor import Actor, NotAllowed
from access.address import BadAddress
from access.files import NotSaved
from access.gate import GateRefusal, GateUnavailable
from access.guard import Throttled
from access.hashes import Busy
from access.inputs import BadInput
from access.state import UnknownLink, UnknownPerson, UnknownToken
from access.tokens import BadToken, Tokens
from portal.api_kinds import NotJson
from portal.client_address import BadClientAddress, HiddenAddress
from portal.problems import Handler, Middleware, where

log = logging.getLogger(__name__)

API = "/api/v1"
TYPES = f"{API}/problems/"
"""Where each type of problem says what it means."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: the answer's status, what it is called, and what it means to who gets it."""

    status: int
    title: str
    means: str


PROBLEMS: Mapping[str, ProblemType] = {
    "bad-request": ProblemType(400, "Bad request", "The request cannot be read: a body that broke off, a parameter or a header that comes twice, what is not JSON."),
    "no-client-address": ProblemType(400, "No client address", "The proxy in front of the portal does not tell the address that asks."),
    "no-token": ProblemType(401, "No token", "Authorization: Bearer with a token of this house is needed. Cookies and tokens in a URL do not count."),
    "bad-token": ProblemType(401, "Bad token", "The token is not one of this house's: unknown, wrong, expired or removed. Too many of these ban the address."),
    "not-allowed": ProblemType(403, "Not allowed", "The token has not the scope that this needs, or is limited to services."),
    "hidden-address": ProblemType(403, "Hidden address", "A router in front of the gateway hides the address that asks."),
    "not-found": ProblemType(404, "Not found", "There is nothing at this path."),
    "unknown-service": ProblemType(404, "Unknown service", "There is no such service within the token's reach."),
    "unknown-link": ProblemType(404, "Unknown link", "There is no such link within the token's reach."),
    "unknown-person": ProblemType(404, "Unknown person", "There is no such person."),
    "unknown-token": ProblemType(404, "Unknown token", "There is no such token."),
    "bad-method": ProblemType(405, "Bad method", "The path takes other methods; the header Allow names them."),
    "too-slow": ProblemType(408, "Too slow", "The body did not come within ten seconds."),
    "too-large": ProblemType(413, "Too large", "The body is larger than 16 KiB."),
    "not-json": ProblemType(415, "Not JSON", "The body has to come with Content-Type: application/json, and not compressed."),
    "bad-input": ProblemType(422, "Bad input", "A value cannot be taken; `field` names it and `detail` says what would be right."),
    "trusted-address": ProblemType(422, "Trusted address", "The address lies in a trusted network, which is never closed: nothing needs opening."),
    "special-address": ProblemType(422, "Special address", "The address is not that of a host in the Internet."),
    "refused": ProblemType(422, "Refused", "The gate does not take it; `detail` says why."),
    "too-many-tries": ProblemType(429, "Too many tries", "Too many wrong tokens or passwords came from this address, or the token changed too much; Retry-After says for how long."),
    "defect": ProblemType(500, "Defect", "The portal has a defect; its log names the place."),
    "gate-unavailable": ProblemType(503, "Gate unavailable", "The gate does not answer; what was asked may have happened all the same."),
    "too-many": ProblemType(503, "Too many", "As many grants or bans hold as the configuration allows."),
    "kernel": ProblemType(503, "Kernel", "The kernel did not take it; nothing was changed."),
    "busy": ProblemType(503, "Busy", "Too much is asked for at once; try again."),
    "not-saved": ProblemType(507, "Not saved", "It cannot be written to the disk; nothing was changed."),
}  # fmt: skip
OF_GOOD_TOKENS = tuple(name for name in PROBLEMS if name not in {"no-client-address", "no-token", "bad-token", "hidden-address", "not-found", "bad-method"})
"""What may be refused to who showed a good token."""
_BY_STATUS = {404: "not-found", 405: "bad-method", 413: "too-large"}


class ApiProblem(Exception):
    """An answer other than what was asked for. `name` is one of PROBLEMS, `field` the key or parameter to blame."""

    def __init__(
        self, name: str, detail: str | None = None, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name)
        self.name = name
        self.detail = detail or PROBLEMS[name].means
        self.field = field
        self.headers = headers or {}

    def response(self) -> web.Response:
        """As RFC 9457 has it."""
        kind = PROBLEMS[self.name]
        body = {"type": TYPES + self.name, "title": kind.title, "status": kind.status, "detail": self.detail}
        if self.field is not None:
            body["field"] = self.field
        return web.Response(
            text=json.dumps(body), status=kind.status, content_type="application/problem+json", headers=self.headers
        )


def problem_json(mine: Callable[[web.Request], bool]) -> Middleware:
    """The middleware that turns what handlers raise into answers, for the requests that are `mine`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not mine(request):
            return await handler(request)
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the last door: a defect is reported, the portal stays up
            return as_problem(error).response()

    return middleware


def denied(tokens: Tokens, by: Actor, problem: ApiProblem) -> ApiProblem:
    """Have it told what a good token was refused; gives it back. An address that needs nothing opened is no trouble to tell of."""
    tokens.denied(by, problem.name, tell=problem.name != "trusted-address")
    return problem


def as_problem(error: Exception) -> ApiProblem:  # noqa: C901, PLR0911, PLR0912 - one line an error
    """What an error is to who asked. Everything that is not expected is a defect, and logged by its place."""
    match error:
        case ApiProblem():
            return error
        case BadInput():
            return ApiProblem("bad-input", f"{error.field}: {error.message}", field=error.field)
        case BadAddress():
            return ApiProblem("bad-input", f"address: {error}", field="address")
        case BadToken():
            return ApiProblem("bad-token", headers={"WWW-Authenticate": 'Bearer realm="SafeIP", error="invalid_token"'})
        case Throttled():
            return ApiProblem("too-many-tries", headers={"Retry-After": str(error.retry_after_s)})
        case UnknownLink() | UnknownPerson() | UnknownToken():
            return ApiProblem(f"unknown-{type(error).__name__.removeprefix('Unknown').lower()}", str(error))
        case NotAllowed():
            return ApiProblem("not-allowed", str(error))
        case GateRefusal():
            return ApiProblem(error.code if error.code in PROBLEMS else "refused", error.message)
        case GateUnavailable():
            return ApiProblem("gate-unavailable")
        case NotSaved():
            return ApiProblem("not-saved", str(error))
        case Busy():
            return ApiProblem("busy", headers={"Retry-After": "1"})
        case HiddenAddress():
            return ApiProblem("hidden-address", str(error))
        case BadClientAddress():
            return ApiProblem("no-client-address", str(error))
        case NotJson():
            return ApiProblem("bad-request", str(error))
        case ConnectionError() | web.RequestPayloadError():
            return ApiProblem("bad-request", "the body broke off")
        case web.HTTPException():
            return _of_http(error)
        case _:
            log.error("a request to the API failed: %s", where(error))
            return ApiProblem("defect")


def _of_http(error: web.HTTPException) -> ApiProblem:
    """Of aiohttp's own, which quote the request."""
    if (name := _BY_STATUS.get(error.status)) is None:
        return ApiProblem("bad-request", HTTPStatus(error.status).phrase)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ApiProblem(name, headers=headers)
