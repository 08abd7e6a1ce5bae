"""GET /auth: a proxy hears whether its visitor may pass; whatever is in doubt may not."""

import asyncio
import base64
import hashlib
import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from portal_house import House, house, in_loop

from access.actor import Actor
from access.address import parse_address
from portal.client_address import BadClientAddress, ClientAddress, Peer

PROXY = {"trusted_proxies": (ip_network("127.0.0.1/32"),)}
ASK = "/auth?service=cloud"
HERE4, HERE6 = "203.0.113.7", "2001:db8:1::10"


async def asked(h: House, address: str = HERE4, path: str = ASK, **headers: str) -> int:
    return (await h.get(path, X_Forwarded_For=address, **headers)).status


async def opened(h: House, address: str, service: str = "cloud") -> None:
    await h.site.access.grants.open(Actor.CLI, [service], parse_address(address, 64))


@in_loop
async def test_whoever_holds_a_grant_of_the_service_passes_and_nobody_else(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        for address, neighbour, other in ((HERE4, "203.0.113.8", "192.0.2.1"), (HERE6, "2001:db8:1:1::10", "2001:db8:2::10")):
            assert await asked(h, address) == 401
            await opened(h, address, "game")
            assert await asked(h, address) == 401
            await opened(h, address)
            assert await asked(h, address) == 204
            assert await asked(h, address, "/auth?service=game") == 204
            assert await asked(h, neighbour) == await asked(h, other) == 401
            # a /64 is one line
            assert await asked(h, "2001:db8:1::99") == (204 if address == HERE6 else 401)
            await h.site.access.grants.revoke(Actor.CLI, service="cloud", address=parse_address(address, 64))
            assert await asked(h, address) == 401
            assert await asked(h, address, "/auth?service=game") == 204


@in_loop
async def test_a_grant_whose_time_is_over_does_not_pass(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        for grant in h.peer.grants.values():
            grant["remaining_ms"] = 0
        assert await asked(h) == 401


@in_loop
async def test_whoever_is_banned_does_not_pass(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        await h.site.access.bans.ban(Actor.CLI, parse_address(HERE4, 64), 60)
        assert await asked(h) == 401
        await h.site.access.bans.unban(Actor.CLI, parse_address(HERE4, 64))
        assert await asked(h) == 204


@in_loop
async def test_a_network_that_is_never_closed_passes_where_a_proxy_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        assert await asked(h, "10.1.2.3") == 204
        assert await asked(h, "10.1.2.3, 203.0.113.7") == 401
        assert await asked(h, "203.0.113.7, 10.1.2.3") == 204
        # thirty wrong tries from the home make nobody there wait
        for _ in range(40):
            h.site.access.guard.count("link", parse_address("10.1.2.3", 64), trusted=True)
        assert await asked(h, "10.1.2.3") == 204


@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "198.51.100.0/24"])
@in_loop
async def test_a_proxy_that_nobody_named_lets_nobody_in(tmp_path: Path, trusted: str) -> None:
    """The worst mistake: without trusted_proxies everybody comes from the proxy, which is in a trusted network."""
    async with house(tmp_path, trusted_networks=(ip_network(trusted), ip_network("10.0.0.0/8"))) as h:
        await opened(h, HERE4)
        for claimed in (HERE4, "10.1.2.3", "127.0.0.1", "nonsense", ""):
            answer = await h.get(ASK, X_Forwarded_For=claimed)
            assert answer.status == 400
            assert answer.text.endswith(" is not in portal.trusted_proxies\n")
        assert (await h.get(ASK)).status == (400 if trusted == "127.0.0.0/8" else 401)


@in_loop
async def test_a_proxy_that_does_not_tell_who_asks_lets_nobody_in(tmp_path: Path) -> None:
    networks = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
    async with house(tmp_path, trusted_networks=networks, **PROXY) as h:
        await opened(h, HERE4)
        assert (await h.get(ASK)).status == 400
        for claimed in ("", "unknown", "203.0.113.7, nonsense", "127.0.0.1", "10.1.2.3, 127.0.0.1:80", "203.0.113.7, "):
            answer = await h.get(ASK, X_Forwarded_For=claimed)
            assert answer.status == (204 if claimed.startswith("10.") else 400), claimed
        assert await asked(h, f"10.1.2.3, {HERE4}") == 204
        assert await asked(h, "10.1.2.3, 203.0.113.8") == 401


def test_without_a_proxy_the_peer_is_who_asks() -> None:
    clients = ClientAddress((ip_network("198.51.100.1"),), "X-Forwarded-For", (ip_network("10.0.0.0/8"),), 64)
    assert str(clients.behind_proxy(Peer("203.0.113.7"), ()).address) == "203.0.113.7"
    for peer, headers in (("203.0.113.7", ("10.1.2.3",)), ("10.1.2.3", ()), ("10.1.2.3", ("203.0.113.7",)), ("198.51.100.1", ())):
        with pytest.raises(BadClientAddress):
            clients.behind_proxy(Peer(peer), headers)
    assert clients.behind_proxy(Peer("198.51.100.1"), ("10.1.2.3",)).trusted


@in_loop
async def test_a_question_that_names_no_service_of_ours_is_no_yes(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        for query in ("", "?service=", "?service=films", "?service=Cloud", "?service=cloud&service=cloud", "?services=cloud", "?service=%63loud%00"):
            for address in (HERE4, "10.1.2.3", "203.0.113.8"):
                assert await asked(h, address, f"/auth{query}") == 400
        assert await asked(h, path="/auth/?service=cloud") == 404
        assert (await h.post(ASK, b"", X_Forwarded_For=HERE4)).status == 405


@in_loop
async def test_the_gate_is_away_nobody_passes(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        h.gate.close()
        assert await asked(h) == 503
        assert await asked(h, "203.0.113.8") == 503


@in_loop
async def test_the_page_for_people_needs_nothing_of_the_host_it_is_shown_on(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        for language, words in (("en", "closed from where you are"), ("fr", "est fermé depuis"), ("de", "geschlossen"), ("es", "cerrad")):
            answer = await h.get(ASK, X_Forwarded_For=HERE4, Accept_Language=language)
            assert answer.status == 401
            assert words in answer.text
            assert HERE4 in answer.text
        assert re.findall(r'(?:href|src|action|url\()="?([^"\s>]*)', answer.text) == ["https://open.example.org/"]
        assert "<script" not in answer.text
        assert "cloud" not in answer.text, "strangers need not know what is behind it"
        assert "Nextcloud" not in answer.text
        [style] = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = answer.header("Content-Security-Policy")
        assert policy.startswith("default-src 'none'; ")
        assert f"style-src 'sha256-{digest}';" in policy
        assert answer.header("WWW-Authenticate") == 'SafeIP realm="https://open.example.org/"'
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("Location") == ""
        assert answer.header("Set-Cookie") == ""
        head = await h.get(ASK, "HEAD", X_Forwarded_For=HERE4)
        assert (head.status, head.body, head.header("WWW-Authenticate")) == (401, b"", answer.header("WWW-Authenticate"))


@in_loop
async def test_what_a_proxy_passes_on_of_the_visitors_request_changes_nothing(tmp_path: Path) -> None:
    """Headers of a WebSocket, of a range, of a foreign page."""
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        for headers in (
            {"Range": "bytes=0-1", "If_None_Match": "*", "If_Modified_Since": "Sat, 29 Oct 2050 19:43:31 GMT"},
            {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example", "Cookie": "session=x; __Host-safeip-session=y"},
            {"Authorization": "Basic eDp5"},
        ):
            assert await asked(h, **headers) == 204
            assert await asked(h, "203.0.113.8", **headers) == 401


@in_loop
async def test_a_websockets_headers_spoil_no_connection_that_others_are_asked_about_on(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await opened(h, HERE4)
        reader, writer = await asyncio.open_connection(*h.public)
        for address, wanted in ((HERE4, b"204"), ("203.0.113.8", b"401"), (HERE4, b"204")):
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            writer.write(f"GET {ASK} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n{upgrade}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split()[1] == wanted
            await reader.readexactly(int((re.findall(rb"(?i)content-length: (\d+)", head) or ["0"])[0]))
        writer.close()
        await writer.wait_closed()


@in_loop
async def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        before = await h.site.access.history.read(100)
        for number in range(50):
            assert await asked(h, f"203.0.113.{number}") == 401
        assert await h.site.access.history.read(100) == before
        assert not h.peer.bans
