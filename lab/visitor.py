"""A visitor: a namespace with addresses of its own, and a browser without script in it."""

import contextlib
import http.client
import http.cookies
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from typing import Literal, Self
from urllib.parse import urlencode, urljoin, urlsplit

from lab.net import Namespace
from lab.process import PATIENCE, LabError

Family = Literal[4, 6]
MAX_BODY = 4 * 1024 * 1024


@dataclass(frozen=True)
class Form:
    """A form of a page: where it goes and what it holds, the visitor's own fields with what stands in them."""

    method: str
    action: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What came back. `first_byte_s` is the time from the start of the connection to the answer's first line."""

    url: str
    status: int
    headers: Message
    body: bytes
    first_byte_s: float
    family: Family = 4
    forms: tuple[Form, ...] = field(default=())
    next_url: str | None = None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class _Page(HTMLParser):
    """Reads the forms and the meta refresh of a page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.forms: list[Form] = []
        self.next_url: str | None = None
        self._fields: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._fields = {}
            action = urljoin(self.url, given.get("action", ""))
            self.forms.append(Form(given.get("method", "get").upper(), action, self._fields))
        elif tag in ("input", "button") and self._fields is not None and given.get("name") and "disabled" not in given:
            self._fields[given["name"]] = given.get("value", "")
        elif tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            found = re.search(r"url\s*=\s*['\"]?([^'\"]+)", given.get("content", ""), re.IGNORECASE)
            self.next_url = urljoin(self.url, found[1].strip()) if found else None

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None


class Visitor:
    """A browser without script: keeps cookies, reads forms, posts them; certificates are not verified.

    `names` maps a host name to its IPv4 and its IPv6 address; other hosts must be addresses. Every request is a
    connection of its own. The cookies are one jar for all hosts, which is enough for one portal.
    """

    def __init__(self, namespace: Namespace, ipv4: str, ipv6: str, names: Mapping[str, tuple[str, str]]) -> None:
        self.namespace = namespace
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.names = names
        self.cookies: dict[str, str] = {}
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    def connect(self, url: str, family: Family = 4, timeout: float = 5.0, answer_s: float | None = None) -> socket.socket:
        """A connection to the host of `url`, with TLS where it says https. OSError within `timeout` seconds.

        `answer_s`: what the other side may take for TLS, and for whatever comes then, instead.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host in self.names:
            host = self.names[host][0 if family == 4 else 1]
        secure = parts.scheme == "https"
        connection = self.namespace.connect(host, parts.port or (443 if secure else 80), timeout * PATIENCE)
        # as every browser does; without it a form's body waits for the receiver's delayed acknowledgement
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout((answer_s or timeout) * PATIENCE)
        if not secure:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=parts.hostname)
        except OSError:
            connection.close()
            raise

    def fetch(
        self, url: str, method: str = "GET", *, fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, family: Family = 4, timeout: float = 5.0, answer_s: float | None = None,
    ) -> Answer:
        """One request, with the cookies that the visitor holds; `fields` are sent as a form. OSError.

        `timeout` seconds are for the connection, and where `answer_s` does not say otherwise for the answer.
        """
        parts = urlsplit(url)
        sent = {"Accept-Language": "en", "Connection": "close", **(headers or {})}
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if fields is not None:
            body = urlencode(fields)
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        begin = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port)) as connection:
            connection.sock = self.connect(url, family, timeout, answer_s)
            # http.client leaves the default port out of Host only where it made the connection itself
            sent.setdefault("Host", parts.netloc)
            # whoever refuses may answer, and close, before the body is sent
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                connection.request(method, (parts.path or "/") + ("?" + parts.query if parts.query else ""), body, sent)
            try:
                reply = connection.getresponse()
            except http.client.HTTPException as error:
                raise OSError(f"{url}: {error!r}") from error
            first_byte_s = time.monotonic() - begin
            with contextlib.closing(reply):
                content = reply.read(MAX_BODY)
        for line in reply.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        page = _Page(url)
        if reply.headers.get_content_type() == "text/html":
            page.feed(content.decode("utf-8", "replace"))
        return Answer(
            url, reply.status, reply.headers, content, first_byte_s, family, tuple(page.forms), page.next_url
        )

    def submit(
        self, page: Answer, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send the page's POST form as a browser does, with `fields` typed in. LabError where it has none."""
        form = next((form for form in page.forms if form.method == "POST"), None)
        if form is None:
            raise LabError(f"{page.url}: status {page.status}, no form to send")
        # what Chromium sends from a page with Referrer-Policy: no-referrer
        sent = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", **(headers or {})}
        return self.fetch(
            form.action, "POST", fields={**form.fields, **(fields or {})}, headers=sent, family=page.family
        )

    def open_link(self, url: str, *, pin: str | None = None, family: Family = 4) -> Answer:
        """Get the link's page and send its form; the answer to the form. Any status, but LabError without a form."""
        page = self.fetch(url, family=family)
        return self.submit(page, {"pin": pin} if pin is not None else None)

    def reaches(self, url: str, *, family: Family = 4, timeout: float | None = None) -> bool:
        """Whether `url` answers 200 within `timeout` seconds; without it, whoever is connected within one may take ten to answer."""
        try:
            return self.fetch(url, family=family, timeout=timeout or 1.0, answer_s=timeout or 10.0).status == 200
        except OSError:
            return False

    def download(self, url: str, family: Family = 4) -> "Download":
        """Begin to read `url`, which need not end."""
        return Download(self, url, family)


class Download:
    """A download in a thread of its own. `received` counts bytes, `last_at` is the monotonic time of the last."""

    def __init__(self, visitor: Visitor, url: str, family: Family = 4) -> None:
        self.received = 0
        self.last_at = 0.0
        parts = urlsplit(url)
        self._socket = visitor.connect(url, family)
        self._socket.settimeout(None)
        try:
            self._socket.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._read, name="download", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                self.received += len(data)
                self.last_at = time.monotonic()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
