"""The API on the control socket."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from portal_house import ask, ask_raw, house, in_loop, knock

from access.actor import Actor
from access.moment import moment_text
from portal import api_answers as answers
from portal.api import Api
from portal.operation import Call, Operation


@in_loop
async def test_grants(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        made = await h.api("PUT", "grants/cloud/203.0.113.7", {"for": "2h", "note": "Jean"})
        assert made.status == 201
        assert made.header("Server") == ""
        assert made.json == {
            "service": "cloud",
            "address": "203.0.113.7",
            "holder": "cli",
            "note": "Jean",
            "expires_at": moment_text(h.now[0] + 7200),
            "remaining_s": 7200,
            "packets": 0,
            "bytes": 0,
            "shared": None,
            "reached": True,
        }
        assert (await h.api("PUT", "grants/game/2001:db8:1::5")).status == 201
        assert h.peer.asked[-1]["services"] == {"game": 7200}
        assert h.peer.asked[-1]["address"] == "2001:db8:1::/64"
        assert h.peer.asked[-1]["note"] == ""
        for again in ("grants/game/2001:db8:1::5", "grants/game/2001:DB8:1::%2F64"):
            assert (await h.api("PUT", again)).status == 200
        assert len((await h.api("GET", "grants")).json) == 2
        assert [g["note"] for g in (await h.api("GET", "grants?service=cloud&holder=cli")).json] == ["Jean"]
        assert (await h.api("GET", "grants?address=2001:db8:1::99")).json[0]["service"] == "game"
        assert (await h.api("DELETE", "grants?service=cloud&address=203.0.113.7")).json == {"revoked": 1}
        assert (await h.api("DELETE", "grants?all=true")).json == {"revoked": 1}
        assert (await h.api("DELETE", "grants?all=true")).json == {"revoked": 0}
        await h.api("PUT", "grants/cloud/203.0.113.7")
        assert (await h.api("DELETE", "grants/cloud/203.0.113.7")).json == {"revoked": 1}
        assert (await h.api("DELETE", "grants/cloud/203.0.113.7")).json == {"revoked": 0}
        events = [entry["event"] for entry in (await h.api("GET", "history")).json]
        assert events == ["granted"] * 4 + ["revoked", "revoked", "granted", "revoked"]


@in_loop
async def test_links(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        body = {
            "label": "Mamie",
            "services": ["cloud"],
            "for": "2h",
            "expires": "30d",
            "uses": 3,
            "pin": "4711",
        }
        made = await h.api("POST", "links", body)
        assert made.status == 201
        link = made.json
        assert link["url"].startswith(f"https://open.example.org/l/{link['id']}-")
        assert (link["for"], link["pin"], link["state"], link["uses"]) == ("2h", True, "open", 3)
        assert "4711" not in made.text
        one = link["id"]
        assert (await h.api("GET", f"links/{one}")).json == link
        listed = (await h.api("GET", "links")).json
        assert listed == [{key: value for key, value in link.items() if key not in {"url", "wants_pin"}}]
        assert (await h.open(link["url"].removeprefix("https://open.example.org"), pin="4711")).status == 200
        assert (await h.api("POST", f"links/{one}/pause")).json["state"] == "paused"
        assert h.peer.grants == {}, "pausing closes what the link opened"
        assert (await h.api("POST", f"links/{one}/resume")).json["state"] == "open"
        rotated = (await h.api("POST", f"links/{one}/rotate")).json["url"]
        assert rotated != link["url"]
        assert (await h.get(link["url"].removeprefix("https://open.example.org"))).status == 404
        assert (await h.api("DELETE", f"links/{one}")).json["id"] == one
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("POST", "/rotate"),
        ):
            answer = await h.api(method, f"links/{one}{path}")
            assert (answer.status, answer.json["title"]) == (404, "Unknown link")
        history = (tmp_path / "state" / "history.jsonl").read_text()
        assert link["url"][-32:] not in history
        assert rotated[-32:] not in history


@in_loop
async def test_the_rest(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        status = (await h.api("GET", "status")).json
        assert status["services"]["cloud"]["title"] == "Nextcloud"
        assert status["links"] == {"all": 0, "open": 0}
        blocked = (await h.api("GET", "blocked")).json
        assert blocked[0]["address"] == "198.51.100.9"
        assert blocked[0]["last_at"].endswith("Z")
        assert (await h.api("POST", "bans", {"address": "198.51.100.9", "for": "1h"})).status == 201
        assert h.peer.bans == {"198.51.100.9": 3600}
        assert (await h.api("GET", "banned")).json[0]["remaining_s"] == 3600
        assert (await h.api("DELETE", "bans?address=198.51.100.9")).status == 200
        assert h.peer.bans == {"198.51.100.9": 0}


LINK = {"label": "Mamie", "services": ["cloud"]}
HERE = "grants/cloud/203.0.113.7"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("PUT", "grants/none/203.0.113.7", {}, 404, None),
        ("PUT", "grants/cloud/203.0.113.0%2F24", {}, 422, "address"),
        ("PUT", "grants/cloud/203.0.113.7/32", {}, 404, None),
        ("PUT", "grants/cloud/fe80::1%25eth0", {}, 422, "address"),
        ("PUT", "grants/cloud/%20", {}, 422, "address"),
        ("PUT", "grants/cloud/%00", {}, 422, "address"),
        ("PUT", "grants/cloud/self", {}, 422, "address"),
        ("PUT", "grants/cloud/", {}, 404, None),
        ("PUT", "grants//203.0.113.7", {}, 404, None),
        ("PUT", HERE, {"for": "2 hours"}, 422, "for"),
        ("PUT", HERE, {"for": 7200}, 422, "for"),
        ("PUT", HERE, {"for": None}, 422, "for"),
        ("PUT", HERE, {"for": "0s"}, 422, "for"),
        ("PUT", HERE, {"for": "31d"}, 422, "for"),
        ("PUT", HERE, {"note": 'quo"te'}, 422, "note"),
        ("PUT", HERE, {"holder": "cli"}, 422, "holder"),
        ("PUT", HERE, {"address": "203.0.113.8"}, 422, "address"),
        ("PUT", f"{HERE}?for=2h", {}, 422, "for"),
        ("PUT", HERE, [], 400, None),
        ("PUT", HERE, "x", 400, None),
        ("DELETE", "grants/none/203.0.113.7", None, 404, None),
        ("DELETE", "grants/cloud/self", None, 422, "address"),
        ("GET", "grants?service=none", None, 422, "service"),
        ("GET", "grants?more=1", None, 422, "more"),
        ("GET", "grants?holder=cli&holder=cli", None, 400, None),
        ("GET", "grants?address=x", None, 422, "address"),
        ("DELETE", "grants", None, 422, "all"),
        ("DELETE", "grants?all=false", None, 422, "all"),
        ("DELETE", "grants?all=yes", None, 422, "all"),
        ("DELETE", "grants?all=true&holder=cli", None, 422, "all"),
        ("POST", "links", {"services": ["cloud"]}, 422, "label"),
        ("POST", "links", {"label": "x"}, 422, "services"),
        ("POST", "links", {**LINK, "label": ""}, 422, "label"),
        ("POST", "links", {**LINK, "label": "x" * 65}, 422, "label"),
        ("POST", "links", {**LINK, "services": "cloud"}, 422, "services"),
        ("POST", "links", {**LINK, "services": []}, 422, "services"),
        ("POST", "links", {**LINK, "uses": 0}, 422, "uses"),
        ("POST", "links", {**LINK, "uses": True}, 422, "uses"),
        ("POST", "links", {**LINK, "addresses": -1}, 422, "addresses"),
        ("POST", "links", {**LINK, "pin": 4711}, 422, "pin"),
        ("POST", "links", {**LINK, "to": "javascript:alert(1)"}, 422, "to"),
        ("POST", "links", {**LINK, "id": "aaaaaa"}, 422, "id"),
        ("POST", "bans", {"address": "x"}, 422, "address"),
        ("DELETE", "bans", None, 422, "address"),
        ("GET", "history?last=0", None, 422, "last"),
        ("GET", "history?last=many", None, 422, "last"),
        ("GET", "nothing", None, 404, None),
        ("POST", "grants", {}, 405, None),
        ("POST", "tokens", {"label": "x", "scopes": ["root"]}, 422, "scopes"),
        ("POST", "tokens", {"label": "x", "scopes": []}, 422, "scopes"),
        ("GET", "token", None, 404, None),
        ("GET", "tokens/aaaaaa", None, 404, None),
    ],
    ids=str,
)
@in_loop
async def test_bad_input(
    tmp_path: Path, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    async with house(tmp_path) as h:
        answer = await h.api(method, path, body)
        assert answer.status == status, answer.text
        assert answer.header("Content-Type").startswith("application/problem+json")
        problem = answer.json
        assert problem["status"] == status
        assert problem["detail"]
        assert problem.get("field") == field
        assert h.peer.grants == {}
        assert h.peer.bans == {}
        assert h.site.access.links.list(Actor.CLI) == []


@in_loop
async def test_bad_bodies(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for status, body, kind in (
            (415, b"{}", "text/plain"),
            (415, b"service=cloud", "application/x-www-form-urlencoded"),
            (400, b"", "application/json"),
            (400, b"{", "application/json"),
            (400, b'{"a":1,"a":1}', "application/json"),
            (400, b"\xff", "application/json"),
            (400, b'{"uses":NaN}', "application/json"),
            (400, b"[" * 16_000, "application/json"),
            (413, b" " * 17_000, "application/json"),
        ):
            answer = await ask(h.control, "POST", "/api/v1/links", {"Content-Type": kind}, body)
            assert answer.status == status, body[:20]
            assert answer.json["detail"]


@in_loop
async def test_the_gates_refusal_comes_through(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.peer.refuse = "trusted-address", "10.0.0.5 is in a trusted network"
        answer = await h.api("PUT", "grants/cloud/10.0.0.5")
        assert answer.status == 422
        assert answer.json["type"] == "/api/v1/problems/trusted-address"
        assert answer.json["detail"] == "10.0.0.5 is in a trusted network"


@in_loop
async def test_following_the_history(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.site.access.history.record("before")
        reader, writer = await asyncio.open_unix_connection(h.control)
        writer.write(b"GET /api/v1/history?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"x-ndjson" in head
        events = []

        async def entry() -> dict[str, Any]:
            await reader.readline()  # the chunk's length
            line = await asyncio.wait_for(reader.readline(), 60)
            await reader.readline()
            return dict(json.loads(line))

        events.append((await entry())["event"])
        h.site.access.history.record("after")
        events.append((await entry())["event"])
        h.peer.say({"event": {"event": "repaired", "grants": 2, "ms": 1.5}})
        events.append(await entry())
        assert events[:2] == ["before", "after"]
        assert events[2]["reason"] == "2 grants back in 1.5 ms"
        writer.close()
        await writer.wait_closed()
        # Another follows until the portal ends, which ends it
        reader, writer = await asyncio.open_unix_connection(h.control)
        writer.write(b"GET /api/v1/history?follow=true&last=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\n{")
    writer.close()


ASK_AS = """
import os, socket, sys
path, uid, asked = sys.argv[1:4]
os.setgroups([]); os.setgid(int(uid)); os.setuid(int(uid))
for line in asked.split(","):
    s = socket.socket(socket.AF_UNIX); s.connect(path)
    s.sendall(f"{line} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(s.recv(64).decode().split()[1])
"""
READS = ["grants", "blocked", "status", "history?last=3", "history?follow=true"]
REFUSED = ["links", "banned", "people", "tokens", "token", "openapi.json", "problems/busy", "people/x/sessions"]


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@in_loop
async def test_who_is_at_the_other_end_counts(tmp_path: Path) -> None:
    """Root may everything, the reader read what is marked for it and change nothing, others nothing."""
    async with house(tmp_path, reader=12345) as h:
        # Even where the socket's own mode would let them in
        directory = Path("/tmp") / f"safeip-peer-{os.getpid()}"
        directory.mkdir(mode=0o755)
        door = directory / "control.sock"

        async def statuses(uid: int, asked: list[str]) -> set[str]:
            command = [sys.executable, "-I", "-c", ASK_AS, str(door), str(uid), ",".join(asked)]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            assert len(done.stdout.split()) == len(asked)
            return set(done.stdout.split())

        reading = [f"{method} /api/v1/{path}" for path in READS for method in ("GET", "HEAD")]
        other = [f"GET /api/v1/{path}" for path in REFUSED]
        operations = [one for one in Api(h.site).operations if one.method != "GET"]
        other += [f"{one.method} /api/v1{re.sub('{[a-z]+}', 'x', one.path)}" for one in operations]
        try:
            door.hardlink_to(h.control)
            door.chmod(0o666)
            h.site.access.history.record("something")
            assert await statuses(0, reading) == {"200"}
            assert "403" not in await statuses(0, other)
            assert await statuses(12345, reading) == {"200"}
            assert await statuses(12345, other) == {"403"}
            assert await statuses(65534, reading + other) == {"403"}
        finally:
            door.unlink(missing_ok=True)
            directory.rmdir()


@in_loop
async def test_pages_are_not_on_the_control_socket(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for path in (b"/l/x", b"/", b"/api/v1/../../l/x"):
            data = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert (await ask_raw(h.control, data)).status == 404


def test_a_socket_that_is_not_unix_is_refused() -> None:
    from portal.peer import ControlPeers

    class Transport:
        def get_extra_info(self, _name: str) -> socket.socket:
            return sock

    class Request:
        transport = Transport()

    with socket.socket() as sock:
        assert not ControlPeers(0).allows(Request())  # type: ignore[arg-type]  # only what is looked at


@in_loop
async def test_of_many_rows_some_are_told_at_a_time() -> None:
    """Whoever else asks has his turn meanwhile."""
    turn, turns = 0, []

    def row(number: int) -> dict[str, int]:
        turns.append(turn)
        return {"n": number}

    async def many(_call: Call) -> Iterator[dict[str, int]]:
        return (row(number) for number in range(60_000))

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    operation = Operation("GET", "/many", "nobody", "Many.", many, answers.many({}))
    answer = await operation.answered(make_mocked_request("GET", "/api/v1/many"), Actor.CLI, None)
    beside.cancel()
    assert isinstance(answer, web.Response)
    assert json.loads(answer.text or "") == [{"n": number} for number in range(60_000)]
    assert Counter(turns).most_common(1)[0][1] <= 1000


@in_loop
async def test_many_rows_come_whole_and_in_order(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        assert (await h.api("GET", "grants")).json == []
        h.peer.blocked = [knock(f"198.51.{number // 250}.{number % 250}", 22, last_ms=5000 - number) for number in range(2001)]
        found = [row["address"] for row in (await h.api("GET", "blocked")).json]
        assert found == [row["address"] for row in reversed(h.peer.blocked)]
