"""Acting on what belongs to somebody else: links, grants, people, services."""

from pathlib import Path

from abuse_town import Town, town
from portal_house import in_loop

from access.actor import Actor

ADDRESS = "203.0.113.5"


@in_loop
async def test_a_member_neither_sees_nor_changes_anothers_link(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mine, root = await there.link("mamie", label="Of mamie"), await there.link(label="Of root")
        yves = await there.at("yves")
        page = await yves.get("/me/links")
        assert "Of mamie" not in page.text
        assert "Of root" not in page.text
        for link in (mine, root):
            before = there.access.links.get(Actor.CLI, link.id)
            assert (await yves.get(f"/me/links/{link.id}")).status == 404
            for act in ("pause", "resume", "rotate", "remove"):
                assert (await yves.post(f"/me/links/{link.id}/{act}")).status == 404, act
                assert (await yves.get(f"/me/links/{link.id}/{act}")).status in {404, 405}
            assert there.access.links.get(Actor.CLI, link.id) == before


@in_loop
async def test_an_unknown_link_and_anothers_look_the_same(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        link = await there.link("mamie")
        yves = await there.at("yves")
        theirs, unknown = await yves.get(f"/me/links/{link.id}"), await yves.get("/me/links/aaaaaa")
        assert theirs.status == unknown.status == 404
        assert theirs.body.replace(link.id.encode(), b"") == unknown.body.replace(b"aaaaaa", b"")


@in_loop
async def test_a_member_neither_sees_nor_closes_anothers_grant(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.grants.open(there.actor("mamie"), ["cloud"], address("192.0.2.44"))
        yves = await there.at("yves")
        assert "192.0.2.44" not in (await yves.get("/me")).text
        for typed in (
            {"service": "cloud", "address": "192.0.2.44"},
            {"service": "cloud", "address": "192.0.2.44", "holder": "person:mamie"},
        ):
            await yves.post("/me/close", typed)
            await yves.post("/me/move", {"address": "192.0.2.44"})
        assert list(there.gate) == [("cloud", "192.0.2.44", "person:mamie")]


def address(text: str):
    from access.address import parse_address

    return parse_address(text, 64)


@in_loop
async def test_a_member_opens_only_the_services_that_were_given(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mamie = await there.at("mamie")
        page = await mamie.get("/me")
        assert "Game" not in page.text
        for services in (["game"], ["cloud", "game"], ["nothing"], ["../cloud"], ["cloud\n"]):
            answer = await mamie.post("/me/open", {"services": services, "address": "203.0.113.9"})
            assert answer.status >= 400, services
        answer = await mamie.submit("/me/links", {"label": "x", "services": ["game"]})
        assert answer.status >= 400
        assert there.gate == {}
        assert there.access.links.list(Actor.CLI) == []


@in_loop
async def test_a_member_who_may_make_no_links_makes_none(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.people.change(Actor.CLI, "mamie", may_link=False)
        mamie = await there.at("mamie")
        await mamie.get("/me")
        answer = await mamie.post("/me/links", {"label": "x", "services": ["cloud"]})
        assert answer.status in {403, 404}
        assert there.access.links.list(Actor.CLI) == []


@in_loop
async def test_a_member_opens_nothing_wide_special_or_trusted(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mamie = await there.at("mamie")
        await mamie.get("/me")
        for typed in ("0.0.0.0/0", "::/0", "2001:db8::/32", "203.0.113.0/24", "203.0.113.7 }; flush ruleset", "evil.example"):
            answer = await mamie.post("/me/open", {"services": ["cloud"], "address": typed})
            assert 400 <= answer.status < 500, typed
        assert there.gate == {}


@in_loop
async def test_a_members_rights_end_with_the_next_request(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mamie = await there.at("mamie")
        await mamie.get("/me")
        open_ = {"services": ["cloud"], "address": "203.0.113.9"}
        assert (await mamie.post("/me/open", open_)).status == 303
        assert list(there.gate) == [("cloud", "203.0.113.9", "person:mamie")]
        await there.access.people.change(Actor.CLI, "mamie", services=["game"])
        assert there.gate == {}
        assert (await mamie.post("/me/open", open_)).status >= 400
        assert there.gate == {}
        await there.access.people.change(Actor.CLI, "mamie", services=["cloud"])
        await mamie.get("/me")
        assert (await mamie.post("/me/open", open_)).status == 303
        await there.access.people.remove(Actor.CLI, "mamie")
        assert there.gate == {}
        assert (await mamie.post("/me/open", open_)).status == 403
        assert there.gate == {}


@in_loop
async def test_fields_that_were_never_asked_for_change_nothing(tmp_path: Path) -> None:
    """Mass assignment: role, services, owner and the like in forms that do not ask for them."""
    async with town(tmp_path) as there:
        mamie = await there.at("mamie")
        before = there.person("mamie")
        for path, typed in [
            ("/me/open", {"services": ["cloud"], "address": "203.0.113.9"}),
            ("/me/links", {"label": "x", "services": ["cloud"]}),
            ("/me/password", {"current": "x", "code": "", "new": "x", "again": "x"}),
        ]:
            for more in ("role", "may_link", "holder", "owner", "person", "admin", "by", "era", "name", "state"):
                await mamie.get("/me")
                answer = await mamie.post(path, {**typed, more: "admin"})
                assert answer.status == 400, (path, more, answer.status)
        assert there.person("mamie") == before
        assert there.gate == {}
        assert there.access.links.list(Actor.CLI) == []


@in_loop
async def test_a_member_reaches_nothing_of_the_admins(tmp_path: Path) -> None:
    """Each admin page and form, found by the router: refused before anything of it is shown or done."""
    async with town(tmp_path) as there:
        link = await there.link("mamie")
        mamie = await there.at("mamie")
        await mamie.get("/me")
        before = (there.access.people.list(Actor.CLI), there.access.links.list(Actor.CLI))
        routes = admin_routes(there)
        assert len(routes) >= 20
        for method, template in routes:
            path = template.replace("{id}", link.id).replace("{name}", "yves")
            answer = await mamie.get(path, method) if method == "GET" else await mamie.post(path, {"role": "admin"})
            assert answer.status == 403, (method, path)
            assert "yves" not in answer.text
        assert (there.access.people.list(Actor.CLI), there.access.links.list(Actor.CLI)) == before
        assert there.gate == {}


def admin_routes(there: Town) -> list[tuple[str, str]]:
    return [(route.method, route.path) for route in there.routes if route.who == "admin"]
