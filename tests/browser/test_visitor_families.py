"""A service that one family alone reaches, and a visitor whom the portal sees by the other."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from test_visitor_onward import PATIENT

from lab import line
from lab.gateway import Gateway

PORTAL, OPEN4, OPEN6 = "https://home.test:8443", "https://open4.test:8443", "https://open6.test:8443"
SERVICE = "https://home.test/"
SERVICES = {
    "four": {"title": "Four", "ports": ["tcp/443"], "url": SERVICE, "families": ["ipv4"], "default_duration": "2h"},
    "six": {"title": "Six", "ports": ["tcp/444"], "url": "https://home.test:444/", "families": ["ipv6"], "default_duration": "2h"},
}
ONLY4 = "Four can be reached by IPv4 only, and this page sees you by IPv6."
ONLY6 = "Six can be reached by IPv6 only, and this page sees you by IPv4."

KEPT = """
    const key = `keep ${location.pathname.split("/").at(-1).split("-")[0]}`;
    localStorage.setItem(key, "");
"""

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(services=SERVICES, portal={"url_ipv4": OPEN4, "url_ipv6": OPEN6}, prefix="sipg") as gateway:
        gateway.serve(gateway.host, "four", 443, tls=True)
        gateway.serve(gateway.host, "six", 444, tls=True)
        yield gateway


def held(gateway: Gateway, service: str) -> tuple[list[str], list[str]]:
    four, six = ([e.value for e in gateway.elements(f"{service}{family}")] for family in (4, 6))
    return four, six


def test_what_one_tap_opens_by_the_other_family_is_gone_to(gateway: Gateway, visit: Visit) -> None:
    page = visit(PATIENT)
    page.goto(gateway.add_link("Mamie", ("four",)).replace(PORTAL, OPEN6))
    page.wait_for_url(SERVICE)
    assert held(gateway, "four") == (["192.0.2.10"], ["2001:db8:1::"])


def test_a_look_at_what_is_open_takes_nothing_back(gateway: Gateway, visit: Visit) -> None:
    page = visit(KEPT)
    page.clock.install()
    page.add_init_script(PATIENT)
    page.goto(gateway.add_link("Mamie", ("four",)).replace(PORTAL, OPEN6))
    expect(page.get_by_label("Keep open while this page is open")).to_be_checked()
    expect(page.get_by_text("IPv4 and IPv6 are open.")).to_be_visible()
    with page.expect_response(lambda answer: answer.url.endswith("/stay")) as look:
        page.clock.fast_forward(305_000)
    told = look.value.json()
    assert (told["how"], ":" in told["address"], told["also"]) == ("open", True, None)
    expect(page.locator("#countdown")).to_have_text(re.compile("^(2 hours|1 hour 59 minutes) left"))
    expect(page.get_by_text(ONLY4)).to_be_hidden()
    expect(page.get_by_role("heading", name="The way is open")).to_be_visible()
    expect(page.locator("h1.done")).to_have_count(1)


def test_where_the_other_family_is_down_the_page_stays_and_says_which_is_needed(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), gateway.add_link("Mamie", ("six",))
    with line.without_ipv6(gateway):
        page.goto(url)
        expect(page.get_by_text(ONLY6)).to_be_visible(timeout=30_000)
        expect(page.get_by_text("Try another network")).to_be_visible()
        expect(page.get_by_role("heading", name="Another way is needed")).to_be_visible()
        expect(page.locator("h1.done")).to_have_count(0)  # the door is shut
        expect(page.get_by_role("link", name="Go on anyway")).to_have_attribute("href", "https://home.test:444/")
        for not_so in ("You are taken there", "The service does not answer"):
            expect(page.get_by_text(not_so)).to_be_hidden()
        page.wait_for_timeout(2000)  # longer than the look at the page before it goes on
        assert page.url == url
        expect(page.get_by_role("heading", name="Another way is needed")).to_be_visible()
    assert held(gateway, "six") == (["192.0.2.10"], [])


def test_a_limited_link_spends_its_use_under_the_name_that_counts(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), gateway.add_link("Mamie", ("four",), "--uses", "1")
    page.goto(url.replace(PORTAL, OPEN6))
    expect(page.get_by_text(ONLY4)).to_be_visible()
    expect(page.get_by_role("button", name="Open")).to_have_count(0)
    assert (held(gateway, "four"), gateway.cli_json("link", "list")[-1]["used"]) == (([], []), 0)
    page.get_by_role("link", name="Open it by IPv4").click()
    page.wait_for_url(SERVICE)
    assert held(gateway, "four")[0] == ["192.0.2.10"]
    assert gateway.cli_json("link", "list")[-1]["used"] == 1


def test_the_words_go_in_a_network_that_has_what_is_needed(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    with line.without_ipv6(gateway):
        page.goto(gateway.add_link("Mamie", ("six",)))
        expect(page.get_by_text(ONLY6)).to_be_visible(timeout=30_000)
        page.get_by_label("Keep open while this page is open").check()
    with line.elsewhere(gateway, lambda: page.evaluate("() => !navigator.onLine")):
        expect(page.get_by_text("IPv4 and IPv6 are open.")).to_be_visible(timeout=45_000)
        expect(page.get_by_text(ONLY6)).to_be_hidden()
        expect(page.get_by_role("heading", name="The way is open")).to_be_visible()
        expect(page.locator("h1.done")).to_have_count(1)
        assert "2001:db8:3::" in held(gateway, "six")[1]
