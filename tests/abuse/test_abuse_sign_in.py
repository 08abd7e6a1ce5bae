"""Getting in without being somebody: guessing, replaying, telling names apart, asking to be let in."""

import asyncio
import math
import re
import statistics
import time
from pathlib import Path

import pyotp
import pytest
from abuse_town import PASSWORD, SEED, Browser, Town, town
from portal_house import Answer, in_loop

from access.actor import Actor

WIDE = 10**6
NEW = "nine green herons wade"


def widen(there: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttles that nothing fills, so that every try is looked at."""
    for throttle in ("_strikes", "_names", "_devices", "_trusted"):
        monkeypatch.setattr(getattr(there.access.guard, throttle), "_limit", WIDE)


def plain(answer: Answer) -> bytes:
    """An answer without what is random in every one."""
    text = re.sub(rb'value="[0-9]+-[a-z2-7]{32}"', b"", answer.body)
    headers = sorted((key, value) for key, value in answer.headers if key not in {"Date", "Set-Cookie", "Content-Length"})
    return f"{answer.status} {headers}".encode() + text


@in_loop
async def test_names_cannot_be_told_apart_by_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path) as there:
        widen(there, monkeypatch)
        await there.access.people.add(Actor.CLI, "eve", services=["cloud"])  # invited: has no password yet
        answers = {}
        for name, password, code in [
            ("nobody", "wrong", ""),
            ("mamie", "wrong", ""),
            ("mamie", "wrong", "123456"),
            ("ann", "wrong", ""),
            ("ann", "wrong", there.code("ann")),
            ("ann", PASSWORD, "000000"),
            ("eve", "wrong", ""),
            ("nobody", "wrong", "1-aaaa-aaaa-aaaa"),
            ("ann", PASSWORD, "1-aaaa-aaaa-aaaa"),
            ("MAMIE ", "wrong", ""),
            ("", "wrong", ""),
        ]:
            browser = there.browser()
            answer = await browser.sign_in(name, password, code)
            shown = plain(answer).replace(f'value="{name}"'.encode(), b'value=""')
            answers[name, password, code] = shown
        unknown = answers.pop(("nobody", "wrong", ""))
        assert unknown.startswith(b"403 ")
        for tried, shown in answers.items():
            assert shown == unknown, tried


PAIRS = {
    "known and unknown name": (("mamie", "wrong"), ("nobody", "wrong")),
    "known with TOTP and unknown name": (("ann", "wrong"), ("nobody", "wrong")),
    "recovery code of a known and of an unknown name": (("ann", "recovery"), ("nobody", "recovery")),
    "invited and unknown name": (("eve", "wrong"), ("nobody", "wrong")),
}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_names_cannot_be_told_apart_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: str) -> None:
    ratio = asyncio.run(measure(tmp_path, monkeypatch, *PAIRS[pair]))  # longer than in_loop waits, beside other work
    assert 0.9 <= ratio <= 1.1


def test_a_name_that_is_told_apart_by_time_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement above can fail: here an unknown name costs half the work."""
    monkeypatch.setattr("access.hashes._FORM", "$argon2id$v=19$m=19456,t=1,p=1$")
    ratio = asyncio.run(measure(tmp_path, monkeypatch, *PAIRS["known and unknown name"]))
    assert ratio > 1.1


async def measure(
    directory: Path, monkeypatch: pytest.MonkeyPatch, one: tuple[str, str], other: tuple[str, str]
) -> float:
    """How many times longer `one` takes: the median of pairs of tries, as many as it takes to be sure, 200 at most."""
    async with town(directory) as there:
        widen(there, monkeypatch)
        await there.access.people.add(Actor.CLI, "eve", services=["cloud"])
        browser = there.browser()
        await browser.get("/sign-in")
        ratios: list[float] = []
        while not sure(ratios):
            took = {}
            for name, what in (one, other) if len(ratios) % 2 else (other, one):
                code = "1-aaaa-aaaa-aaaa" if what == "recovery" else "000000"
                typed = {"name": name, "password": "wrong", "code": code}
                token = browser.token
                begin = time.perf_counter()
                answer = await browser.post("/sign-in", typed, token=token)
                took[name, what] = time.perf_counter() - begin
                assert answer.status == 403
            ratios.append(took[one] / took[other])
        print(f"{one} and {other}: {statistics.median(ratios):.3f} after {len(ratios)} pairs")
        return statistics.median(ratios)


def sure(ratios: list[float], most: int = 200) -> bool:
    """Whether the median of what these are drawn from lies within 0.9 to 1.1, or beyond, in 9,999 cases of 10,000.

    Whatever their distribution, the median lies below the k-th smallest of n as rarely as n coins show fewer than k heads.
    """
    number = len(ratios)
    if number < 24 or number % 8:
        return False
    rank, chance = 0, 0.5**number
    while chance < 0.00005:
        rank += 1
        chance += math.comb(number, rank) * 0.5**number
    low, high = sorted(ratios)[rank - 1], sorted(ratios)[-rank]
    return (low >= 0.9 and high <= 1.1) or high < 0.9 or low > 1.1 or number >= most


@in_loop
async def test_a_totp_code_is_good_once_also_at_the_same_moment(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        code = there.code("ann")
        browsers = [there.browser(f"203.0.113.{number}") for number in range(1, 6)]
        for browser in browsers:
            await browser.get("/sign-in")
        typed = {"name": "ann", "password": PASSWORD, "code": code}
        answers = await asyncio.gather(*(browser.post("/sign-in", typed) for browser in browsers))
        assert sorted(answer.status for answer in answers) == [303, 403, 403, 403, 403]
        assert (await there.browser("203.0.113.9").sign_in("ann", code=code)).status == 403
        # nor is the one before, which was never used
        assert (await there.browser("203.0.113.10").sign_in("ann", code=there.code("ann", -1))).status == 403
        there.later()
        assert (await there.browser("203.0.113.11").sign_in("ann", code=there.code("ann"))).status == 303


@in_loop
async def test_a_code_is_used_up_whatever_the_password_says(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        code = there.code("ann")
        assert (await there.browser().sign_in("ann", "wrong", code)).status == 403
        assert (await there.browser("203.0.113.6").sign_in("ann", PASSWORD, code)).status == 403


@in_loop
async def test_a_password_without_the_code_is_not_enough(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        codes = ("", "000000", "1-aaaa-aaaa-aaaa", "0", "null", there.code("ann", 40), there.code("ann") + "0")
        for number, code in enumerate(codes):
            assert (await there.browser(f"203.0.113.{number + 1}").sign_in("ann", PASSWORD, code)).status == 403


@in_loop
async def test_a_recovery_code_is_good_once_also_at_the_same_moment(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        offer = there.access.credentials.new_totp(Actor.CLI, "ann")
        code = pyotp.TOTP(offer.secret).at(int(there.house.now[0]))
        _person, codes = await there.access.credentials.totp_on(Actor.CLI, "ann", offer.seed, code)
        browsers = [there.browser(f"203.0.113.{number}") for number in range(1, 6)]
        for browser in browsers:
            await browser.get("/sign-in")
        typed = {"name": "ann", "password": PASSWORD, "code": codes[3]}
        answers = await asyncio.gather(*(browser.post("/sign-in", typed) for browser in browsers))
        assert sorted(answer.status for answer in answers) == [303, 403, 403, 403, 403]
        # of another number, or of another person
        assert (await there.browser("203.0.113.8").sign_in("ann", code="1" + codes[4][1:])).status == 403
        assert (await there.browser("203.0.113.9").sign_in("ann", code=codes[4])).status == 303


@in_loop
async def test_guesses_at_once_count_like_any_others(tmp_path: Path) -> None:
    """A hundred tries at the same moment: no more than ten passwords are compared, then the address is banned."""
    async with town(tmp_path) as there:
        browser = there.browser("198.51.100.77")
        await browser.get("/sign-in")
        typed = {"name": "mamie", "password": "wrong", "code": ""}
        answers = await asyncio.gather(*(browser.post("/sign-in", typed) for _ in range(100)))
        statuses = [answer.status for answer in answers]
        assert statuses.count(403) <= 10
        assert set(statuses) <= {403, 429}
        if there.access.guard._bans:
            await asyncio.wait(there.access.guard._bans, timeout=60)
        assert "198.51.100.77" in there.house.peer.bans
        # The right password does not help now, from there; from elsewhere it does
        assert (await browser.post("/sign-in", {**typed, "password": PASSWORD})).status == 429
        assert (await there.browser("203.0.113.50").sign_in("mamie")).status == 303


@in_loop
async def test_a_whole_ipv6_network_is_one_guesser(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        statuses = []
        for number in range(1, 30):
            browser = there.browser(f"2001:db8:5::{number:x}")
            statuses.append((await browser.sign_in("mamie", "wrong")).status)
        assert statuses.count(403) == 10
        assert set(statuses[10:]) == {429}


@in_loop
async def test_guessing_from_many_addresses_locks_the_name_but_not_the_browser_that_knows_it(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        known = there.browser("192.0.2.7")
        assert (await known.sign_in("mamie")).status == 303
        await known.submit("/me", {}, to="/sign-out")
        statuses = [(await there.browser(f"198.51.100.{n}").sign_in("mamie", "wrong")).status for n in range(1, 40)]
        assert statuses.count(403) == 20
        assert set(statuses[20:]) == {429}
        # an unknown name is locked alike, so that a lock tells nothing
        statuses = [(await there.browser(f"198.51.101.{n}").sign_in("nobody", "wrong")).status for n in range(1, 40)]
        assert statuses.count(403) == 20
        assert (await there.browser("192.0.2.8").sign_in("mamie")).status == 429
        assert (await known.sign_in("mamie")).status == 303


@in_loop
async def test_an_admin_is_never_locked_out_from_a_trusted_network(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        for number in range(1, 60):
            await there.browser(f"198.51.100.{number}").sign_in("ann", "wrong")
        assert (await there.browser("203.0.113.5").sign_in("ann", code=there.code("ann"))).status == 429
        there.later()
        assert (await there.browser("10.0.0.9").sign_in("ann", code=there.code("ann"))).status == 303


@in_loop
async def test_who_asks_to_be_let_in_opens_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        stranger = there.browser("198.51.100.9")
        typed = {"name": "mallory", "message": "It is me", "password": NEW, "again": NEW}
        assert (await stranger.submit("/ask", typed)).status == 303
        assert there.person("mallory").state == "asked"
        assert (await stranger.sign_in("mallory", typed["password"])).status == 403
        assert not await stranger.signed_in()
        for path in ("/me", "/me/links", "/admin/people"):
            assert (await stranger.get(path)).status == 303
        # asking for more than there is to ask for
        for more in ({"role": "admin"}, {"services": "cloud"}, {"state": "active"}, {"links": "on"}):
            answer = await stranger.submit("/ask", {**typed, "name": "trudy", **more})
            assert answer.status == 400
        assert there.gate == {}
        assert {person.name for person in there.access.people.list(Actor.CLI)} == {"mamie", "yves", "ann", "mallory"}


@in_loop
async def test_asking_tells_nothing_of_who_is_there_and_takes_over_nobody(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        before = there.person("mamie")
        typed = {"password": NEW, "again": NEW, "message": "x"}
        answers = []
        for number, name in enumerate(("mamie", "ann", "somebody")):
            browser = there.browser(f"198.51.100.{number + 1}")
            answer = await browser.submit("/ask", {**typed, "name": name})
            page = await browser.get(answer.header("Location"))
            answers.append((answer.status, answer.header("Location"), plain(page)))
        assert len(set(answers)) == 1
        assert there.person("mamie") == before
        assert (await there.browser("198.51.100.8").sign_in("mamie", typed["password"])).status == 403


@in_loop
async def test_registration_is_closed_unless_it_was_opened(tmp_path: Path) -> None:
    async with town(tmp_path, registration="closed") as there:
        browser = there.browser()
        assert (await browser.get("/ask")).status == 404
        await browser.get("/sign-in")
        typed = {"name": "eve", "password": NEW, "again": NEW, "message": "x"}
        assert (await browser.post("/ask", typed)).status in {403, 404}
        assert "eve" not in there.access.state.people


@in_loop
async def test_a_session_fixed_by_an_attacker_is_not_the_victims(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        attacker = await there.at("yves")
        victim = there.browser("192.0.2.7")
        await victim.get("/sign-in")
        fixed = victim.jar["__Host-safeip-session"] = attacker.session
        assert (await victim.post("/sign-in", {"name": "mamie", "password": PASSWORD, "code": ""})).status == 303
        assert victim.session != fixed
        assert "mamie" in (await victim.get("/me")).text
        # what was planted is no session of the victim's, and one that was made up is none at all
        assert "mamie" not in (await attacker.get("/me")).text
        made_up = there.browser()
        made_up.jar["__Host-safeip-session"] = "A" * 43
        assert not await made_up.signed_in()
        await made_up.sign_in("mamie")
        assert made_up.session != "A" * 43


@in_loop
async def test_a_new_session_replaces_the_one_before(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        browser = there.browser()
        await browser.get("/sign-in")
        another_tab = browser.token
        await browser.sign_in("mamie")
        tokens = [browser.session]
        typed = {"current": PASSWORD, "code": "", "new": NEW, "again": NEW}
        assert (await browser.submit("/me/password", typed)).status == 303
        tokens.append(browser.session)
        typed = {"name": "yves", "password": PASSWORD, "code": ""}
        assert (await browser.post("/sign-in", typed, token=another_tab)).status == 303
        tokens.append(browser.session)
        assert len(set(tokens)) == 3
        alive = [await Browser(there.house, jar={"__Host-safeip-session": token}).signed_in() for token in tokens]
        assert alive == [False, False, True]


@in_loop
async def test_one_invitation_is_accepted_once_also_at_the_same_moment(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.people.add(Actor.CLI, "eve", services=["cloud"])
        token = await there.access.people.invite(Actor.CLI, "eve")
        secret = there.access.invitations.invited(token).secret
        code = pyotp.TOTP(secret).at(int(there.house.now[0]))
        browsers = [there.browser(f"203.0.113.{number}") for number in range(1, 5)]
        path = f"/invitation/{token}"
        for browser in browsers:
            await browser.get(path)
        answers = await asyncio.gather(
            *(
                browser.post(path, {"password": f"{word} green herons wade", "again": f"{word} green herons wade", "code": code})
                for browser, word in zip(browsers, ("nine", "four", "five", "many"), strict=True)
            )
        )
        won = [answer for answer in answers if answer.status == 200]
        assert len(won) == 1, [answer.status for answer in answers]
        assert len(re.findall(r"\b(?:10|[1-9])-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}\b", won[0].text)) == 10
        assert (await browsers[0].get(path)).status in {404, 410}
        assert there.access.people.get(Actor.CLI, "eve").invitation is None


@in_loop
async def test_an_invitation_accepted_in_anothers_browser_ends_the_others_session(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.people.add(Actor.CLI, "eve", services=["cloud"])
        path = f"/invitation/{await there.access.people.invite(Actor.CLI, 'eve')}"
        browser = await there.at("ann")
        before = browser.session
        code = pyotp.TOTP(there.access.invitations.invited(path.rpartition("/")[2]).secret).at(int(there.house.now[0]))
        assert (await browser.submit(path, {"password": NEW, "again": NEW, "code": code})).status == 200
        assert browser.session != before
        assert not await Browser(there.house, jar={"__Host-safeip-session": before}).signed_in()
        assert (await browser.get("/admin/people")).status == 403


@in_loop
async def test_an_invitation_is_over_after_its_time_or_when_another_is_made(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        await there.access.people.add(Actor.CLI, "eve", services=["cloud"])
        first = await there.access.people.invite(Actor.CLI, "eve")
        second = await there.access.people.invite(Actor.CLI, "eve")
        browser = there.browser()
        assert (await browser.get(f"/invitation/{first}")).status in {404, 410}
        assert (await browser.get(f"/invitation/{second}")).status == 200
        there.later(7 * 86400 + 1)
        assert (await browser.get(f"/invitation/{second}")).status in {404, 410}


def test_two_houses_share_no_secret_and_come_with_nobody_in_them(tmp_path: Path) -> None:
    """No default key, account, token or seed."""
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        in_loop(first_start)(tmp_path / name, found)
    keys = [(tmp_path / name / "state" / "secret.key").read_bytes() for name in ("one", "two")]
    assert keys[0] != keys[1]
    people, derived = zip(*found, strict=True)
    assert people == ([], [])
    assert not set(derived[0]) & set(derived[1])


async def first_start(directory: Path, found: list[tuple[list[str], list[str]]]) -> None:
    from portal_house import house

    async with house(directory) as home:
        access = home.site.access
        names = [person.name for person in access.people.list(Actor.CLI)]
        for name in ("admin", "root", "safeip", "user", "guest"):
            for password in ("admin", "password", "safeip", "changeme", ""):
                assert (await Browser(home).sign_in(name, password)).status in {403, 422, 429}
        for name in ("admin", "mamie"):
            await access.people.add(Actor.CLI, name)
        key = access.key
        derived = [
            key.link_token("aaaaaa", 1),
            key.totp_secret("mamie", SEED),
            key.form_token("page:/", "nonce", 1),
            key.device_token("mamie", "aa", 1),
            await access.people.invite(Actor.CLI, "mamie"),
            access.credentials.new_totp(Actor.CLI, "mamie").seed,
        ]
        found.append((names, derived))
