"""The asking side of the wire: `access.gate.Gate` over a socketpair, one JSON object a line."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from access.address import Address
from access.gate import Banned, Blocked, GateRefusal, GateUnavailable, Grant, Granted

LINE_LIMIT = 64 * 1024
"""Bytes in one line of the wire, its end included; the gate keeps to the same limit."""
WAITING_LIMIT = 1_024
"""Requests under way at once. Past it callers hear GateUnavailable instead of filling memory."""
ANSWER_LIMIT_S = 10.0
"""How long a caller waits for the gate, in seconds."""

_AT_ONCE = 500  # rows, about a millisecond
_Row = TypeVar("_Row", Grant, Blocked, Banned)

EventListener = Callable[[dict[str, Any]], None]


class _GarbageError(Exception):
    """The gate said something that is not in the wire's language."""


@dataclass(slots=True)
class _Waiting:
    """A request under way: who waits, and the parts of a listing that have come so far."""

    answer: asyncio.Future[dict[str, Any]]
    parts: list[Any] = field(default_factory=list)


class GateClient(asyncio.Protocol):
    """The gate, as the portal sees it. One per process; belongs to the running event loop.

    Every method raises GateRefusal where the gate says no, and GateUnavailable where it does not answer
    within ANSWER_LIMIT_S, has gone, or has too much to do. A caller that gives up does not undo its
    request. `closed` is set once the gate has closed the wire, to an empty text, or once it talks garbage, to a
    sentence that says so; nothing brings the connection back.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._rest = b""
        self._last_id = 0
        self._listener: EventListener | None = None
        self.given: Counter[tuple[str, str]] = Counter()
        """Grants given or renewed since the start, by service and by the kind of their holder."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Grants refused since the start, by the kind of holder and the gate's code."""

    @classmethod
    async def connect(cls, sock: socket.socket) -> Self:
        """Speak over `sock`, one end of a socketpair, which belongs to the client from now on."""
        sock.setblocking(False)
        _transport, client = await asyncio.get_running_loop().create_unix_connection(cls, sock=sock)
        return client

    def close(self) -> None:
        """End the connection; whoever still waits hears GateUnavailable."""
        self._end("the connection to the gate was closed")

    # The verbs

    async def grant(
        self,
        services: Mapping[str, int],
        address: Address,
        *,
        holder: str,
        note: str,
        addresses: int | None = None,
    ) -> Granted:
        """Open `services` (name to seconds) for `address`, all or none. See `access.gate.Gate`."""
        request = {
            "verb": "grant",
            "services": dict(services),
            "address": str(address),
            "holder": holder,
            "note": note,
            "addresses": addresses,
        }
        kind = holder.partition(":")[0]
        try:
            answer = await self._ask(request)
        except GateRefusal as refusal:
            self.refused[kind, refusal.code] += 1
            raise
        except GateUnavailable:
            self.refused[kind, "gate-unavailable"] += 1
            raise
        self.given.update((name, kind) for name in services)
        left, renewed = answer.get("left"), answer.get("renewed")
        if not isinstance(left, list) or not isinstance(renewed, bool):
            raise self._garbled("a grant without what it did")
        return Granted(await self._rows(Grant, answer.get("grants")), [str(address) for address in left], renewed)

    async def revoke(
        self,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
        everything: bool = False,
    ) -> int:
        """Close what matches every criterion given; the number of grants that ended."""
        answer = await self._ask(
            {
                "verb": "revoke",
                "service": service,
                "address": None if address is None else str(address),
                "holder": holder,
                "everything": everything,
            },
        )
        revoked = answer.get("revoked")
        if not isinstance(revoked, int):
            raise self._garbled("a revocation without a number")
        return revoked

    async def grants(
        self,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
    ) -> list[Grant]:
        """What is open and matches every criterion given."""
        rows = await self._list("grants", service, None if address is None else str(address), holder)
        return await self._rows(Grant, rows)

    async def held(self, service: str, address: Address) -> bool:
        """Whether a service is open for an address now, by the gate's book."""
        rows = await self._rows(Grant, await self._list("held", service, str(address)))
        return any(grant.remaining_ms > 0 for grant in rows)

    async def blocked(self) -> list[Blocked]:
        """Who knocked at a protected port without a grant."""
        return await self._rows(Blocked, await self._list("blocked"))

    async def banned(self) -> list[Banned]:
        """Who may not even reach the portal."""
        return await self._rows(Banned, await self._list("banned"))

    async def ban(self, address: Address, duration_s: int) -> None:
        """Shut `address` out for `duration_s` seconds; 0 lets it back in."""
        await self._ask({"verb": "ban", "address": str(address), "duration_s": duration_s})

    async def status(self) -> dict[str, Any]:
        """The gate's own account of itself; see the wire's description for its keys."""
        rows = await self._list("status")
        if len(rows) != 1 or not isinstance(rows[0], dict):
            raise self._garbled("a status without one")
        return rows[0]

    async def watch(self, listener: EventListener) -> None:
        """Call `listener` with every event that the gate tells unasked, from now on."""
        self._listener = listener
        await self._ask({"verb": "watch"})

    # The wire

    async def _list(
        self,
        of: str,
        service: str | None = None,
        address: str | None = None,
        holder: str | None = None,
    ) -> list[Any]:
        answer = await self._ask(
            {"verb": "list", "of": of, "service": service, "address": address, "holder": holder},
        )
        rows: list[Any] = answer["parts"]
        return rows

    async def _rows(self, kind: type[_Row], rows: object) -> list[_Row]:
        """Some at a time, so that nobody else waits for many."""
        made: list[_Row] = []
        try:
            if isinstance(rows, list):
                for start in range(0, len(rows), _AT_ONCE):
                    await asyncio.sleep(0) if start else None
                    made += [kind(**row) for row in rows[start : start + _AT_ONCE]]
                return made
        except TypeError:
            pass  # not the keys of `kind`
        raise self._garbled(f"without what makes a {kind.__name__}")

    def _garbled(self, what: str) -> GateUnavailable:
        self._end(f"the gate talks garbage: {what}")
        return GateUnavailable("the gate talks garbage")

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        transport = self._transport
        if transport is None or self.closed.done() or len(self._waiting) >= WAITING_LIMIT:
            raise GateUnavailable
        self._last_id = number = self._last_id + 1
        line = json.dumps({"id": number, **request}, separators=(",", ":")).encode() + b"\n"
        if len(line) > LINE_LIMIT:
            raise GateRefusal("too-many", "the request is too long for the gate")
        waiting = self._waiting[number] = _Waiting(self._loop.create_future())
        transport.write(line)
        # A timer instead of asyncio.timeout: the entry stays until its answer, which must not be taken
        # for garbage when it comes late.
        timer = self._loop.call_later(ANSWER_LIMIT_S, _give_up, waiting.answer)
        try:
            return await waiting.answer
        finally:
            timer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ours."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows what asyncio's types leave open
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the gate has gone. What it had not read any more makes the end a reset, which is no other end."""
        self._end("" if exc is None or isinstance(exc, ConnectionError) else f"the gate has gone: {exc}")

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the gate, whole lines or not."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        try:
            for line in lines:
                self._line(line)
            _check_length(rest)
        except _GarbageError as error:
            self._end(f"the gate talks garbage: {error}")

    def _line(self, line: bytes) -> None:
        _check_length(line)
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _GarbageError("a line is not JSON") from error
        match said:
            case {"event": {"event": str()} as event}:
                if self._listener is not None:
                    self._listener(event)
            case {"id": int(number), "part": list(rows)} if number in self._waiting:
                self._waiting[number].parts.extend(rows)
            case {"id": int(number), "ok": dict(answer)} if number in self._waiting:
                waiting = self._waiting.pop(number)
                if not waiting.answer.done():
                    waiting.answer.set_result({**answer, "parts": waiting.parts})
            case {"id": int(number), "error": {"code": str(code), "message": str(message)}} if (
                number in self._waiting
            ):
                waiting = self._waiting.pop(number)
                if not waiting.answer.done():
                    waiting.answer.set_exception(GateRefusal(code, message))
            case _:
                raise _GarbageError("an answer to nothing that was asked")

    def _end(self, why: str) -> None:
        if not self.closed.done():
            self.closed.set_result(why)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.answer.done():
                one.answer.set_exception(GateUnavailable(why or "the gate has gone"))


def _give_up(answer: asyncio.Future[dict[str, Any]]) -> None:
    if not answer.done():
        answer.set_exception(GateUnavailable("the gate did not answer in time"))


def _check_length(line: bytes) -> None:
    if len(line) >= LINE_LIMIT:
        raise _GarbageError("a line is too long")
