"""The admin's pages as they read: a person and where they are, sentences."""

import re
from html import unescape
from pathlib import Path

import pytest
from portal_house import Browser, House, house, in_loop

from access.actor import Actor
from access.opened import Reason
from access.person import Person
from access.state import Tables
from portal.agents import browser_and_system
from portal.api_problem import OF_GOOD_TOKENS
from portal.events import EventKeeper


@in_loop
async def test_a_repair_is_told_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        EventKeeper(h.site.access.history)({"event": "repaired", "grants": 7, "ms": 3})
        assert "7 grants back in 3 ms" in (await yves.get("/admin/history")).text
        assert "7 accès rétablis en 3 ms" in (await yves.get("/admin/history", Accept_Language="fr")).text


@in_loop
async def test_why_a_link_was_refused_is_told_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        for reason in Reason:
            h.site.access.history.record("link-refused", outcome="refused", reason=reason.value)
        for language in h.site.pages.languages:
            page = (await yves.get("/admin/history", Accept_Language=language)).text
            assert page.count("<tr") > len(Reason)
            assert re.findall(r'<span lang="en">([^<]*)</span>', page) == []


@in_loop
async def test_why_a_token_was_refused_is_told_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        for reason in OF_GOOD_TOKENS:
            h.site.access.history.record("refused", outcome="refused", by="token:k3v9aa", reason=reason)
        for language in h.site.pages.languages:
            page = (await yves.get("/admin/history?event=refused", Accept_Language=language)).text
            assert page.count("<tr") > len(OF_GOOD_TOKENS)
            assert re.findall(r'<span lang="en">([^<]*)</span>', page) == []
        assert "A token's request refused" in (await yves.get("/admin/history")).text


@in_loop
async def test_a_record_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        keep = EventKeeper(h.site.access.history)
        keep({"event": "unrecorded", "error": "grants.jsonl cannot be written (No space left on device)"})
        keep({"event": "recorded"})
        page = (await yves.get("/admin/history")).text
        assert "What is open cannot be saved for the next start" in page
        assert "No space left on device" in page
        assert "What is open is saved for the next start again" in page


@in_loop
@pytest.mark.parametrize(("wan", "said"), [((), "Strangers may be let in"), (("eth0",), "cannot be let in")])
async def test_a_router_that_hides_who_comes_is_told_while_it_is_known(tmp_path: Path, wan: tuple[str, ...], said: str) -> None:
    async with house(tmp_path, wan=wan) as h:
        yves = await h.signed_in("yves", admin=True)
        assert said not in (await yves.get("/admin")).text
        latest = [{"address": f"192.168.1.{number}", "connections": 3, "last_ms": 5} for number in range(1, 5)]
        h.peer.status["masks"] = {"count": 12, "latest": latest}
        page = (await yves.get("/admin")).text
        assert said in page
        assert "192.168.1.1, 192.168.1.2, 192.168.1.3, … (12)" in page


@in_loop
async def test_an_invitation_opened_anew_shows_its_person_and_makes_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        await h.person("mamie")
        made = await yves.post("/admin/people/mamie/invite", page="/admin/people/mamie")
        (path,) = set(re.findall(r"https://open\.example\.org(/invitation/[^\"]+)", made.text))
        state = (tmp_path / "state/state.json").read_bytes()
        for method in ("GET", "HEAD"):
            again = await yves.get("/admin/people/mamie/invite?lang=fr", method)
            assert again.status == 200
            assert path not in again.text
        assert "Une invitation est valable" in (await yves.get("/admin/people/mamie/invite")).text
        assert (tmp_path / "state/state.json").read_bytes() == state
        assert (await h.get(path)).status == 200


@in_loop
async def test_as_many_people_as_there_may_be(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)

        def edit(tables: Tables) -> None:
            for number in range(999):
                tables.people[f"guest{number}"] = Person(f"guest{number}", "member", 1, era="x")

        await h.site.access.state.commit(edit)
        page = (await yves.get("/admin/people")).text
        assert page.count('<th scope="row">') == 200
        assert "There are 800 more" in page
        assert len(page) < 150_000
        page = (await yves.get("/admin/people?q=Guest99")).text
        assert page.count('<th scope="row">') == 10
        assert "more: search" not in page
        assert "Nobody has such a name" in (await yves.get("/admin/people?q=%3Cb%3E")).text


@in_loop
async def test_a_persons_page_leads_to_what_they_do(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        phone = Browser(
            h, **{"User-Agent": "Mozilla/5.0 (Linux; Android 14) Chrome/122.0.6261.64 Safari/537"}
        )
        await h.person("mamie", may_link=True)
        await phone.sign_in("mamie")
        await phone.post("/me/open", {"services": "cloud"}, page="/me")
        await phone.post("/me/links", {"label": "Papi", "services": "cloud"})
        await h.person("ann", admin=True, totp=False)
        page = (await yves.get("/admin/people/mamie")).text
        assert '<td data-label="Browser">Chrome on Android</td>' in page
        for path, said in (
            ("/admin?q=mamie", "127.0.0.1"),
            ("/admin/links?q=mamie", "Papi"),
            ("/admin/history?who=mamie", "Signed in"),
        ):
            assert f'href="{path}"' in page
            assert said in (await yves.get(path)).text
        link = h.site.access.links.list(Actor.CLI)[0]
        assert (
            'Made by <a href="/admin/people/mamie">mamie</a>.'
            in (await yves.get(f"/admin/links/{link.id}")).text
        )
        assert "/admin/" not in (await phone.get(f"/me/links/{link.id}")).text
        assert "only once codes are set up" in (await yves.get("/admin/people/ann")).text


@pytest.mark.parametrize(
    ("agent", "names"),
    [
        ("", ("", "")),
        ("curl/8.0", ("", "")),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", ("Firefox", "Linux")),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/122.0 Mobile Safari/537.36", ("Chrome", "Android")),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/122.0 Safari/537.36 Edg/122.0", ("Edge", "Windows")),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) Safari/604.1", ("Safari", "iPhone")),
    ],
)
def test_browsers_and_systems(agent: str, names: tuple[str, str]) -> None:
    assert browser_and_system(agent) == names


async def lived_in(h: House) -> tuple[Browser, list[str]]:
    """A house in which something is on every page of an admin's; and those pages."""
    yves = await h.signed_in("yves", admin=True)
    mamie = await h.signed_in("mamie", may_link=True)
    await mamie.post("/me/open", {"services": "cloud"}, page="/me")
    await mamie.post(
        "/me/links", {"label": "Papi", "services": "cloud", "for": "1h", "uses": "3", "pin": "4711"}
    )
    await yves.post("/admin/people/mamie/invite", page="/admin/people/mamie")
    await yves.post("/admin/ban", {"address": "192.0.2.66", "for": "1h"})
    link = h.site.access.links.list(Actor.CLI)[0]
    paths = [route.path for route in h.door.routes if route.method == "GET" and route.who == "admin"]
    return yves, [path.replace("{name}", "mamie").replace("{id}", link.id) for path in paths]


@in_loop
async def test_sentences_stand_apart_and_fields_have_names(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves, paths = await lived_in(h)
        assert len(paths) > 15
        for path in paths:
            for language in h.site.pages.languages:
                text = (await yves.get(path, Accept_Language=language)).text
                words = unescape(re.sub(r"</?(?:a|time|span|strong)\b[^>]*>", "", text))
                assert not re.search(r"\w[.?!;:](?=[A-ZÀ-Ü«“])", re.sub(r"<[^>]*>", "\n", words)), path
                ids = re.findall(r'\sid="([^"]+)"', text)
                assert len(ids) == len(set(ids)), path
                named = set(re.findall(r'<label for="([^"]+)"', text))
                inputs = re.findall(r'<(?:input|select|textarea) id="([^"]+)"', text)
                assert set(inputs) <= named, path
                assert " style=" not in text
                assert text.count("<h1") == 1, path
