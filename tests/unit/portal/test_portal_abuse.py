"""What must grant nothing, grants nothing."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from portal_house import HERE, house, in_loop

from access.actor import Actor

PROXY = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}
FORM = "application/x-www-form-urlencoded"


@in_loop
async def test_a_thousand_fetches_grant_nothing_and_a_post_grants_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link(uses=2)
        for number in range(1_000):
            kind = [
                {},
                {"Purpose": "prefetch"},
                {"Sec_Purpose": "prefetch;prerender"},
                {"User_Agent": "WhatsApp/2"},
            ]
            answer = await h.get(path, "HEAD" if number % 2 else "GET", **kind[number % 4])
            assert answer.status == 200
            assert bool(answer.body) == (number % 2 == 0)
        assert h.peer.grants == {}
        assert {request["verb"] for request in h.peer.asked} == {"list", "watch"}
        assert (await h.open(path)).status == 200
        assert list(h.peer.grants) == [("cloud", HERE, h.site.access.links.list(Actor.CLI)[0].holder)]


@in_loop
async def test_head_answers_as_get_does(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for path in ("/", await h.link(), "/healthz", "/l/none", "/nowhere"):
            got, head = await h.get(path), await h.get(path, "HEAD")
            assert head.status == got.status, path
            assert head.body == b""
            assert head.header("Content-Length") == str(len(got.body))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "https://open.example.org.evil.example"},
        {"Origin": "https://open.example.org:444"},
        {"Origin": "file://open.example.org"},
        {"Origin": ""},
    ],
    ids=str,
)
@in_loop
async def test_a_post_from_another_site_grants_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        page = await h.get(path)
        answer = await h.post(path, f"form={page.form_token}".encode(), Cookie=page.cookie, **headers)
        assert answer.status == 403
        assert "another site" in answer.text
        assert h.peer.grants == {}


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "same-origin", "Origin": "null"}, {"Origin": "https://open.example.org"}],
    ids=str,
)
@in_loop
async def test_what_browsers_send_from_our_page_passes(tmp_path: Path, headers: dict[str, str]) -> None:
    async with house(tmp_path) as h:
        assert (await h.open(await h.link(), **headers)).status == 200
        assert len(h.peer.grants) == 1


@in_loop
async def test_a_form_token_is_for_one_browser_one_link_and_twelve_hours(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path, other = await h.link("Mamie"), await h.link("Jean")
        page, page_of_other = await h.get(path), await h.get(other)
        good, cookie = page.form_token, page.cookie
        for token, sent in [
            (good, ""),  # no cookie
            (good, page_of_other.cookie),  # another browser's
            (page_of_other.form_token, cookie),  # another link's and browser's
            (good[:-1] + ("a" if good[-1] != "a" else "b"), cookie),
            ("9" * 10 + good[10:], cookie),  # its end moved
            ("", cookie),
            ("x", cookie),
        ]:
            answer = await h.post(path, f"form={token}".encode(), Cookie=sent or "a=b")
            assert (answer.status, h.peer.grants) == (403, {}), (token, sent)
            assert answer.form_token
        # The same browser's token of another link
        same_browser = await h.get(other, Cookie=cookie)
        assert same_browser.header("Set-Cookie") == ""
        answer = await h.post(path, f"form={same_browser.form_token}".encode(), Cookie=cookie)
        assert (answer.status, h.peer.grants) == (403, {})
        h.now[0] += 12 * 3600
        assert (await h.post(path, f"form={good}".encode(), Cookie=cookie)).status == 403
        assert h.peer.grants == {}
        h.now[0] -= 1
        assert (await h.post(path, f"form={good}".encode(), Cookie=cookie)).status == 200
        assert len(h.peer.grants) == 1


@in_loop
async def test_the_page_that_refuses_a_form_brings_one_that_works(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        refused = await h.post(path, b"form=old")
        assert refused.status == 403
        assert "data-auto" not in refused.text, "must not post again by itself"
        again = await h.post(path, f"form={refused.form_token}".encode(), Cookie=refused.cookie)
        assert again.status == 200
        assert len(h.peer.grants) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (415, b"form=x", {"Content_Type": "application/json"}),
        (415, b"form=x", {"Content_Type": "multipart/form-data; boundary=x"}),
        (415, b"form=x", {"Content_Type": "text/plain"}),
        (415, b"form=x", {"Content_Type": ""}),
        (415, b"form=x", {"Content_Type": FORM + "; charset=utf-16"}),
        (400, b"", {}),
        (400, b"pin=1234", {}),
        (400, b"form=x&form=y", {}),
        (400, b"form=x&pin=1&pin=2", {}),
        (400, b"form=x&more=1", {}),
        (400, b"form=x&" * 50, {}),
        (400, b"form=%ff%fe", {}),
        (400, b"form=\xff\xfe", {}),
        (400, b"form", {}),
        (400, b"\x00" * 100, {}),
        (400, b"form=" + b"x" * 200, {}),
        (400, b"form=x&pin=" + b"1" * 300, {}),
        (413, b"form=" + b"x" * 20_000, {}),
        (400, b"form=x", {"Content_Length": "nine"}),
    ],
    ids=lambda value: str(value)[:40],
)
@in_loop
async def test_bad_bodies_are_answered_and_grant_nothing(
    tmp_path: Path, status: int, body: bytes, headers: dict[str, str]
) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        page = await h.get(path)
        # The first refusal is for the body, although the token would be good too
        body = body.replace(b"form=x", f"form={page.form_token}".encode())
        answer = await h.post(path, body, Cookie=page.cookie, **headers)
        assert answer.status == status
        assert h.peer.grants == {}
        if "Content_Length" not in headers:
            assert "Nothing was opened" in answer.text
        assert (await h.open(path)).status == 200, "the portal goes on"


@in_loop
async def test_methods_that_are_not_ours(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
            answer = await h.get(path, method)
            assert answer.status in {400, 404, 405}, method
        assert (await h.get(path, "PUT")).header("Allow") == "GET,HEAD,POST"
        assert (await h.post("/", b"form=x")).status == 405
        assert h.peer.grants == {}


@in_loop
async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        assert (await h.open(await h.link(), X_Forwarded_For="203.0.113.7")).status == 200
        assert [key[1] for key in h.peer.grants] == [HERE]
    (tmp_path / "2").mkdir()
    async with house(tmp_path / "2", **PROXY) as h:
        # What the client itself put in front of the proxy's word does not count
        assert (
            await h.open(await h.link(), X_Forwarded_For="10.1.1.1, 203.0.113.7, 127.0.0.9")
        ).status == 200
        assert [key[1] for key in h.peer.grants] == ["203.0.113.7"]


@pytest.mark.parametrize(
    "value", [None, "", "unknown", "203.0.113.7 evil", "203.0.113.7,", "1.2.3", "fe80::1%eth0"]
)
@in_loop
async def test_a_missing_or_garbled_header_from_a_trusted_proxy_grants_nothing(
    tmp_path: Path, value: str | None
) -> None:
    async with house(tmp_path, **PROXY) as h:
        path = await h.link()
        good = await h.get(path, X_Forwarded_For="203.0.113.7")
        headers = {} if value is None else {"X_Forwarded_For": value}
        for answer in (
            await h.get(path, **headers),
            await h.post(path, f"form={good.form_token}".encode(), Cookie=good.cookie, **headers),
            await h.get("/", **headers),
        ):
            assert answer.status == 400
            assert "Your address cannot be told" in answer.text
        assert h.peer.grants == {}
