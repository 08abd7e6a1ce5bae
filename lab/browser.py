"""A real Chromium in a namespace."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from lab.gateway import GATEWAY4, GATEWAY6, NAME
from lab.net import Namespace

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--ignore-certificate-errors",
    f"--host-resolver-rules=MAP {NAME} {GATEWAY4}, MAP open4.test {GATEWAY4}, MAP open6.test [{GATEWAY6}]",
    # documentation's addresses count as a local network, which pages of the Internet may not ask
    f"--ip-address-space-overrides={','.join(f'{host}:{port}=public' for host in (GATEWAY4, f'[{GATEWAY6}]') for port in (80, 443, 8443))}",
)


@contextmanager
def chromium(namespace: Namespace) -> Iterator[Browser]:
    """A browser whose pages come from the namespace's addresses."""
    with namespace.entered():
        playwright = sync_playwright().start()
    try:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
    finally:
        playwright.stop()
