"""What an admin does with people and links; and that nobody else can."""

import re
from pathlib import Path

import pytest
from portal_house import PASSWORD, Browser, House, house, in_loop

from access.actor import Actor

ASKS = {"registration": "approval"}
XSS = "<img src=x onerror=alert(1)>"


async def admin_of(h: House) -> Browser:
    return await h.signed_in("yves", admin=True)


@in_loop
async def test_nobody_and_no_member_passes_even_with_a_good_form(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await admin_of(h)
        member = await h.signed_in("mamie", may_link=True)
        link = (await h.link()).partition("/l/")[2].partition("-")[0]
        before = (tmp_path / "state/state.json").read_text()
        pages = ["/admin/people", "/admin/people/yves", "/admin/people/yves/remove", "/admin/tokens"]
        pages += ["/admin/links", f"/admin/links/{link}", f"/admin/links/{link}/remove"]
        forms = ["/admin/people", *(f"/admin/people/yves/{verb}" for verb in ("approve", "refuse", "invite"))]
        forms += ["/admin/people/yves", "/admin/people/yves/sign-out", "/admin/people/yves/remove"]
        forms += [
            "/admin/links",
            *(f"/admin/links/{link}/{v}" for v in ("pause", "resume", "rotate", "remove")),
        ]
        for path in pages:
            assert (await h.get(path)).header("Location").startswith("/sign-in")
            assert (await member.get(path)).status == 403
        token = (await member.get("/me")).form_token
        for path in forms:
            assert (await h.post(path, f"form={token}".encode())).status == 403
            answer = await member.send(path, f"form={token}".encode())
            assert (answer.status, "yves" in answer.text) == (403, False)
        assert (tmp_path / "state/state.json").read_text() == before


@in_loop
async def test_an_invitation_is_shown_once_and_lets_its_person_in(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        added = await yves.post("/admin/people", {"name": " Mamie ", "role": "member", "services": "cloud"})
        assert added.status == 200
        assert added.header("Cache-Control") == "no-store"
        (path,) = re.findall(r'readonly value="https://open\.example\.org(/invitation/[^"]+)"', added.text)
        token = path.rpartition("/")[2]
        assert token not in (await yves.get("/admin/people/mamie")).text
        assert token not in (await yves.get("/admin/people")).text
        assert token not in (tmp_path / "state/state.json").read_text()
        assert token not in (tmp_path / "state/history.jsonl").read_text()
        assert (await h.get(path)).status == 200
        person = h.site.access.people.get(Actor.CLI, "mamie")
        assert (person.role, person.services, person.may_link) == ("member", ("cloud",), False)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"name": "", "role": "member"}, "name"),
        ({"name": "9", "role": "member"}, "name"),
        ({"name": "yves", "role": "member"}, "name"),
        ({"name": "mémé", "role": "member"}, "name"),
        ({"name": "jean", "role": "member", "services": "nothing"}, "services"),
    ],
    ids=str,
)
@in_loop
async def test_what_is_wrong_stands_beside_its_field(
    tmp_path: Path, typed: dict[str, "str | list[str]"], field: str
) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        answer = await yves.post("/admin/people", typed)
        assert answer.status == 422
        assert f'<p class="error" id="{field}-error">' in answer.text
        assert f'value="{typed["name"]}"' in answer.text
        assert [person.name for person in h.site.access.people.list(Actor.CLI)] == ["yves"]


@in_loop
async def test_rights_are_changed_and_lost_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        mamie = await h.signed_in("mamie", services=("cloud", "game"))
        await mamie.post("/me/open", {"services": ["cloud", "game"]}, page="/me")
        page = await yves.get("/admin/people/mamie")
        assert page.text.count(" checked") == 2
        changed = await yves.post(
            "/admin/people/mamie", {"role": "member", "services": "game", "links": "yes"}
        )
        assert changed.header("Location") == "/admin/people/mamie?done=person-changed"
        assert {key[0] for key in h.peer.grants} == {"game"}
        assert await mamie.is_signed_in()
        await yves.post("/admin/people/mamie", {"role": "admin"})
        assert not await mamie.is_signed_in(), "another role begins with another session"


@in_loop
async def test_signed_out_and_removed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        mamie = await h.signed_in("mamie", may_link=True)
        await mamie.post("/me/open", {"services": "cloud"}, page="/me")
        await mamie.post("/me/links", {"label": "Papi", "services": "cloud"})
        assert (await yves.post("/admin/people/mamie/sign-out", page="/admin/people/mamie")).status == 303
        assert not await mamie.is_signed_in()
        await mamie.sign_in("mamie")
        removed = await yves.post("/admin/people/mamie/remove")
        assert removed.header("Location") == "/admin/people?done=person-removed"
        assert not await mamie.is_signed_in()
        assert h.peer.grants == {}
        assert h.site.access.links.list(Actor.CLI) == []
        assert (await yves.get("/admin/people/mamie")).status == 404
        for verb in ("invite", "sign-out", "remove", "approve", "refuse"):
            answer = await yves.post(f"/admin/people/mamie/{verb}", page="/admin/people")
            assert (answer.status, "mamie" in answer.text) == (404, False)


@in_loop
async def test_the_last_admin_stays(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        answer = await yves.post("/admin/people/yves/remove")
        assert (answer.status, "last admin" in answer.text) == (422, True)
        answer = await yves.post("/admin/people/yves", {"role": "member"})
        assert (answer.status, 'id="role-error"' in answer.text) == (422, True)
        assert await yves.is_signed_in()


@in_loop
async def test_who_asks_is_let_in_or_refused(tmp_path: Path) -> None:
    async with house(tmp_path, **ASKS) as h:
        yves = await admin_of(h)
        for name in ("jean", "paul"):
            asked = {"name": name, "message": XSS, "password": PASSWORD, "again": PASSWORD}
            assert (await Browser(h).post("/ask", asked)).header("Location") == "/sign-in?done=asked"
        page = await yves.get("/admin/people")
        assert "2 people ask" in page.text
        assert XSS not in page.text
        assert "&lt;img src=x" in page.text
        jean = Browser(h)
        assert (await jean.sign_in("jean", code="")).status != 303
        approved = await yves.post("/admin/people/jean/approve", {"services": "game"}, page="/admin/people")
        assert approved.header("Location") == "/admin/people/jean?done=person-approved"
        assert (await jean.sign_in("jean", code="")).status == 303
        assert "Nextcloud" not in (await jean.get("/me")).text
        refused = await yves.post("/admin/people/paul/refuse", {"services": "cloud"}, page="/admin/people")
        assert refused.header("Location") == "/admin/people?done=person-refused"
        assert (await yves.get("/admin/people/paul")).status == 404
        again = await yves.post("/admin/people/jean/refuse", page="/admin/people")
        assert again.status == 422
        assert await jean.is_signed_in(), "who is in cannot be refused any more"


@in_loop
async def test_a_browser_may_call_itself_what_it_likes(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        await h.person("mamie")
        await Browser(h, **{"User-Agent": XSS}).sign_in("mamie")
        page = await yves.get("/admin/people/mamie")
        assert "&lt;img src=x" in page.text
        assert XSS not in page.text


@in_loop
async def test_an_admin_has_every_link_in_hand(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        mamie = await h.signed_in("mamie", may_link=True)
        added = await mamie.post("/me/links", {"label": "Papi", "services": "cloud"})
        theirs = added.header("Location").partition("?")[0].rpartition("/")[2]
        made = await yves.post(
            "/admin/links", {"label": XSS, "services": "game", "addresses": "2", "to": "https://a.example/"}
        )
        ours = made.header("Location").partition("?")[0].rpartition("/")[2]
        page = await yves.get("/admin/links")
        assert "made by mamie" in page.text
        assert XSS not in page.text
        assert (await mamie.get(f"/me/links/{ours}")).status == 404
        assert (await yves.get("/me/links")).header("Location") == "/admin/links"
        answer = await yves.post(f"/admin/links/{theirs}/pause", page=f"/admin/links/{theirs}")
        assert answer.header("Location") == f"/admin/links/{theirs}?done=link-paused"
        assert h.site.access.links.get(Actor.CLI, theirs).paused
        assert (await yves.post(f"/admin/links/{theirs}/remove")).status == 303
        assert [link.id for link in h.site.access.links.list(Actor.CLI)] == [ours]
        assert h.site.access.links.get(Actor.CLI, ours).owner is None


@pytest.mark.parametrize("to", ["javascript:alert(1)", "//evil.example/", "https://a@b/", "data:text/html,x"])
@in_loop
async def test_a_link_leads_to_no_script(tmp_path: Path, to: str) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        answer = await yves.post("/admin/links", {"label": "Mamie", "services": "cloud", "to": to})
        assert (answer.status, 'id="to-error"' in answer.text) == (422, True)
        assert h.site.access.links.list(Actor.CLI) == []


@in_loop
async def test_many_links_are_searched(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        for number in range(210):
            await h.link(f"Guest {number}")
        page = await yves.get("/admin/links")
        assert page.text.count('href="/admin/links/') == 200
        assert "There are 10 more" in page.text
        page = await yves.get("/admin/links?q=guest+20")
        assert page.text.count('href="/admin/links/') == 11
        page = await yves.get("/admin/links?q=%22%3E%3Cscript%3E")
        assert "<script>" not in page.text


@in_loop
async def test_an_admin_without_codes_has_a_members_rights(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True, totp=False)
        page = await yves.get("/me")
        assert 'href="/me/totp"' in page.text
        assert 'href="/admin"' not in page.text
        for path in ("/admin", "/admin/people", "/admin/links", "/admin/history"):
            assert (await yves.get(path)).status == 403
        answer = await yves.send("/admin/people", f"form={page.form_token}&name=eve&role=admin".encode())
        assert answer.status == 403
        assert len(h.site.access.people.list(Actor.CLI)) == 1
