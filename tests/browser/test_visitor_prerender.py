"""A link that a browser fetches in advance, or in a tab that nobody looks at: the kernel lets nobody in until it is shown.

Chromium prerenders nothing while a debugger is attached, and shows every tab as looked at; so it runs by itself here, in the
visitor's namespace, and its own log of the network tells what it asked the portal for. The pages that lead to links have to be
of the portal's origin: something else serves them there, and makes room for the portal once the browser has them.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.browser import FLAGS
from lab.gateway import Gateway
from lab.process import PATIENCE, Process, wait_for

PORTAL = "https://home.test:8443"
# Once the portal stands the browser gets ready; when the link named `sign` is paused, it goes to the other one, or shows it.
LAUNCH = """<!doctype html><title>launch</title><script>
const link = %(link)s;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(status) {
    while ((await fetch(%(sign)s).catch(() => ({}))).status !== status) await pause(200);
}
(async () => { await until(200); %(script)s })();
</script>"""
PRERENDER = """
    const rules = document.createElement("script");
    rules.type = "speculationrules";
    rules.textContent = JSON.stringify({ prerender: [{ source: "list", urls: [link], eagerness: "immediate" }] });
    document.head.append(rules);
    await until(410);
    location.href = link;
"""
# Another tab comes in front, which closes itself
BACKGROUND = """
    const front = open("about:blank");
    front.eval(`const pause = ${pause}; ${until}; until(410).then(() => close());`);
    while (document.visibilityState !== "hidden") await pause(50);
    location.href = link;
"""


class Browser:
    """Chromium without a debugger, and what it asked for."""

    def __init__(self, gateway: Gateway, folder: Path, url: str, key: str) -> None:
        self._log = folder / "net.json"
        self._process: Process = gateway.visitor.namespace.start(
            "/usr/bin/chromium", *(flag for flag in FLAGS if flag != "--ignore-certificate-errors"), "--headless=new",
            f"--ignore-certificate-errors-spki-list={key}",  # nothing is prerendered whose errors are merely ignored
            "--disable-popup-blocking", f"--user-data-dir={folder}/profile",
            f"--log-net-log={self._log}", "--net-log-capture-mode=IncludeSensitive", url,
            log=folder / "chromium.log",
        )  # fmt: skip

    def asked(self, method: str, path: str) -> list[str]:
        """What was sent of each request for a path, a regular expression."""
        wanted = re.compile(rf'{{"params":{{"headers":.*"line":"{method} {path} HTTP')
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return [line for line in lines if wanted.match(line)]

    def stop(self) -> None:
        self._process.stop()


@contextlib.contextmanager
def launched(gateway: Gateway, folder: Path, page: str) -> Iterator[Browser]:
    """The browser, once it has `page` of the portal's origin and the portal is there."""
    gateway.stop()
    fetched = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            self.send_response(200 if self.path == "/launch" else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())
            if self.path == "/launch":
                fetched.set()

        def log_message(self, *_: object) -> None:
            pass

    (certificate,) = gateway.state.rglob("certificate.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, certificate.with_name("key.pem"))
    key = gateway.host.run("openssl", "x509", "-in", str(certificate), "-noout", "-pubkey").stdout
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(key.replace("PUBLIC KEY", "CERTIFICATE"))).digest()
    with gateway.host.entered():
        server = http.server.ThreadingHTTPServer(("", 8443), Answer)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = Browser(gateway, folder, f"{PORTAL}/launch", base64.b64encode(digest).decode())
    try:
        assert fetched.wait(60 * PATIENCE)
        server.shutdown()
        server.server_close()
        gateway.start()
        yield browser
    finally:
        browser.stop()
        server.server_close()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="siph") as gateway:
        yield gateway


@pytest.mark.parametrize("script", [PRERENDER, BACKGROUND], ids=["prerendered", "in a tab in the background"])
def test_a_link_opens_nothing_until_somebody_looks_at_it(gateway: Gateway, tmp_path: Path, script: str) -> None:
    gateway.cli("revoke", "--all")
    link, sign = gateway.add_link("Mamie"), gateway.add_link("Sign")
    path = link.removeprefix(PORTAL)
    page = LAUNCH % {"link": json.dumps(link), "sign": json.dumps(sign), "script": script}
    with launched(gateway, tmp_path, page) as browser:
        wait_for("its script is fetched", lambda: bool(browser.asked("GET", "/static/[^ ]*/open.js")), 40, 0.25)
        assert ("prerender" in browser.asked("GET", path)[0]) == (script is PRERENDER)
        end = time.monotonic() + 2  # time enough for a script that does not look
        while time.monotonic() < end:
            assert [gateway.elements(name) for name in ("cloud4", "cloud6")] == [[], []]
        assert browser.asked("POST", path) == []
        gateway.cli("link", "pause", sign.rpartition("/")[2][:6])
        wait_for("the way is open", lambda: [e.value for e in gateway.elements("cloud4")] == ["192.0.2.10"], 60)
        wait_for("its log tells of it", lambda: bool(browser.asked("POST", path)), 20, 0.25)
        assert len(browser.asked("GET", path)) == len(browser.asked("POST", path)) == 1, "shown as it was fetched, and opened once"
