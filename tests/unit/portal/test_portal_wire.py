"""The wire's asking side: what it sends, and what it does with anything unexpected."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from portal_house import in_loop

import portal.gate
from access.gate import GateRefusal, GateUnavailable, Grant, Granted
from nft import wire
from portal.gate import LINE_LIMIT, GateClient

HOST = IPv4Address("203.0.113.7")
ROW = {
    "service": "cloud",
    "address": "203.0.113.7",
    "holder": "cli",
    "note": "",
    "remaining_ms": 5,
    "packets": 0,
    "bytes": 0,
}


class Far:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hear(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self.reader.readline(), 60)
        wire.parse(line[:-1])  # the gate itself would take it
        return dict(json.loads(line))

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def both() -> AsyncIterator[tuple[GateClient, Far]]:
    ours, theirs = socket.socketpair()
    client = await GateClient.connect(ours)
    far = Far(*await asyncio.open_unix_connection(sock=theirs))
    yield client, far
    client.close()
    far.writer.close()


@in_loop
async def test_every_verb_is_one_the_gate_takes() -> None:
    async with both() as (client, far):
        network = IPv6Network("2001:db8:1::/64")
        for call, ok, wanted in [
            (
                client.grant({"cloud": 60}, network, holder="link:abcdef", note="L'été"),
                {"grants": [ROW], "left": [], "renewed": False},
                Granted([Grant(**ROW)], [], renewed=False),
            ),
            (
                client.grant({"cloud": 60}, HOST, holder="cli", note="", addresses=2),
                {"grants": [], "left": ["1.2.3.4"], "renewed": True},
                Granted([], ["1.2.3.4"], renewed=True),
            ),
            (client.revoke(holder="link:abcdef"), {"revoked": 2}, 2),
            (client.revoke(everything=True), {"revoked": 0}, 0),
            (client.revoke(service="cloud", address=HOST), {"revoked": 1}, 1),
            (client.grants(), {}, 0),
            (client.grants(service="cloud", address=network, holder="cli"), {}, 0),
            (client.blocked(), {}, 0),
            (client.banned(), {}, 0),
            (client.ban(HOST, 60), {}, None),
            (client.watch(lambda _event: None), {}, None),
        ]:
            task = asyncio.create_task(call)
            request = await far.hear()
            far.say({"id": request["id"], "ok": ok})
            answer = await task
            assert (len(answer) if isinstance(answer, list) else answer) == wanted


@in_loop
async def test_parts_answers_out_of_order_and_split_anywhere() -> None:
    async with both() as (client, far):
        first, second = asyncio.create_task(client.grants()), asyncio.create_task(client.status())
        one, two = (await far.hear())["id"], (await far.hear())["id"]
        messages = [
            {"id": one, "part": [ROW]},
            {"id": two, "part": [{"mode": "table"}]},
            {"id": one, "part": [ROW, ROW]},
            {"id": two, "ok": {}},
            {"id": one, "ok": {}},
        ]
        for byte in b"".join(json.dumps(message).encode() + b"\n" for message in messages):
            far.say(bytes([byte]))
            await far.writer.drain()
            await asyncio.sleep(0)
        assert await second == {"mode": "table"}
        assert [grant.service for grant in await first] == ["cloud"] * 3


@in_loop
async def test_a_refusal_and_events() -> None:
    events: list[Any] = []
    async with both() as (client, far):
        watching = asyncio.create_task(client.watch(events.append))
        number = (await far.hear())["id"]
        far.say({"id": number, "ok": {}}, {"event": {"event": "repaired", "grants": 1}})
        await watching
        refused = asyncio.create_task(client.grant({"x": 1}, HOST, holder="cli", note=""))
        far.say({"id": (await far.hear())["id"], "error": {"code": "unknown-service", "message": "no x"}})
        with pytest.raises(GateRefusal, match="no x") as caught:
            await refused
        assert caught.value.code == "unknown-service"
        assert events == [{"event": "repaired", "grants": 1}]


GARBAGE = [
    b"\n",
    b"nonsense\n",
    b"\xff\n",
    b"[" * 50_000 + b"\n",
    b"{" + b" " * LINE_LIMIT,
    {"id": 99, "ok": {}},
    {"id": 1},
    {"id": 1, "ok": []},
    {"id": 1, "part": {}},
    {"id": "1", "ok": {}},
    {"id": 1, "error": {"code": 5, "message": "x"}},
    {"event": "repaired"},
    {"id": 1, "ok": {"revoked": 1}},  # not the answer to a grant
    {"id": 1, "ok": {"grants": [{"service": "cloud"}]}},
    {"id": 1, "ok": {"grants": [5]}},
]


@pytest.mark.parametrize("said", GARBAGE, ids=lambda said: str(said)[:30])
@in_loop
async def test_garbage_ends_it(said: Any) -> None:
    async with both() as (client, far):
        waiting = asyncio.create_task(client.grant({"cloud": 1}, HOST, holder="cli", note=""))
        await far.hear()
        far.say(said)
        with pytest.raises(GateUnavailable):
            await asyncio.wait_for(waiting, 60)
        assert "garbage" in await asyncio.wait_for(client.closed, 60)
        with pytest.raises(GateUnavailable):
            await client.status()


@in_loop
async def test_the_gates_end_is_told_to_all() -> None:
    async with both() as (client, far):
        waiting = [asyncio.create_task(client.grants()) for _ in range(3)]
        await far.hear()
        far.writer.close()
        for task in waiting:
            with pytest.raises(GateUnavailable):
                await asyncio.wait_for(task, 60)
        assert await client.closed == ""


@in_loop
async def test_a_late_answer_is_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal.gate, "ANSWER_LIMIT_S", 0.01)
    async with both() as (client, far):
        with pytest.raises(GateUnavailable):
            await client.grants()
        number = (await far.hear())["id"]
        cancelled = asyncio.create_task(client.grants())
        gone = (await far.hear())["id"]
        cancelled.cancel()
        monkeypatch.undo()
        far.say({"id": number, "part": [ROW]}, {"id": number, "ok": {}}, {"id": gone, "ok": {}})
        again = asyncio.create_task(client.revoke(everything=True))
        far.say({"id": (await far.hear())["id"], "ok": {"revoked": 3}})
        assert await again == 3


@in_loop
async def test_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal.gate, "WAITING_LIMIT", 2)
    async with both() as (client, far):
        waiting = [asyncio.create_task(client.grants()) for _ in range(2)]
        number = (await far.hear())["id"]
        await far.hear()
        with pytest.raises(GateUnavailable):
            await client.grants()
        far.say({"id": number, "ok": {}}, {"id": number + 1, "ok": {}})
        assert await asyncio.gather(*waiting) == [[], []]
        with pytest.raises(GateRefusal, match="too long"):
            await client.grant({"x" * LINE_LIMIT: 1}, HOST, holder="cli", note="")
