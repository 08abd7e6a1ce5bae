"""A visitor's other family, staying, remembered links and icons, in wrong hands."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from abuse_town import Browser, Town, town
from portal_house import in_loop

from access.actor import Actor

HERE, THERE = "203.0.113.5", "2001:db8:5::7"
OWN = "https://open.example.org"
OTHER = "https://open6.example.org"
STRANGER = "198.51.100.66"


@asynccontextmanager
async def two_families(directory: Path):
    async with town(
        directory, url_ipv4="https://open4.example.org", url_ipv6=f"{OTHER}:443"
    ) as there:
        yield there


async def path_of(there: Town, **values) -> tuple[str, str]:
    """A new link's path and id."""
    link = await there.link(**values)
    return f"/l/{there.access.links.token(link)}", link.id


def attribute(page: str, name: str) -> str | None:
    found = re.search(rf'data-{name}="([^"]*)"', page)
    return found[1] if found else None


async def opened(browser: Browser, path: str, **typed: str) -> tuple[str, str]:
    """Open a link by its form; the ticket's path and the token to stay."""
    answer = await browser.submit(path, typed)
    assert answer.status == 200, answer.text
    also, stay = attribute(answer.text, "also"), attribute(answer.text, "form")
    assert also is not None
    assert stay is not None
    return also.partition(".org:443")[2] or also.partition(".org")[2], stay


async def also(there: Town, ticket: str, address: str = THERE, **headers: str):
    return await there.browser(address).post(ticket, token=None, **{"Origin": OWN, **headers})


async def stay(browser: Browser, path: str, token: str, **headers: str):
    return await browser.post(f"{path}/stay", token=token, **headers)


def addresses(there: Town) -> set[str]:
    return {address for _service, address, _holder in there.gate}


# tickets


@in_loop
async def test_a_ticket_opens_the_other_family_once_and_only_our_page_may_read_the_answer(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there)
        ticket, _ = await opened(there.browser(HERE), path)
        answer = await also(there, ticket)
        assert answer.status == 200
        assert answer.json["how"] == "opened"
        assert answer.json["address"] == "2001:db8:5::/64"
        assert (answer.header("Access-Control-Allow-Origin"), answer.header("Vary")) == (OWN, "Origin")
        assert answer.header("Access-Control-Allow-Credentials") == ""
        assert addresses(there) == {HERE, "2001:db8:5::/64"}
        there.gate.clear()
        there.gate.update({("cloud", HERE, "x"): {}})
        for _ in range(3):
            again = await also(there, ticket, "2001:db8:6::7")
            assert (again.status, again.json) == (403, {"problem": "bad-ticket"})
        assert addresses(there) == {HERE}


@in_loop
async def test_of_many_who_bring_one_ticket_at_once_one_gets_in(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        ticket, _ = await opened(there.browser(HERE), (await path_of(there))[0])
        answers = await asyncio.gather(*(also(there, ticket, f"2001:db8:{n}::1") for n in range(1, 21)))
        assert sorted(answer.status for answer in answers) == [200] + [403] * 19
        assert len(addresses(there)) == 2


@in_loop
async def test_a_ticket_is_good_for_a_minute(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there)
        late, _ = await opened(browser, path)
        there.later(60)
        assert (await also(there, late)).status == 403
        assert addresses(there) == {HERE}
        ticket, _ = await opened(browser, path)
        there.later(58)
        assert (await also(there, ticket)).status == 200


@in_loop
async def test_a_ticket_is_for_the_family_that_did_not_ask(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there)
        ticket, _ = await opened(there.browser(HERE), path)
        for address in (HERE, STRANGER):
            answer = await also(there, ticket, address)
            assert (answer.status, answer.json) == (409, {"problem": "same-family"})
        assert addresses(there) == {HERE}
        assert (await also(there, ticket)).status == 200, "who was asked by mistake used nothing up"
        by_six = await there.browser("2001:db8:9::1").submit(path, {})
        assert (attribute(by_six.text, "also") or "").startswith("https://open4.example.org/also/")


@in_loop
async def test_a_ticket_that_was_changed_is_none(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there)
        _, other = await path_of(there)
        ticket, _ = await opened(there.browser(HERE), path)
        end, family, adds, link, generation, asked, nonce, proof = ticket.removeprefix("/also/").split("-")
        changed = [
            (str(int(end) + 1), family, adds, link, generation, asked, nonce, proof),
            (end, "4", adds, link, generation, asked, nonce, proof),
            (end, family, "0", link, generation, asked, nonce, proof),
            (end, family, adds, other, generation, asked, nonce, proof),
            (end, family, adds, link, "2", asked, nonce, proof),
            (end, family, adds, link, generation, "203.0.113.6", nonce, proof),
            (end, family, adds, link, generation, asked, "0" * 32, proof),
            (end, family, adds, link, generation, asked, nonce, "0" * 64),
            (end, family, adds, link, generation, asked, nonce, ""),
            (end, family),
        ]
        for parts in changed:
            assert (await also(there, f"/also/{'-'.join(parts)}")).status == 403, parts
        for text in ("x", "%00", "a" * 4000, "%E2%82%AC", "..%2F", path[3:]):
            assert (await also(there, f"/also/{text}")).status == 403, text
        assert addresses(there) == {HERE}
        assert (await also(there, ticket)).status == 200


@pytest.mark.parametrize("verb", ["pause", "rotate", "remove", "pause-resume"])
def test_a_ticket_of_a_link_that_was_withdrawn_opens_nothing(tmp_path: Path, verb: str) -> None:
    in_loop(withdrawn)(tmp_path, verb)


async def withdrawn(directory: Path, verb: str) -> None:
    async with two_families(directory) as there:
        path, link_id = await path_of(there)
        ticket, token = await opened(browser := there.browser(HERE), path)
        for step in verb.split("-"):
            await getattr(there.access.links, step)(Actor.CLI, link_id)
        wanted = {"pause": (410, 410), "rotate": (404, 404), "remove": (404, 404), "pause-resume": (409, 409)}[verb]
        answers = await also(there, ticket), await stay(browser, path, token)
        assert tuple(answer.status for answer in answers) == wanted
        assert there.gate == {}


@in_loop
async def test_what_the_admin_took_back_is_neither_joined_nor_kept_open(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there, pin="4711")
        ticket, token = await opened(browser := there.browser(HERE), path, pin="4711")
        assert await there.house.gate.revoke(service="cloud") == 1
        for answer in (await also(there, ticket), await stay(browser, path, token)):
            assert (answer.status, answer.json) == (409, {"problem": "ended"})
        assert there.gate == {}


@in_loop
async def test_uses_are_not_multiplied_by_tickets(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there, uses=2)
        first, _ = await opened(browser, path)
        assert (await also(there, first)).status == 200
        # The time starts again, and with it that of the other family: no third address comes in
        second, _ = await opened(browser, path)
        assert (await also(there, second, "2001:db8:77::1")).status == 409
        third, _ = await opened(browser, path)
        assert (await also(there, third)).json["how"] == "renewed"
        assert addresses(there) == {HERE, "2001:db8:5::/64"}
        last = await there.browser("203.0.113.9").submit(path, {})
        assert last.status == 200
        # Used up: it is still open, gives no ticket any more, and nothing to stay with
        assert attribute(last.text, "form") is None
        there.later(1)
        still = await there.browser(HERE).get(path)
        assert "<form" not in still.text
        assert attribute(still.text, "also") is None


@in_loop
async def test_only_an_opening_gives_a_ticket(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, link_id) = there.browser(HERE), await path_of(there, pin="4711")
        refused = [await browser.get(path), await browser.submit(path, {"pin": "1"}), await browser.submit(path, {})]
        await opened(browser, path, pin="4711")
        refused.append(await browser.get(path))
        inside = there.browser("10.0.0.9")
        refused.append(await inside.get(path))
        await there.access.links.pause(Actor.CLI, link_id)
        refused.append(await browser.get(path))
        for answer in refused:
            assert attribute(answer.text, "also") is None
            assert attribute(answer.text, "form") is None
    (tmp_path / "2").mkdir()
    async with town(tmp_path / "2", url_ipv4="https://open4.example.org") as there:
        answer = await there.browser(HERE).submit((await path_of(there))[0], {})
        assert attribute(answer.text, "also") is None, "there is no name for the other family"


FOREIGN = [
    "",
    "null",
    "https://evil.example",
    "https://open.example.org.evil.example",
    "https://evil.open.example.org",
    "http://open.example.org",
    "https://open.example.org:444",
    "https://open.example.org/",
    "https://open.example.org https://evil.example",
    "https://open6.example.org:443",
    "*",
]


@in_loop
async def test_tickets_from_other_sites_open_nothing_and_their_pages_read_nothing(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        ticket, _ = await opened(there.browser(HERE), (await path_of(there))[0])
        visitor = there.browser(THERE)
        answers = [await visitor.post(ticket, token=None, Origin=origin) for origin in FOREIGN]
        answers.append(await visitor.post(ticket, token=None))
        for answer in answers:
            assert (answer.status, answer.json) == (403, {"problem": "foreign-form"})
            assert answer.header("Access-Control-Allow-Origin") == ""
            assert answer.header("Vary") == "Origin"
        assert addresses(there) == {HERE}
        for origin in (OTHER, "https://open4.example.org"):
            answer = await also(there, ticket, Origin=origin)
            assert answer.header("Access-Control-Allow-Origin") == origin


@in_loop
async def test_no_other_route_lets_another_origin_read(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there)
        ticket, token = await opened(browser, path)
        for origin in (OWN, OTHER, "https://evil.example"):
            answers = [
                await browser.get(path, Origin=origin),
                await browser.post(path, {}, Origin=origin),
                await stay(browser, path, token, Origin=origin),
                await browser.get("/", Origin=origin),
                await browser.get(f"{path}/app.webmanifest", Origin=origin),
                await browser.get(ticket, Origin=origin),
                await browser.get(ticket, "OPTIONS", Origin=origin, Access_Control_Request_Method="POST"),
                await browser.get(f"{path}/stay", "OPTIONS", Origin=origin),
            ]
            for answer in answers:
                assert not [key for key, _ in answer.headers if key.lower().startswith("access-control")]


@in_loop
async def test_a_ticket_from_a_banned_address_and_from_one_that_is_never_closed(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there)
        ticket, _ = await opened(browser, path)
        from access.address import parse_address

        there.access.guard.shut_out(parse_address(THERE, 64), 600)
        answer = await also(there, ticket)
        assert (answer.status, answer.json) == (429, {"problem": "too-many-tries"})
        assert answer.header("Access-Control-Allow-Origin") == OWN
        inside = await also(there, ticket, "fe80::1")
        assert (inside.status, inside.json["how"]) == (200, "trusted")
        assert addresses(there) == {HERE}


# staying


@in_loop
async def test_staying_is_for_the_browser_that_opened_the_link(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _), (other, _) = there.browser(HERE), await path_of(there, pin="4711"), await path_of(there)
        page = await browser.get(path)
        form = page.form_token
        _, token = await opened(browser, path, pin="4711")
        _, token_of_other = await opened(browser, other)
        there.gate.clear()
        there.gate.update({("cloud", HERE, "x"): {"service": "cloud", "address": HERE, "holder": "x", "note": "", "remaining_ms": 5000, "packets": 0, "bytes": 0}})
        thief = there.browser(STRANGER)
        await thief.get(path)
        end = token.partition("-")[0]
        for who, with_, headers in [
            (thief, token, {}),
            (there.browser(STRANGER), token, {}),
            (browser, form, {}),
            (browser, token_of_other, {}),
            (browser, token.replace(HERE, STRANGER), {}),
            (browser, token.partition("~")[0], {}),
            (browser, token.replace(end, str(int(end) + 1)), {}),
            (browser, "x", {}),
            (browser, f"{token}~", {}),
            (browser, token, {"Origin": "https://evil.example"}),
            (browser, token, {"Sec_Fetch_Site": "cross-site"}),
        ]:
            answer = await stay(who, path, with_, **headers)
            assert answer.status == 403, with_
            assert answer.json["problem"] in {"old-form", "foreign-form"}
        assert (await browser.post(path, {"pin": ""}, token=token)).status == 403, "no form of the page's"
        assert len(there.gate) == 1
        assert (await stay(browser, path, token)).json["how"] == "opened"


@in_loop
async def test_staying_needs_no_pin_while_it_is_open_and_one_once_it_is_over(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there, pin="4711", duration_s=600)
        _, token = await opened(browser, path, pin="4711")
        answer = await stay(browser, path, token)
        assert (answer.status, answer.json["how"], answer.json["also"]) == (200, "open", None)
        for grant in there.gate.values():
            grant["remaining_ms"] = 100_000
        answer = await stay(browser, path, answer.json["form"])
        assert (answer.json["how"], answer.json["remaining_ms"]) == ("renewed", 600_000)
        browser.address = "203.0.113.99"  # from Wi-Fi to mobile
        answer = await stay(browser, path, answer.json["form"])
        assert (answer.json["how"], answer.json["address"]) == ("opened", "203.0.113.99")
        kept = answer.json["form"]
        there.gate.clear()
        answer = await stay(browser, path, kept)
        assert (answer.status, answer.json) == (409, {"problem": "ended"})
        assert there.gate == {}


@in_loop
async def test_staying_spends_uses_as_opening_does(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there, uses=2)
        _, token = await opened(browser, path)
        browser.address = "203.0.113.98"
        token = (await stay(browser, path, token)).json["form"]
        browser.address = "203.0.113.99"
        answer = await stay(browser, path, token)
        assert (answer.status, answer.json) == (410, {"problem": "used-up"})
        assert addresses(there) == {HERE, "203.0.113.98"}
        browser.address = "203.0.113.98"
        answer = await stay(browser, path, token)
        assert (answer.json["how"], answer.json["also"]) == ("still", None)


@in_loop
async def test_nothing_new_grants_by_get_or_head(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there)
        ticket, _ = await opened(browser, path)
        there.gate.clear()
        there.house.peer.asked.clear()
        for method in ("GET", "HEAD", "OPTIONS", "PUT"):
            for where in (ticket, f"{path}/stay", f"{path}/app.webmanifest", "/forget", "/", path):
                for address in (HERE, THERE):
                    await there.browser(address).get(where, method, Origin=OWN, Sec_Purpose="prefetch;prerender")
                    await browser.get(where, method)
        assert there.gate == {}
        assert {request["verb"] for request in there.house.peer.asked} <= {"list"}
        assert "links" in str(browser.jar), "nor does it forget anything"


# remembered links


@in_loop
async def test_a_stuffed_cookie_shows_nothing_strikes_nobody_and_is_replaced(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there)
        good = path.removeprefix("/l/")
        wrong = [f"{good[:7]}{'a' * 31}{letter}" for letter in "abcdefgh"]
        for kept in (
            ".".join(wrong),
            ".".join(wrong * 20),
            "." * 4000,
            good[:-1],
            good + ".",
            f"{good}.{'x' * 3000}",
            "%2e" * 500,
            "a" * 7000,
            '"><script>alert(1)</script>',
        ):
            browser = there.browser(STRANGER)
            for _ in range(4):
                page = await browser.get("/", Cookie=f"__Host-safeip-links={kept}")
                assert page.status == 200
                assert "/l/" not in page.text
                assert "Nextcloud" not in page.text
                assert "script>alert" not in page.text
        assert there.access.guard.may_try_s(__import__("ipaddress").ip_address(STRANGER), trusted=False) == 0
        browser = there.browser(STRANGER)
        browser.jar["__Host-safeip-links"] = ".".join(wrong)
        await opened(browser, path)
        assert browser.jar["__Host-safeip-links"] == good, "what is no link's is not kept"
        assert len(there.gate) == 1


@in_loop
async def test_a_browser_remembers_what_it_opened_and_nobody_else_is_told(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, link_id) = there.browser(HERE), await path_of(there, label="Secret name", pin="4711")
        await browser.get(path)
        await browser.submit(path, {"pin": "0000"})
        assert "__Host-safeip-links" not in browser.jar, "only an opening is remembered"
        answer = await browser.submit(path, {"pin": "4711"})
        cookie = next(value for key, value in answer.headers if key == "Set-Cookie" and "safeip-links" in value)
        assert cookie.endswith("; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure")
        page = await browser.get("/")
        assert f'href="{path}"' in page.text
        assert "Secret name" in page.text
        assert page.header("Cache-Control") == "no-store"
        for other in (there.browser(HERE), there.browser(STRANGER)):
            assert "Secret name" not in (await other.get("/")).text
        links = there.access.links
        await links.pause(Actor.CLI, link_id)
        assert path not in (await browser.get("/")).text
        await links.resume(Actor.CLI, link_id)
        assert path in (await browser.get("/")).text
        await links.rotate(Actor.CLI, link_id)
        assert "/l/" not in (await browser.get("/")).text


@in_loop
async def test_eight_links_are_remembered_the_newest_first(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser = there.browser(HERE)
        paths = [(await path_of(there))[0] for _ in range(10)]
        for path in [*paths, paths[5]]:
            await opened(browser, path)
        page = await browser.get("/")
        wanted = [paths[5], *reversed([path for path in paths[2:] if path != paths[5]])]
        assert re.findall(r'href="(/l/[^"]+)"', page.text) == wanted


@in_loop
async def test_only_the_browser_itself_has_its_links_forgotten(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        browser, (path, _) = there.browser(HERE), await path_of(there)
        await opened(browser, path)
        other = there.browser(STRANGER)
        await opened(other, path)
        await other.get("/")
        page = await browser.get("/")
        for token, headers in (
            (other.token, {}),
            ((await browser.get(path)).form_token, {}),
            ("x", {}),
            (page.form_token, {"Origin": "https://evil.example"}),
        ):
            assert (await browser.post("/forget", token=token, **headers)).status == 403
            assert "__Host-safeip-links" in browser.jar
        assert (await browser.post("/forget", token=page.form_token)).status == 303
        assert "__Host-safeip-links" not in browser.jar
        assert "/l/" not in (await browser.get("/?done=links-forgotten")).text


# the icon


@in_loop
async def test_a_manifest_tells_of_a_link_what_its_page_tells(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, link_id = await path_of(there, label="Secret name")
        visitor = there.browser(STRANGER)
        answer = await visitor.get(f"{path}/app.webmanifest")
        assert answer.header("Content-Type") == "application/manifest+json; charset=utf-8"
        assert (answer.json["name"], answer.json["start_url"]) == ("Nextcloud", path)
        for icon in answer.json["icons"]:
            assert (await visitor.get(icon["src"])).header("Content-Type") == icon["type"]
        assert "Secret name" not in answer.text
        assert "Set-Cookie" not in dict(answer.headers)
        await there.access.links.pause(Actor.CLI, link_id)
        assert (await visitor.get(f"{path}/app.webmanifest")).status == (await visitor.get(path)).status == 410
        assert there.gate == {}


@in_loop
async def test_guessed_manifests_strike_as_guessed_pages_do(tmp_path: Path) -> None:
    async with two_families(tmp_path) as there:
        path, _ = await path_of(there)
        guesser = there.browser(STRANGER)
        tokens = [f"{path[3:9]}-{'a' * 31}{letter}" for letter in "abcdefghij"]
        for token in tokens[:5] * 3:
            assert (await guesser.get(f"/l/{token}/app.webmanifest")).status == 404
            assert (await guesser.get(f"/l/{token}")).status == 404
        assert (await guesser.get(path)).status == 200, "a page and its manifest are one guess"
        for token in tokens[5:]:
            await guesser.get(f"/l/{token}/app.webmanifest")
        assert (await guesser.get(path)).status == 429
        assert (await guesser.get(f"/l/{'a' * 3000}/app.webmanifest")).status == 404
