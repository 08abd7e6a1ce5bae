"""A real browser in the visitor's namespace; each test file brings its own `gateway`."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from lab.browser import chromium
from lab.gateway import Gateway

Visit = Callable[..., Page]
expect.set_options(timeout=15_000)  # of a machine that has other tests to run beside
# What a page complains of through no fault of its own: an answer's status, such as 410; a stream after a sign-out
EXPECTED = ("Failed to load resource", "EventSource's response")


@pytest.fixture(scope="module")
def browser(gateway: Gateway) -> Iterator[Browser]:
    """Chromium, seen with the visitor's own addresses."""
    with chromium(gateway.visitor.namespace) as browser:
        yield browser


@pytest.fixture(scope="module")
def admins(gateway: Gateway, browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes the browser in which yves, an admin, is signed in. What its pages complain about, their policy included, fails."""
    from test_portal_people import accept  # pytest has to be the first to import a test file

    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def admins(**options: Any) -> BrowserContext:
        context = browser.new_context(**{"ignore_https_errors": True, "locale": "en-GB"} | options)
        contexts.append(context)
        context.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        printed = gateway.cli("person", "add", "yves", "--admin", "--invite").stdout
        accept(context.new_page(), re.findall(r"https://\S+", printed)[0])
        return context

    yield admins
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith(EXPECTED)] == []


@pytest.fixture
def visit(gateway: Gateway, browser: Browser) -> Iterator[Visit]:
    """A page in a browser of its own, with nothing open. What it complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def visit(script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"ignore_https_errors": True, "locale": "en-GB"} | options)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        return page

    gateway.cli("revoke", "--all")
    yield visit
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith(EXPECTED)] == []
