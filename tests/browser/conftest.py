"""A real browser in the visitor's namespace; each test file brings its own `gateway`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from lab.browser import chromium
from lab.gateway import Gateway

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(gateway: Gateway) -> Iterator[Browser]:
    """Chromium, seen with the visitor's own addresses."""
    with chromium(gateway.visitor.namespace) as browser:
        yield browser


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
    # The answer's own status, such as 410, is no complaint about the page; nor is what the lab's service lacks
    assert [text for text in complaints if "Failed to load resource" not in text] == []
