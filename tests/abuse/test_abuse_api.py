"""What attackers try at the API: other ways to be somebody, to act by reading, to come from elsewhere."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from abuse_api import ADDRESS, OPEN, Client, client, ip, problem
from abuse_town import Town
from portal_house import ask_raw, in_loop

from access.actor import Actor
from portal.api import Api

# who it is


@in_loop
async def test_an_admins_session_is_nobody_at_the_api(tmp_path: Path) -> None:
    """No cookie counts, so that no page of somebody else's can use it; nor does the form's token make it count."""
    async with client(tmp_path) as program:
        there = program.there
        ann = await there.at("ann")
        await ann.get("/admin/people")
        for operation in Api(there.house.site).operations:
            if operation.public and operation.needs != "nobody":
                path = "/api/v1" + re.sub(r"{\w+}", "x", operation.path)
                for headers in ({}, {"Origin": "https://open.example.org", "X_Form": ann.token}, {"Authorization": f"Bearer {ann.session}"}):
                    answer = await ann.get(path, operation.method, **headers)
                    assert problem(answer) == (401, "no-token" if "Authorization" not in headers else "bad-token"), path
                    assert answer.header("WWW-Authenticate").startswith('Bearer realm="SafeIP"')
                    there.house.site.access.guard.forget(ip(ann.address))
        assert there.gate == {}


@in_loop
async def test_a_token_beside_somebodys_cookie_is_the_token_alone(tmp_path: Path) -> None:
    async with client(tmp_path, "grant:self") as program:
        ann = await program.there.at("ann")
        cookie = "; ".join(f"{name}={value}" for name, value in ann.jar.items())
        assert problem(await program.ask("GET", "/api/v1/people", Cookie=cookie)) == (403, "not-allowed")
        assert (await program.ask("PUT", OPEN, Cookie=cookie)).json["holder"].startswith("token:")


@in_loop
async def test_a_token_counts_in_authorization_alone(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        text, there = program.text, program.there
        for path, headers in [
            (f"{OPEN}?access_token={text}", {}),
            (f"{OPEN}?token={text}", {}),
            (f"/api/v1/{text}/grants/cloud/self", {}),
            (OPEN, {"Cookie": f"token={text}; Authorization=Bearer {text}"}),
            (OPEN, {"X_API_Key": text}),
            (OPEN, {"X_Authorization": f"Bearer {text}"}),
            (OPEN, {"Proxy_Authorization": f"Bearer {text}"}),
        ]:
            answer = await program.ask("PUT", path, Authorization="", **headers)
            assert problem(answer)[0] in {401, 404}, path
            assert text not in answer.text
        body = json.dumps({"access_token": text}).encode()
        assert problem(await program.ask("PUT", OPEN, body, Authorization="")) == (401, "no-token")
        # Beside a good one it is a key that nobody knows
        answer = await program.ask("PUT", f"{OPEN}?access_token={text}")
        assert problem(answer) == (422, "bad-input")
        assert text not in answer.text
        assert there.gate == {}
        assert text[-26:] not in (tmp_path / "state" / "history.jsonl").read_text()


@in_loop
async def test_the_schemes_case_does_not_matter_and_its_form_does(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        text = program.text
        for good in (f"Bearer {text}", f"bearer {text}", f"BEARER   {text}", f"Bearer {text} "):
            assert (await program.ask("GET", "/api/v1/token", Authorization=good)).status == 200, good
        for bad in (text, f"Bearer{text}", f"Basic {text}", "Bearer", "Bearer ", f"Bearer {text} {text}", f"Bearer {text},", f'Bearer "{text}"',
                    f"Bearer {text.upper()}", f"Bearer {text[:-1]}", f"Bearer {text}a", f"Token {text}", f"Bearer\t{text}"):  # fmt: skip
            answer = await program.ask("GET", "/api/v1/token", Authorization=bad)
            assert problem(answer)[0] == 401, bad
            assert answer.header("WWW-Authenticate").startswith("Bearer "), bad


@pytest.mark.parametrize("second", ["Bearer x", "Basic eDp5", "", "the same"])
def test_two_authorization_headers_are_none(tmp_path: Path, second: str) -> None:
    """Two programs on the way might each believe another of them."""

    async def run() -> None:
        async with client(tmp_path) as program:
            one = f"Bearer {program.text}"
            for both in ([one, one if second == "the same" else second], [second, one]):
                lines = "".join(f"Authorization: {value}\r\n" for value in both)
                data = f"PUT {OPEN} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ADDRESS}\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n"
                assert problem(await ask_raw(program.there.house.public, data.encode())) == (400, "bad-request")
            assert program.opened == []

    in_loop(run)()


@in_loop
async def test_what_a_stolen_token_tries_is_told_to_the_admin_and_fills_no_history(tmp_path: Path) -> None:
    async with client(tmp_path, "read") as program:
        for _ in range(50):
            assert problem(await program.ask("PUT", OPEN)) == (403, "not-allowed")
            assert problem(await program.ask("DELETE", "/api/v1/grants?all=true")) == (403, "not-allowed")
            assert problem(await program.ask("GET", "/api/v1/grants?service=nonsense")) == (422, "bad-input")
        history = program.there.house.site.access.history
        told = [entry for entry in await history.read(10_000) if entry["event"] == "refused"]
        assert [(entry["by"], entry["from"], entry["reason"]) for entry in told] == [
            (f"token:{program.text.split('_')[1]}", ADDRESS, reason) for reason in ("not-allowed", "bad-input")
        ]
        assert (history.tally["denied", "not-allowed"], history.tally["denied", "bad-input"]) == (100, 50)


@in_loop
async def test_guessing_tokens_shuts_an_address_out_and_a_good_one_too(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        answers = [await program.ask("GET", "/api/v1/status", Authorization=f"Bearer safeip_aaaaaa_{letter * 26}") for letter in "abcdefghijklm"]
        assert {problem(answer) for answer in answers[:10]} == {(401, "bad-token")}
        assert problem(answers[-1]) == (429, "too-many-tries")
        assert int(answers[-1].header("Retry-After")) > 0
        assert problem(await program.ask("GET", "/api/v1/status"))[0] == 429
        program.address = "203.0.113.77"
        assert (await program.ask("GET", "/api/v1/status")).status == 200
        assert ADDRESS in program.there.house.peer.bans


@in_loop
async def test_a_removed_or_expired_token_opens_nothing_more(tmp_path: Path) -> None:
    async with client(tmp_path) as program:
        tokens = program.there.access.tokens
        token, text = await tokens.add(Actor.CLI, "Short", ["grant:self"], expires_s=3600)
        short = Client(program.there, text)
        assert (await short.ask("PUT", OPEN)).json["remaining_s"] <= 3600
        program.there.later(3601)
        assert problem(await short.ask("PUT", OPEN)) == (401, "bad-token")
        await tokens.remove(Actor.CLI, token.id)
        assert program.opened == []
        (own,) = tokens.list(Actor.CLI)
        assert (await program.ask("PUT", OPEN)).status == 201
        await tokens.remove(Actor.CLI, own.id)
        assert program.opened == []
        assert problem(await program.ask("PUT", OPEN)) == (401, "bad-token")


# from where


@in_loop
async def test_self_is_what_a_trusted_proxy_says_and_nothing_else(tmp_path: Path) -> None:
    """Behind an untrusted X-Forwarded-For self is the peer; behind a trusted proxy, what it added itself."""
    async with client(tmp_path, "grant:self") as program:
        for header, own in ((f"198.51.100.7, {ADDRESS}", ADDRESS), ("garbage, 203.0.113.8", "203.0.113.8"), ("2001:db8:5::7", "2001:db8:5::/64")):
            assert (await program.ask("PUT", OPEN, X_Forwarded_For=header)).json["address"] == own
        for header in ("", "garbage", f"{ADDRESS}, garbage"):
            assert problem(await program.ask("PUT", OPEN, X_Forwarded_For=header)) == (400, "no-client-address")
        assert problem(await program.ask("PUT", "/api/v1/grants/cloud/198.51.100.7", X_Forwarded_For=f"198.51.100.7, {ADDRESS}")) == (403, "not-allowed")
    (tmp_path / "direct").mkdir()
    async with client(tmp_path / "direct", "grant:self", trusted_proxies=()) as program:
        for name in ("X_Forwarded_For", "Forwarded", "X_Real_IP", "CF_Connecting_IP", "True_Client_IP"):
            answer = await program.ask("PUT", OPEN, **{name: "198.51.100.7"})
            assert answer.json["address"] == "127.0.0.1", name
            assert problem(await program.ask("PUT", "/api/v1/grants/cloud/198.51.100.7", **{name: "198.51.100.7"}))[0] == 403
        assert {address for _service, address, _holder in program.opened} == {"127.0.0.1"}


@in_loop
async def test_self_from_a_trusted_network_needs_nothing(tmp_path: Path) -> None:
    async with client(tmp_path, trusted_networks=(ip_network("10.0.0.0/8"),)) as program:
        program.address = "10.1.2.3"
        for path in (OPEN, "/api/v1/grants/cloud/10.1.2.3"):
            answer = await program.ask("PUT", path)
            assert problem(answer) == (422, "trusted-address")
            assert "nothing needs opening" in answer.json["detail"]
        assert (await program.ask("GET", "/api/v1/token")).json["trusted"] is True
        assert program.opened == []


@in_loop
async def test_what_a_path_may_be_spelt_as(tmp_path: Path) -> None:
    """One address, however it is written; no path reaches another operation than the one that was checked."""
    async with client(tmp_path) as program:
        line = "2001:db8:7::/64"
        for spelt in ("2001:db8:7::9", "2001:db8:7::%2F64", "2001:db8:7::%2f64", "2001%3Adb8%3A7%3A%3A9", "2001:DB8:7:0:0::1%2F128", "%32001:db8:7::1"):
            answer = await program.ask("PUT", f"/api/v1/grants/cloud/{spelt}")
            assert answer.status in {200, 201}, spelt
            assert answer.json["address"] == line, spelt
        for mapped in ("::ffff:203.0.113.9", "203.0.113.9%2F32"):
            assert (await program.ask("PUT", f"/api/v1/grants/cloud/{mapped}")).json["address"] == "203.0.113.9"
        program.there.gate.clear()
        for path, status in [
            ("grants/cloud/2001:db8:7::/64", 404), ("grants/cloud/2001:db8::%2F32", 422), ("grants/cloud/203.0.113.0%2F24", 422),
            ("grants/cloud/0.0.0.0%2F0", 422), ("grants/cloud/fe80::1%25eth0", 422), ("grants/cloud/203.0.113.9%00", 422),
            ("grants/cloud/203.0.113.9%0a", 422), ("grants/cloud/self%2Fx", 422), ("grants/cloud/SELF", 422), ("grants/cloud/%73elf%20", 422),
            ("grants/cloud%2Fgame/203.0.113.9", 404), ("grants/cloud%2F203.0.113.9", 404), ("grants/../grants/cloud/self/..", 404),
            ("grants/CLOUD/self", 404), ("grants/cloud%00/self", 404), ("grants//self", 404), ("grants/cloud/self/", 404), ("grants/cloud;x/self", 404),
            (f"grants/cloud/{'1' * 4000}", 422), (f"grants/{'c' * 4000}/self", 422), ("grants/cloud/203.0.113.010", 422), ("grants/cloud/3405803785", 422),
            ("grants/cloud/%2e%2e%2f%2e%2e%2fpeople", 422), ("grants/cloud/%D9%A2", 422), ("grants/cloud/%ff", 422),
        ]:  # fmt: skip
            answer = await program.ask("PUT", f"/api/v1/{path}".encode().decode("latin-1"))
            assert answer.status == status, (path, answer.text)
            assert problem(answer)
        assert program.opened == []


# acting by reading


@in_loop
async def test_reading_changes_nothing(tmp_path: Path) -> None:
    """GET and HEAD of everything that there is, with every way to say that another method is meant."""
    async with client(tmp_path) as program:
        there = program.there
        link = await there.link("mamie")
        await program.ask("PUT", OPEN)
        before = snapshot(there)
        overrides = ("X_HTTP_Method_Override", "X_HTTP_Method", "X_Method_Override", "_method")
        for operation in Api(there.house.site).operations:
            path = "/api/v1" + operation.path.replace("{service}", "cloud").replace("{address}", "self").replace("{id}", link.id).replace("{name}", "mamie")
            for more in ("", f"?_method={operation.method}", f"?method={operation.method}"):
                for method in ("GET", "HEAD"):
                    for header in ("", *overrides):
                        answer = await program.ask(method, path + more, **({header: operation.method} if header else {}))
                        assert answer.status in {200, 404, 405, 422}, (method, path, answer.status)
                        assert method == "GET" or answer.body == b""
            # A POST is not another method either
            if operation.method in {"DELETE", "PUT", "PATCH"}:
                for header in overrides:
                    answer = await program.ask("POST", path, **{header: operation.method})
                    assert answer.status in {404, 405} or path == "/api/v1/bans", path
        assert snapshot(there) == before
        assert len(program.opened) == 1


def snapshot(there: Town) -> tuple[Any, ...]:
    state = there.access.state
    tokens = {name: (token.scopes, token.services, token.digest) for name, token in state.tokens.items()}
    history = there.house.site.access.history
    done = history.number - len([key for key in history.tally if key[0] == "denied"])  # of each problem the first is told
    return dict(state.people), dict(state.links), tokens, dict(there.gate), dict(there.house.peer.bans), done


@in_loop
async def test_no_other_origin_gets_anything(tmp_path: Path) -> None:
    """A preflight is refused, so no page of somebody else's can send the token's header; no answer is for their script."""
    async with client(tmp_path) as program:
        for operation in Api(program.there.house.site).operations:
            path = "/api/v1" + re.sub(r"{\w+}", "x", operation.path)
            for origin in ("https://evil.example", "https://open.example.org", "null"):
                asked = {"Origin": origin, "Access_Control_Request_Method": operation.method, "Access_Control_Request_Headers": "authorization"}
                answer = await program.ask("OPTIONS", path, Authorization="", **asked)
                assert problem(answer)[0] in {404, 405}
        answer = await program.ask("GET", "/api/v1/grants", Origin="https://evil.example")
        assert answer.status == 200
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            assert problem(await program.ask("PUT", OPEN, b'{"for":"1h"}', Content_Type=kind)) == (415, "not-json")
        assert program.opened == []
