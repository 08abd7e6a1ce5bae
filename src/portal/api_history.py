"""The API's history: what happened, and what happens now."""

import asyncio
from contextlib import suppress
from typing import Any, Literal

from aiohttp import web

from access.history import LARGEST_READ, Follower, Wanted
from portal import api_answers as answers
from portal.api_kinds import Field, Fields, Text, Whole, Yes
from portal.api_problem import ApiProblem
from portal.operation import Call, Operation, json_bytes
from portal.site import Site

_LAST = 100
_FOLLOWERS = 16
_LOOK_S = 5.0
"""How long a follower that has gone unnoticed stays, in seconds."""
_ASKED = Fields(
    (
        Field("last", Whole(LARGEST_READ), "How many at most; 100 where nothing is said."),
        Field("event", Text(example="link-opened"), "Only of this kind."),
        Field("who", Text(example="yves"), "Only by, about or for this name or holder."),
        Field("address", Text(example="203.0.113.7"), "Only from or about this address."),
        Field("outcome", Text(choice=("allowed", "refused")), "Only with this outcome."),
        Field("follow", Yes(), "Go on with what happens, a line of JSON each.", local=True),
    )
)
_HOW = answers.an_object("Backup", "How it went.", how={"enum": ["made", "failed"]})
_BACKUP = Fields(
    (
        Field("how", Text(choice=("made", "failed")), "How it went.", needed=True),
        Field("reason", Text(200), "Why it failed."),
    )
)


class HistoryApi:
    """Reads the history. `stop` lets go who follows it."""

    def __init__(self, site: Site) -> None:
        self._history = site.access.history
        self._following: set[asyncio.Task[None]] = set()
        self.operations = (
            Operation(
                "GET", "/history", "admin", "What happened, the oldest first.",
                self._read, answers.many(answers.ENTRY), query=_ASKED, house=True, reader=True,
            ),
            Operation("POST", "/backups", "hand", "Tell the history how a backup went.", self._backed_up, _HOW, body=_BACKUP, status=201),
        )  # fmt: skip

    async def _read(self, call: Call) -> list[dict[str, Any]] | web.StreamResponse:
        asked = dict(call.query)
        last, follow = asked.pop("last", _LAST), asked.pop("follow", False)
        wanted = Wanted(**asked)
        if not follow:
            return await self._history.read(last, wanted)
        if len(self._following) >= _FOLLOWERS:
            raise ApiProblem("busy", f"{_FOLLOWERS} follow the history already")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        if call.request.method == "HEAD":
            return response
        with self._history.follow() as entries:
            task = asyncio.create_task(self._follow(call.request, response, last, wanted, entries))
            self._following.add(task)
            try:
                # Cancelled by stop(), which is no reason to cancel the answer too.
                await asyncio.wait([task])
            finally:
                self._following.discard(task)
                task.cancel()
        return response

    async def _backed_up(self, call: Call) -> dict[str, Any]:
        how = call.body["how"]
        outcome: Literal["allowed", "refused"] = "allowed" if how == "made" else "refused"
        self._history.record(f"backup-{how}", by=call.by.holder, outcome=outcome, reason=call.body.get("reason"))
        return {"how": how}

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, last: int, wanted: Wanted, entries: Follower
    ) -> None:
        with suppress(ConnectionError):
            await response.prepare(request)
            for entry in await self._history.read(last, wanted):
                await response.write(json_bytes(entry))
            while request.transport is not None and not request.transport.is_closing():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        entry = await anext(entries)
                    if wanted.holds(entry):
                        await response.write(json_bytes(entry))

    async def stop(self, _app: web.Application) -> None:
        """Let followers go when the portal ends."""
        for task in self._following:
            task.cancel()
