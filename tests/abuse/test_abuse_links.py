"""Links in wrong hands: previews, other sites, guessed tokens, targets, and where a token could leak."""

import logging
import re
from pathlib import Path

import pytest
from abuse_town import Town, town
from portal_house import in_loop

from access.actor import Actor
from access.inputs import BadInput

TARGETS = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//evil.example/",
    "/\\evil.example/",
    "https:\\\\evil.example",
    "https://user:password@evil.example/",
    "https://evil.example/\r\nSet-Cookie: a=b",
    'https://evil.example/"><script>',
    "https://evil.example/';url=javascript:alert(1)",
    "ftp://evil.example/",
    "",
]


def url_of(there: Town, link) -> str:
    return f"/l/{there.access.links.token(link)}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_link_leads_to_no_script_and_no_other_scheme(tmp_path: Path, target: str) -> None:
    in_loop(no_such_target)(tmp_path, target)


async def no_such_target(directory: Path, target: str) -> None:
    async with town(directory) as there:
        with pytest.raises(BadInput):
            await there.link(to=target)
        mamie = await there.at("mamie")
        typed = {"label": "Jean", "services": ["cloud"], "to": target or "x:"}
        answer = await mamie.submit("/me/links", typed)
        assert 400 <= answer.status < 500, answer.status
        assert "Set-Cookie: a=b" not in str(answer.headers)
        assert there.access.links.list(Actor.CLI) == []


@in_loop
async def test_previews_open_nothing_whatever_they_say_they_are(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        path = url_of(there, await there.link())
        visitor = there.browser()
        for headers in (
            {},
            {"User_Agent": "WhatsApp/2"},
            {"User_Agent": "facebookexternalhit/1.1"},
            {"Sec_Purpose": "prefetch;prerender"},
            {"Purpose": "prefetch"},
            {"X_Moz": "prefetch"},
            {"X_HTTP_Method_Override": "POST"},
            {"X_Method_Override": "POST"},
        ):
            for method in ("GET", "HEAD"):
                assert (await visitor.get(path, method, **headers)).status == 200
        assert (await visitor.get(f"{path}?form={visitor.token}&_method=POST")).status == 200
        assert there.gate == {}
        assert {request["verb"] for request in there.house.peer.asked} <= {"list", "watch"}


@in_loop
async def test_guessed_links_strike_on_get_and_post_and_end_in_a_ban(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        path = url_of(there, await there.link())
        guesser = there.browser("198.51.100.3")
        for number in range(12):
            token = f"{path[3:9]}-{'a' * 30}{'abcdefghijkl'[number]}a"
            await guesser.get(f"/l/{token}")
        assert (await guesser.post(path, {})).status == 429
        assert there.gate == {}
        other = there.browser()
        assert (await other.submit(path, {})).status == 200


@in_loop
async def test_a_link_whose_owner_may_no_longer_opens_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        people = there.access.people
        for take_away in (
            lambda: people.change(Actor.CLI, "mamie", services=["game"]),
            lambda: people.change(Actor.CLI, "mamie", services=["cloud"], may_link=False),
            lambda: people.remove(Actor.CLI, "mamie"),
        ):
            if there.person("mamie").services != ("cloud",) or not there.person("mamie").may_link:
                await people.change(Actor.CLI, "mamie", services=["cloud"], may_link=True)
            path = url_of(there, await there.link("mamie"))
            visitor = there.browser()
            assert (await visitor.submit(path, {})).status == 200
            assert len(there.gate) == 1
            await visitor.get(path)
            await take_away()
            assert there.gate == {}, "what the link had opened is closed"
            assert (await visitor.post(path, {})).status in {404, 410}
            assert there.gate == {}


@in_loop
async def test_a_links_token_is_in_no_log_history_state_or_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with town(tmp_path) as there:
        path = url_of(there, await there.link(pin="4711"))
        token = path.removeprefix("/l/")
        visitor = there.browser()
        await visitor.submit(path, {"pin": "4712"})
        await visitor.submit(path, {"pin": "4711"})
        broken = [
            await visitor.get(f"{path}/more"),
            await visitor.get(f"/nowhere?{token}"),
            await visitor.get(f"{path}x"),
            await visitor.get(path, "PUT"),
            await visitor.post(path, {"more": "x"}),
            await visitor.post(path, {}, Content_Length="nine"),
            await visitor.post(path, {}, Content_Type="text/plain"),
        ]
        secret = token.partition("-")[2]
        for answer in broken:
            assert answer.status >= 400
            assert secret not in answer.text.replace(path, "" if answer.status == 403 else path), answer.status
        links = [await visitor.get(path), await visitor.get("/")]
        for answer in links:
            assert answer.header("Referrer-Policy") == "no-referrer"
            foreign = re.findall(r"<(?:a|form|link|script|img)[^>]+https?://[^>]+>", answer.text)
            assert [tag for tag in foreign if "noreferrer" not in tag and "<a" not in tag] == []
    kept = "\n".join(
        file.read_text() for file in (tmp_path / "state").rglob("*") if file.is_file() and file.name != "secret.key"
    )
    for text in (caplog.text, kept):
        assert secret not in text
        assert "4711" not in text
        assert "4712" not in text


@in_loop
async def test_a_pin_is_guessed_five_times_and_no_more(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        path = url_of(there, await there.link(pin="4711"))
        guesser = there.browser("198.51.100.4")
        statuses = [(await guesser.submit(path, {"pin": f"10{number:02}"})).status for number in range(8)]
        assert statuses.count(403) == 5
        assert set(statuses[5:]) == {429}
        assert (await guesser.post(path, {"pin": "4711"})).status == 429
        assert there.gate == {}
