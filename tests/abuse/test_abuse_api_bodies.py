"""What attackers send to the API, and what they would like to hear from it."""

import asyncio
import time
from pathlib import Path

import pytest
from abuse_api import ADDRESS, OPEN, Client, client, ip, problem
from abuse_town import town
from portal_house import in_loop

from access.actor import Actor
from portal.api import Api

# bodies


@in_loop
async def test_large_bodies_are_not_taken_in(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        large = b'{"note":"' + b"x" * 20_000 + b'"}'
        assert problem(await program.ask("PUT", OPEN, large)) == (413, "too-large")
        announced = await program.ask("PUT", OPEN, b"{}", Content_Length=str(10**9))
        assert problem(announced) == (413, "too-large")
        zipped = await program.ask("PUT", OPEN, b"\x1f\x8b\x08", Content_Encoding="gzip")
        assert problem(zipped) == (415, "not-json")
        # Who is nobody is not listened to at all: the answer comes before the body
        data = f"PUT {OPEN} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ADDRESS}\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{"
        reader, writer = await asyncio.open_connection(*program.there.house.public)
        writer.write(data.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert b" 401 " in head
        writer.close()
        assert program.opened == []


@in_loop
async def test_a_slow_body_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal import operation

    monkeypatch.setattr(operation, "_BODY_WITHIN_S", 0.2)
    async with client(tmp_path) as program:
        reader, writer = await asyncio.open_connection(*program.there.house.public)
        head = f"PUT {OPEN} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ADDRESS}\r\nAuthorization: Bearer {program.text}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{{".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert b"too-slow" in answer
        writer.close()
        assert program.opened == []


@in_loop
async def test_a_token_that_goes_while_its_body_comes_opens_nothing(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        reader, writer = await asyncio.open_connection(*program.there.house.public)
        head = f"PUT {OPEN} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ADDRESS}\r\nAuthorization: Bearer {program.text}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{{".encode())
        (token,) = program.there.access.tokens.list(Actor.CLI)
        async with asyncio.timeout(30):
            while program.there.access.tokens.get(Actor.CLI, token.id).last_used_at is None:  # noqa: ASYNC110 - nothing tells it
                await asyncio.sleep(0.01)
        await program.there.access.tokens.remove(Actor.CLI, token.id)
        writer.write(b'"for":"1h" }')
        answer = await asyncio.wait_for(reader.read(), 30)
        assert b" 403 " in answer.split(b"\r\n")[0]
        writer.close()
        assert program.opened == []


# what is told


@in_loop
async def test_the_description_is_for_anyone_and_says_nothing_of_this_house(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        await program.there.link("mamie")
        answer = await program.ask("GET", "/api/v1/openapi.json", Authorization="")
        assert answer.status == 200
        for word in ("game", "mamie", "Nextcloud", "Home", program.text[7:13], "/api/v1/tokens", "seed"):
            assert f'"{word}' not in answer.text, word
        begin = time.process_time()
        for _ in range(20):
            await program.ask("GET", "/api/v1/openapi.json", Authorization="Bearer x")
        assert time.process_time() - begin < 10, "made anew each time"
        assert (await program.ask("GET", "/api/v1/status")).status == 200, "a wrong token where none is needed is no guess"


@in_loop
async def test_a_limited_token_learns_of_nothing_beyond(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.grants.open(Actor.CLI, ["game"], ip("203.0.113.9"))
        await there.access.links.add(Actor.CLI, "Console", ["game"])
        for scope in ("read", "grant:self", "grant:any", "links", "admin"):
            _token, text = await there.access.tokens.add(Actor.CLI, scope, [scope], services=["cloud"])
            program = Client(there, text)
            for operation in Api(there.house.site).operations:
                if operation.public and operation.method == "GET" and operation.needs != "nobody":
                    path = operation.path.replace("{name}", "mamie").replace("{id}", "aaaaaa")
                    for query in ("", "?service=game", "?address=203.0.113.9", "?holder=cli"):
                        answer = await program.ask("GET", f"/api/v1{path}{query}")
                        seen = answer.text.replace("'game' is not", "")
                        assert "game" not in seen.lower(), (scope, path, query, answer.text)
                        assert "Console" not in seen
                        if path == "/status" and answer.status == 200:
                            assert answer.json.keys() == {"url", "services"}, "how much is open, blocked and made is the house's"
            for path in ("grants/game/self", "grants/nothing/self"):
                answer = await program.ask("PUT", f"/api/v1/{path}")
                assert answer.status in {403, 404}
        assert list(there.gate) == [("game", "203.0.113.9", "cli")]


@in_loop
async def test_whose_grant_it_is_is_told_to_who_may_read_alone(tmp_path: Path) -> None:
    """Somebody on the same line has it open for longer: opening says until when, and not for whom."""
    async with client(tmp_path, "grant:self") as program:
        there = program.there
        await there.access.grants.open(Actor.CLI, ["cloud"], ip(ADDRESS), duration_s=86400, note="Mamie")
        longer = {("cloud", ADDRESS, "token"): there.gate["cloud", ADDRESS, "cli"]}
        there.house.peer.do_grant = lambda _request: [{"ok": {"grants": list(longer.values()), "left": [], "renewed": False}}]
        answer = await program.ask("PUT", OPEN)
        assert (answer.json["holder"], answer.json["note"]) == (None, None)
        assert "Mamie" not in answer.text
