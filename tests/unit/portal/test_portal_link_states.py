"""Each state of a link is a page that tells what to do next."""

import errno
import re
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from portal_house import HERE, SERVICES, Answer, House, house, in_loop

from access.actor import Actor
from access.files import NotSaved
from portal.origins import web_origin


async def _both(h: House, path: str) -> list[Any]:
    """The page, and what its form would get that somebody kept open."""
    kept = await h.link("Kept")
    page = await h.get(kept)
    nonce = page.cookie.partition("=")[2]
    token = h.site.access.key.form_token(f"page:{unquote(path)}", nonce, int(h.now[0]) + 60)
    return [await h.get(path), await h.post(path, f"form={token}".encode(), Cookie=page.cookie)]


@in_loop
async def test_unknown(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        good = await h.link()
        tokens = [
            "x",
            good[3:-1],
            good[3:] + "a",
            good[3:].upper(),
            "a" * 64,
            "a" * 500,
            "%00",
            "%2e%2e",
            "%ff",
            "é%0d%0a",
        ]
        for token in tokens:
            for answer in (
                await _both(h, f"/l/{token}")
                if token.isascii() and "%" not in token
                else [await h.get(f"/l/{token}")]
            ):
                assert answer.status in {404, 400} if not token.isascii() else answer.status == 404, token
                assert "<form" not in answer.text
        assert "This link is not known" in (await h.get("/l/x")).text
        assert h.peer.grants == {}


@in_loop
async def test_paused_expired_used_up_and_without_service(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        links = h.site.access.links
        path = await h.link(expires_s=3600)
        await links.pause(Actor.CLI, path[3:9])
        for answer in await _both(h, path):
            assert answer.status == 410
            assert "This link is paused" in answer.text
        await links.resume(Actor.CLI, path[3:9])
        h.now[0] += 3600
        for answer in await _both(h, path):
            assert answer.status == 410
            assert "This link has ended" in answer.text
        path = await h.link(uses=1)
        assert (await h.open(path)).status == 200
        # Still open from here, and says so; does not start again
        page = await h.get(path)
        assert page.status == 200
        assert "open from here until" in page.text
        assert "<form" not in page.text
        h.peer.grants.clear()
        for answer in await _both(h, path):
            assert answer.status == 410
            assert "This link was used up" in answer.text
        assert h.peer.grants == {}


@in_loop
async def test_the_gates_refusals(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for code, status, words in (
            ("special-address", 403, "127.0.0.1 is loopback"),
            ("trusted-address", 200, "Always open from here"),
            ("too-many", 503, "No room left"),
            ("kernel", 503, "It does not work right now"),
        ):
            h.peer.refuse = code, "127.0.0.1 is loopback"
            answer = await h.open(await h.link())
            assert answer.status == status, code
            assert words in answer.text
        assert h.peer.grants == {}


@in_loop
async def test_a_disk_that_is_full_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, _data: bytes) -> None:
        raise NotSaved(path, OSError(errno.ENOSPC, "No space left on device"))

    async with house(tmp_path) as h:
        path = await h.link(uses=1)
        with monkeypatch.context() as patch:
            patch.setattr("access.files.replace", full)
            answer = await h.open(path)
            assert answer.status == 503
            assert (await h.api("POST", "links", {"label": "X", "services": ["cloud"]})).status == 507
        assert h.peer.grants == {}


@in_loop
async def test_a_gate_that_has_gone(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        assert (await h.get("/healthz")).status == 200
        page = await h.get(path)
        h.gate.close()
        assert (await h.post(path, f"form={page.form_token}".encode(), Cookie=page.cookie)).status == 503
        for where in (path, "/"):
            answer = await h.get(where)
            assert answer.status == 503
            assert "It does not work right now" in answer.text
        # Anyone may ask here: an answer may be a second old
        assert (await h.api("GET", "status")).status == 503
        assert await h.gate.closed


@in_loop
async def test_health_without_a_gate(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.gate.close()
        answer = await h.get("/healthz")
        assert (answer.status, answer.text) == (503, "the gate does not answer\n")


@in_loop
async def test_a_pin(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link(pin="4711")
        page = await h.get(path)
        assert 'name="pin"' in page.text
        assert "data-auto" not in page.text
        assert (await h.open(path)).status == 403
        for _ in range(5):
            wrong = await h.open(path, pin="1234")
            assert wrong.status == 403
            assert "This PIN is not right" in wrong.text
        locked = await h.open(path, pin="4711")
        assert locked.status == 429
        assert int(locked.header("Retry-After")) in range(800, 901)
        assert "Wait 15 minutes" in locked.text
        assert h.peer.grants == {}
        other = await h.link("Jean", pin="4711")
        assert (await h.open(other, pin="4711")).status == 200
        assert "4711" not in (tmp_path / "state" / "history.jsonl").read_text()


@in_loop
async def test_the_page_says_what_will_happen(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link("<b>Mamie & Co", ("cloud", "game"), expires_s=86400, uses=3)
        text = (await h.get(path)).text
        assert "For &lt;b&gt;Mamie &amp; Co" in text
        for words in (
            "Open Nextcloud and Game",
            "for 12 hours",
            "for 2 hours",
            "3 more times",
            "This link ends",
            HERE,
        ):
            assert words in text, words
        opened = (await h.open(path)).text
        assert "until" in opened
        assert '<meta http-equiv="refresh" content="2; url=https://cloud.example.org/">' in opened
        # Where it goes: the link's own target first; nowhere without one
        to = (await h.open(await h.link("A", to="https://a.example/?x=1&y=2"))).text
        assert 'href="https://a.example/?x=1&amp;y=2"' in to
        assert "http-equiv" not in (await h.open(await h.link("B", ("game",)))).text


@in_loop
async def test_a_trusted_visitor_has_nothing_to_open(tmp_path: Path) -> None:
    async with house(tmp_path, trusted_proxies=(), client_ip_header="X-Real-IP") as h:
        assert (await h.get(await h.link())).text.count("Always open from here") == 0
    (tmp_path / "2").mkdir()
    async with house(tmp_path / "2", trusted_proxies=(ip_network("127.0.0.1/32"),)) as h:
        path = await h.link()
        inside = {"X_Forwarded_For": "10.9.0.5"}
        page = await h.get(path, **inside)
        assert page.status == 200
        assert "Always open from here" in page.text
        outside = await h.get(path, X_Forwarded_For="203.0.113.7")
        answer = await h.post(path, f"form={outside.form_token}".encode(), Cookie=outside.cookie, **inside)
        assert (answer.status, "Always open from here" in answer.text) == (200, True)
        assert "Always open" in (await h.get("/", **inside)).text
        assert (await h.get("/l/none", **inside)).status == 404
        assert h.peer.grants == {}


@in_loop
async def test_home_shows_only_what_is_open_from_here_and_not_whose(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        nothing = (await h.get("/")).text
        assert "Nothing is open from here" in nothing
        assert "Nextcloud" not in nothing
        await h.open(await h.link("Secret name"))
        text = (await h.get("/")).text
        assert "Nextcloud" in text
        assert "Game" not in text
        assert "Secret name" not in text


@in_loop
async def test_a_service_that_left_the_configuration(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link("Mamie", ("game",))
    async with house(tmp_path, services={"cloud": replace(SERVICES["cloud"])}) as h:
        for answer in await _both(h, path):
            assert answer.status == 410
            assert "opens nothing any more" in answer.text


BEHIND_A_PROXY = {"trusted_proxies": (ip_network("127.0.0.1/32"),), "url_ipv6": "https://open6.example.org"}
UNTIL = re.compile(r'<p id="until">[^<]*<time datetime="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"')


def _data(page: Answer) -> dict[str, str]:
    """What the section that tells of an open link gives to its scripts."""
    section = re.findall(r'<section id="opened"([^>]*)>', page.text)
    assert len(section) == 1
    return dict(re.findall(r'data-([a-z-]+)="([^"]*)"', section[0]))


@in_loop
async def test_what_an_opening_did_is_said_and_told_to_the_scripts(tmp_path: Path) -> None:
    async with house(tmp_path, **BEHIND_A_PROXY) as h:
        path = await h.link("Mamie", addresses=1)
        opened = await h.open(path, X_Forwarded_For="203.0.113.7")
        assert '<h1 class="done">The way is open</h1>' in opened.text
        told = _data(opened)
        assert told["remaining-ms"] == "43200000"
        assert UNTIL.search(opened.text)
        assert (told["family"], told["link"]) == ("IPv4", path[3:9])
        assert 'id="next" href="https://cloud.example.org/"' in opened.text
        assert told["also"].startswith("https://open6.example.org/also/")
        assert told["stay"] == f"{path}/stay"
        assert "Only IPv4 was opened: no IPv6 here." in opened.text
        assert 'id="open"' not in opened.text, "it would open again by itself"

        renewed = await h.open(path, X_Forwarded_For="203.0.113.7")
        assert "The time has started again" in renewed.text
        moved = await h.open(path, X_Forwarded_For="203.0.113.8")
        assert "The way has moved with you" in moved.text
        assert "Closed now: 203.0.113.7. This link is open from 1 address at a time." in moved.text

        seen = await h.get(path, X_Forwarded_For="203.0.113.8")
        assert "The way is still open" in seen.text
        assert not {"also", "form"} & set(_data(seen))
        assert 'id="open" data-auto' in seen.text
        by_six = await h.open(await h.link("Jean"), X_Forwarded_For="2001:db8::1")
        assert "also" not in _data(by_six), "there is no name for IPv4 alone"
        assert "Only IPv6 was opened" in by_six.text
        assert "Everyone on the same line" in by_six.text


@in_loop
async def test_a_used_up_link_is_still_open_and_starts_no_time_again(tmp_path: Path) -> None:
    async with house(tmp_path, **BEHIND_A_PROXY) as h:
        path = await h.link("Mamie", uses=1)
        page = await h.get(path, X_Forwarded_For="203.0.113.7")
        body = f"form={page.form_token}".encode()
        for how in ("The way is open", "The way is still open"):
            answer = await h.post(path, body, Cookie=page.cookie, X_Forwarded_For="203.0.113.7")
            assert how in answer.text
        assert "used up, so the time does not start again. Ask the person who gave you the link" in answer.text
        assert "also" not in _data(answer)


@in_loop
async def test_moving_on_without_script_is_for_those_without_script(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        opened = await h.open(path := await h.link())
        refresh = '<noscript><meta http-equiv="refresh" content="2; url=https://cloud.example.org/"></noscript>'
        assert opened.text.count(refresh) == opened.text.count("http-equiv") == 1
        assert "http-equiv" not in (await h.get(path)).text


@in_loop
async def test_whose_link_it_is_and_who_to_ask(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = Actor("person:yves", admin=False, address=HERE, person=await h.person("yves", may_link=True))
        links = h.site.access.links
        link = await links.add(yves, "Mamie", ["cloud"], uses=2, pin="4711")
        path = f"/l/{links.token(link)}"
        for page in (await h.get(path), await h.open(path, "1111"), await h.open(path, "4711")):
            assert "For Mamie, from Yves" in page.text
        assert "tell Yves" in page.text
        h.peer.grants.clear()
        await h.open(path, "4711")
        h.peer.grants.clear()
        used_up = await h.get(path)
        assert "Ask Yves for a new one." in used_up.text
        assert "For Mamie, from Yves" in used_up.text
        await links.pause(yves, link.id)
        assert "Ask Yves." in (await h.get(path)).text
        for other in (path[:-1], "/l/none"):
            assert "Yves" not in (await h.get(other)).text
        await links.remove(yves, link.id)
        assert "Yves" not in (await h.get(path)).text
        houses = await h.link()
        await links.pause(Actor.CLI, houses[3:9])
        assert "Ask the person who gave you the link." in (await h.get(houses)).text


@in_loop
async def test_a_banned_visitor_of_a_link_reads_when_to_come_back(tmp_path: Path) -> None:
    async with house(tmp_path, **BEHIND_A_PROXY) as h:
        path = await h.link()
        h.site.access.guard.shut_out(ip_address("203.0.113.66"), 1800)
        answer = await h.get(path, X_Forwarded_For="203.0.113.66")
        assert (answer.status, answer.header("Retry-After")) == (429, "1800")
        assert "Your address is shut out" in answer.text
        assert "Wait 30 minutes" in answer.text
        assert "<form" not in answer.text
        assert (await h.get(path, X_Forwarded_For="203.0.113.67")).status == 200


@in_loop
async def test_a_links_pages_may_reach_what_their_scripts_ask_and_no_other_page_may(tmp_path: Path) -> None:
    async with house(
        tmp_path, url_ipv4="https://open4.example.org:443", url_ipv6="https://open6.example.org:8443"
    ) as h:
        path = await h.link(to="http://Films.example.org:8096/start?x=;script-src")
        ours = "'self' https://open4.example.org https://open6.example.org:8443"

        def connects(answer: Answer) -> str:
            (found,) = re.findall(r"connect-src ([^;]*);", answer.header("Content-Security-Policy"))
            return str(found)

        for page in (await h.get(path), await h.open(path), await h.get(path)):
            assert connects(page) == f"{ours} http://films.example.org:8096"
        for where in ("/", "/sign-in", "/l/none", "/healthz", f"{path}/app.webmanifest", "/nowhere"):
            assert connects(await h.get(where)) == "'self'"
        for odd in ("https://a;sandbox/", "https://*/", "https://a,b/", "https://[::1/"):
            assert web_origin(odd) is None
        page = await h.get(await h.link(to="https://a;sandbox/"))
        assert "sandbox" not in page.header("Content-Security-Policy")


@in_loop
async def test_a_page_leads_to_the_home_screen(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        for page in (await h.get(path), await h.open(path)):
            assert f'<link rel="manifest" href="{path}/app.webmanifest">' in page.text
            icon = re.findall(r'rel="apple-touch-icon" href="([^"]+)"', page.text)[0]
            assert (await h.get(icon)).header("Content-Type") == "image/png"
        assert "manifest" not in (await h.get("/")).text
