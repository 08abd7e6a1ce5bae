"""Every error of the public pages becomes a page that says what to do next, in one place."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from access.actor import NotAllowed
from access.files import NotSaved
from access.gate import GateRefusal, GateUnavailable
from access.hashes import Busy
from access.inputs import BadInput
from access.link import Link
from access.state import UnknownLink, UnknownPerson, UnknownToken
from portal.client_address import BadClientAddress, HiddenAddress
from portal.moments import patience
from portal.opens import owner_name
from portal.pages import Pages

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """What aiohttp calls around each handler; its own name for that differs between versions."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """The answer."""


_BY_STATUS = {
    400: "bad-form",
    404: "not-found",
    405: "bad-method",
    408: "too-slow",
    413: "too-large",
    415: "bad-form",
}

_BY_CODE = {
    "trusted-address": ("trusted-address", 422),
    "special-address": ("address-refused", 422),
    "bad-address": ("address-refused", 422),
    "no-bans": ("address-refused", 422),
    "too-many": ("too-many", 503),
}
_KNOWN = (
    BadClientAddress,
    NotAllowed,
    UnknownLink,
    UnknownPerson,
    UnknownToken,
    GateRefusal,
    GateUnavailable,
    NotSaved,
    Busy,
    BadInput,
)


class Problem(Exception):
    """An answer other than what was asked for. `name` is one that templates/problem.html knows.

    `back`: the page to begin anew from. `link`: what it is about, for who
    has its token.
    """

    def __init__(
        self,
        name: str,
        status: int,
        *,
        detail: str = "",
        retry_after_s: int | None = None,
        back: str | None = None,
        link: Link | None = None,
    ) -> None:
        super().__init__(name)
        self.name = name
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.back = back
        self.link = link


def problem_pages(pages: Pages) -> Middleware:
    """The middleware that turns what handlers raise into pages. Nothing of a request is logged."""

    def answer(request: web.Request, problem: Problem) -> web.Response:
        headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
        if request.get("problem_json"):
            return web.json_response({"problem": problem.name}, status=problem.status, headers=headers)
        return pages.answer(
            request,
            "problem.html",
            status=problem.status,
            headers=headers,
            problem=problem.name,
            detail=problem.detail,
            back=problem.back,
            link=problem.link,
            owner=problem.link and owner_name(problem.link),
            wait=patience(problem.retry_after_s or 0),
        )

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return answer(request, problem)
        except _KNOWN as error:
            return answer(request, _as_problem(error))
        except web.HTTPException as error:
            response = answer(request, Problem(_BY_STATUS.get(error.status, "defect"), error.status))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except (ConnectionError, web.RequestPayloadError):
            # The body broke off, or is not chunked as it says; anybody can do that, so it is no defect.
            return answer(request, Problem("bad-form", 400))
        except Exception as error:  # noqa: BLE001 - the last door: a defect is reported, the portal stays up
            log.error("a request failed: %s", where(error))  # noqa: TRY400 - a traceback quotes what was sent
            return answer(request, Problem("defect", 500))

    return middleware


def _as_problem(error: Exception) -> Problem:  # noqa: PLR0911 - one line an error
    match error:
        case HiddenAddress():
            return Problem("hidden-address", 403, detail=str(error))
        case BadClientAddress():
            return Problem("no-client-address", 400, detail=str(error))
        case NotAllowed():
            return Problem("not-allowed", 403)
        case UnknownLink() | UnknownPerson() | UnknownToken():
            return Problem("gone", 404)
        case GateRefusal():
            return Problem(*_BY_CODE.get(error.code, ("defect", 503)), detail=error.message)
        case GateUnavailable():
            return Problem("gate-unavailable", 503)
        case NotSaved():
            return Problem("not-saved", 507)
        case Busy():
            return Problem("busy", 503, retry_after_s=1)
        case _:  # BadInput of a field that the form has not; its message may name what is not the caller's
            return Problem("bad-form", 422)


def where(error: BaseException) -> str:
    """A defect's kind and place, without its message, which may quote a token or a PIN."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
