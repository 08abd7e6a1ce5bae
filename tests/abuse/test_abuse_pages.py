"""What another site, a proxy between or a strange request could make of our pages; every route, by the router."""

import gzip
import re
from ipaddress import IPv6Network
from pathlib import Path
from urllib.parse import quote

import pytest
from abuse_town import PASSWORD, Browser, Town, town
from portal_house import in_loop

from access.actor import Actor

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NEW = "nine green herons wade"
CHANGES = {"grant", "revoke", "ban"}


async def everybody(there: Town) -> dict[str, Browser]:
    """Nobody, a member and the admin, each with a page's token."""
    browsers = {"nobody": there.browser(), "member": await there.at("mamie"), "admin": await there.at("ann")}
    for browser in browsers.values():
        await browser.get("/sign-in" if not browser.jar else "/me")
    return browsers


async def filled(there: Town, path: str) -> str:
    """A path with objects in it that are there."""
    links = there.access.links.list(there.actor("mamie"))
    link = links[0] if links else await there.link("mamie")
    if path.startswith("/invitation"):
        await there.access.people.add(Actor.CLI, f"eve{len(there.access.state.people)}")
        name = next(reversed(there.access.state.people))
        return path.replace("{token}", await there.access.people.invite(Actor.CLI, name))
    if path.startswith("/static"):
        return re.findall(r"/static/[^\"]+", (await there.browser().get("/")).text)[0]
    token = there.access.links.token(link)
    if "{ticket}" in path:
        path = path.replace("{ticket}", (await there.access.opening.open(token, IPv6Network("2001:db8::/64"))).ticket)
    path = path.replace("{token}", token)
    return path.replace("{id}", link.id).replace("{name}", "yves")


def snapshot(there: Town) -> tuple[object, ...]:
    state = there.access.state
    return dict(state.people), dict(state.links), dict(there.gate), dict(there.house.peer.bans)


def changes(there: Town) -> int:
    return sum(request["verb"] in CHANGES for request in there.house.peer.asked)


@in_loop
async def test_no_form_is_taken_from_another_site(tmp_path: Path) -> None:
    """Every form there is, by everybody: with no token, another's, another page's, from another site."""
    async with town(tmp_path) as there:
        browsers = await everybody(there)
        foreign = (await there.at("yves"), there.browser("198.51.100.1"))
        await foreign[0].get("/me")
        await foreign[1].get("/sign-in")
        tried = 0
        for route in there.routes:
            if route.method != "POST":
                continue
            path = await filled(there, route.path)
            before, asked = snapshot(there), changes(there)
            for who, browser in browsers.items():
                own = browser.token
                page = await browser.get(path)
                good = browser.token if page.status == 200 else own
                sessions = set(there.access.sessions.of("mamie")) | set(there.access.sessions.of("ann"))
                for token, headers in (
                    (None, {}),
                    ("", {"Cookie": "a=b"}),
                    (foreign[0].token, {}),
                    (foreign[1].token, {}),
                    (good, {"Origin": "https://evil.example"}),
                    (good, {"Sec_Fetch_Site": "cross-site"}),
                    (good, {"Sec_Fetch_Site": "same-site"}),
                    (good, {"Content_Type": "text/plain"}),
                    (good, {"Content_Type": "application/json"}),
                    (good, {"Content_Type": "multipart/form-data; boundary=x"}),
                ):
                    answer = await browser.post(path, {}, token=token, **headers)
                    assert answer.status in {400, 401, 403, 415}, (who, path, headers, answer.status)
                    tried += 1
                now = set(there.access.sessions.of("mamie")) | set(there.access.sessions.of("ann"))
                assert {one.digest for one in now} == {one.digest for one in sessions}, path
            assert snapshot(there) == before, path
            assert changes(there) == asked, path
        assert tried > 300


@in_loop
async def test_every_answer_carries_every_header(tmp_path: Path) -> None:
    """Every route and error: no framing, no inline script, no referrer, no sniffing, nothing kept by caches."""
    async with town(tmp_path) as there:
        browsers = await everybody(there)
        seen = set()
        for route in there.routes:
            path = await filled(there, route.path)
            for browser in browsers.values():
                for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
                    answer = await browser.get(path, method)
                    seen.add(answer.status)
                    check_headers(answer, path, method)
        for strange in ("/nowhere", "/l/%00", "/" + "a" * 5000, "/%ff", "/..%2f..%2fetc/passwd"):
            check_headers(await browsers["admin"].get(strange), strange, "GET")
        assert {200, 303, 403, 404, 405} <= seen


def check_headers(answer, path: str, method: str) -> None:
    where = (method, path, answer.status)
    for name, value in ALWAYS.items():
        assert answer.header(name) == value, (where, name)
    policy = answer.header("Content-Security-Policy")
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
        assert part in policy, where
    assert "unsafe" not in policy
    # Nothing foreign is loaded; what a link's page reaches is told in test_portal_link_states.py
    assert "http" not in re.sub(r" connect-src [^;]*;", "", policy)
    assert path.startswith("/l/") or " connect-src 'self';" in policy, where
    assert answer.header("Server") == "", where
    if not path.startswith("/static/"):
        assert answer.header("Cache-Control") == "no-store", where
    assert answer.header("Access-Control-Allow-Origin") == "", where


@in_loop
async def test_pages_hold_no_inline_script_or_style_and_no_foreign_asset(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        browsers = await everybody(there)
        shown = 0
        for route in there.routes:
            if route.method == "POST" or route.path.startswith("/static"):
                continue
            path = await filled(there, route.path)
            for browser in browsers.values():
                answer = await browser.get(path)
                if answer.status != 200 or "html" not in answer.header("Content-Type"):
                    continue
                shown += 1
                text = answer.text
                assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text), path
                assert not re.search(r"\son[a-z]+\s*=", re.sub(r">[^<]*<", "><", text)), path
                assert not re.search(r"<[^>]+\sstyle\s*=", text), path
                assert not re.search(r"<(?:script|link|img|iframe|source|use)[^>]+(?:src|href)=\"(?:https?:)?//", text), path
                assert not re.search(r"<form[^>]+action=\"(?:https?:)?//", text), path
                assert "javascript:" not in text, path
                for tag in re.findall(r"<input[^>]+>", text):
                    if 'name="password"' in tag or 'name="current"' in tag or 'name="new"' in tag:
                        assert 'type="password"' in tag, (path, tag)
                        assert not re.search(r'value="[^"]', tag), (path, tag)
                        assert 'autocomplete="off"' not in tag, "password managers are welcome"
                        assert "onpaste" not in tag
        assert shown > 15


@in_loop
async def test_sign_out_is_on_every_page_that_needs_a_session(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        ann = await there.at("ann")
        shown = 0
        for route in there.routes:
            if route.method == "GET" and route.who != "anyone":
                answer = await ann.get(await filled(there, route.path))
                shown += answer.status == 200
                assert answer.status != 200 or 'action="/sign-out"' in answer.text, route.path
        assert shown > 10


@in_loop
async def test_after_signing_in_nobody_is_sent_to_another_site(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        for number, way in enumerate(
            (
                "https://evil.example/",
                "//evil.example",
                "/\\evil.example",
                "/\t/evil.example",
                "\\\\evil.example",
                "/me/../..//evil.example",
                "/me%2f..%2f/evil",
                "/me?x=https://evil.example",
                "/me#@evil.example",
                "javascript:alert(1)",
                "/sign-out",
                "/static/x/y",
                "/l/aaaaaa-x",
                "/me\r\nSet-Cookie: a=b",
                "/me/" + "a" * 500,
                "http:/evil",
                "me",
                "",
            )
        ):
            browser = there.browser(f"192.0.2.{number + 1}")
            page = await browser.get(f"/sign-in?next={quote(way, safe='')}")
            assert "evil" not in page.text
            answer = await browser.post("/sign-in", {"name": "mamie", "password": PASSWORD, "code": "", "next": way})
            assert answer.status in {303, 400}, way
            if answer.status == 303:
                assert answer.header("Location") in {"/me", "/"}, way
        browser = there.browser()
        sent = await browser.get("/me/links")
        assert sent.header("Location") == "/sign-in?next=/me/links"
        await browser.get(sent.header("Location"))
        answer = await browser.post(
            "/sign-in", {"name": "mamie", "password": PASSWORD, "code": "", "next": "/me/links"}
        )
        assert answer.header("Location") == "/me/links"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8443", "open.example.org.evil.example", "", "a b", "[::1"])
def test_the_host_header_decides_nothing(tmp_path: Path, host: str) -> None:
    in_loop(host_header)(tmp_path, host)


async def host_header(directory: Path, host: str) -> None:
    async with town(directory) as there:
        link = await there.link()
        path = f"/l/{there.access.links.token(link)}"
        ann = await there.at("ann")
        for browser, page in ((there.browser(), path), (there.browser(), "/sign-in"), (ann, "/admin/links")):
            answer = await browser.get(page, Host=host, X_Forwarded_Host="evil.example", X_Forwarded_Proto="http")
            assert "evil" not in answer.text + str(answer.headers)
        ann.headers = {"Host": host}
        await ann.get("/me")
        answer = await ann.post("/sign-out")
        assert answer.status < 500
        assert "evil" not in str(answer.headers)


@in_loop
async def test_a_line_end_in_a_field_begins_no_header_line_or_entry(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mamie = await there.at("mamie")
        bad = 'x\r\nSet-Cookie: a=b\n{"event":"granted"}'
        for path, typed in [
            ("/me/links", {"label": bad, "services": ["cloud"]}),
            ("/me/links", {"label": "x", "services": ["cloud"], "to": f"https://example.org/{bad}"}),
            ("/me/open", {"services": ["cloud"], "address": f"203.0.113.9{bad}"}),
            ("/me/open", {"services": ["cloud" + bad], "address": "203.0.113.9"}),
        ]:
            answer = await mamie.submit("/me/links" if "links" in path else "/me", typed, to=path)
            assert 400 <= answer.status < 500, path
            assert "a=b" not in answer.header("Set-Cookie")
        browser = there.browser("198.51.100.3")
        browser.headers = {"User_Agent": "x\tSet-Cookie: a=b"}
        await browser.sign_in(bad, bad, bad)
        await browser.get(f"/?lang={quote(bad)}&done={quote(bad)}")
        answer = await browser.get(f"/me?done={quote(bad)}")
        assert "a=b" not in str(answer.headers)
        assert all("Set-Cookie" not in str(entry) for entry in await there.access.history.read(100))


@in_loop
async def test_whatever_is_oversized_is_refused_quickly(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        browsers = await everybody(there)
        for route in there.routes:
            if route.method != "POST":
                continue
            path = await filled(there, route.path)
            before = snapshot(there)
            for browser in browsers.values():
                for typed in ({"name": "x" * 20_000}, {f"f{number}": "x" for number in range(1_000)}):
                    answer = await browser.post(path, typed)
                    assert answer.status in {400, 401, 403, 413}, (path, answer.status)
            assert snapshot(there) == before, path
        big = browsers["nobody"]
        for headers in ({"Cookie": "a=" + "b" * 9_000}, {"User_Agent": "x" * 9_000}, {"Accept_Language": "fr," * 3_000}):
            answer = await big.get("/", **headers)
            assert answer.status in {200, 400, 431}
        assert (await big.get("/sign-in?next=/" + "a" * 7_000)).status in {200, 400, 414}


@in_loop
async def test_a_compressed_form_is_not_unpacked(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        link = await there.link()
        path = f"/l/{there.access.links.token(link)}"
        browser = there.browser()
        page = await browser.get(path)
        body = gzip.compress(f"form={page.form_token}".encode())
        headers = browser._headers({"Content_Encoding": "gzip"})
        assert (await there.house.post(path, body, **headers)).status in {400, 415}
        assert there.gate == {}


@in_loop
async def test_what_people_typed_is_shown_as_text(tmp_path: Path) -> None:
    """Markup in labels, messages, addresses, notes and browsers' names, on the pages of those who read them."""
    script = "<script>alert(1)</script><img src=x onerror=alert(1)>'`{{7*7}}${7*7}%(x)s"
    async with town(tmp_path) as there:
        mamie, ann = await there.at("mamie"), await there.at("ann")
        await mamie.submit("/me/links", {"label": script[:60], "services": ["cloud"]})
        stranger = there.browser("198.51.100.1")
        stranger.headers = {"User_Agent": script}
        await stranger.submit("/ask", {"name": "eve", "message": script, "password": NEW, "again": NEW})
        await stranger.sign_in("yves")
        await stranger.get("/me")
        await stranger.submit("/sign-in", {"name": script, "password": script, "code": script})
        shown = ""
        query = f"?who={quote(script)}&event={quote(script)}&done={quote(script)}&lang={quote(script)}"
        for route in there.routes:
            if route.who == "admin" and route.method == "GET":
                for name in ("eve", "yves"):
                    for more in ("", query):
                        answer = await ann.get((await filled(there, route.path)).replace("yves", name) + more)
                        assert answer.status < 500, route.path
                        shown += answer.text
        for browser, path in ((mamie, "/me/links"), (stranger, "/me/sessions"), (stranger, "/sign-in")):
            shown += (await browser.get(path)).text
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
        assert "&lt;script&gt;alert" in shown, "it was shown, as text"
        assert "49" not in re.findall(r"herons.{0,5}49|\$49|\{49", shown)
