"""The admin's first page in a real browser: live, one tap each way, and the same without script."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from test_portal_people import PORTAL

from lab.gateway import Gateway
from safeip.control import Control

CLOUD = "http://home.test/"
COUNTED_MS = 65_000  # the counters are looked at once a minute at least, more often where that is quick
STRANGER = "203.0.113.66"
# What is told to the page, by a stream of the test's own
LISTEN = """
    () => new Promise((open) => {
        const { live } = document.querySelector("table[data-live]").dataset;
        const source = new EventSource(live);
        source.addEventListener("again", open);
        source.addEventListener("rows", () => {
            document.body.dataset.told = "";
            source.close();
        });
    })
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipw") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def admin(admins: Callable[..., BrowserContext]) -> BrowserContext:
    return admins()


@pytest.fixture
def see(gateway: Gateway, admin: BrowserContext) -> Callable[[str], Page]:
    """The admin's first page with a search, and nothing open. A page that is loaded anew loses its mark."""
    gateway.cli("revoke", "--all")

    def see(query: str = "") -> Page:
        page = admin.pages[0]
        page.unroute_all()
        with page.expect_response(lambda answer: "/admin/live" in answer.url):
            page.goto(f"{PORTAL}/admin{query}")
        page.evaluate("window.loadedOnce = true")
        return page

    return see


See = Callable[..., Page]


def row(page: Page, text: str) -> Locator:
    return page.locator("tr[data-key]:not(.over)").filter(has_text=text)


def same_page(page: Page) -> bool:
    return bool(page.evaluate("window.loadedOnce === true"))


def open_there(gateway: Gateway, name: str = "cloud4") -> list[str]:
    return [str(element.value) for element in gateway.elements(name)]


def test_what_others_do_is_seen_at_once(gateway: Gateway, see: See) -> None:
    page = see()
    expect(page.get_by_text("Nobody: everything is closed.")).to_be_visible()
    gateway.stranger.open_link(gateway.add_link("Mamie"))
    mamie = row(page, STRANGER)
    expect(mamie).to_contain_text("Mamie")
    expect(mamie.locator(".left")).to_have_text(re.compile(r"^1h 5\dm left$"))
    expect(mamie).to_contain_text("none yet")
    expect(page.get_by_text("Nobody: everything is closed.")).to_be_hidden()
    expect(page.locator("#last li").first).to_contain_text("Opened by a link")
    assert gateway.stranger.reaches(CLOUD)
    expect(mamie.locator("[data-count=bytes]")).to_contain_text("kB", timeout=COUNTED_MS)
    expect(mamie).to_contain_text(re.compile("last packet (today|yesterday) at"))

    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "<img src=x onerror=alert(1)>")
    expect(row(page, "198.51.100.77")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("tr img").count() == 0
    expect(page.locator("#all")).to_have_text("Open now: 2")
    gateway.cli("revoke", STRANGER)
    expect(mamie).to_have_count(0)
    expect(page.locator("#all")).to_have_text("Open now: 1")
    gateway.cli("grant", "cloud", "198.51.100.78", "--for", "8s")
    expect(row(page, "198.51.100.78")).to_have_count(1)
    expect(row(page, "198.51.100.78")).to_have_count(0)
    assert same_page(page)


def test_what_comes_by_itself_leaves_the_focus_where_it_is(gateway: Gateway, see: See) -> None:
    """As somebody with a keyboard or a screen reader needs it: on the same thing, with what it says now."""
    gateway.stranger.reaches(CLOUD, timeout=0.2)
    page = see()
    summary = page.locator("#knocks summary")
    expect(summary).to_be_visible()
    summary.press("Enter")
    before = summary.inner_text()
    gateway.stranger.reaches(CLOUD, timeout=0.2)
    gateway.restart()
    expect(summary).not_to_have_text(before, timeout=20_000)
    expect(summary).to_be_focused()
    expect(page.locator("#knocks table")).to_be_visible()

    addresses = page.locator("#last a")
    for address in ("198.51.100.77", "198.51.100.78"):
        gateway.cli("grant", "cloud", address)
        expect(addresses.first).to_have_text(address)
        addresses.filter(has_text="198.51.100.77").first.focus()
    gateway.cli("grant", "cloud", "198.51.100.79")
    expect(addresses.first).to_have_text("198.51.100.79")
    expect(addresses.nth(2)).to_be_focused()
    assert same_page(page)


def test_what_comes_by_itself_takes_nothing_from_under_the_finger(gateway: Gateway, see: See) -> None:
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    page = see()
    page.evaluate(LISTEN)
    row(page, "Jean").get_by_role("button", name="Close").hover()
    page.mouse.down()
    Control(str(gateway.runtime / "control.sock")).ask(
        "PUT", "/grants/cloud/198.51.100.77", body={"note": "Jean and Odile", "for": "3h"}
    )
    expect(page.locator("body[data-told]")).to_have_count(1)
    page.mouse.up()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    expect(row(page, "Jean")).to_have_count(0)

    page.mouse.move(0, 0)
    page.mouse.down()
    told_of(gateway, page, "198.51.100.78")
    assert row(page, "198.51.100.78").count() == 0
    page.mouse.up()
    expect(row(page, "198.51.100.78")).to_have_count(1, timeout=4000)

    page.evaluate("dispatchEvent(new PointerEvent('pointerdown'))")
    told_of(gateway, page, "198.51.100.79")
    page.evaluate("() => new Promise((done) => (dispatchEvent(new PointerEvent('pointerup')), setTimeout(done, 50)))")
    assert row(page, "198.51.100.79").count() == 0, "a finger's click is still to come"
    page.evaluate("dispatchEvent(new MouseEvent('click'))")
    expect(row(page, "198.51.100.79")).to_have_count(1, timeout=4000)


def told_of(gateway: Gateway, page: Page, address: str) -> None:
    """Somebody is let in, and the browser has heard of it."""
    page.evaluate("delete document.body.dataset.told")
    page.evaluate(LISTEN)
    gateway.cli("grant", "cloud", address)
    expect(page.locator("body[data-told]")).to_have_count(1)


def test_a_pause_closes_what_is_seen(gateway: Gateway, see: See) -> None:
    url = gateway.add_link("Papi")
    page = see()
    gateway.stranger.open_link(url)
    expect(row(page, "Papi")).to_have_count(1)
    gateway.cli("link", "pause", url.rpartition("/l/")[2].partition("-")[0])
    expect(row(page, "Papi")).to_have_count(0)
    assert same_page(page)


def test_closed_and_taken_back_with_a_tap_each(gateway: Gateway, see: See) -> None:
    gateway.stranger.open_link(gateway.add_link("Mamie"))
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    page = see("?q=mamie")
    expect(page.locator("tr[data-key]")).to_have_count(1)
    row(page, "Mamie").get_by_role("button", name="Close").click()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    expect(row(page, "Mamie")).to_have_count(0)
    assert open_there(gateway) == ["198.51.100.77"]
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Taken back.")
    expect(row(page, "Mamie")).to_have_count(1)
    assert sorted(open_there(gateway)) == ["198.51.100.77", STRANGER]
    expect(undo).to_have_count(0)
    expect(page.get_by_label("Who, what or which address")).to_have_value("mamie")
    assert same_page(page)
    expect(page.locator("tr[data-key]")).to_have_count(1)


def test_prolonged_and_banned_and_taken_back(gateway: Gateway, see: See) -> None:
    gateway.stranger.open_link(gateway.add_link("Mamie", ("cloud",), "--for", "1h"))
    page = see()
    mamie = row(page, "Mamie")
    expect(mamie.locator(".left")).to_have_text(re.compile(r"^5\d:"))
    mamie.get_by_role("button", name="Prolong").click()
    expect(page.get_by_role("status")).to_have_text("The time starts anew.")
    expect(mamie.locator(".left")).to_have_text(re.compile(r"^1h 5\dm"))
    expect(mamie.get_by_role("button", name="Prolong")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(mamie.locator(".left")).to_have_text(re.compile(r"^5\d:"))
    mamie.get_by_role("button", name="Ban").click()
    expect(page.get_by_role("status")).to_have_text("The address is banned.")
    expect(mamie).to_have_count(0)
    assert not gateway.stranger.reaches(f"{PORTAL}/")
    page.get_by_role("button", name="Undo").click()
    expect(mamie).to_have_count(1)
    assert gateway.stranger.reaches(f"{PORTAL}/")
    assert gateway.stranger.reaches(CLOUD)
    assert same_page(page)


def test_a_restart_is_caught_up_with(gateway: Gateway, see: See) -> None:
    page = see()
    gateway.restart()
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    expect(row(page, "Jean")).to_have_count(1, timeout=20_000)  # the browser tries again after three seconds
    row(page, "Jean").get_by_role("button", name="Close").click()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    assert same_page(page), "nobody was signed out"


def test_a_gateway_that_is_away_for_long_is_told_and_caught_up_with(gateway: Gateway, see: See) -> None:
    """The browser tries again by itself, and fails every few seconds."""
    page = see()
    gateway.stop()
    expect(page.locator("#stale")).to_be_visible(timeout=25_000)
    gateway.start()
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    expect(row(page, "Jean")).to_have_count(1, timeout=20_000)
    expect(page.locator("#stale")).to_be_hidden()
    assert same_page(page)


def test_a_restart_behind_a_proxy_that_answers_for_it_is_caught_up_with(gateway: Gateway, see: See) -> None:
    """As nginx and Caddy do: the browser tries a stream that was answered so no more."""
    page = see()
    page.route("**/admin/live**", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    gateway.restart()
    expect(page.locator("#stale")).to_be_visible(timeout=20_000)
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    page.unroute("**/admin/live**")
    expect(row(page, "Jean")).to_have_count(1, timeout=60_000)
    expect(page.locator("#stale")).to_be_hidden()
    assert same_page(page)


def test_what_could_not_be_loaded_anew_is_tried_again(gateway: Gateway, see: See) -> None:
    page, whole = see(), re.compile(r"/admin(\?|$)")
    page.route(whole, lambda route: route.fulfill(status=503, body="Busy"))
    with page.expect_response(whole, timeout=60_000):  # from then on, what is new is told
        gateway.restart()
    expect(page.locator("#stale")).to_be_visible()
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    expect(row(page, "Jean")).to_have_count(1, timeout=20_000)
    expect(page.locator("#stale")).to_be_visible()  # the rest of it is as old as before
    page.unroute(whole)
    expect(page.locator("#stale")).to_be_hidden(timeout=90_000)
    expect(page.locator("#last li").first).to_contain_text("Opened")
    assert same_page(page)


def test_one_tab_too_many_takes_the_place_of_one_that_closes(admin: BrowserContext, see: See) -> None:
    see()
    tabs = [admin.new_page() for _ in range(4)]
    for tab in tabs:
        with tab.expect_response(lambda answer: "/admin/live" in answer.url):
            tab.goto(f"{PORTAL}/admin")
    expect(tabs[-1].locator("#stale")).to_be_visible()
    tabs[0].close()
    expect(tabs[-1].locator("#stale")).to_be_hidden(timeout=60_000)
    for tab in tabs[1:]:
        tab.close()


def test_the_same_without_script(gateway: Gateway, admin: BrowserContext, browser: Browser, see: See) -> None:
    see()
    gateway.stranger.open_link(gateway.add_link("Mamie"))
    gateway.cli("grant", "cloud", "198.51.100.77", "--note", "Jean")
    context = browser.new_context(
        ignore_https_errors=True, java_script_enabled=False, storage_state=admin.storage_state()
    )
    page = context.new_page()
    page.goto(f"{PORTAL}/admin?q=mamie")
    page.get_by_role("row").filter(has_text="Mamie").get_by_role("button", name="Close").click()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    expect(page.get_by_text("Nothing that is open is like that.")).to_be_visible()
    assert page.url.startswith(f"{PORTAL}/admin?q=mamie&done=closed")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_have_text("Taken back.")
    expect(page.get_by_role("row").filter(has_text="Mamie")).to_have_count(1)
    assert page.url.startswith(f"{PORTAL}/admin?q=mamie&done=undone")
    assert sorted(open_there(gateway)) == ["198.51.100.77", STRANGER]
    context.close()


def test_signed_out_elsewhere_it_says_so(gateway: Gateway, see: See) -> None:
    page = see()
    new = "five other words nobody guesses\n"
    gateway.cli("person", "password", "yves", "--password-stdin", input=new)
    gateway.cli("grant", "cloud", "198.51.100.99")
    expect(page.locator("#stale")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("198.51.100.99")).to_have_count(0)
