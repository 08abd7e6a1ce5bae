"""Every route says who may pass; every form is ours, of this session or browser, or nothing happens."""

import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from portal_house import PASSWORD, Browser, house, in_loop

from portal.client_address import Peer

FOREIGN = [
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://open.example.org.evil.example"},
    {"Origin": "http://open.example.org:81"},
    {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
]


@in_loop
async def test_the_door_knows_every_route(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        added = {
            (route.method, route.resource.canonical)
            for route in h.door.app.router.routes()
            if route.method != "HEAD" and route.resource is not None
        }
        assert added == {(route.method, route.path) for route in h.door.routes}
        assert len(added) == len(h.door.routes)
        for route in h.door.routes:
            signed_in = re.match("/(me|admin|sign-out)(/|$)", route.path) is not None
            assert (route.who in {"person", "admin"}) == signed_in, route
            assert (route.who == "admin") == route.path.startswith("/admin"), route


def filled(path: str) -> str:
    """A route's path with something in its places."""
    return path.replace("{token}", "x").replace("{id}", "abcdef").replace("{name}", "mamie")


@in_loop
async def test_who_is_not_signed_in_gets_nowhere(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie")
        for cookie in (
            "",
            "__Host-safeip-session=" + "A" * 43,
            "__Host-safeip-session=x",
            "safeip-session=" + "A" * 43,
        ):
            for route in h.door.routes:
                if route.who not in {"person", "admin"}:
                    continue
                path = filled(route.path)
                if route.method == "GET":
                    answer = await h.get(path, Cookie=cookie or "a=b")
                    assert answer.status == 303, path
                    assert answer.header("Location") == f"/sign-in?next={path}"
                    assert (await h.get(path, "HEAD", Cookie=cookie or "a=b")).status == 303
                else:
                    answer = await h.post(path, b"form=x", Cookie=cookie or "a=b")
                    assert answer.status == 403, path
                    assert "You are not signed in any more" in answer.text


@in_loop
async def test_a_member_is_no_admin(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        for route in [route for route in h.door.routes if route.who == "admin"]:
            path = filled(route.path)
            if route.method == "GET":
                answer = await mamie.get(path)
            else:
                token = (await mamie.get("/me")).form_token
                answer = await mamie.send(path, f"form={token}".encode())
            assert answer.status == 403, path
            assert "This is not yours to do" in answer.text


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@in_loop
async def test_a_post_from_another_site_does_nothing(tmp_path: Path, headers: Mapping[str, str]) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        token = (await mamie.get("/me")).form_token
        answer = await mamie.send("/me/open", f"form={token}&services=cloud".encode(), **headers)
        assert answer.status == 403
        assert "another site" in answer.text
        answer = await mamie.send("/sign-out", f"form={token}".encode(), **headers)
        assert answer.status == 403
        assert await mamie.is_signed_in()
        assert h.peer.grants == {}
        stranger = Browser(h)
        page = await stranger.get("/sign-in")
        body = f"form={page.form_token}&name=mamie&password={PASSWORD}".replace(" ", "+").encode()
        answer = await stranger.send("/sign-in", body, **headers)
        assert answer.status == 403
        assert stranger.session is None


@in_loop
async def test_a_form_is_of_one_session_and_twelve_hours(tmp_path: Path) -> None:
    async with house(tmp_path, session_idle_s=30 * 86400) as h:
        mamie, jean = await h.signed_in("mamie"), await h.signed_in("jean")
        again = Browser(h)
        await again.sign_in("mamie")
        mine = (await mamie.get("/me")).form_token
        for token in [
            (await jean.get("/me")).form_token,  # another person's
            (await again.get("/me")).form_token,  # the same person's in another session
            (await Browser(h).get("/sign-in")).form_token,  # nobody's
            mine[:-1] + ("a" if mine[-1] != "a" else "b"),
            "9" * 10 + mine[10:],
            "x",
        ]:
            answer = await mamie.send("/me/open", f"form={token}&services=cloud".encode())
            assert (answer.status, h.peer.grants) == (403, {}), token
        for status, body in ((400, b"services=cloud"), (403, b"form=&services=cloud")):
            assert (await mamie.send("/me/open", body)).status == status
        h.now[0] += 12 * 3600
        assert (await mamie.send("/me/open", f"form={mine}&services=cloud".encode())).status == 403
        h.now[0] -= 1
        assert (await mamie.send("/me/open", f"form={mine}&services=cloud".encode())).status == 303
        assert len(h.peer.grants) == 1


@in_loop
async def test_a_form_for_anybody_is_of_one_browser_and_one_page(tmp_path: Path) -> None:
    async with house(tmp_path, registration="approval") as h:
        await h.person("mamie")
        mine, other = Browser(h), Browser(h)
        typed = f"name=mamie&password={PASSWORD}&code=".replace(" ", "+")
        await mine.get("/sign-in")
        for token in [
            (await other.get("/sign-in")).form_token,
            (await mine.get("/ask")).form_token,
            (await mine.get(await h.link())).form_token,
            "x",
        ]:
            answer = await mine.send("/sign-in", f"form={token}&{typed}".encode())
            assert answer.status == 403
            assert mine.session is None
            assert "too old" in answer.text
        good = (await mine.get("/sign-in")).form_token
        without_cookie = await h.post("/sign-in", f"form={good}&{typed}".encode())
        assert without_cookie.status == 403
        assert (await mine.send("/sign-in", f"form={good}&{typed}".encode())).status == 303
        assert mine.session


@in_loop
async def test_bodies_that_are_not_the_form(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        token = (await mamie.get("/me")).form_token
        good = f"form={token}&services=cloud"
        for status, body, headers in [
            (415, good, {"Content_Type": "application/json"}),
            (415, good, {"Content_Type": "text/plain"}),
            (415, good, {"Content_Type": "multipart/form-data; boundary=x"}),
            (400, good + "&holder=cli", {}),
            (400, good + "&address=203.0.113.7&address=203.0.113.8", {}),
            (400, good + "&address=%ff", {}),
            (413, good + "&address=" + "x" * 17_000, {}),
        ]:
            answer = await mamie.send("/me/open", body.encode(), **headers)
            assert answer.status == status, body[:60]
            assert h.peer.grants == {}


@in_loop
async def test_the_way_back_is_a_page_of_ours_or_none(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie")
        for wanted, led in [
            ("/me", "/me"),
            ("/me/links", "/me/links"),
            ("/me/links/abcdef", "/me/links/abcdef"),
            ("/me/sessions", "/me/sessions"),
        ] + [
            (bad, "/me")
            for bad in (
                "",
                "/",
                "//evil.example",
                "//evil.example/me",
                "///me",
                "/\\evil.example",
                "\\\\evil.example",
                "https://evil.example",
                "https:/evil.example/me",
                "javascript:alert(1)",
                "/me?x=https://evil.example",
                "/me#x",
                "/me/",
                "/me//links",
                "/me/..//evil.example",
                "/me/links/..",
                "/me/links/.",
                "/me%2f%2fevil.example",
                "%2f%2fevil.example",
                "/me\r\nSet-Cookie: a=b",
                "/me\n",
                "/me\t",
                " /me",
                "/me ",
                "/sign-out",
                "/me/open",
                "/sign-in",
                "/l/x",
                "/invitation/x",
                "/nowhere",
                "/me\u2215x",
                "/me/links/" + "x" * 300,
                "me",
                "/ME",
            )
        ]:
            browser = Browser(h)
            answer = await browser.sign_in("mamie", next=wanted)
            assert answer.status == 303, wanted
            assert answer.header("Location") == led, wanted
            parts = urlsplit(answer.header("Location"))
            assert (parts.scheme, parts.netloc, parts.query) == ("", "", "")


@in_loop
async def test_the_way_back_is_checked_on_the_page_too(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for bad in (
            "//evil.example",
            "https://evil.example",
            "/%0d%0aSet-Cookie:%20a=b",
            "%2Fme%22%3E%3Cscript%3E",
        ):
            page = await h.get(f"/sign-in?next={bad}")
            assert page.status == 200
            assert "evil" not in page.text
            assert 'name="next" value=""' in page.text
            assert "a=b" not in page.header("Set-Cookie")
        assert 'name="next" value="/me/links"' in (await h.get("/sign-in?next=/me/links")).text
        sent = await h.get("/me/links?x=//evil.example")
        assert sent.header("Location") == "/sign-in?next=/me/links"
        mamie = await h.signed_in("mamie")
        assert (await mamie.get("/sign-in?next=//evil.example")).header("Location") == "/me"


@in_loop
async def test_a_banned_address_may_post_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        token = (await mamie.get("/me")).form_token
        page = await Browser(h).get("/sign-in")
        for number in range(10):
            visitor = h.site.clients.visitor(Peer("127.0.0.1"), ())
            h.site.access.guard.count("link", visitor.address, trusted=False, guess=str(number))
        answer = await mamie.send("/me/open", f"form={token}&services=cloud".encode())
        assert answer.status == 429
        assert int(answer.header("Retry-After")) > 0
        assert (
            await h.post("/sign-in", f"form={page.form_token}".encode(), Cookie=page.cookie)
        ).status == 429
        assert h.peer.grants == {}


@in_loop
async def test_guessing_links_bans_but_not_from_a_trusted_network(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        page = await Browser(h).get("/sign-in")
        body = f"form={page.form_token}".encode()
        for _ in range(30):
            await h.get("/l/the-same-old-link")
        assert (await h.post("/sign-in", body, Cookie=page.cookie)).status == 403, (
            "the same guess is one strike"
        )
        for number in range(10):
            assert (await h.get(f"/l/abcdef-{number}")).status == 404
        assert (await h.post("/sign-in", body, Cookie=page.cookie)).status == 429
        assert list(h.peer.bans) == ["127.0.0.1"]
    (tmp_path / "2").mkdir()
    async with house(tmp_path / "2", trusted_networks=(ip_network("127.0.0.0/8"),)) as h:
        page = await Browser(h).get("/sign-in")
        for number in range(25):
            await h.get(f"/l/abcdef-{number}")
        assert (
            await h.post("/sign-in", f"form={page.form_token}".encode(), Cookie=page.cookie)
        ).status == 403
        assert h.peer.bans == {}


@in_loop
async def test_every_answer_is_stored_nowhere_and_carries_the_headers(tmp_path: Path) -> None:
    def more(app: web.Application) -> None:
        async def broken(_request: web.Request) -> web.Response:
            raise RuntimeError("what nobody may read")

        app.router.add_get("/broken", broken)

    async with house(tmp_path, more=more, registration="approval") as h:
        mamie = await h.signed_in("mamie", totp=True, may_link=True)
        token = (await mamie.get("/me")).form_token
        answers = [
            await mamie.get(filled(route.path))
            for route in h.door.routes
            if route.method == "GET" and "static" not in route.path
        ]
        answers += [
            await h.get(filled(route.path))
            for route in h.door.routes
            if route.method == "GET" and "static" not in route.path
        ]
        answers += [
            await mamie.get("/broken"),
            await mamie.get("/me", "PUT"),
            await mamie.get("/nowhere"),
            await mamie.send("/me/open", b"x"),
            await mamie.send("/me/open", f"form={token}".encode()),
            await mamie.send("/me/open", f"form={token}&services=cloud".encode()),
            await h.post("/sign-out", b"form=x"),
        ]
        assert {answer.status for answer in answers} >= {200, 303, 400, 403, 404, 405, 422, 500}
        for answer in answers:
            assert answer.header("Cache-Control") == "no-store"
            assert answer.header("X-Content-Type-Options") == "nosniff"
            assert answer.header("Referrer-Policy") == "no-referrer"
            assert "frame-ancestors 'none'" in answer.header("Content-Security-Policy")
            assert answer.header("Server") == ""
            assert len(answer.body) < 64_000
            assert "what nobody may read" not in answer.text
            # Nothing inline: the policy would not run it, and it would look broken
            assert " style=" not in answer.text
            assert " onclick=" not in answer.text
            assert answer.text.count("<script") == answer.text.count('<script type="module" src="/static/')


@in_loop
async def test_a_page_is_small(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", may_link=True)
        for path, most in (("/", 4_000), ("/sign-in", 4_000), ("/me", 8_000), ("/me/links", 9_000)):
            assert len((await mamie.get(path)).body) < most, path
