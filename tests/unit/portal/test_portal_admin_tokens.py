"""The admin's tokens on pages: made, shown once, listed, removed."""

import re
from pathlib import Path

import pytest
from portal_house import Browser, House, ask, house, in_loop

from access.actor import Actor

TEXT = re.compile(r"safeip_([a-z2-7]{6})_([a-z2-7]{26})")
NEW = {"label": "Mamie’s router", "scopes": ["grant:self", "read"], "services": ["cloud"], "expires": "365d", "for": "2h"}  # noqa: RUF001


async def made(h: House, yves: Browser, **typed: "str | list[str]") -> str:
    """A token's text, by the form."""
    answer = await yves.post("/admin/tokens", {**NEW, **typed})
    assert answer.status == 200
    found = TEXT.search(answer.text)
    assert found
    return found[0]


@in_loop
async def test_a_token_is_shown_once_and_acts(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        answer = await yves.post("/admin/tokens", NEW)
        assert (answer.status, answer.header("Cache-Control")) == (200, "no-store")
        found = TEXT.search(answer.text)
        assert found
        text, secret = found[0], found[2]
        assert f'readonly value="{text}"' in answer.text
        assert f'data-copy="{text}"' in answer.text
        (token,) = h.site.access.tokens.list(Actor.CLI)
        assert (token.label, token.scopes, token.services) == (NEW["label"], ("read", "grant:self"), ("cloud",))
        assert token.duration_s == 7200
        assert token.expires_at == token.created_at + 365 * 86400
        for path in ("/admin/tokens", "/admin/history", f"/admin/tokens/{token.id}/remove"):
            page = await yves.get(path)
            assert page.status == 200
            assert secret not in page.text
        for file in (tmp_path / "state").iterdir():
            assert secret not in file.read_text(), file
        bearer = {"Authorization": f"Bearer {text}"}
        assert (await ask(h.public, "PUT", "/api/v1/grants/cloud/self", bearer)).status == 201
        listed = await yves.get("/admin/tokens")
        assert 'href="/admin/history?address=' in listed.text
        assert token.id in listed.text
        history = await yves.get("/admin/history")
        assert "Token made" in history.text
        assert '<a href="/admin/tokens">Mamie’s router</a> <span class="tag">token</span>' in history.text  # noqa: RUF001


@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ({"label": ""}, ["label"]),
        ({"label": 'a"b'}, ["label"]),
        ({"scopes": []}, ["scopes"]),
        ({"scopes": ["root"]}, ["scopes"]),
        ({"services": []}, ["services"]),
        ({"services": ["nothing"]}, ["services"]),
        ({"scopes": [], "services": []}, ["scopes", "services"]),
        ({"expires": "soon"}, ["expires"]),
        ({"for": "-1h"}, ["for"]),
        ({"services": ["game"], "for": "48h"}, ["for"]),
    ],
    ids=str,
)
@in_loop
async def test_what_is_wrong_stands_beside_its_field(
    tmp_path: Path, typed: dict[str, "str | list[str]"], fields: list[str]
) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        answer = await yves.post("/admin/tokens", {**NEW, **typed})
        assert answer.status == 422
        assert re.findall(r'class="error" id="(\w+)-error"', answer.text) == fields
        assert not TEXT.search(answer.text)
        assert h.site.access.tokens.list(Actor.CLI) == []


@in_loop
async def test_all_services_are_chosen_by_a_word_of_their_own(tmp_path: Path) -> None:
    """Who ticks nothing gets nothing, not everything."""
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        await made(h, yves, services=["*", "cloud"], scopes="admin", expires="", **{"for": ""})
        (token,) = h.site.access.tokens.list(Actor.CLI)
        assert (token.services, token.expires_at, token.duration_s) == (None, None, None)
        page = (await yves.get("/admin/tokens")).text
        assert "Administer" in page
        assert ">all<" in page
        assert ">never<" in page


@in_loop
async def test_removing_asks_and_closes(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        text = await made(h, yves)
        bearer = {"Authorization": f"Bearer {text}"}
        assert (await ask(h.public, "PUT", "/api/v1/grants/cloud/self", bearer)).status == 201
        assert len(h.peer.grants) == 1
        place = f"/admin/tokens/{text[7:13]}/remove"
        assert "Remove the token for Mamie’s router?" in (await yves.get(place)).text  # noqa: RUF001
        assert len(h.site.access.tokens.list(Actor.CLI)) == 1, "looking removes nothing"
        removed = await yves.post(place)
        assert removed.header("Location") == "/admin/tokens?done=token-removed"
        assert h.peer.grants == {}
        assert (await ask(h.public, "GET", "/api/v1/token", bearer)).status == 401
        for path in (place, "/admin/tokens/zzzzzz/remove", f"/admin/tokens/{'a' * 5000}/remove"):
            answer = await yves.get(path)
            assert answer.status in {404, 414, 400}, path
        assert (await yves.post(place, page="/admin/tokens")).status == 404
        assert "Token removed" in (await yves.get("/admin/history")).text


@in_loop
async def test_many_are_found(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        for number in range(210):
            await h.site.access.tokens.add(Actor.CLI, f"Router {number}", ["read"])
        page = (await yves.get("/admin/tokens")).text
        assert page.count("/remove") == 200
        assert "10 more" in page
        found = (await yves.get("/admin/tokens?q=ROUTER+20")).text
        assert found.count("/remove") == 11
        assert "No token is like that" in (await yves.get("/admin/tokens?q=%3Cscript%3E")).text


@in_loop
async def test_a_label_is_text(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        answer = await yves.post("/admin/tokens", {**NEW, "label": "<b onclick=x>&'"})
        for page in (answer, await yves.get("/admin/tokens"), await yves.get("/admin/history")):
            assert "<b onclick" not in page.text
            assert "&lt;b onclick=x&gt;" in page.text


@in_loop
async def test_a_full_disk_makes_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        await yves.get("/admin/tokens")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("access.files.os.replace", full, raising=False)
        monkeypatch.setattr("access.files.os.rename", full, raising=False)
        monkeypatch.setattr("access.files.os.fsync", full, raising=False)
        answer = await yves.post("/admin/tokens", NEW)
        monkeypatch.undo()
        assert answer.status >= 500
        assert not TEXT.search(answer.text)
        assert h.site.access.tokens.list(Actor.CLI) == []
