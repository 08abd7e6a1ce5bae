"""What the eye and the hand meet: paper for the fridge, the share sheet, the picture's words, colours that are forced."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_portal_people import PORTAL

from lab.gateway import Gateway

# The text of whatever is to be seen, element by element.
SEEN = """
    () => [...document.querySelectorAll("body *")]
        .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
        .map((e) => e.textContent.trim().replace(/\\s+/g, " "))
"""
STUBS = """
    window.told = [];
    navigator.share = async (what) => window.told.push(["share", what.url, what.title]);
    window.print = () => window.told.push(["print"]);
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipk") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def admin(admins: Callable[..., BrowserContext]) -> BrowserContext:
    """A phone on which yves is signed in."""
    context = admins(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script(STUBS)
    return context


@pytest.fixture
def page(admin: BrowserContext) -> Iterator[Page]:
    page = admin.new_page()
    yield page
    page.close()


def page_of(gateway: Gateway, url: str) -> str:
    return f"{PORTAL}/admin/links/{url.rpartition('/l/')[2].partition('-')[0]}"


def style(page: Page, selector: str, name: str) -> Any:
    return page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)


@pytest.mark.parametrize("pin", [(), ("--pin", "4711pin")])
def test_a_link_printed_is_one_sheet_for_the_fridge(
    gateway: Gateway, page: Page, pin: tuple[str, ...]
) -> None:
    page.goto(page_of(gateway, gateway.add_link("Mamie", ("cloud", "films"), *pin)))
    expect(page.get_by_text("Point a phone")).to_be_hidden()
    page.emulate_media(media="print")
    assert page.evaluate(SEEN) == [
        "For Mamie",
        "Cloud and Films",
        "Point a phone\u2019s camera at this code, open the page that it finds and type your PIN: the way is open."
        if pin
        else "Point a phone\u2019s camera at this code and open the page that it finds: the way is open.",
    ]
    for there in (".sheet .mark", ".sheet .qr"):
        expect(page.locator(there)).to_be_visible()
    assert page.locator(".sheet .qr").bounding_box()["width"] > 300  # type: ignore[index] (it is visible)
    assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)", "though the screen is dark"
    assert style(page, "body", "color") == "rgb(0, 0, 0)"
    for paper in ("A4", "A5", "Letter"):
        assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format=paper, print_background=True))) == 1, paper


def test_other_pages_are_printed_without_what_is_pressed(page: Page) -> None:
    page.goto(f"{PORTAL}/me")
    page.emulate_media(media="print")
    for gone in ("button", "nav", "input"):
        assert page.locator(gone).evaluate_all("(all) => all.filter((e) => e.checkVisibility()).length") == 0


def test_a_link_is_passed_on(gateway: Gateway, page: Page) -> None:
    url = gateway.add_link("Papi")
    page.goto(page_of(gateway, url))
    page.get_by_role("button", name="Pass it on").click()
    page.get_by_role("button", name="Print").click()
    assert page.evaluate("told") == [["share", url, page.title()], ["print"]]
    copy = page.get_by_role("button", name="Copy")
    copy.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == url
    expect(copy).to_be_visible()
    page.get_by_label("Its address").focus()
    assert page.evaluate("getSelection().toString()") == url


def test_without_script_there_is_no_button_that_does_nothing(
    gateway: Gateway, admin: BrowserContext, browser: Browser
) -> None:
    url = gateway.add_link("Papi")
    still = browser.new_context(
        ignore_https_errors=True, java_script_enabled=False, storage_state=admin.storage_state()
    )
    page = still.new_page()
    page.goto(page_of(gateway, url))
    assert page.get_by_role("button").all_inner_texts() == ["Sign out", "Pause"]
    expect(page.get_by_label("Its address")).to_have_value(url)
    still.close()


KNOCKS = """() => [
    document.querySelector(".knocks summary").getBoundingClientRect().height,
    document.querySelector(".knocks svg").getAttribute("aria-label"),
    ...[...document.querySelectorAll(".knocks tbody .number")].map((cell) => cell.innerText),
]"""
"""All at once: the admin's first page puts newer ones in their place."""


def test_the_picture_of_who_knocked_has_words(gateway: Gateway, page: Page) -> None:
    for _ in range(2):
        gateway.stranger.reaches("http://home.test/", timeout=0.2)
    gateway.stranger.reaches("http://home.test/", family=6, timeout=0.2)
    for place in ("/admin/blocked", "/admin"):
        page.goto(f"{PORTAL}{place}")
        picture = page.get_by_role("img", name=re.compile(r"^\d+ packets were blocked in the last day$"))
        expect(picture).to_be_visible()
        words = page.get_by_text(re.compile("hour by hour"))
        words.click()
        expect(page.locator(".knocks table")).to_be_visible()
        height, label, *counted = page.evaluate(KNOCKS)
        assert height >= 44
        assert sum(map(int, counted)) == int(re.findall(r"\d+", label)[0])
    page.goto(f"{PORTAL}/admin/blocked")
    page.get_by_role("listitem").get_by_role("link", name="203.0.113.66").click()
    expect(page.locator("main table").last.locator("tbody tr")).to_have_count(1)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_door_opens_with_the_way(gateway: Gateway, browser: Browser, motion: Any) -> None:
    gateway.cli("revoke", "--all")
    context = browser.new_context(ignore_https_errors=True, locale="en-GB", reduced_motion=motion)
    page = context.new_page()
    page.goto(gateway.add_link("Mamie", ("game",), "--pin", "4711pin"))
    assert style(page, "main > .mark .leaf", "transform") == "none", "closed"
    page.get_by_label("PIN").fill("4711pin")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("h1.done")).to_be_visible()
    assert style(page, "main > .mark .leaf", "animationName") == (
        "swing" if motion == "no-preference" else "none"
    )
    assert style(page, "main > .mark .light", "opacity") == "1"
    context.close()


def test_forced_colours_keep_edges_and_bars(gateway: Gateway, page: Page) -> None:
    gateway.stranger.reaches("http://home.test/", timeout=0.2)
    page.emulate_media(forced_colors="active")
    page.goto(f"{PORTAL}/admin/blocked")
    assert style(page, "main", "borderTopStyle") == "solid"
    assert style(page, ".knocks rect", "fill") == style(page, "h1", "color")
    page.goto(f"{PORTAL}/me")
    assert style(page, "main button", "borderTopStyle") == "solid"


def test_what_knocked_is_known_after_a_restart(gateway: Gateway) -> None:
    def counted() -> int:
        gateway.stop()
        return sum(json.loads((gateway.state / "knocks.json").read_text())["hours"].values())

    gateway.stranger.reaches("http://home.test/", timeout=0.2)
    known = counted()
    assert known >= 1
    gateway.start()
    assert counted() >= known
    gateway.start()
