"""Ways to pages that something went wrong on: what the portal refuses, and what a page's script finds."""

import re

from playwright.sync_api import Page, Route

from lab.crowd import Crowd
from lab.household import PASSWORD, URL
from lab.process import LabError
from lab.ways import FILMS, OTHER_FAMILY, Visit, Way, masked, mine_elsewhere, sent

# What waits for a slow answer finds that it is slow at once, and never gives up
HURRY = """
    const later = window.setTimeout;
    window.setTimeout = (act, ms, ...more) => (ms === 20_000 ? 0 : later(act, ms === 4000 ? 0 : ms, ...more));
"""
STAND_STILL = "() => document.getElementById('open').addEventListener('submit', (event) => event.preventDefault())"
HIDE = """() => {
    Object.defineProperty(document, "hidden", { get: () => true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
_LONG_MS = 60_000  # the portal waits ten seconds for the gate


# what the portal refuses


def bad_form(visit: Visit) -> None:
    _posted(visit, "form.enctype = 'text/plain'")


def too_large(visit: Visit) -> None:
    _posted(visit, "form.name.value = 'x'.repeat(500_000)")


def too_slow(visit: Visit) -> None:
    """What the portal says to somebody whose form does not arrive, shown to a browser whose own form does."""
    status, headers, body = visit.house.visitor(visit.house.address()).half_a_form("/sign-in")

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=status, headers=headers, body=body)
        else:
            route.continue_()

    visit.page.route(f"{URL}/sign-in", answer)
    _posted(visit, "")


def _posted(visit: Visit, change: str) -> None:
    """The sign-in form, changed and sent."""
    visit.go("/sign-in")
    with visit.page.expect_navigation():
        visit.page.evaluate(f"() => {{ const form = document.querySelector('main form'); {change}; form.submit(); }}")


def hidden_address(visit: Visit) -> None:
    with visit.house.other_gate(wan_interfaces=["wan"]):
        visit.go("/")


def no_room(visit: Visit) -> None:
    with visit.house.other_gate(max_grants=1):
        visit.open("one")


def no_gate(visit: Visit) -> None:
    with visit.house.stopped_gate():
        visit.page.goto(visit.house.links["one"], timeout=_LONG_MS)


def sets(way: Way) -> Way:
    """The same in mode "sets", where the admin has made a set that can hold no grant."""

    def reach(visit: Visit) -> None:
        nft = visit.house.gateway.nft
        nft("add table inet mine")
        try:
            with visit.house.other_gate(mode="sets", table="inet mine"):
                nft("delete set inet mine cloud4\nadd set inet mine cloud4 { type ipv4_addr; }")
                way(visit)
        finally:
            nft("delete table inet mine")

    return reach


def trusted_address(visit: Visit) -> None:
    """Somebody moves what they have open to where everything is open."""
    mine_elsewhere(visit)
    visit.come_from("10.0.0.7")
    visit.press("form[action='/me/move'] button")


def masked_outside(visit: Visit) -> None:
    """The admin's first page while a router hides who comes, and nobody who comes so is let in."""
    with visit.house.other_gate(wan_interfaces=["wan"]):
        masked(visit)


def busy_pin(visit: Visit) -> None:
    links = [visit.house.link("Odile", ("game",), pin="2468") for _ in range(3)]
    with Crowd(visit.house):
        for link in links:
            visit.go(link)
            visit.page.fill("#pin", "2468")
            visit.press("#open button")
            if not visit.page.locator("#opened").count():
                return
    raise LabError("every PIN was looked at")


def busy_sign_in(visit: Visit) -> None:
    with Crowd(visit.house):
        sent("/sign-in", name="odette", password="wrong password")(visit)


def locked_sign_in(visit: Visit) -> None:
    """Others have tried too many passwords for this name."""
    name = f"gast{visit.house.number()}"
    for _ in range(3):
        browser = visit.house.visitor(visit.house.address())
        page = browser.get("/sign-in")
        for _ in range(7):
            browser.submit(page, {"name": name, "password": "wrong password"})
    sent("/sign-in", name=name, password=PASSWORD)(visit)


def sign_in_not_saved(visit: Visit) -> None:
    visit.go("/sign-in")
    with visit.house.full_disk():
        visit.send(name="camille", password=PASSWORD)


def pin_left_out(visit: Visit) -> None:
    visit.go(visit.house.links["pin"])
    visit.page.evaluate("() => document.getElementById('pin').removeAttribute('required')")
    visit.press("#open button")


# what a page's script finds


def opening(visit: Visit) -> None:
    """The button is pressed, and there is no answer yet."""
    visit.page.add_init_script(re.sub(r"ms === 4000 \? 0 : ms", "ms", HURRY))
    _pressed(visit)


def slow(visit: Visit) -> None:
    visit.page.add_init_script(HURRY)
    _pressed(visit)
    visit.says("slow")


def _pressed(visit: Visit) -> None:
    visit.go(visit.house.links["one"])
    visit.page.evaluate(STAND_STILL)
    visit.page.locator("#open button").click()
    visit.page.locator("#progress").wait_for()


def one_family(visit: Visit) -> None:
    visit.unanswered(OTHER_FAMILY)
    visit.open("one")
    visit.says("one-family")


def nothing_answers(visit: Visit) -> None:
    """Neither the portal's name for the other family, nor the service."""
    visit.unanswered(OTHER_FAMILY, FILMS)
    visit.open("films")
    visit.says("other-family")


def retrying(visit: Visit) -> None:
    visit.page.route("**/stay", lambda route: route.abort())
    visit.keep("one")
    _online(visit.page)
    visit.says("retrying")


def kept_elsewhere(visit: Visit) -> None:
    """The page keeps a link open that is open from one address at a time, and the browser's is another one now."""
    visit.keep(visit.house.link(addresses=1))
    visit.come_from(visit.house.address())
    _online(visit.page)
    visit.says("moved")


def paused(visit: Visit) -> None:
    """Nobody has looked at the page for half an hour."""
    visit.page.clock.install()
    visit.keep("one")
    visit.page.evaluate(HIDE)
    visit.page.clock.fast_forward(31 * 60_000)
    visit.says("paused")


def _online(page: Page) -> None:
    page.evaluate("() => { dispatchEvent(new Event('online')); }")


def stale(visit: Visit) -> None:
    """Too many watch already."""
    visit.page.route("**/admin/live*", lambda route: route.fulfill(status=503))
    visit.go("/admin")
    visit.page.locator("#stale").wait_for()


def pages(visit: Visit) -> None:
    """The second page of what is open."""
    for _ in range(101 - len(visit.house.ask("GET", "/grants"))):
        visit.house.grant(visit.house.address())
    visit.go("/admin?page=2")
