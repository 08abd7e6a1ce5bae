"""Pages where the family that was seen is not one that a service has: which was seen, which is needed, what to do."""

import re
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from portal_house import HERE, SERVICES, Browser, house, in_loop

from access.services import Family

CLOUD = SERVICES["cloud"]
NAMES = {"url_ipv4": "https://open4.example.org", "url_ipv6": "https://open6.example.org"}
FOUR, SIX = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "2001:db8:7::7"}
SAYS = "Nextcloud can be reached by IPv4 only, and this page sees you by IPv6."
OTHERWISE = "Try another network, such as your phone's without Wi-Fi, or ask"


def reached(*families: Family, **settings: Any) -> dict[str, Any]:
    """Settings of a house whose cloud is reached by these families, and whose visitors come from anywhere."""
    services = {**SERVICES, "cloud": replace(CLOUD, families=families)}
    return {"services": services, "trusted_proxies": (ip_network(f"{HERE}/32"),), **settings}


# Abuse.


@in_loop
async def test_no_form_that_was_kept_spends_a_use_on_the_other_family(tmp_path: Path) -> None:
    """A form of before the family was left out, or of whoever writes their own; by script too."""
    async with house(tmp_path, **reached("ipv4", **NAMES)) as h:
        path = await h.link(uses=1)
        page = await h.get(path, **FOUR)
        answer = await h.post(path, f"form={page.form_token}".encode(), Cookie=page.cookie, **SIX)
        assert (answer.status, SAYS in answer.text, "<form" in answer.text) == (403, True, False)
        assert h.peer.grants == {}
        assert (await h.open(path, **FOUR)).status == 200
        assert [key[1] for key in h.peer.grants] == ["203.0.113.7"]


# What the pages say.


@in_loop
async def test_a_limited_link_leads_to_the_name_of_the_family_that_it_needs(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4", **NAMES)) as h:
        path = await h.link(uses=1, pin="4711")
        page = await h.get(path, **SIX)
        assert page.status == 200
        assert SAYS in page.text
        assert f'href="{NAMES["url_ipv4"]}{path}"' in page.text
        assert "Another way is needed" in page.text
        assert "<form" not in page.text
        assert "PIN" not in page.text
        there = await h.get(path, **FOUR)
        assert 'name="pin"' in there.text
        assert SAYS not in there.text


@pytest.mark.parametrize("uses", [None, 1])
def test_without_such_a_name_the_page_says_what_else_to_try(tmp_path: Path, uses: int | None) -> None:
    @in_loop
    async def main() -> None:
        async with house(tmp_path, **reached("ipv4")) as h:
            path = await h.link(uses=uses)
            page = await h.get(path, **SIX)
            for said in (SAYS, OTHERWISE, "Another way is needed"):
                assert said in page.text
            assert "data-auto" not in page.text, "it would open what nobody reaches, unasked"
            assert ("<form" in page.text) == (uses is None)

    main()


@in_loop
async def test_what_was_opened_for_nothing_says_so_and_leads_nowhere_by_itself(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4")) as h:
        opened = await h.open(await h.link(), **SIX)
        for said in (SAYS, OTHERWISE, "Another way is needed", 'data-needs="IPv4"', "data-lost", 'data-astray data-open="The way is open"'):
            assert said in opened.text
        assert 'http-equiv="refresh"' not in opened.text
    async with house(tmp_path, **reached("ipv4", "ipv6")) as h:
        opened = await h.open(await h.link(), **SIX)
        assert 'http-equiv="refresh"' in opened.text, "then this looks at nothing"


@in_loop
async def test_where_the_script_opens_the_other_family_the_words_wait_for_it(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4", **NAMES)) as h:
        path = await h.link()
        page = await h.get(path, **SIX)
        assert SAYS in page.text
        assert "data-auto" in page.text
        opened = await h.open(path, **SIX)
        assert "The way is open" in opened.text
        assert "data-astray" not in opened.text
        assert '<div class="notice" data-say="needs" hidden>' in opened.text
        shown, _, noscript = opened.text.partition("<noscript><p>")
        assert OTHERWISE in shown
        assert f'href="{NAMES["url_ipv4"]}{path}"' in noscript.partition("</noscript>")[0]
        # looked at again, nothing is tried by itself
        again = await h.get(path, **SIX)
        assert '<div class="notice" data-say="needs">' in again.text
        assert f'href="{NAMES["url_ipv4"]}{path}"' in again.text


@in_loop
async def test_one_of_several_services_that_is_not_reached_is_named_alone(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv6")) as h:
        path = await h.link(services=("cloud", "game"), uses=1)
        page = await h.get(path, **FOUR)
        assert "Nextcloud can be reached by IPv6 only, and this page sees you by IPv4." in page.text
        assert "Another way is needed" not in page.text
        opened = await h.open(path, **FOUR)
        assert "The way is open" in opened.text
        assert "Nextcloud can be reached by IPv6 only" in opened.text


@in_loop
async def test_the_first_page_and_a_members_say_it_too(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4", **NAMES)) as h:
        await h.open(await h.link(), **SIX)
        assert SAYS in (await h.get("/", **SIX)).text
        await h.person(services=("cloud", "game"))
        mamie = Browser(h, **FOUR)
        await mamie.sign_in()
        mine = await mamie.get("/me", **SIX)
        assert SAYS in mine.text
        assert f'href="{NAMES["url_ipv4"]}/me"' in mine.text
        assert "can be reached by" not in (await mamie.get("/me", **FOUR)).text


@in_loop
async def test_no_page_says_it_where_each_service_is_reached_or_nothing_is_closed(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4", **NAMES)) as h:
        limited, path = await h.link(uses=1), await h.link()
        inside = {"X-Forwarded-For": "fe80::1"}
        pages = [await h.get(path, **FOUR), await h.open(path, **FOUR), await h.get("/", **FOUR)]
        pages += [await h.get(limited, **inside), await h.get("/", **inside)]
        for page in pages:
            assert page.status == 200
            assert "can be reached by" not in page.text
        # a family that opens nothing is not missed
        assert "Only IPv4 was opened" not in pages[1].text


@in_loop
async def test_admins_and_programs_see_which_grants_open_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **reached("ipv4")) as h:
        for place in ("cloud/203.0.113.7", "cloud/2001:db8:7::7", "game/2001:db8:7::7"):
            await h.api("PUT", f"grants/{place}")
        listed = {(grant["service"], ":" in grant["address"]): grant["reached"] for grant in (await h.api("GET", "grants")).json}
        assert listed == {("cloud", False): True, ("cloud", True): False, ("game", True): True}
        await h.person("yves", admin=True)
        yves = Browser(h, **FOUR)
        await yves.sign_in("yves")
        shown = (await yves.get("/admin")).text
        assert shown.count("opens nothing by IPv6") == 1
        assert "opens nothing by IPv4" not in shown


@pytest.mark.parametrize("language", ["en", "de", "es", "fr"])
def test_the_longest_of_these_pages_weighs_little(tmp_path: Path, language: str) -> None:
    """From a carrier's address, with a short time there, to a service of the other family."""

    @in_loop
    async def main() -> None:
        settings = reached("ipv6", **NAMES)
        settings["services"]["cloud"] = replace(settings["services"]["cloud"], shared_max_duration_s=3600)
        async with house(tmp_path, **settings) as h:
            headers = {"X-Forwarded-For": "100.64.0.7", "Accept-Language": language}
            opened = await h.open(await h.link(services=("cloud", "game"), addresses=3, expires_s=86400), **headers)
            assert "data-needs" in opened.text
            named = set(re.findall(r'(?:href|src)="(/static/[^"]+|/l/[^"]+/app[^"]+)"', opened.text))
            loaded = [len((await h.get(path)).body) for path in named if "icon-180" not in path]
            assert len(loaded) > 5
            assert len(opened.body) + sum(loaded) < 30_000, (len(opened.body), loaded)

    main()
