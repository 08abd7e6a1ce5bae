"""A link in a real browser, against the real daemon and the real kernel."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from lab.gateway import Gateway

PORTAL = "https://home.test:8443"
# What a tab in the background says of itself. A headless browser has no background of its own.
HIDDEN = """
    window.hidden_ = true;
    Object.defineProperty(document, "visibilityState", { get: () => (window.hidden_ ? "hidden" : "visible") });
    Object.defineProperty(document, "hidden", { get: () => window.hidden_ });
"""
PRERENDERING = """
    window.hidden_ = true;
    Object.defineProperty(document, "prerendering", { get: () => window.hidden_ });
"""
SHOW_PRERENDERED = (
    "() => { window.hidden_ = false; document.dispatchEvent(new Event('prerenderingchange')); }"
)
SHOW = "() => { window.hidden_ = false; document.dispatchEvent(new Event('visibilitychange')); }"

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipp") as gateway:
        yield gateway


def link(gateway: Gateway, *options: str) -> str:
    return gateway.add_link("Mamie", ("cloud",), "--for", "2h", *options)


def stand_still(page: Page) -> None:
    """No time passes for the pages of its browser but what the test lets pass."""
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))


def openings(gateway: Gateway, url: str) -> int:
    """How often a link was opened."""
    holder = "link:" + url.rpartition("/")[2][:6]
    rows = gateway.cli_json("history")
    return sum(row["event"] == "link-opened" and row["holder"] == holder for row in rows)


def is_open(gateway: Gateway) -> bool:
    return [element.value for element in gateway.elements("cloud4")] == ["192.0.2.10"]


def test_a_link_opens_by_itself_and_moves_on(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway)
    page.goto(f"{PORTAL}/")
    page.goto(url)
    page.wait_for_url("http://home.test/")
    assert is_open(gateway)
    assert openings(gateway, url) == 1
    # Nobody pressed anything, so back leads to where the visitor was before
    page.go_back()
    expect(page).to_have_url(f"{PORTAL}/")
    # A fresh load within a minute waits for the button
    page.goto(url)
    expect(page.get_by_role("link", name="Go on")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.url == url
    assert openings(gateway, url) == 1


def test_back_after_a_press_opens_nothing(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway)
    page.goto(url)
    page.wait_for_url("http://home.test/")
    page.goto(url)
    page.get_by_role("button", name="Start the time again").click()
    page.wait_for_url("http://home.test/")
    assert openings(gateway, url) == 2
    page.go_back()
    expect(page).to_have_url(url)
    page.wait_for_timeout(1000)
    assert page.url == url
    assert openings(gateway, url) == 2
    button = page.get_by_role("button", name="Start the time again")
    expect(button).not_to_have_attribute("aria-disabled", "true")
    button.click()
    page.wait_for_url("http://home.test/")
    assert openings(gateway, url) == 3


@pytest.mark.parametrize(
    ("hide", "show"), [(HIDDEN, SHOW), (PRERENDERING, SHOW_PRERENDERED)], ids=["hidden", "prerendering"]
)
def test_a_page_that_nobody_sees_opens_once_it_is_seen(
    gateway: Gateway, visit: Visit, hide: str, show: str
) -> None:
    page, url = visit(hide), link(gateway)
    page.goto(url)
    page.wait_for_timeout(700)
    assert page.url == url
    assert gateway.elements("cloud4") == []
    page.evaluate(show)
    page.wait_for_url("http://home.test/")
    assert is_open(gateway)


def test_a_double_tap_posts_once(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(HIDDEN), link(gateway)
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    page.goto(url)
    page.evaluate("() => { const b = document.querySelector('button'); b.click(); b.click(); b.click(); }")
    page.wait_for_url("http://home.test/")
    assert posts == [url]
    assert openings(gateway, url) == 1


def test_without_script(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(java_script_enabled=False), link(gateway)
    page.goto(url)
    page.wait_for_timeout(300)
    assert gateway.elements("cloud4") == []
    # It goes on two seconds later, looked at or not: an answer without content leaves the page where it is
    page.route("http://home.test/", lambda route: route.fulfill(status=204))
    with page.expect_request("http://home.test/"):
        page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="The way is open")).to_be_visible()
    assert is_open(gateway)
    page.unroute("http://home.test/")
    page.get_by_role("link", name="Go on").click()
    page.wait_for_url("http://home.test/")


def test_without_cookies_nothing_opens_and_nothing_loops(gateway: Gateway, visit: Visit) -> None:
    # What a browser does that is told to keep none
    page, url = visit(), link(gateway)
    posts: list[int] = []
    page.on("response", lambda response: response.request.method == "POST" and posts.append(response.status))
    page.route(
        f"{PORTAL}/l/*",
        lambda route: route.continue_(
            headers={k: v for k, v in route.request.headers.items() if k != "cookie"}
        ),
    )
    page.context.on("response", lambda _response: page.context.clear_cookies())
    page.goto(url)
    expect(page.get_by_role("alert")).to_contain_text("keeps no cookies")
    page.wait_for_timeout(700)
    assert posts == [403]
    assert gateway.elements("cloud4") == []


def test_a_pin_is_asked_for(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway, "--pin", "4711")
    page.goto(url)
    page.wait_for_timeout(500)
    assert gateway.elements("cloud4") == []
    page.get_by_label("PIN").fill("1234")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This PIN is not right")
    page.get_by_label("PIN").fill("4711")
    page.keyboard.press("Enter")
    page.wait_for_url("http://home.test/")
    assert is_open(gateway)


def test_times_are_the_visitors_own(gateway: Gateway, visit: Visit) -> None:
    page = visit(HIDDEN, timezone_id="Pacific/Auckland")
    page.goto(link(gateway, "--expires", "90d"))
    there = page.evaluate("() => new Date(document.querySelector('time').dateTime).getHours()")
    shown = page.locator("time").inner_text()
    assert re.search(rf"\b0?{there}:", shown)
    assert "UTC" not in shown
    french = visit(HIDDEN, locale="fr-FR")
    french.goto(link(gateway, "--expires", "2d"))
    expect(french.locator("time")).to_contain_text(" à ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_pages_fit_and_can_be_touched_and_read(
    gateway: Gateway, visit: Visit, width: int, scheme: str
) -> None:
    page = visit(HIDDEN, viewport={"width": width, "height": 700}, color_scheme=scheme, locale="fr-FR")
    long_name = gateway.add_link("M" * 64, ("cloud", "films", "game"), "--pin", "4711", "--expires", "9d")
    for url in (long_name, link(gateway), f"{PORTAL}/", f"{PORTAL}/l/none"):
        page.goto(url)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), url
        for box in page.evaluate(
            "() => [...document.querySelectorAll('button, a, input:not([type=hidden])')].map(e => [e.outerHTML, e.getBoundingClientRect().height])"
        ):
            assert box[1] >= 44, box
        # WCAG 2.2, 1.4.3: 4.5 to 1
        low = page.evaluate(CONTRASTS)
        assert low == [], low


CONTRASTS = """() => {
    const parse = (text) => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return { rgb: [r, g, b], a }; };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = (element) => {
        for (; element; element = element.parentElement) {
            const { rgb, a } = parse(getComputedStyle(element).backgroundColor);
            if (a > 0) return rgb;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color).rgb), light(paper(e))].sort((x, y) => y - x);
        return [e.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)];
    }).filter(([, ratio]) => ratio < 4.5);
}"""


def test_the_keyboard_reaches_everything(gateway: Gateway, visit: Visit) -> None:
    page = visit(HIDDEN)
    page.goto(link(gateway, "--pin", "4711"))
    reached: list[str] = []
    while "Français" not in reached:
        assert len(reached) < 10
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.textContent.trim() || document.activeElement.id")
        )
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert reached[:3] == ["pin", "Open", "SafeIP"]
