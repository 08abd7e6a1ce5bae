"""What follows once the way is open: the other family, whether the service answers, and where the visitor goes."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from test_portal_link_page import stand_still

from lab import line
from lab.gateway import ROOT, Gateway
from lab.process import wait_for

PORTAL = "https://home.test:8443"
SERVICE = "https://home.test/"
SERVICES = {
    "vault": {
        "title": "Vault", "ports": ["tcp/443"], "url": SERVICE,
        "default_duration": "2h", "max_duration": "30d",
    },
    "game": {"title": "Game", "ports": ["tcp/25565"], "default_duration": "2h", "max_duration": "30d"},
}  # fmt: skip
NAMES = {"url_ipv4": "https://open4.test:8443", "url_ipv6": "https://open6.test:8443"}
# What the page says, as it says it
TELL = """
    addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
        console.log(document.querySelector("[role=status]")?.innerText);
    }).observe(document.body, { subtree: true, attributes: true }));
"""
# Where the other family is there, the page waits for it as long as a busy machine needs
PATIENT = """
    const later = window.setTimeout;
    window.setTimeout = (act, ms, ...more) => later(act, ms === 1500 ? 15_000 : ms, ...more);
"""
LANGUAGES = ("en", *sorted(file.parents[1].name for file in (ROOT / "locale").glob("*/LC_MESSAGES/*.po")))
LONGEST_S = 4.0
"""The script's patience with a service, and the look at the page before that."""
BUSY_S = 15.0
"""What a busy machine may add."""

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(services=SERVICES, portal=NAMES, prefix="sipo") as gateway:
        gateway.serve(gateway.host, "vault", 443, tls=True)
        yield gateway


def link(gateway: Gateway, *options: str, service: str = "vault") -> str:
    return gateway.add_link("Mamie", (service,), "--for", "2h", *options)


def held(gateway: Gateway, service: str = "vault") -> tuple[list[str], list[str]]:
    """The addresses that a service is open for, by family."""
    four, six = ([e.value for e in gateway.elements(f"{service}{family}")] for family in (4, 6))
    return four, six


def asked(page: Page) -> list[tuple[str, str, float]]:
    """What the page asks for from now on: method, URL and when."""
    requests: list[tuple[str, str, float]] = []
    page.on("request", lambda request: requests.append((request.method, request.url, time.monotonic())))
    return requests


def remark(page: Page) -> str:
    return page.locator("#remark").inner_text()


def test_one_tap_opens_both_families_and_shows_the_service(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(PATIENT), link(gateway)
    page.goto(url)
    page.wait_for_url(SERVICE)
    expect(page.get_by_role("heading", name="vault")).to_be_visible()
    assert held(gateway) == (["192.0.2.10"], ["2001:db8:1::"])
    # Both under one end: nobody wonders why one half is over before the other
    ends = {grant["expires_at"][:-4] for grant in gateway.cli_json("grants")}
    assert len(ends) <= 2


def test_who_comes_by_ipv6_gets_ipv4_too(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(PATIENT), link(gateway, service="game")
    page.goto(url.replace("home.test", "open6.test"))
    expect(page.get_by_text("IPv4 and IPv6 are open.")).to_be_visible()
    expect(page.get_by_text("You can close this page.")).to_be_visible()
    assert held(gateway, "game") == (["192.0.2.10"], ["2001:db8:1::"])


def test_a_family_that_is_down_is_a_remark_and_costs_little(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(TELL), link(gateway)
    said: list[str] = []
    failed: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("requestfailed", lambda request: "/also/" in request.url and failed.append(request.url))
    stand_still(page)
    with line.without_ipv6(gateway):
        with page.expect_request(f"{NAMES['url_ipv6']}/also/*"):
            page.goto(url)
        page.clock.run_for(1400)
        assert failed == []
        page.clock.run_for(200)
        page.wait_for_url(SERVICE)
    assert len(failed) == 1
    assert "Only IPv4 was opened: no IPv6 here." in "".join(said)
    assert held(gateway) == (["192.0.2.10"], [])


def test_a_service_that_starts_late_is_waited_for(gateway: Gateway, visit: Visit) -> None:
    page, late = visit(), "https://home.test:444/"
    stand_still(page)  # it does not try again before it is told to
    with page.expect_event("requestfailed", lambda request: request.method == "HEAD" and request.url == late):
        page.goto(link(gateway, "--to", late))
    service = gateway.serve(gateway.host, "late", 444, tls=True)
    try:
        page.clock.run_for(1600)
        page.wait_for_url(late)
    finally:
        service.stop()


def test_a_service_that_does_not_answer_keeps_the_page(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway, "--to", "https://home.test:444/")
    page.goto(url)
    expect(page.get_by_text("The service does not answer yet")).to_be_visible(timeout=(LONGEST_S + BUSY_S) * 1000)
    assert "IPv6 only" not in remark(page)
    expect(page.get_by_role("button", name="Stay here")).to_be_hidden()
    expect(page.get_by_text("You are taken there")).to_be_hidden()
    assert page.url == url
    assert page.get_by_role("link", name="Go on anyway").get_attribute("href") == "https://home.test:444/"


def test_a_service_of_the_other_family_alone_is_told(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway, "--to", "https://open6.test/")
    with line.without_ipv6(gateway):
        page.goto(url)
        expect(page.get_by_text("Or it can be reached by IPv6 only")).to_be_visible(timeout=(LONGEST_S + 2 + BUSY_S) * 1000)
        assert page.url == url


def test_a_service_that_sends_elsewhere_answers(gateway: Gateway, browser: Browser) -> None:
    # A context of its own: the page's policy stops the try at the other host, and says so
    context = browser.new_context(ignore_https_errors=True)
    page, url = context.new_page(), link(gateway, "--to", f"{SERVICE}away")
    with page.expect_request(lambda request: request.is_navigation_request() and request.url == f"{SERVICE}away"):
        page.goto(url)
    context.close()


def test_both_families_come_along_to_another_network(gateway: Gateway, visit: Visit) -> None:
    page = visit(PATIENT)
    page.goto(link(gateway, service="game"))
    page.get_by_label("Keep open while this page is open").check()
    expect(page.get_by_text("IPv4 and IPv6 are open.")).to_be_visible()
    with line.elsewhere(gateway, lambda: page.evaluate("() => !navigator.onLine")):
        wait_for(
            "both families from the other network",
            lambda: page.evaluate("() => true")
            and all(new in old for new, old in zip((line.ELSEWHERE4, "2001:db8:3::"), held(gateway, "game"), strict=True)),
            timeout=60,
            every=0.2,
        )


def test_stay_here_and_load_again(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway)
    requests = asked(page)
    stand_still(page)  # it goes on a second later, pressed or not
    page.goto(url)
    page.get_by_role("button", name="Stay here").click()
    expect(page.get_by_text("You are taken there")).to_be_hidden()
    page.clock.resume()
    page.wait_for_timeout(2000)
    assert page.url == url
    # Loading again asks for the page, and the form is not sent once more
    requests.clear()
    page.reload()
    expect(page.get_by_role("heading", name="still open")).to_be_visible()
    page.wait_for_timeout(500)
    assert [request for request in requests if request[0] == "POST"] == []
    page.get_by_role("link", name="Go on").click()
    page.wait_for_url(SERVICE)
    page.go_back()
    expect(page).to_have_url(url)
    assert [request for request in requests if request[0] == "POST"] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_weigh_little_in_every_language(gateway: Gateway, language: str) -> None:
    gateway.cli("revoke", "--all")
    visitor, spoken = gateway.visitor, {"Accept-Language": language}
    url = gateway.add_link("Mamie", ("vault", "game"), "--for", "2h", "--addresses", "3", "--expires", "3d")
    shown = visitor.fetch(url, headers=spoken)
    opened = visitor.submit(shown, headers=spoken)
    for page in (shown, opened, visitor.fetch(url, headers=spoken)):
        assert (page.status, page.headers["Content-Language"]) == (200, language)
        # All that it names, but the icon that a phone fetches when somebody puts the link on its home screen
        named = set(re.findall(r'(?:href|src)="(/static/[^"]+|/l/[^"]+/app[^"]+)"', page.text))
        loaded = {path: len(visitor.fetch(PORTAL + path).body) for path in named if "icon-180" not in path}
        assert len(page.body) + sum(loaded.values()) < 30_000, loaded
        # with the page itself and, when it was opened, the other family
        assert 1 + len(loaded) + (page is opened) <= 8


def test_a_page_loads_what_it_names_and_nothing_else(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(PATIENT), link(gateway, service="game")
    requests = asked(page)
    page.goto(url)
    expect(page.get_by_text("IPv4 and IPv6 are open.")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert len(requests) <= 12  # both pages, with what the second one has from the first
    for _, address, _ in requests:
        assert address == url or address.startswith((f"{PORTAL}/static/", f"{NAMES['url_ipv6']}/also/")), address
