"""An operation of the API: one entry says where it is, who may, what it takes and what it answers, and does it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from aiohttp import web

from access.actor import Actor
from access.token import Scope
from portal.api_kinds import Fields, Schema, json_object
from portal.api_problem import API, ApiProblem
from portal.client_address import Visitor

Method = Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
Needs = Literal["nobody", "token", "hand"] | Scope
"""A scope; or `nobody`: anyone may, `token`: any token, `hand`: only the command line, which may everything."""

BODY_MOST = 16 * 1024
"""Bytes of a body, which each application has as its own limit too."""
_BODY_WITHIN_S = 10.0
_AT_ONCE = 500  # rows, some milliseconds
_NOTHING = Fields()


@dataclass(frozen=True, slots=True)
class Call:
    """What somebody asks of an operation, checked. `visitor`: from where, None on the control socket."""

    by: Actor
    request: web.Request
    visitor: Visitor | None
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, where its status is another than the operation's usual one."""

    value: Any
    status: int


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` follows /api/v1. `does` is a sentence for who reads the description.

    `house`: what is no single service's, so that a limit of services bars a token. `also`: another scope that will do.
    `reader`: the control socket's readers may, too. `status`: of the usual answer, which `answer` describes;
    `statuses` are those that it may have besides. `problems`: what else it may answer than every operation.
    `act` may give a response that is ready, a Reply, or what the usual answer holds: of many rows an iterator.
    """

    method: Method
    path: str
    needs: Needs
    does: str
    act: Callable[[Call], Awaitable[Any]]
    answer: Schema
    places: Fields = _NOTHING
    query: Fields = _NOTHING
    body: Fields | None = None
    status: int = 200
    statuses: tuple[int, ...] = ()
    also: Scope | None = None
    house: bool = False
    reader: bool = False
    problems: tuple[str, ...] = field(default=())

    @property
    def public(self) -> bool:
        """Whether tokens reach it at all."""
        return self.needs != "hand"

    def need(self, by: Actor) -> None:
        """Raise NotAllowed for who may not."""
        if self.needs in {"nobody", "token"} or (self.also is not None and by.may(self.also)):
            return
        if self.needs == "hand":
            by.need_hand()
        elif self.house:
            by.need_house(self.needs)  # type: ignore[arg-type]  # the rest of Needs are scopes
        else:
            by.need(self.needs)  # type: ignore[arg-type]  # as above

    async def answered(self, request: web.Request, by: Actor, visitor: Visitor | None) -> web.StreamResponse:
        """The answer to who is known already. Raises what as_problem knows."""
        self.need(by)
        if len(set(request.query)) != len(request.query):
            raise ApiProblem("bad-request", "a parameter comes twice")
        call = Call(
            by,
            request,
            visitor,
            self.places.read(request.match_info),
            (self.query if by is Actor.CLI else self.query.public).read(request.query),
            {} if self.body is None else await self._read_body(request, self.body),
        )
        done = await self.act(call)
        if isinstance(done, web.StreamResponse):
            return done
        if isinstance(done, Iterator):
            return web.json_response(text=await _array(done), status=self.status)
        reply = done if isinstance(done, Reply) else Reply(done, self.status)
        return web.json_response(reply.value, status=reply.status)

    async def _read_body(self, request: web.Request, body: Fields) -> dict[str, Any]:
        if (request.content_length or 0) > BODY_MOST:  # not one byte of it is waited for
            raise ApiProblem("too-large")
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                data = await request.read()
        except TimeoutError:
            raise ApiProblem("too-slow") from None
        if not data and not body.needed:
            return {}
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            raise ApiProblem("not-json")
        return body.take(json_object(data))


async def _array(rows: Iterator[Any]) -> str:
    """Many rows as JSON, some at a time, so that nobody else waits for all of them."""
    parts = []
    while some := list(islice(rows, _AT_ONCE)):
        parts.append(json.dumps(some)[1:-1])
        await asyncio.sleep(0)
    return f"[{', '.join(parts)}]"


def full_path(operation: Operation) -> str:
    """As the router has it."""
    return API + operation.path


def json_bytes(value: object) -> bytes:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
