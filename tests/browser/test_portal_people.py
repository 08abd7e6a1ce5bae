"""People in a real browser over TLS, against the real daemon and the real kernel."""

import re
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from lab.gateway import Gateway

PORTAL = "https://home.test:8443"
PASSWORD = "four words nobody guesses"


class Authenticator:
    """An app on a phone: gives each code once, and waits for the next one as a person would."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)
        self._used = 0

    def code(self) -> str:
        # the gateway takes the code of the next half minute too, so that nobody has to wait
        self._used = max(self._used + 1, int(time.time()) // 30)
        deadline = time.monotonic() + 60
        while self._used > int(time.time()) // 30 + 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return self._totp.at(self._used * 30)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipq") as gateway:
        yield gateway


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """What its pages complain about fails the test."""
    complaints: list[str] = []
    context = browser.new_context(
        ignore_https_errors=True, locale="en-GB", viewport={"width": 390, "height": 800}
    )
    context.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def sign_in(page: Page, name: str, code: str, password: str = PASSWORD) -> None:
    page.goto(f"{PORTAL}/sign-in")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="Sign in").click()


def accept(page: Page, url: str) -> tuple[Authenticator, list[str]]:
    """Set up what an invitation asks for; gives back the app and the recovery codes."""
    page.goto(url)
    app = Authenticator(page.locator("code.secret").inner_text().replace(" ", ""))
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("The new password again").fill(PASSWORD)
    page.get_by_label("The code that the app shows now").fill(app.code())
    page.get_by_role("button", name="Set up and sign in").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    expect(page.locator(".codes code")).to_have_count(10)
    return app, page.locator(".codes code").all_inner_texts()


def test_invited_signed_in_and_open(gateway: Gateway, context: BrowserContext) -> None:
    printed = gateway.cli("person", "add", "mamie", "--service", "cloud", "--links", "--invite").stdout
    page = context.new_page()
    app, codes = accept(page, re.findall(r"https://\S+", printed)[0])
    assert len(codes) == 10
    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    session = cookies["__Host-safeip-session"]
    assert session["secure"] and session["httpOnly"] and session["sameSite"] == "Lax"  # noqa: PT018
    page.get_by_role("link", name="I have kept them").click()

    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("The way is open.")
    assert [element.value for element in gateway.elements("cloud4")] == ["192.0.2.10"]
    page.get_by_role("button", name=re.compile("Close")).click()
    expect(page.get_by_role("status")).to_have_text("The way is closed.")
    assert gateway.elements("cloud4") == []

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    context.add_cookies([session])  # a copy that somebody kept
    page.goto(f"{PORTAL}/me/links")
    expect(page).to_have_url(f"{PORTAL}/sign-in?next=/me/links")

    sign_in(page, "mamie", "000000")
    expect(page.get_by_role("alert")).to_contain_text("That is not right")
    expect(page.get_by_label("Name", exact=True)).to_have_value("mamie")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    sign_in(page, "mamie", app.code())
    expect(page).to_have_url(f"{PORTAL}/me")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    sign_in(page, "Mamie", codes[4])
    expect(page).to_have_url(f"{PORTAL}/me")
    page.get_by_role("link", name="Recovery codes").click()
    expect(page.get_by_text("You have 9 recovery codes left.")).to_be_visible()

    page.get_by_role("link", name="Links", exact=True).click()
    page.get_by_label("Who is it for?").fill("Jean")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_role("status")).to_contain_text("The link is made")
    url = page.get_by_label("Its address").input_value()
    assert url.startswith(f"{PORTAL}/l/")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()


def test_without_script_and_with_two_taps(gateway: Gateway, browser: Browser) -> None:
    printed = gateway.cli("person", "add", "jean", "--service", "cloud", "--invite").stdout
    plain = browser.new_context(ignore_https_errors=True, locale="fr-FR", java_script_enabled=False)
    page = plain.new_page()
    page.goto(re.findall(r"https://\S+", printed)[0])
    app = Authenticator(page.locator("code.secret").inner_text().replace(" ", ""))
    page.locator("#password").fill(PASSWORD)
    page.locator("#again").fill(PASSWORD)
    page.locator("#code").fill(app.code())
    page.locator("main button").click()
    page.locator("main a.button").click()
    page.get_by_role("button", name="Ouvrir", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("ouvert")
    plain.close()

    scripted = browser.new_context(ignore_https_errors=True, locale="en-GB")
    page = scripted.new_page()
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    page.goto(f"{PORTAL}/sign-in")
    page.get_by_label("Name", exact=True).fill("jean")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Code", exact=True).fill(app.code())
    page.evaluate("() => { const b = document.querySelector('main button'); b.click(); b.click(); }")
    expect(page).to_have_url(f"{PORTAL}/me")
    assert posts == [f"{PORTAL}/sign-in"]
    scripted.close()
