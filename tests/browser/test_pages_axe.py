"""Every page and state of the gallery, for eyes that need contrast or size, for keyboards and for screen readers."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.browser import chromium
from lab.gallery import DESKTOP, PHONE, Place, chosen, visit
from lab.household import Household
from portal.catalogue import read_catalogue

ROOT = Path(__file__).parents[2]
AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
# Which of them depend on colours; the others need not be asked in light and in dark.
COLOURS = ["color-contrast", "link-in-text-block"]
LOOK = """
    (asked) => axe.run(document, { runOnly: asked, resultTypes: ["violations"] })
        .then((found) => found.violations.map((rule) => [rule.id, rule.help, rule.nodes.map((node) => node.html)]))
"""
# A button that says what goes on takes no press, but is read: axe looks at none that is disabled.
READ = """
    () => document.querySelectorAll("[aria-disabled]").forEach((element) => {
        element.style.opacity = getComputedStyle(element).opacity;
        element.removeAttribute("aria-disabled");
    })
"""
# Where the words for a kind of trouble are.
WORDS = {
    "notice": ("link.html", "notice"),
    "refused": ("fields.html", "refusal.reason"),
    "said": ("admin_said.html", "said"),
}
# Others are as long as English, or shorter.
LONG = ("de", "fr")
# WCAG 2.2: 1.4.10 (320 CSS pixels, nothing to scroll sideways), 1.4.4 (text twice as large, nothing cut off)
LOST = """
    () => {
        const wide = document.documentElement.scrollWidth > innerWidth ? ["the page is wider than the window"] : [];
        const cut = [...document.querySelectorAll("body *")].filter((element) => {
            const style = getComputedStyle(element);
            const clipped = (flow) => flow === "hidden" || flow === "clip";
            if (element.closest("svg, .hidden") || !element.textContent.trim() || style.clipPath !== "none") return false;
            return (clipped(style.overflowX) && element.scrollWidth > element.clientWidth + 1)
                || (clipped(style.overflowY) && element.scrollHeight > element.clientHeight + 1);
        });
        return [...wide, ...cut.map((element) => element.outerHTML.slice(0, 120))];
    }
"""
# Everything that the keyboard has to reach, in the order of the document.
STOPS = """
    () => {
        const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && element.tabIndex >= 0;
        window.stops = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
            .filter((element) => seen(element) && !element.disabled);
        document.body.tabIndex = -1; // from the top, wherever somebody has clicked before
        document.body.focus();
        window.reached = [];
        window.unseen = [];
        addEventListener("focusin", ({ target }) => {
            window.reached.push(target);
            const style = getComputedStyle(target);
            const box = target.getBoundingClientRect();
            const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
            const shown = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
            if (!ring || !shown) window.unseen.push(target.outerHTML.slice(0, 160));
        });
        return window.stops.length;
    }
"""
MISSED = """
    () => ({
        missed: stops.filter((element) => !reached.includes(element)).map((element) => element.outerHTML.slice(0, 160)),
        disorder: reached.slice(1).filter((element, n) =>
            !(reached[n].compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)
        ).map((element) => element.outerHTML.slice(0, 160)),
        unseen,
    })
"""


@pytest.fixture(scope="module")
def house() -> Iterator[Household]:
    with Household() as house:
        yield house


@pytest.fixture(scope="module")
def browser(house: Household) -> Iterator[Browser]:
    with chromium(house.gateway.visitor.namespace) as browser:
        yield browser


@pytest.mark.parametrize("place", chosen(()), ids=lambda place: place.name)
def test_everybody_can_use_it(house: Household, browser: Browser, place: Place) -> None:
    with visit(browser, house, place) as page:
        is_there(page, place)
        page.evaluate(AXE)
        violations: list[Any] = []
        for size in (PHONE,) if place.words else (PHONE, DESKTOP):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme="light")
            found = page.evaluate(LOOK, {"type": "tag", "values": RULES})
            page.evaluate(READ)
            found += page.evaluate(LOOK, {"type": "rule", "values": COLOURS})
            page.emulate_media(color_scheme="dark")
            found += page.evaluate(LOOK, {"type": "rule", "values": COLOURS})
            violations += [(size["width"], *each) for each in found]
        assert violations == []
        if not place.words:
            keyboard(page)
            large(page)
    for language in () if place.words else LONG:
        with visit(browser, house, place, language) as page:
            is_there(page, place, language)
            large(page)


def is_there(page: Page, place: Place, language: str = "en") -> None:
    """It says what it is the place for."""
    expect(page.locator("html")).to_have_attribute("lang", language)
    table, _, code = place.shows.partition(":")
    if table in {"say", "problem"}:
        expect(page.locator(f"[data-{table}={code}]")).to_be_visible()
    elif table:
        expect(page.locator("main")).to_contain_text(sentence(*WORDS[table], code, language))


def sentence(template: str, name: str, code: str, language: str) -> str:
    """The beginning of what a template says where `name` is `code`, up to what is filled in."""
    text = (ROOT / "templates" / template).read_text("utf-8")
    branches = list(re.finditer(rf'{{%-? (?:el)?if {re.escape(name)} (.*?) %}}{{{{ _\("([^"]*)"', text))
    found = [branch[2] for branch in branches if f'"{code}"' in branch[1]]
    if not found:  # what ends the chain is for all others
        found = re.findall(r'{%-? else %}{{ _\("([^"]*)"', text[branches[-1].end() :])[:1]
    (said,) = found
    if language != "en":
        said = read_catalogue(ROOT / "locale" / language / "LC_MESSAGES/safeip.po").gettext(said)
    return str(said).partition("%")[0]


def keyboard(page: Page) -> None:
    """Tab leads to everything, in the order of the page, and it shows where one is."""
    page.evaluate("() => { dispatchEvent(new Event('pagehide')); }")  # from now on nothing new comes in the place of what is shown
    for _ in range(page.evaluate(STOPS)):
        page.keyboard.press("Tab")
    assert page.evaluate(MISSED) == {"missed": [], "disorder": [], "unseen": []}


def large(page: Page) -> None:
    """At 320 pixels, and with text at 200 %, all is there and nothing has to be scrolled sideways."""
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(LOST) == []
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(
            {"width": size["width"] // 2 if size is DESKTOP else size["width"], "height": size["height"]}
        )
        page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
        assert page.evaluate(LOST) == []
        page.evaluate("() => { document.documentElement.style.fontSize = ''; }")
