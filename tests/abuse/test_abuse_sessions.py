"""Keeping what one no longer has: sessions after their end, and credentials changed without proof."""

from pathlib import Path

import pyotp
import pytest
from abuse_town import PASSWORD, Browser, Town, town
from portal_house import house, in_loop

from access.actor import Actor

NEW = "nine green herons wade"


async def end_by_sign_out(_there: Town, browser: Browser) -> None:
    await browser.get("/me")
    stolen = Browser(browser.house, browser.address, dict(browser.jar), token=browser.token)
    assert (await stolen.post("/sign-out")).status == 303


async def end_by_password_change(there: Town, _browser: Browser) -> None:
    elsewhere = await there.at("mamie")
    typed = {"current": PASSWORD, "code": "", "new": NEW, "again": NEW}
    assert (await elsewhere.submit("/me/password", typed)).status == 303


async def end_by_root_setting_the_password(there: Town, _browser: Browser) -> None:
    await there.access.credentials.set_password(Actor.CLI, "mamie", NEW)


async def end_by_removal(there: Town, _browser: Browser) -> None:
    await there.access.people.remove(Actor.CLI, "mamie")


async def end_by_role_change(there: Town, _browser: Browser) -> None:
    await there.access.people.change(Actor.CLI, "mamie", role="admin")


async def end_by_totp_on(there: Town, _browser: Browser) -> None:
    offer = there.access.credentials.new_totp(Actor.CLI, "mamie")
    code = pyotp.TOTP(offer.secret).at(int(there.house.now[0]))
    await there.access.credentials.totp_on(Actor.CLI, "mamie", offer.seed, code)


async def end_by_totp_off(there: Town, _browser: Browser) -> None:
    await there.access.credentials.totp_off(Actor.CLI, "mamie")


async def end_by_signing_out_everywhere(there: Town, _browser: Browser) -> None:
    elsewhere = await there.at("mamie")
    await elsewhere.get("/me/sessions")
    assert (await elsewhere.post("/me/sessions/end-all")).status == 303


async def end_by_the_admin(there: Town, _browser: Browser) -> None:
    ann = await there.at("ann")
    await ann.get("/admin/people/mamie")
    assert (await ann.post("/admin/people/mamie/sign-out")).status == 303


async def end_by_time_unused(there: Town, _browser: Browser) -> None:
    there.later(there.house.site.settings.session_idle_s + 1)


async def end_by_absolute_time(there: Town, browser: Browser) -> None:
    settings = there.house.site.settings
    for _ in range(settings.session_lifetime_s // (settings.session_idle_s - 60) + 1):
        there.later(settings.session_idle_s - 60)
        await browser.get("/me")


ENDS = {name.removeprefix("end_by_"): end for name, end in list(globals().items()) if name.startswith("end_by_")}


@pytest.mark.parametrize("end", ENDS)
def test_a_session_is_over_after(tmp_path: Path, end: str) -> None:
    in_loop(over)(tmp_path, ENDS[end])


async def over(directory: Path, end) -> None:
    async with town(directory) as there:
        browser = await there.at("mamie")
        yves = await there.at("yves")
        kept = Browser(there.house, browser.address, dict(browser.jar))
        page = await browser.get("/me")
        assert page.status == 200
        token = browser.token
        await end(there, browser)
        for path in ("/me", "/me/links", "/me/sessions"):
            answer = await kept.get(path)
            assert (answer.status, answer.header("Location").partition("?")[0]) == (303, "/sign-in")
        for path in ("/me/open", "/me/password", "/sign-out"):
            assert (await kept.post(path, token=token)).status in {303, 403}
        assert there.gate == {}
        if end not in {end_by_time_unused, end_by_absolute_time}:
            assert await yves.signed_in(), "nobody else is signed out"


@in_loop
async def test_a_session_outlives_a_restart_and_its_end_does_too(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        going, gone = await there.at("mamie"), await there.at("mamie")
        await gone.get("/me")
        kept = dict(gone.jar)
        await gone.post("/sign-out")
    async with house(tmp_path, trusted_proxies=there.house.site.settings.trusted_proxies) as again:
        assert await Browser(again, jar=dict(going.jar)).signed_in()
        assert not await Browser(again, jar=kept).signed_in()


@in_loop
async def test_a_session_is_nowhere_in_clear(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        browser = there.browser()
        assert (await browser.sign_in("mamie")).status == 303
        secrets = [browser.session, browser.jar["__Host-safeip-device"], PASSWORD]
    for file in (tmp_path / "state").iterdir():
        if file.is_file():
            text = file.read_text()
            assert [secret for secret in secrets if secret in text] == [], file.name


@in_loop
async def test_a_stolen_session_does_not_change_what_one_signs_in_with(tmp_path: Path) -> None:
    """Password and code are asked for again: by nothing else are password, TOTP or recovery codes changed."""
    async with town(tmp_path) as there:
        before = there.person("ann")
        thief = await there.at("ann")
        for path, typed in [
            ("/me/password", {"current": "", "code": there.code("ann"), "new": NEW, "again": NEW}),
            ("/me/password", {"current": "wrong", "code": there.code("ann"), "new": NEW, "again": NEW}),
            ("/me/password", {"current": PASSWORD, "code": "", "new": NEW, "again": NEW}),
            ("/me/password", {"current": PASSWORD, "code": "000000", "new": NEW, "again": NEW}),
            ("/me/recovery", {"password": PASSWORD, "code": ""}),
            ("/me/recovery", {"password": "wrong", "code": there.code("ann", 1)}),
        ]:
            answer = await thief.submit(path, typed)
            assert 400 <= answer.status < 500, (path, typed, answer.status)
            there.later()
        now = there.person("ann")
        assert (now.password, now.totp, now.recovery, now.era) == (before.password, before.totp, before.recovery, before.era)


@in_loop
async def test_totp_is_not_turned_off_without_a_code(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        offer = there.access.credentials.new_totp(Actor.CLI, "mamie")
        code = pyotp.TOTP(offer.secret).at(int(there.house.now[0]))
        await there.access.credentials.totp_on(Actor.CLI, "mamie", offer.seed, code)
        thief = await there.at("mamie")
        for typed in (
            {"password": PASSWORD, "code": ""},
            {"password": PASSWORD, "code": "000000"},
            {"password": PASSWORD, "code": code},  # used already
            {"password": "wrong", "code": there.code("mamie", 1)},
            {"password": PASSWORD},
            {},
        ):
            there.later(0)
            answer = await thief.submit("/me/totp", typed, to="/me/totp/off")
            assert 400 <= answer.status < 500, (typed, answer.status)
            assert there.person("mamie").totp is not None
        there.later(60)
        typed = {"password": PASSWORD, "code": there.code("mamie")}
        assert (await thief.submit("/me/totp", typed, to="/me/totp/off")).status == 303
        assert there.person("mamie").totp is None


@in_loop
async def test_an_admin_cannot_do_without_totp(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        ann = await there.at("ann")
        answer = await ann.submit("/me/totp", {"password": PASSWORD, "code": there.code("ann")}, to="/me/totp/off")
        assert 400 <= answer.status < 500
        assert there.person("ann").totp is not None


@in_loop
async def test_guesses_at_proofs_are_strikes_too(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        thief = await there.at("mamie", "198.51.100.5")
        statuses = []
        for _ in range(14):
            answer = await thief.submit("/me/password", {"current": "wrong", "code": "", "new": NEW, "again": NEW})
            statuses.append(answer.status)
        assert statuses[-1] == 429
        assert there.person("mamie").password is not None
        assert (await there.browser("192.0.2.9").sign_in("mamie")).status == 303


@in_loop
async def test_cookies_carry_their_flags(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        browser = there.browser()
        lines = [await browser.get("/sign-in"), await browser.sign_in("mamie"), await browser.get("/me?lang=fr")]
        await browser.get("/me")
        lines.append(await browser.post("/sign-out"))
        cookies = [line for answer in lines for key, line in answer.headers if key.lower() == "set-cookie"]
        names = {line.partition("=")[0] for line in cookies}
        assert names == {"__Host-safeip", "__Host-safeip-session", "__Host-safeip-device", "__Host-safeip-lang"}
        for line in cookies:
            flags = {part.strip() for part in line.split(";")[1:]}
            assert {"Path=/", "SameSite=Lax", "Secure", "HttpOnly"} <= flags, line
            assert not any(flag.lower().startswith("domain") for flag in flags)
        life = there.house.site.settings.session_lifetime_s
        assert f"; Max-Age={life};" in next(line for line in cookies if line.startswith("__Host-safeip-session="))


@in_loop
async def test_the_oldest_of_too_many_sessions_goes_and_memory_stays_bounded(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        first = await there.at("mamie")
        there.later(60)
        others = [await there.at("mamie") for _ in range(20)]
        assert not await first.signed_in()
        assert await others[0].signed_in()
        assert len(there.access.sessions.of("mamie")) == 20


@in_loop
async def test_sessions_of_others_can_neither_be_seen_nor_ended(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        mamie, yves = await there.at("mamie"), await there.at("yves", "203.0.113.77")
        [session] = there.access.sessions.of("yves")
        page = await mamie.get("/me/sessions")
        assert session.id not in page.text
        assert "203.0.113.77" not in page.text
        await mamie.post("/me/sessions/end", {"session": session.id})
        assert await yves.signed_in()
