"""Errors of the API: application/problem+json (RFC 9457)."""

import json
import logging
from http import HTTPStatus

from aiohttp import web

from access.actor import NotAllowed
from access.address import BadAddress
from access.files import NotSaved
from access.gate import GateRefusal, GateUnavailable
from access.hashes import Busy
from access.inputs import BadInput
from access.state import UnknownLink, UnknownPerson
from portal.peer import ControlPeers
from portal.problems import Handler, Middleware, where

log = logging.getLogger(__name__)

_UNPROCESSABLE = 422
_GATE_STATUS = {"too-many": 503, "kernel": 503}


class ApiProblem(Exception):
    """An answer other than what was asked for. `code` names it for programs, `detail` for people."""

    def __init__(self, status: int, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field

    def response(self) -> web.Response:
        """As RFC 9457 has it; `field` is the key or parameter to blame."""
        body = {
            "type": f"about:blank#{self.code}",
            "title": self.code,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field is not None:
            body["field"] = self.field
        return web.Response(
            text=json.dumps(body, ensure_ascii=False),
            status=self.status,
            content_type="application/problem+json",
        )


def problem_json(peers: ControlPeers) -> Middleware:
    """The middleware that lets only `peers` in, and turns what handlers raise into answers."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not peers.allows(request):
                raise ApiProblem(403, "not-allowed", "only root and the daemon's own user may ask here")  # noqa: TRY301
            return await handler(request)
        except ApiProblem as problem:
            return problem.response()
        except web.HTTPException as error:
            response = _http_problem(error).response()
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except (ConnectionError, web.RequestPayloadError):
            return ApiProblem(400, "broken-off", "the body broke off").response()
        except Exception as error:  # noqa: BLE001 - the last door: a defect is reported, the portal stays up
            return _as_problem(error).response()

    return middleware


def _as_problem(error: Exception) -> ApiProblem:  # noqa: PLR0911 - one line an error
    match error:
        case BadInput():
            return ApiProblem(_UNPROCESSABLE, "bad-input", f"{error.field}: {error.message}", error.field)
        case BadAddress():
            return ApiProblem(_UNPROCESSABLE, "bad-input", f"address: {error}", "address")
        case UnknownLink():
            return ApiProblem(404, "unknown-link", str(error))
        case UnknownPerson():
            return ApiProblem(404, "unknown-person", str(error))
        case NotAllowed():
            return ApiProblem(403, "not-allowed", str(error))
        case GateRefusal():
            return ApiProblem(_GATE_STATUS.get(error.code, _UNPROCESSABLE), error.code, error.message)
        case GateUnavailable():
            return ApiProblem(
                503, "gate-unavailable", "the gate does not answer; what was asked may have happened"
            )
        case NotSaved():
            return ApiProblem(507, "not-saved", str(error))
        case Busy():
            return ApiProblem(503, "busy", "too many passwords and PINs are being checked; try again")
        case _:
            log.error("a request on the control socket failed: %s", where(error))
            return ApiProblem(500, "defect", "the portal has a defect; its log names the place")


def _http_problem(error: web.HTTPException) -> ApiProblem:
    phrase = HTTPStatus(error.status).phrase
    return ApiProblem(error.status, phrase.lower().replace(" ", "-"), f"{error.status} {phrase}")
