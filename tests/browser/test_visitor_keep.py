"""Staying in: the countdown, a page that keeps the way open, another network, a slow one."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Response, expect
from test_portal_link_page import HIDDEN, SHOW, stand_still

from lab import line
from lab.config import SERVICES
from lab.gateway import Gateway
from lab.process import wait_for

SHOWN = HIDDEN.replace("hidden_ = true", "hidden_ = false")
HIDE = SHOW.replace("false", "true")
# Playwright asks a page nothing while it waits for an answer; so the page tells by itself what it shows
TELL = """
    addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
        const button = document.querySelector("form button");
        console.log([button?.textContent, button?.ariaDisabled, document.querySelector("[role=status]").innerText].join());
    }).observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true }));
"""
POOR = """
    for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(window, name, { get: () => { throw new DOMException("no", "SecurityError"); } });
    }
    Number.prototype.toLocaleString = function () { throw new RangeError("no units"); };
"""
KEEP = "Keep open while this page is open"
SHORT = {"title": "Chat", "ports": ["tcp/5222"], "default_duration": "1m", "max_duration": "30d"}

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipk", services={**SERVICES, "chat": SHORT}) as gateway:
        yield gateway


def link(gateway: Gateway, *options: str, length: str = "2h") -> str:
    """A link to a service without a page, so that the visitor stays where they are."""
    return gateway.add_link("Mamie", ("game",), "--for", length, *options)


def held(gateway: Gateway) -> list[str]:
    return [element.value for element in gateway.elements("game4")]


def stays(page: Page) -> list[int]:
    """The statuses of what the page asks for to stay in, from now on."""
    statuses: list[int] = []
    page.on("response", lambda answer: _is_stay(answer) and statuses.append(answer.status))
    return statuses


def _is_stay(answer: Response) -> bool:
    return answer.url.endswith("/stay")


def keep(page: Page, url: str) -> None:
    """Open a link and have its page keep it open."""
    page.goto(url)
    page.get_by_label(KEEP).check()
    expect(page.get_by_text("Kept open as long as this page is.")).to_be_visible()


def offline(page: Page) -> bool:
    return page.evaluate("() => !navigator.onLine")


def pass_by(page: Page, seconds: float) -> None:
    """Time passes for the page: what is due in it comes to pass, once."""
    page.clock.fast_forward(int(seconds * 1000))


def test_a_countdown_says_how_long_and_when_it_is_over(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    page.clock.install()
    page.goto(link(gateway))
    countdown = page.locator("#countdown")
    expect(countdown).to_have_text("2 hours left")
    pass_by(page, 61)
    expect(countdown).to_have_text("1 hour 58 minutes left")
    pass_by(page, 3600 + 58 * 60)
    expect(countdown).to_have_text(re.compile(r"^0:[0-5]\d left$"))
    pass_by(page, 120)
    expect(page.get_by_role("heading", name="The time is over")).to_be_visible()
    page.get_by_role("link", name="Open the way again").click()
    expect(page.get_by_role("heading", name="The time has started again")).to_be_visible()


def test_countdowns_of_days_in_other_words(gateway: Gateway, visit: Visit) -> None:
    page = visit(locale="fr-FR")
    page.goto(link(gateway, length="3d"))
    expect(page.locator("#countdown")).to_contain_text("3 jours")


@pytest.mark.parametrize(("length", "early_s", "how"), [("1m", 18, "renewed"), ("4m", 175, "open")])
def test_the_time_starts_again_before_it_ends(
    gateway: Gateway, visit: Visit, length: str, early_s: int, how: str
) -> None:
    # The page's clock only: for the gateway nothing passes, so that it finds time enough left of four minutes
    page = visit()
    stand_still(page)
    asked = stays(page)
    keep(page, link(gateway, length=length))
    pass_by(page, early_s)
    assert asked == []
    with page.expect_response(_is_stay) as answer:
        pass_by(page, 10)
    assert answer.value.json()["how"] == how
    expect(page.locator("#countdown")).to_have_text(re.compile(r"^(1:00|4:00|3:\d\d) left$"))
    assert asked == [200]


def test_a_page_that_is_seen_looks_every_five_minutes(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    page.clock.install()
    asked = stays(page)
    keep(page, link(gateway))
    for turn in (1, 2):
        with page.expect_response(_is_stay):
            pass_by(page, 305)
        assert asked == [200] * turn
        expect(page.locator("#countdown")).to_have_text(re.compile("^(2 hours|1 hour 59 minutes) left"))


def test_a_page_hidden_for_long_stops_and_takes_up_again(gateway: Gateway, visit: Visit) -> None:
    page = visit(SHOWN)
    page.clock.install()
    asked = stays(page)
    keep(page, link(gateway, length="20m"))
    page.evaluate(HIDE)
    with page.expect_response(_is_stay):
        pass_by(page, 17 * 60)
    pass_by(page, 17 * 60)
    expect(page.get_by_text("Not kept open while you look elsewhere")).to_be_visible()
    pass_by(page, 24 * 3600)
    assert asked == [200]
    with page.expect_response(_is_stay):
        page.evaluate(SHOW)
    expect(page.get_by_text("Kept open as long as this page is.")).to_be_visible()
    # A glance elsewhere is no reason to ask
    page.evaluate(HIDE)
    pass_by(page, 30)
    page.evaluate(SHOW)
    page.wait_for_timeout(300)
    assert asked == [200, 200]


def test_another_network_renews_at_once(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    keep(page, link(gateway, "--addresses", "1"))
    assert held(gateway) == ["192.0.2.10"]
    with line.elsewhere(gateway, lambda: offline(page)):
        expect(page.get_by_text("Your address has changed")).to_be_visible(timeout=20_000)
        assert held(gateway) == [line.ELSEWHERE4]
    expect(page.get_by_text("Your address has changed")).to_be_visible(timeout=20_000)


def test_elsewhere_each_service_has_its_new_end(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    keep(page, gateway.add_link("Mamie", ("game", "chat"), "--addresses", "1"))
    ends = [page.locator(f"[data-service={name}] time") for name in ("game", "chat")]
    old = [end.get_attribute("datetime") or "" for end in ends]
    assert old[0] > old[1] > ""
    begun_s = time.monotonic()
    expect(page.get_by_text("Your address is 192.0.2.10.")).to_be_visible()
    expect(page.get_by_text("Everyone who shares it")).to_be_visible()
    gateway.cli("grant", "cloud", line.ELSEWHERE4)
    wait_for("another second, which is what ends are told to", lambda: time.monotonic() > begun_s + 1)
    with line.elsewhere(gateway, lambda: offline(page)):
        expect(page.get_by_text(f"Your address is {line.ELSEWHERE4}.")).to_be_visible(timeout=20_000)
        expect(page.get_by_text("Others have opened the way from it too")).to_be_visible()
        expect(page.get_by_text("Everyone who shares it")).to_be_hidden()
        new = [end.get_attribute("datetime") or "" for end in ends]
        assert [after > before for after, before in zip(new, old, strict=True)] == [True, True], (old, new)
        assert new[0] > new[1]


def test_a_page_does_not_promise_what_a_used_up_link_cannot_keep(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    page.goto(link(gateway, "--uses", "1"))
    expect(page.get_by_role("heading", name="The way is open")).to_be_visible()
    expect(page.get_by_label(KEEP)).to_be_hidden()


def test_where_others_use_a_link_up_its_page_says_so_to_the_end(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway, "--uses", "2", length="20s")
    page.clock.install()
    keep(page, url)
    gateway.stranger.open_link(url)
    pass_by(page, 25)
    expect(page.get_by_text("This link was used up, so the time does not start again.")).to_be_visible()
    expect(page.get_by_text("Kept open as long")).to_be_hidden()
    page.get_by_label(KEEP).uncheck()
    page.get_by_label(KEEP).check()
    expect(page.get_by_text("Kept open as long")).to_be_hidden()
    expect(page.get_by_role("heading", name="The time is over")).to_be_visible(timeout=40_000)
    wait_for("the end of what both opened", lambda: held(gateway) == [], 40)


def test_a_link_that_ends_is_kept_open_until_then(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway, "--expires", "15s")
    page.clock.install()
    page.goto(url)
    page.get_by_label(KEEP).check()
    expect(page.get_by_text(re.compile(r"^Kept open as long as this page is, until (today|tomorrow) at \S+ at the longest\.$"))).to_be_visible()
    wait_for("the link has ended", lambda: gateway.visitor.fetch(url).status == 410, timeout=30)
    pass_by(page, 21)
    expect(page.get_by_role("heading", name="This link has ended")).to_be_visible()


def test_who_wants_it_no_more_hears_no_more_of_it(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    stand_still(page)
    keep(page, link(gateway))
    page.route("**/stay", lambda _route: None)  # it never comes
    with page.expect_request("**/stay"):
        pass_by(page, 305)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/stay")):
        page.get_by_label(KEEP).uncheck()
    pass_by(page, 11)
    expect(page.get_by_text("The gateway does not answer")).to_be_hidden()
    expect(page.get_by_label(KEEP)).not_to_be_checked()


def test_a_gateway_that_is_away_is_asked_again(gateway: Gateway, visit: Visit) -> None:
    page = visit()
    page.clock.install()
    keep(page, link(gateway))
    gateway.stop()
    pass_by(page, 305)
    expect(page.get_by_text("The gateway does not answer. Trying again")).to_be_visible()
    gateway.start()
    with page.expect_response(_is_stay):
        pass_by(page, 61)
    expect(page.get_by_text("Kept open as long as this page is.")).to_be_visible()


def test_a_link_that_was_paused_says_so(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), link(gateway)
    page.clock.install()
    keep(page, url)
    gateway.cli("link", "pause", url.rpartition("/l/")[2].partition("-")[0])
    pass_by(page, 305)
    expect(page.get_by_role("heading", name="This link is paused")).to_be_visible()


def test_it_stays_on_and_the_service_opens_beside(gateway: Gateway, visit: Visit) -> None:
    page, url = visit(), gateway.add_link("Mamie", ("cloud",), "--for", "2h")
    stand_still(page)  # it goes on a second later, kept open or not
    keep(page, url)
    page.clock.resume()
    page.wait_for_timeout(1500)
    assert page.url == url
    with page.expect_popup() as beside:
        page.get_by_role("link", name="Go on").click()
    beside.value.wait_for_url("http://home.test/")
    assert beside.value.evaluate("() => window.opener") is None
    # This device keeps this link open from now on, and no other
    again = page.context.new_page()
    again.goto(url)
    expect(again.get_by_label(KEEP)).to_be_checked()
    again.get_by_label(KEEP).uncheck()
    expect(again.get_by_text("Kept open as long")).to_be_hidden()
    other = page.context.new_page()
    other.goto(link(gateway))
    expect(other.get_by_label(KEEP)).not_to_be_checked()


def test_a_browser_that_stores_nothing_and_knows_little(gateway: Gateway, visit: Visit) -> None:
    page = visit(POOR)
    page.goto(link(gateway))
    page.get_by_role("button", name="Open").click()  # it would not know that it came back, so it does not go by itself
    expect(page.locator("#countdown")).to_contain_text("2:00:00")
    with page.expect_response(_is_stay):
        page.get_by_label(KEEP).check()
        page.evaluate("() => dispatchEvent(new Event('online'))")
    expect(page.get_by_text("Kept open as long as this page is.")).to_be_visible()


def test_a_slow_network_shows_that_something_goes_on(gateway: Gateway, visit: Visit) -> None:
    page = visit(HIDDEN + TELL)
    page.goto(link(gateway))
    with line.slow(gateway, "100bit"):
        button = page.get_by_role("button", name="Open")
        with page.expect_console_message(lambda said: said.text == "Opening…,true,"):
            button.click(no_wait_after=True)
        with page.expect_console_message(lambda said: said.text == "Opening…,true,Your network is slow. Still opening…"):
            pass
        assert held(gateway) == []
    expect(page.get_by_role("heading", name="The way is open")).to_be_visible(timeout=20_000)
    assert held(gateway) == ["192.0.2.10"]
