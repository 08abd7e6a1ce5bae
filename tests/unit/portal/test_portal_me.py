"""What somebody signed in opens, closes and moves; and what they never see."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from portal_house import HERE, Browser, house, in_loop

from access.actor import Actor
from access.address import parse_address

PROXY = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}


@in_loop
async def test_one_tap_opens_everything_from_here(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", services=("cloud", "game"))
        page = await mamie.get("/me")
        assert page.text.count(" checked") == 2
        answer = await mamie.post("/me/open", {"services": ["cloud", "game"]}, page="/me")
        assert answer.header("Location") == "/me?done=opened"
        assert {key[:2] for key in h.peer.grants} == {("cloud", HERE), ("game", HERE)}
        assert {key[2] for key in h.peer.grants} == {"person:mamie"}
        page = await mamie.get("/me?done=opened")
        assert "The way is open." in page.text
        assert "https://cloud.example.org/" in page.text


@in_loop
async def test_another_address_and_another_time(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        typed = {"services": "cloud", "address": "2001:db8:1::5", "for": "4h"}
        assert (await mamie.post("/me/open", typed, page="/me")).status == 303
        ((key, grant),) = h.peer.grants.items()
        assert key == ("cloud", "2001:db8:1::/64", "person:mamie")
        assert grant["remaining_ms"] == 4 * 3600 * 1000


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"services": "cloud", "address": "my router", "for": "4h"}, "address"),
        ({"services": "cloud", "address": "203.0.113.0/24"}, "address"),
        ({"services": "cloud", "for": "3650d"}, "for"),
        ({"services": "cloud", "for": "soon"}, "for"),
        ({"address": "203.0.113.7"}, "services"),
        ({"services": "game"}, "services"),
        ({"services": ["cloud", "game"]}, "services"),
        ({"services": "<script>"}, "services"),
    ],
    ids=str,
)
@in_loop
async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    tmp_path: Path, typed: dict[str, "str | list[str]"], field: str
) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        answer = await mamie.post("/me/open", typed, page="/me")
        assert answer.status == 422
        assert f'<p class="error" id="{field}-error">' in answer.text
        assert 'aria-invalid="true"' in answer.text
        assert f'{field}-error"' in answer.text.partition("aria-describedby")[2]
        if "address" in typed:
            assert f'value="{typed["address"]}"' in answer.text
        assert "Game" not in answer.text, "a service that is not theirs is not named"
        assert "<script>" not in answer.text
        assert h.peer.grants == {}


@in_loop
async def test_a_member_sees_nothing_of_what_is_not_theirs(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", may_link=True)
        jean = await h.signed_in("jean", services=("game",), may_link=True)
        await jean.post("/me/open", {"services": "game", "address": "203.0.113.9"}, page="/me")
        added = await jean.post("/me/links", {"label": "Console", "services": "game"})
        theirs = added.header("Location").partition("?")[0]
        for path in ("/me", "/me/links", "/me/sessions", "/me/totp", "/me/password", "/"):
            text = (await mamie.get(path)).text
            for word in ("Game", "jean", "Console", "203.0.113.9"):
                assert word not in text, (path, word)
        for path in (theirs, f"{theirs}/rotate", f"{theirs}/remove"):
            missing = await mamie.get(path)
            assert missing.status == 404
            assert missing.text == (await mamie.get(path.replace(theirs, "/me/links/aaaaaa"))).text
        before = h.site.access.links.list(Actor.CLI)
        for verb in ("pause", "resume", "rotate", "remove"):
            assert (await mamie.post(f"{theirs}/{verb}", page="/me")).status == 404
        assert h.site.access.links.list(Actor.CLI) == before
        # Closing at an address closes one's own alone
        assert (
            await mamie.post("/me/close", {"address": "203.0.113.9", "service": "game"}, page="/me")
        ).status == 303
        assert (await mamie.post("/me/close", {"address": "203.0.113.9"}, page="/me")).status == 303
        assert list(h.peer.grants) == [("game", "203.0.113.9", "person:jean")]
        await mamie.post("/me/move", {"address": "203.0.113.9"}, page="/me")
        assert list(h.peer.grants) == [("game", "203.0.113.9", "person:jean")]


@in_loop
async def test_an_admins_own_page_closes_only_their_own(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        await h.gate.grant({"cloud": 60}, parse_address(HERE, 64), holder="link:abcdef", note="x")
        await yves.post("/me/open", {"services": "cloud"}, page="/me")
        await yves.post("/me/close", {"address": HERE}, page="/me")
        assert list(h.peer.grants) == [("cloud", HERE, "link:abcdef")]


@in_loop
async def test_without_an_address_nothing_is_closed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        await yves.post("/me/open", {"services": "cloud"}, page="/me")
        for path in ("/me/close", "/me/move"):
            for address in ("", "x", "0.0.0.0/0"):
                assert (await yves.post(path, {"address": address}, page="/me")).status == 422
        assert len(h.peer.grants) == 1


@in_loop
async def test_who_has_moved_is_offered_to_take_it_along(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await h.person("mamie")
        phone = Browser(h, X_Forwarded_For="203.0.113.7")
        await phone.sign_in("mamie")
        await phone.post("/me/open", {"services": "cloud"}, page="/me")
        assert "I have moved" not in (await phone.get("/me")).text
        phone.headers = {"X_Forwarded_For": "198.51.100.4"}
        page = await phone.get("/me")
        assert "I have moved" in page.text
        assert (await phone.post("/me/move", {"address": "203.0.113.7"}, page="/me")).status == 303
        assert [key[1] for key in h.peer.grants] == ["198.51.100.4"]
        assert "I have moved" not in (await phone.get("/me")).text
        # The other family is not a move: the same household has both
        phone.headers = {"X_Forwarded_For": "2001:db8::1"}
        assert "I have moved" not in (await phone.get("/me")).text


@in_loop
async def test_from_a_trusted_network_an_address_has_to_be_typed(tmp_path: Path) -> None:
    async with house(tmp_path, trusted_networks=(ip_network("127.0.0.0/8"),)) as h:
        mamie = await h.signed_in("mamie")
        assert "Always open from here" in (await mamie.get("/me")).text
        answer = await mamie.post("/me/open", {"services": "cloud"}, page="/me")
        assert answer.status == 422
        assert 'id="address-error"' in answer.text
        answer = await mamie.post("/me/open", {"services": "cloud", "address": "203.0.113.7"}, page="/me")
        assert answer.status == 303
        assert [key[1] for key in h.peer.grants] == ["203.0.113.7"]


@pytest.mark.parametrize(
    ("code", "status"),
    [("too-many", 503), ("special-address", 422), ("kernel", 503)],
)
@in_loop
async def test_what_the_gate_refuses_is_said(tmp_path: Path, code: str, status: int) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        h.peer.refuse = (code, "no")
        assert (await mamie.post("/me/open", {"services": "cloud"}, page="/me")).status == status
        typed = {"services": "cloud", "address": "203.0.113.7"}
        answer = await mamie.post("/me/open", typed, page="/me")
        assert answer.status == (503 if code == "too-many" else 422)


@in_loop
async def test_a_double_post_opens_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        token = (await mamie.get("/me")).form_token
        body = f"form={token}&services=cloud".encode()
        assert [(await mamie.send("/me/open", body)).status for _ in range(2)] == [303, 303]
        assert len(h.peer.grants) == 1


@in_loop
async def test_links_of_ones_own(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", may_link=True)
        added = await mamie.post(
            "/me/links", {"label": "Jean", "services": "cloud", "expires": "7d", "uses": "3", "pin": "4711"}
        )
        assert added.status == 303, added.text
        path = added.header("Location").partition("?")[0]
        page = await mamie.get(path)
        (link,) = h.site.access.links.list(Actor.CLI)
        url = h.site.link_url(h.site.access.links.token(link))
        assert f'value="{url}"' in page.text
        assert 'class="qr"' in page.text
        assert "4711" not in page.text
        assert (link.owner, link.label, link.uses, link.services) == ("mamie", "Jean", 3, ("cloud",))
        assert (await mamie.post(f"{path}/pause", page=path)).header("Location") == f"{path}?done=link-paused"
        assert "paused" in (await mamie.get(path)).text
        await mamie.post(f"{path}/resume", page=path)
        await mamie.post(f"{path}/rotate")
        assert url not in (await mamie.get(path)).text
        assert (await mamie.post(f"{path}/remove")).header("Location") == "/me/links?done=link-removed"
        assert h.site.access.links.list(Actor.CLI) == []


@in_loop
async def test_a_link_that_is_wrong_keeps_what_was_typed_but_not_the_pin(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", may_link=True)
        for typed, field in (
            ({"label": 'a"b', "services": "cloud"}, "label"),
            ({"label": "", "services": "cloud"}, "label"),
            ({"label": "Jean"}, "services"),
            ({"label": "Jean", "services": "game"}, "services"),
            ({"label": "Jean", "services": "cloud", "uses": "many"}, "uses"),
            ({"label": "Jean", "services": "cloud", "uses": "0"}, "uses"),
            ({"label": "Jean", "services": "cloud", "pin": "12"}, "pin"),
            ({"label": "Jean", "services": "cloud", "for": "365d"}, "for"),
        ):
            answer = await mamie.post("/me/links", {"pin": "471199", **typed})
            assert answer.status == 422, typed
            assert f'id="{field}-error"' in answer.text, typed
            assert "471199" not in answer.text
            assert "Game" not in answer.text
        assert h.site.access.links.list(Actor.CLI) == []


@in_loop
async def test_who_may_make_no_links_has_no_such_page(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        assert "/me/links" not in (await mamie.get("/me")).text
        assert (await mamie.get("/me/links")).status == 403
        assert (await mamie.post("/me/links", {"label": "x", "services": "cloud"}, page="/me")).status == 403
        assert h.site.access.links.list(Actor.CLI) == []


@in_loop
async def test_home(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        assert 'href="/sign-in"' in (await h.get("/")).text
        assert "/ask" not in (await h.get("/")).text
        mamie = await h.signed_in("mamie")
        assert (await mamie.get("/")).header("Location") == "/me"


@in_loop
async def test_pages_speak_french(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", may_link=True)
        mamie.headers = {"Accept_Language": "fr"}
        answer = await mamie.post("/me/open", {"services": "cloud", "address": "x"}, page="/me")
        assert "Ce n\u2019est pas une adresse" in answer.text
        assert "Que faut-il ouvrir" in answer.text
        assert "Indiquez" in (await mamie.post("/me/links", {"services": "cloud"})).text
