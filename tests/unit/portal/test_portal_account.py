"""One's own password, codes and sessions; an invitation; asking to be let in."""

import re
from pathlib import Path
from typing import Any

import pyotp
import pytest
from portal_house import PASSWORD, Browser, House, house, in_loop

from access.actor import Actor

NEW = "quite another phrase here"


def secret_on(text: str) -> str:
    """The TOTP secret that a page shows."""
    return re.findall(r'<code class="secret">([A-Z2-7 ]+)</code>', text)[0].replace(" ", "")


async def invited(h: House, name: str = "mamie", **kind: Any) -> str:
    """The path of a new person's invitation."""
    await h.site.access.people.add(Actor.CLI, name, **({"services": ("cloud",)} | kind))
    return f"/invitation/{await h.site.access.people.invite(Actor.CLI, name)}"


def now_code(h: House, secret: str) -> str:
    h.now[0] += 30
    return pyotp.TOTP(secret).at(int(h.now[0]))


@in_loop
async def test_an_invitation_is_accepted_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await invited(h)
        browser = Browser(h)
        page = await browser.get(path)
        assert page.status == 200
        assert "mamie" in page.text
        assert page.text.count('class="qr"') == 1
        secret = secret_on(page.text)
        assert secret == secret_on((await browser.get(path)).text), "a reload shows the same"
        wrong = {"password": NEW, "again": NEW, "code": "000000"}
        answer = await browser.post(path, wrong)
        assert answer.status == 422
        assert 'id="code-error"' in answer.text
        assert NEW not in answer.text
        for typed, field in (
            ({"password": "short", "again": "short"}, "password"),
            ({"password": "password123", "again": "password123"}, "password"),
            ({"password": NEW, "again": NEW + "!"}, "again"),
        ):
            answer = await browser.post(path, {**typed, "code": now_code(h, secret)})
            assert answer.status == 422
            assert f'id="{field}-error"' in answer.text
        done = await browser.post(path, {"password": NEW, "again": NEW, "code": now_code(h, secret)})
        assert done.status == 200, done.text
        codes = re.findall(r"<li><code>([^<]+)</code>", done.text)
        assert len(codes) == 10
        assert secret not in done.text
        assert await browser.is_signed_in()
        assert codes[0] not in (await browser.get("/me")).text
        other = Browser(h)
        for answer in (await browser.get(path), await other.post(path, wrong, page="/sign-in")):
            assert answer.status == 404
            assert secret not in answer.text
        h.secrets["mamie"] = secret
        assert (await Browser(h).sign_in("mamie", NEW)).status == 303
        assert (await Browser(h).sign_in("mamie", NEW, codes[9])).status == 303


@in_loop
async def test_an_invitation_that_is_none(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await invited(h)
        for bad in (path + "x", path[:-1], "/invitation/" + "a" * 300, "/invitation/x"):
            answer = await h.get(bad)
            assert answer.status == 404
            assert "not good any more" in answer.text
        newer = f"/invitation/{await h.site.access.people.invite(Actor.CLI, 'mamie')}"
        assert (await h.get(path)).status == 404, "a newer one replaces it"
        h.now[0] += 7 * 86400 + 1
        assert (await h.get(newer)).status == 404


@in_loop
async def test_guessing_invitations_bans(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for number in range(12):
            await h.get(f"/invitation/{'a' * 30}{number}")
        page = await Browser(h).get("/sign-in")
        assert (
            await h.post("/sign-in", f"form={page.form_token}".encode(), Cookie=page.cookie)
        ).status == 429


@in_loop
async def test_a_password_is_changed_with_the_old_one_and_ends_other_sessions(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", totp=True)
        other = Browser(h)
        await other.sign_in("mamie")
        before = mamie.session
        form = {"current": PASSWORD, "new": NEW, "again": NEW}
        for typed, status in (
            ({**form, "code": "000000"}, 403),
            ({**form, "code": ""}, 403),
            ({**form, "current": "wrong wrong wrong", "code": h.code("mamie")}, 403),
            ({**form, "again": "x", "code": h.code("mamie")}, 422),
            ({**form, "new": "short", "again": "short", "code": h.code("mamie")}, 422),
        ):
            answer = await mamie.post("/me/password", typed)
            assert answer.status == status, typed
            assert NEW not in answer.text
            assert PASSWORD not in answer.text
            assert mamie.session == before
        answer = await mamie.post("/me/password", {**form, "code": h.code("mamie")})
        assert answer.header("Location") == "/me?done=password-changed"
        assert mamie.session != before
        assert await mamie.is_signed_in()
        assert not await other.is_signed_in()
        assert (await h.get("/me", Cookie=f"__Host-safeip-session={before}")).status == 303
        assert (await Browser(h).sign_in("mamie")).status == 403
        assert (await Browser(h).sign_in("mamie", NEW)).status == 303


@in_loop
async def test_codes_are_turned_on_with_the_password_and_a_right_code(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        page = await mamie.get("/me/totp/new")
        secret = secret_on(page.text)
        seed = re.findall(r'name="seed" value="([^"]+)"', page.text)[0]
        for typed, status in (
            ({"seed": seed, "code": "000000", "password": PASSWORD}, 422),
            ({"seed": seed, "code": now_code(h, secret), "password": "wrong wrong wrong"}, 403),
            ({"seed": "x", "code": now_code(h, secret), "password": PASSWORD}, 422),
        ):
            answer = await mamie.post("/me/totp/new", typed)
            assert answer.status == status
            assert PASSWORD not in answer.text
            if typed["seed"] == seed:
                assert secret_on(answer.text) == secret, "what the app has scanned stays"
        assert h.site.access.people.get(Actor.CLI, "mamie").totp is None
        answer = await mamie.post(
            "/me/totp/new", {"seed": seed, "code": now_code(h, secret), "password": PASSWORD}
        )
        assert len(re.findall(r"<li><code>", answer.text)) == 10
        assert await mamie.is_signed_in()
        assert (await Browser(h).sign_in("mamie", code="")).status == 403
        h.secrets["mamie"] = secret
        assert (await Browser(h).sign_in("mamie")).status == 303
        # To another app: with a code of the old one
        page = await mamie.get("/me/totp/new")
        newer, seed = secret_on(page.text), re.findall(r'name="seed" value="([^"]+)"', page.text)[0]
        typed = {"seed": seed, "code": now_code(h, newer), "password": PASSWORD, "proof": ""}
        assert (await mamie.post("/me/totp/new", typed)).status == 403
        typed |= {"proof": h.code("mamie"), "code": pyotp.TOTP(newer).at(int(h.now[0]))}
        assert (await mamie.post("/me/totp/new", typed)).status == 200


@in_loop
async def test_codes_are_turned_off_with_password_and_code_and_not_by_an_admin(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie, yves = await h.signed_in("mamie", totp=True), await h.signed_in("yves", admin=True)
        for typed in (
            {},
            {"password": PASSWORD},
            {"password": PASSWORD, "code": "000000"},
            {"password": "wrong wrong wrong", "code": h.code("mamie")},
        ):
            assert (await mamie.post("/me/totp/off", typed, page="/me/totp")).status in {403, 422}
            assert h.site.access.people.get(Actor.CLI, "mamie").totp is not None
        typed = {"password": PASSWORD, "code": h.code("mamie")}
        assert (await mamie.post("/me/totp/off", typed, page="/me/totp")).status == 303
        assert h.site.access.people.get(Actor.CLI, "mamie").totp is None
        assert await mamie.is_signed_in()
        typed = {"password": PASSWORD, "code": h.code("yves")}
        assert (await yves.post("/me/totp/off", typed, page="/me/totp")).status == 403
        assert h.site.access.people.get(Actor.CLI, "yves").totp is not None


@in_loop
async def test_new_recovery_codes_replace_the_old(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", totp=True)
        old = h.recovery_codes
        assert "10 recovery codes" in (await mamie.get("/me/recovery")).text
        assert (await mamie.post("/me/recovery", {"password": PASSWORD, "code": "000000"})).status == 403
        answer = await mamie.post("/me/recovery", {"password": PASSWORD, "code": h.code("mamie")})
        codes = re.findall(r"<li><code>([^<]+)</code>", answer.text)
        assert len(codes) == 10
        assert not set(codes) & set(old)
        assert (await Browser(h).sign_in("mamie", code=old[0])).status == 403
        assert (await Browser(h).sign_in("mamie", code=codes[0])).status == 303
        assert "9 recovery codes" in (await mamie.get("/me/recovery")).text
        jean = await h.signed_in("jean")
        assert (await jean.get("/me/recovery")).status == 404


@in_loop
async def test_sessions_are_listed_and_ended(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        phone = Browser(h, User_Agent="Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0")
        await phone.sign_in("mamie")
        odd = Browser(h, User_Agent="<script>x</script>")
        await odd.sign_in("mamie")
        page = await mamie.get("/me/sessions")
        assert "Firefox on Android" in page.text
        assert "Another program" in page.text
        assert "<script>x" not in page.text
        assert mamie.session not in page.text
        jean = await h.signed_in("jean")
        ids = {session.id for session in h.site.access.sessions.of("mamie")}
        for session_id in ids:
            await jean.post("/me/sessions/end", {"session": session_id}, page="/me/sessions")
        assert len(h.site.access.sessions.of("mamie")) == 3, "another's are not ended"
        theirs = next(row.id for row in h.site.access.sessions.of("mamie") if "Android" in row.agent)
        answer = await mamie.post("/me/sessions/end", {"session": theirs}, page="/me/sessions")
        assert answer.header("Location") == "/me/sessions?done=session-ended"
        assert not await phone.is_signed_in()
        assert await odd.is_signed_in()
        answer = await mamie.post("/me/sessions/end-all", page="/me/sessions")
        assert answer.header("Location") == "/sign-in?done=signed-out-everywhere"
        assert mamie.session is None
        assert not await odd.is_signed_in()
        assert await jean.is_signed_in()


@in_loop
async def test_asking_opens_nothing_and_tells_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, registration="approval") as h:
        await h.person("mamie")
        assert 'href="/ask"' in (await h.get("/")).text
        answers = []
        for name in ("jean", "mamie", "jean"):
            browser = Browser(h)
            typed = {"name": name, "password": NEW, "again": NEW, "message": "It is me"}
            answers.append(await browser.post("/ask", typed))
        assert {(answer.status, answer.header("Location")) for answer in answers} == {
            (303, "/sign-in?done=asked")
        }
        assert "You have asked" in (await h.get("/sign-in?done=asked")).text
        people = {person.name: person for person in h.site.access.people.list(Actor.CLI)}
        assert people["jean"].state == "asked"
        assert people["mamie"].state == "active"
        assert (await Browser(h).sign_in("jean", NEW)).status == 403
        assert (await Browser(h).sign_in("mamie", NEW)).status == 403, "the password of who exists stays"
        await h.site.access.people.approve(Actor.CLI, "jean", services=("cloud",))
        assert (await Browser(h).sign_in("jean", NEW)).status == 303


@in_loop
async def test_what_is_wrong_with_asking(tmp_path: Path) -> None:
    async with house(tmp_path, registration="approval") as h:
        good = {"name": "jean", "password": NEW, "again": NEW, "message": "It is me"}
        for typed, field in (
            ({"name": "J e a n"}, "name"),
            ({"name": ""}, "name"),
            ({"name": "x" * 40}, "name"),
            ({"again": "x"}, "again"),
            ({"password": "short", "again": "short"}, "password"),
            ({"message": "x" * 500}, "message"),
        ):
            answer = await Browser(h).post("/ask", good | typed)
            assert answer.status == 422, typed
            assert f'id="{field}-error"' in answer.text, typed
            assert NEW not in answer.text
        assert h.site.access.people.list(Actor.CLI) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@in_loop
async def test_nobody_asks_where_registration_is_closed(tmp_path: Path, method: str) -> None:
    async with house(tmp_path) as h:
        browser = Browser(h)
        if method == "GET":
            assert (await browser.get("/ask")).status == 404
        else:
            typed = {"name": "jean", "password": NEW, "again": NEW, "message": "It is me"}
            assert (await browser.post("/ask", typed, page="/sign-in")).status == 404
            assert h.site.access.people.list(Actor.CLI) == []
