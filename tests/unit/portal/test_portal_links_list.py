"""The list of links: found among many, and what it says to somebody who has none."""

import re
from pathlib import Path

import pytest
from portal_house import House, house, in_loop

from access.actor import Actor

DAY_S = 86400


async def links_of_many(h: House) -> None:
    links = h.site.access.links
    for number in range(9):
        await links.add(Actor.CLI, f"Friend {number}", ["cloud"])
    await links.add(Actor.CLI, "Odile", ["game"], uses=1)
    paused = await links.add(Actor.CLI, "Papi", ["cloud", "game"])
    await links.pause(Actor.CLI, paused.id)
    await links.add(Actor.CLI, "Late", ["cloud"], expires_s=DAY_S)
    used = next(link for link in links.list(Actor.CLI) if link.label == "Odile")
    await h.open(f"/l/{links.token(used)}")
    h.now[0] += 2 * DAY_S


def labels(text: str) -> list[str]:
    return re.findall(r'<li><a href="/admin/links/\w+">([^<]+)</a>', text)


@in_loop
async def test_found_by_whose_by_service_and_by_state(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await links_of_many(h)
        yves = await h.signed_in("yves", admin=True)
        for query, found in (
            ("q=friend+3", ["Friend 3"]),
            ("q=GAME", ["Papi", "Odile"]),
            ("state=paused", ["Papi"]),
            ("state=expired", ["Late"]),
            ("state=used-up", ["Odile"]),
            ("q=friend&state=open", [f"Friend {number}" for number in range(9)]),
            ("q=odile&state=open", []),
            ("state=nonsense", []),
            ("q=%22%3E%3Cb%3E&state=%22%3E%3Cb%3E", []),
        ):
            page = (await yves.get(f"/admin/links?{query}")).text
            assert sorted(labels(page)) == sorted(found), query
            assert ("No link is like that" in page) == (not found)
            assert "<b>" not in page
            assert 'href="/admin/links">Show all' in page
            state = query.partition("state=")[2]
            if found and state:
                assert f'<option value="{state}" selected>' in page


@in_loop
async def test_a_search_stands_there_once_there_is_something_to_search(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        empty = (await yves.get("/admin/links")).text
        assert 'role="search"' not in empty
        assert "No link yet." in empty
        assert "nothing to install" in empty
        await links_of_many(h)
        await yves.sign_in("yves")
        page = (await yves.get("/admin/links")).text
        assert 'role="search"' in page
        assert len(labels(page)) == 12
        assert "No link yet." not in page
        assert "Show all" not in page


@in_loop
async def test_ten_thousand_links_are_one_page_and_a_search(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        link = await h.site.access.links.add(Actor.CLI, "Mamie", ["cloud"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(h.site.access.links), "list", lambda _self, _actor: [link] * 10_000)
            page = await yves.get("/admin/links")
        assert len(labels(page.text)) == 200
        assert re.search("There are 9.?800 more: search for them.", page.text)
        assert len(page.body) < 40_000
