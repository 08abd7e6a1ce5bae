"""An admin's day on a phone: a real browser over TLS, against the real daemon and the real kernel."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_portal_link_page import CONTRASTS
from test_portal_people import PORTAL, accept

from lab.gateway import Gateway

CLOUD = "http://home.test/"
LISTS = ("", "/links", "/people", "/people/yves", "/blocked", "/banned", "/history", "/tokens")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipm") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def admin(admins: Callable[..., BrowserContext]) -> BrowserContext:
    """A phone on which yves is signed in."""
    return admins(viewport={"width": 390, "height": 800})


@pytest.fixture
def page(admin: BrowserContext) -> Page:
    """The phone's, at the admin's first page."""
    page = admin.pages[0]
    page.goto(f"{PORTAL}/admin")
    return page


def test_who_knocked_is_let_in_prolonged_closed_and_banned(gateway: Gateway, page: Page) -> None:
    expect(page.get_by_text("Nobody tried a closed service.")).to_be_visible()
    assert not gateway.stranger.reaches(CLOUD)
    page.reload()
    expect(page.get_by_role("img", name=re.compile("packets? (was|were) blocked in the last day"))).to_be_visible()
    assert page.locator(".knocks rect").count() in {1, 2}  # an hour may begin before it knocks again
    page.get_by_role("link", name="Look who it was").click()
    knocked = page.get_by_role("row").filter(has_text="203.0.113.66")
    expect(knocked).to_contain_text("tcp/80")

    knocked.get_by_role("link", name="Let 203.0.113.66 in").click()
    expect(page.get_by_label("Address", exact=True)).to_have_value("203.0.113.66")
    page.get_by_label("Cloud", exact=True).check()
    page.get_by_label("For how long").select_option("1h")
    page.get_by_label("Note").fill("<b>Odile</b>")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("The way is open.")
    assert gateway.stranger.reaches(CLOUD)
    row = page.get_by_role("row").filter(has_text="203.0.113.66")
    expect(row).to_contain_text("<b>Odile</b>")
    row.get_by_role("button", name=re.compile("Prolong")).click()
    expect(page.get_by_role("status")).to_have_text("The time starts anew.")
    page.get_by_role("row").filter(has_text="203.0.113.66").get_by_role("button", name="Close").click()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    assert not gateway.stranger.reaches(CLOUD)

    page.get_by_role("link", name="Blocked").click()
    page.get_by_role("button", name="Ban 203.0.113.66").click()
    expect(page.get_by_role("status")).to_have_text("The address is banned.")
    assert not gateway.stranger.reaches(f"{PORTAL}/")
    page.get_by_role("link", name="Banned").click()
    page.get_by_role("button", name="Lift the ban of 203.0.113.66").click()
    expect(page.get_by_role("status")).to_have_text("The ban is lifted.")
    assert gateway.stranger.reaches(f"{PORTAL}/")

    page.get_by_role("link", name="History").click()
    page.get_by_label("Address", exact=True).fill("203.0.113.66")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile("address=203"))
    said = page.locator("tbody th").all_inner_texts()
    assert [text.split("\n")[0] for text in said] == [
        "Ban lifted",
        "Address banned",
        "Closed",
        "Prolonged",
        "Opened",
    ]


def test_a_person_invited_signed_in_and_removed(gateway: Gateway, browser: Browser, page: Page) -> None:
    page.get_by_role("link", name="People").click()
    page.get_by_label("Name", exact=True).fill("Mamie!")
    page.get_by_label("Cloud", exact=True).check()
    page.get_by_role("button", name="Make the invitation").click()
    expect(page.locator("#name-error")).to_be_visible()
    expect(page.get_by_label("Cloud", exact=True)).to_be_checked()
    page.get_by_label("Name", exact=True).fill("mamie")
    page.get_by_role("button", name="Make the invitation").click()
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()
    url = page.get_by_label("Its address").input_value()

    theirs = browser.new_context(ignore_https_errors=True, locale="en-GB")
    phone = theirs.new_page()
    accept(phone, url)
    phone.goto(url)
    expect(phone.get_by_role("heading", name="not good any more")).to_be_visible()
    phone.goto(f"{PORTAL}/admin/people")
    expect(phone.get_by_role("heading", name="This is not yours to do")).to_be_visible()
    phone.goto(f"{PORTAL}/me")
    phone.get_by_role("button", name="Open", exact=True).click()
    expect(phone.get_by_role("status")).to_have_text("The way is open.")
    assert [element.value for element in gateway.elements("cloud4")] == ["192.0.2.10"]

    page.goto(f"{PORTAL}/admin/people/mamie")
    expect(page.get_by_role("cell", name="Chrome on Linux")).to_be_visible()
    page.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_contain_text("The person is removed")
    assert gateway.elements("cloud4") == []
    phone.goto(f"{PORTAL}/me")
    expect(phone).to_have_url(f"{PORTAL}/sign-in?next=/me")
    theirs.close()


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_lists_fit_and_can_be_touched_and_read(
    gateway: Gateway, page: Page, width: int, scheme: str, language: str
) -> None:
    gateway.cli("grant", "cloud", "2001:db8:1234:5678::/64", "--note", "M" * 60)
    gateway.cli("ban", "2001:db8:aaaa:bbbb::/64")
    identity = gateway.add_link("W" * 64, ("cloud", "films", "game")).rpartition("/l/")[2].partition("-")[0]
    gateway.stranger.reaches(CLOUD, timeout=0.2)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for place in (*LISTS, f"/links/{identity}", f"/links/{identity}/remove", "/people/yves/remove"):
        page.goto(f"{PORTAL}/admin{place}?lang={language}")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), place
        assert page.evaluate(
            "() => [...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        ), place
        touched = "button, input:not([type=hidden], [type=checkbox]), label.check, select, nav a, .actions a"
        if width < 768:
            touched += ", .list a"
        for said, height in page.evaluate(
            "(touched) => [...document.querySelectorAll(touched)].map(e => [e.outerHTML, e.getBoundingClientRect().height])",
            touched,
        ):
            assert height >= 44 or height == 0, (place, said)
        # WCAG 2.2, 1.4.3: 4.5 to 1
        assert page.evaluate(CONTRASTS) == [], place
    gateway.cli("unban", "2001:db8:aaaa:bbbb::/64")
