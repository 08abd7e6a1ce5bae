"""Headers, languages, static files, and what is logged: nothing."""

import logging
from pathlib import Path
from unittest.mock import patch

import pytest
from portal_house import ROOT, ask_raw, house, in_loop

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@in_loop
async def test_every_answer_has_the_headers(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        page = await h.get(path)
        asset = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        answers = [
            page,
            await h.open(path),
            await h.get("/"),
            await h.get("/healthz"),
            await h.get("/nowhere"),
            await h.get("/l/none"),
            await h.get(path, "PUT"),
            await h.post(path, b"x" * 20_000),
        ]
        for answer in [*answers, await h.get(asset)]:
            for name, value in ALWAYS.items():
                assert answer.header(name) == value
            csp = answer.header("Content-Security-Policy")
            assert csp.startswith("default-src 'none'; ")
            assert "unsafe" not in csp
            assert "frame-ancestors 'none'" in csp
            assert answer.header("Server") == ""
            assert answer.header("Strict-Transport-Security") == ""  # this one has no certificate of its own
        for answer in answers:
            assert answer.header("Cache-Control") == "no-store"
            assert "<style" not in answer.text
            assert " style=" not in answer.text
            assert answer.text.count("<script") == answer.text.count('<script type="module" src="/static/')
        kept = await h.get(asset)
        assert "immutable" in kept.header("Cache-Control")
        assert (await h.get(asset.replace("style.css", "open.js"))).status == 404, "a digest is of one file"
        assert (await h.get("/static/x/../../src/portal/app.py")).status == 404


@in_loop
async def test_the_cookie(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        cookie = (await h.get(await h.link())).header("Set-Cookie")
        assert cookie.startswith("__Host-safeip=")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
    async with house(tmp_path, url="http://192.0.2.1:8080") as h:
        cookie = (await h.get(await h.link())).header("Set-Cookie")
        assert cookie.startswith("safeip=")
        assert "Secure" not in cookie


@in_loop
async def test_languages(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        path = await h.link()
        for accepted, language in (
            ("fr", "fr"),
            ("fr-CA, en;q=0.5", "fr"),
            ("en, fr;q=0.9", "en"),
            ("nl, fr;q=0.3, en;q=0.2", "fr"),
            ("nl", "en"),
            ("", "en"),
            ("fr;q=0", "en"),
            ("*", "en"),
            ("fr;q=x, ;;,", "en"),
            ("x," * 3000, "en"),
        ):
            answer = await h.get(path, Accept_Language=accepted)
            assert f'<html lang="{language}"' in answer.text, accepted
            assert answer.header("Content-Language") == language
            assert answer.header("Vary") == "Accept-Language, Cookie"
        switched = await h.get(path + "?lang=fr", Accept_Language="en")
        assert '<html lang="fr"' in switched.text
        kept = [value for key, value in switched.headers if key == "Set-Cookie" and "lang" in value]
        assert kept == ["__Host-safeip-lang=fr; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax; Secure"]
        kept = await h.get("/nowhere", Cookie="a=b; __Host-safeip-lang=fr", Accept_Language="en")
        assert "Cette page n\u2019existe pas" in kept.text
        for odd in ("?lang=xx", "?lang=", "?lang=../../etc", "?lang=fr%00"):
            answer = await h.get(path + odd)
            assert answer.status == 200
            assert "safeip-lang" not in answer.header("Set-Cookie")


@in_loop
async def test_nothing_of_a_request_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with house(tmp_path) as h:
        path = await h.link(pin="4711")
        token = path[3:]
        await h.open(path, pin="4711")
        for line in (
            f"GET {path} SPDY/1",
            f"GET {path}\0 HTTP/1.1",
            f"{path}",
            f"GET {path} HTTP/1.1\r\n{token}",
        ):
            answer = await ask_raw(h.public, line.encode() + b"\r\n\r\n")
            assert answer.status == 400, line
        with patch.object(type(h.site.access.opening), "look", side_effect=RuntimeError(token)):
            broken = await h.get(path)
        assert broken.status == 500
        assert "It does not work right now" in broken.text
        assert token not in broken.text.replace(f"/l/{token}", "")
    logged = "\n".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    assert "a request failed: RuntimeError at" in logged
    assert token not in logged
    assert "4711" not in logged
    assert token[7:] not in (tmp_path / "state" / "history.jsonl").read_text()


def test_every_page_has_no_foreign_asset() -> None:
    for file in [*(ROOT / "templates").iterdir(), *(ROOT / "static").glob("*.[!p]*")]:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file
        assert "https://" not in text, file
