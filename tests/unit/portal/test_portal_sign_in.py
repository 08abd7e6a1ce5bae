"""Signing in and out, and what becomes of a session."""

import asyncio
import logging
import re
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from portal_house import PASSWORD, Browser, house, in_loop

from access.actor import Actor

LONG = "; Max-Age={}; Path=/; HttpOnly; SameSite=Lax; Secure"


@in_loop
async def test_the_cookies(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie")
        browser = Browser(h)
        answer = await browser.sign_in("mamie")
        given = {value.partition("=")[0]: value for key, value in answer.headers if key == "Set-Cookie"}
        assert list(given) == ["__Host-safeip-session", "__Host-safeip-device"]
        assert given["__Host-safeip-session"].endswith(LONG.format(30 * 86400))
        assert given["__Host-safeip-device"].endswith(LONG.format(180 * 86400))
        assert re.fullmatch("[A-Za-z0-9_-]{43}", browser.session or "")
        ended = await browser.post("/sign-out", page="/me")
        assert (
            ended.header("Set-Cookie")
            == "__Host-safeip-session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
        )
        assert ended.header("Location") == "/sign-in?done=signed-out"
        assert "You are signed out." in (await browser.get("/sign-in?done=signed-out")).text


@in_loop
async def test_the_cookies_without_tls(tmp_path: Path) -> None:
    async with house(tmp_path, url="http://192.0.2.1:8080") as h:
        await h.person("mamie")
        browser = Browser(h)
        answer = await browser.sign_in("mamie")
        assert set(browser.cookies) == {"safeip", "safeip-session", "safeip-device"}
        assert "Secure" not in answer.header("Set-Cookie")
        assert "HttpOnly; SameSite=Lax" in answer.header("Set-Cookie")
        assert await browser.is_signed_in()


@in_loop
async def test_a_session_that_somebody_else_planted_is_not_taken_up(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie")
        planted = "P" * 43
        browser = Browser(h)
        browser.cookies["__Host-safeip-session"] = planted
        await browser.sign_in("mamie")
        assert browser.session != planted
        assert (await h.get("/me", Cookie=f"__Host-safeip-session={planted}")).status == 303


@in_loop
async def test_who_signs_in_again_gets_a_new_session_and_the_old_one_is_over(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        await h.person("jean")
        old = mamie.session
        # The page of somebody signed in leads on, so the form is one that was open in another tab
        other = Browser(h)
        token = (await other.get("/sign-in")).form_token
        mamie.cookies["__Host-safeip"] = other.cookies["__Host-safeip"]
        body = f"form={token}&name=jean&password={PASSWORD}&code=".replace(" ", "+")
        assert (await mamie.send("/sign-in", body.encode())).status == 303
        assert mamie.session != old
        assert (await h.get("/me", Cookie=f"__Host-safeip-session={old}")).status == 303
        assert "jean" in (await mamie.get("/me")).text


@in_loop
async def test_a_foreign_page_cannot_sign_a_browser_in_as_somebody_else(tmp_path: Path) -> None:
    """Sign-in CSRF: the attacker has an account and a form token, but not the victim's cookie."""
    async with house(tmp_path) as h:
        await h.person("mallory")
        attacker, victim = Browser(h), Browser(h)
        token = (await attacker.get("/sign-in")).form_token
        await victim.get("/")
        await victim.get("/sign-in")
        body = f"form={token}&name=mallory&password={PASSWORD}&code=".replace(" ", "+").encode()
        for headers in ({}, {"Origin": "null"}):
            assert (await victim.send("/sign-in", body, **headers)).status == 403
            assert victim.session is None


@in_loop
async def test_refusals_say_the_same_and_keep_the_name(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie", totp=True)
        await h.person("jean")
        texts = []
        for name, password, code in [
            ("mamie", "wrong wrong wrong", h.code("mamie")),
            ("mamie", PASSWORD, "000000"),
            ("mamie", PASSWORD, ""),
            ("nobody", PASSWORD, ""),
            ("nobody", PASSWORD, "123456"),
            ("jean", "wrong wrong wrong", ""),
            ("N<b>obody", "x" * 900, "1-aaaa-aaaa-aaaa"),
        ]:
            browser = Browser(h, Accept_Language="en")
            answer = await browser.sign_in(name, password, code)
            assert answer.status == 403
            assert browser.session is None
            assert 'role="alert"' in answer.text
            assert password not in answer.text
            assert not code or code not in answer.text
            shown = name.replace("<", "&lt;").replace(">", "&gt;")
            assert f'value="{shown}"' in answer.text
            texts.append(answer.text.replace(shown, "").replace(answer.form_token, ""))
            assert {"Set-Cookie"} >= {key for key, _ in answer.headers if key == "Set-Cookie"}
        assert len(set(texts)) == 1


@in_loop
async def test_too_many_tries_wait(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie")
        browser = Browser(h)
        statuses = [(await browser.sign_in("mamie", f"wrong password {n}")).status for n in range(12)]
        assert statuses[0] == 403
        assert statuses[-1] == 429
        answer = await browser.sign_in("mamie")
        assert answer.status == 429, "even with the right password"
        assert int(answer.header("Retry-After")) > 0
        h.now[0] += 3601
        assert (await browser.sign_in("mamie")).status == 303


@in_loop
async def test_a_code_works_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie", totp=True)
        code = h.code("mamie")
        assert (await Browser(h).sign_in("mamie", code=code)).status == 303
        assert (await Browser(h).sign_in("mamie", code=code)).status == 403
        recovery = h.recovery_codes[3].upper().replace("-", " ")
        assert (await Browser(h).sign_in("mamie", code=recovery)).status == 303
        assert (await Browser(h).sign_in("mamie", code=recovery)).status == 403


@in_loop
async def test_what_ends_a_session(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        access = h.site.access
        for name, end in (
            ("anne", lambda name: access.people.remove(Actor.CLI, name)),
            ("jean", lambda name: access.people.change(Actor.CLI, name, role="admin")),
            ("luc", lambda name: access.people.sign_out_everywhere(Actor.CLI, name)),
            (
                "mamie",
                lambda name: access.credentials.set_password(Actor.CLI, name, "another phrase of words"),
            ),
        ):
            browser, other = await h.signed_in(name), Browser(h)
            await other.sign_in(name)
            token = (await browser.get("/me")).form_token
            await end(name)
            for one in (browser, other):
                assert not await one.is_signed_in(), name
            answer = await browser.send("/me/open", f"form={token}&services=cloud".encode())
            assert answer.status == 403
            assert h.peer.grants == {}


@in_loop
async def test_a_body_that_takes_its_time_outlives_no_session(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        body = f"form={(await mamie.get('/me')).form_token}&services=cloud".encode()
        reader, writer = await asyncio.open_connection(*h.public)
        head = (
            "POST /me/open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Cookie: __Host-safeip-session={mamie.session}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:10])
        await writer.drain()
        await mamie.post("/sign-out", page="/me")
        writer.write(body[10:])
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 403")
        assert h.peer.grants == {}


@in_loop
async def test_a_session_is_over_after_signing_out_and_after_its_time(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie")
        copied = mamie.session
        await mamie.post("/sign-out", page="/me")
        assert mamie.session is None
        assert (await h.get("/me", Cookie=f"__Host-safeip-session={copied}")).status == 303
        again = Browser(h)
        await again.sign_in("mamie")
        h.now[0] += 12 * 3600 - 60
        assert await again.is_signed_in()
        h.now[0] += 12 * 3600 + 1
        assert not await again.is_signed_in(), "idle"
        await again.sign_in("mamie")
        for _ in range(70):
            h.now[0] += 11 * 3600
            await again.is_signed_in()
        assert not await again.is_signed_in(), "absolute"


@in_loop
async def test_a_role_is_looked_up_at_each_request(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        mamie = await h.signed_in("mamie", services=("cloud", "game"))
        await h.site.access.people.change(Actor.CLI, "mamie", services=("cloud",))
        page = await mamie.get("/me")
        assert page.status == 200
        assert "Game" not in page.text
        answer = await mamie.send("/me/open", f"form={page.form_token}&services=game".encode())
        assert answer.status == 422
        assert "Game" not in answer.text
        assert h.peer.grants == {}


@in_loop
async def test_no_secret_in_a_url_or_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with house(tmp_path) as h:
        await h.person("mamie", totp=True)
        browser = Browser(h)
        code = h.code("mamie")
        answers = [await browser.sign_in("mamie", code=code), await browser.get("/me")]
        answers += [await browser.post("/me/open", {"services": "cloud"}, page="/me")]
        answers += [await browser.get("/me/sessions"), await Browser(h).sign_in("mamie", "wrong " + PASSWORD)]
        secrets = [
            browser.session or "",
            PASSWORD,
            browser.cookies["__Host-safeip-device"],
            h.secrets["mamie"],
        ]
        for answer in answers:
            assert not any(secret in answer.header("Location") for secret in secrets)
            assert not any(secret in answer.text for secret in secrets)
    logged = "\n".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    written = "".join(
        file.read_text()
        for file in (tmp_path / "state").iterdir()
        if file.name != "secret.key" and file.is_file()
    )
    for secret in [*secrets, code]:
        assert secret not in logged
        if secret != code:  # six digits may well be in a hash
            assert secret not in written


@in_loop
async def test_a_double_tap_on_sign_in(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.person("mamie", totp=True)
        browser = Browser(h)
        token = (await browser.get("/sign-in")).form_token
        body = f"form={token}&name=mamie&password={PASSWORD}&code={h.code('mamie')}".replace(
            " ", "+"
        ).encode()
        first = await browser.send("/sign-in", body)
        second = await browser.send("/sign-in", body)
        assert (first.status, second.status) == (303, 303), "who is signed in is led on"
        assert await browser.is_signed_in()


@in_loop
async def test_from_a_trusted_network_nobody_is_locked_out(tmp_path: Path) -> None:
    trusted = {"trusted_networks": (ip_network("127.0.0.0/8"),)}
    async with house(tmp_path, **trusted) as h:
        await h.person("mamie")
        browser = Browser(h)
        for number in range(20):
            assert (await browser.sign_in("mamie", f"wrong password {number}")).status == 403
        assert (await browser.sign_in("mamie")).status == 303


@in_loop
async def test_a_session_moves_with_the_phone(tmp_path: Path) -> None:
    async with house(tmp_path, trusted_proxies=(ip_network("127.0.0.0/8"),)) as h:
        await h.person("mamie")
        phone = Browser(h, X_Forwarded_For="203.0.113.7")
        await phone.sign_in("mamie")
        phone.headers = {"X_Forwarded_For": "198.51.100.4"}
        assert await phone.is_signed_in()
        assert h.site.access.sessions.of("mamie")[0].address == "198.51.100.4"
        assert replace(h.site.access.sessions.of("mamie")[0]).person == "mamie"
