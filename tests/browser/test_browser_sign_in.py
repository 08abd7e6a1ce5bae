"""Getting in with a real browser over TLS: invitation, password, TOTP, recovery code; and out again."""

import re
import time
from collections.abc import Callable, Iterator

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from lab.gateway import Gateway

PORTAL = "https://home.test:8443"
PASSWORD = "seven purple otters hum"
RECOVERY = re.compile(r"\b(?:10|[1-9])-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}\b")

Open = Callable[[], Page]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipb") as gateway:
        yield gateway


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Open]:
    """A page in a browser of its own. What it complains about, its policy included, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page() -> Page:
        context = browser.new_context(ignore_https_errors=True, locale="en-GB")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type in {"error", "warning"} and complaints.append(said.text))
        page.on("response", lambda answer: answer.status >= 500 and complaints.append(answer.url))
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A refusal's own status, such as 403, is no complaint about the page
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def sign_in(page: Page, name: str, code: str, password: str = PASSWORD) -> None:
    page.goto(f"{PORTAL}/sign-in")
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.locator("input[name=code]").fill(code)
    page.locator("main form button").first.click()


def choose(page: Page) -> None:
    for name in ("password", "again"):
        page.locator(f"input[name={name}]").fill(PASSWORD)


def next_code(secret: str) -> str:
    """A code that was not used yet: the one of the next time step, which counts already."""
    return pyotp.TOTP(secret).at(int(time.time()) + 30)


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(re.compile(rf"{PORTAL}/(\?.*|sign-in.*)?$"))


def cookies(page: Page) -> dict[str, dict[str, object]]:
    return {cookie["name"]: dict(cookie) for cookie in page.context.cookies()}


def test_from_the_invitation_to_the_sign_out(gateway: Gateway, fresh: Open) -> None:
    url = gateway.cli("person", "add", "mamie", "--service", "cloud", "--links", "--invite").stdout.strip().split()[-1]
    page = fresh()
    page.goto(url)
    expect(page.locator("svg.qr")).to_be_visible()
    secret = re.sub(r"\s", "", page.locator("code").first.inner_text())
    assert re.fullmatch(r"[A-Z2-7]{32}", secret)
    page.reload()
    assert re.sub(r"\s", "", page.locator("code").first.inner_text()) == secret
    used = pyotp.TOTP(secret).now()
    choose(page)
    page.locator("input[name=code]").fill(used)
    page.locator("main form button").first.click()
    expect(page.locator("main")).to_contain_text(RECOVERY)
    expect(page.locator(".codes code")).to_have_count(10)
    codes = RECOVERY.findall(page.locator("main").inner_text())
    assert len(codes) == 10

    # The code that the invitation took is used up; the next one is good
    page = fresh()
    sign_in(page, "mamie", used)
    expect(page.get_by_role("alert")).to_be_visible()
    assert "__Host-safeip-session" not in cookies(page)
    assert page.locator("input[name=password]").input_value() == ""
    assert page.locator("input[name=name]").input_value() == "mamie"
    sign_in(page, "mamie", next_code(secret))
    page.wait_for_url(f"{PORTAL}/me")

    held = cookies(page)
    for name in ("__Host-safeip-session", "__Host-safeip-device"):
        cookie = held[name]
        flags = {key: cookie[key] for key in ("httpOnly", "secure", "sameSite", "path", "domain")}
        assert flags == {"httpOnly": True, "secure": True, "sameSite": "Lax", "path": "/", "domain": "home.test"}
    assert 0 < float(str(held["__Host-safeip-session"]["expires"])) - time.time() <= 30 * 86400 + 60
    assert page.evaluate("() => document.cookie") == ""
    assert page.evaluate("() => document.referrer") == ""

    page.goto(f"{PORTAL}/me/sessions")
    expect(page.locator("main")).to_contain_text("192.0.2.10")
    for path in ("/", "/me", "/me/links", "/me/password", "/me/totp", "/me/recovery", "/me/sessions"):
        assert page.goto(f"{PORTAL}{path}").status == 200
    page.goto(f"{PORTAL}/me")
    sign_out(page)
    assert "__Host-safeip-session" not in cookies(page)
    page.go_back()
    assert "/sign-in" in page.url or "Sign out" not in page.locator("body").inner_text()
    page.goto(f"{PORTAL}/me")
    expect(page).to_have_url(f"{PORTAL}/sign-in?next=/me")

    # A recovery code, in capitals and with spaces, once
    typed = codes[2].upper().replace("-", " ")
    sign_in(page, "mamie", typed)
    page.wait_for_url(f"{PORTAL}/me")
    other = fresh()
    sign_in(other, "mamie", codes[2])
    expect(other.get_by_role("alert")).to_be_visible()


def test_an_admin_with_totp_sees_every_page_without_a_complaint(gateway: Gateway, fresh: Open) -> None:
    url = gateway.cli("person", "add", "ann", "--admin", "--invite").stdout.strip().split()[-1]
    page = fresh()
    page.goto(url)
    secret = re.sub(r"\s", "", page.locator("code").first.inner_text())
    choose(page)
    page.locator("input[name=code]").fill(pyotp.TOTP(secret).now())
    page.locator("main form button").first.click()
    expect(page.locator("main")).to_contain_text(RECOVERY)
    page = fresh()
    sign_in(page, "ann", next_code(secret))
    page.wait_for_url(f"{PORTAL}/me")
    for path in ("/links", "/people", "/people/ann", "/tokens"):
        assert page.goto(f"{PORTAL}/admin{path}").status == 200
    sign_out(page)


def test_a_form_whose_sending_was_stopped_can_be_sent_again(gateway: Gateway, fresh: Open) -> None:
    page = fresh()
    page.clock.install()
    page.goto(f"{PORTAL}/sign-in")
    sent: list[str] = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.url))
    # The page stays without an answer, as after the browser's Stop
    page.route(f"{PORTAL}/sign-in", lambda route: route.fulfill(status=204))
    send = "document.querySelector('main form').requestSubmit()"
    for name in ("name", "password"):
        page.locator(f"input[name={name}]").fill("mamie")
    for _ in range(2):
        with page.expect_response(f"{PORTAL}/sign-in"):
            page.evaluate(send)
        answered = len(sent)
        page.evaluate(send)
        page.clock.run_for(19_000)
        assert len(sent) == answered
        page.clock.run_for(2_000)
    assert len(sent) == 2
