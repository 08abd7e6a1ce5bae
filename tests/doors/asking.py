"""Requests that lie about where they come from, byte for byte, and what must not come of them."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor

from by_socket import add_link, let_in
from forged import FORGED, Claim, Forged
from fronts import NAME, URL

from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.visitor import Answer, Family, Visitor

FAMILIES: tuple[Family, ...] = (4, 6)
WITHIN_S = 30.0
AT_ONCE = 5
# who holds a grant, who is at home, and nobody
HELD, HOME, FRESH = Claim("192.0.2.130", "2001:db8:2::10"), Claim("10.9.0.10", "fd00:9::10"), Claim("198.51.100.77", "2001:db8:77::77")
SHOWN = "Your address is "


def address(visitor: Visitor, family: Family) -> str:
    return {4: visitor.ipv4, 6: visitor.ipv6}[family]


def granted(gateway: Gateway) -> set[str]:
    """What the kernel holds for `cloud`."""
    sets = gateway.sets()
    return {element.value for name in ("cloud4", "cloud6") for element in sets[name]}


def element(visitor: Visitor, family: Family) -> str:
    """What the kernel holds for a visitor: an address, or a /64's first."""
    return visitor.ipv4 if family == 4 else re.sub(r"::.*", "::", visitor.ipv6)


def shown(visitor: Visitor, family: Family) -> str:
    """What pages call a visitor's address."""
    return visitor.ipv4 if family == 4 else f"{element(visitor, family)}/64"


class Asking:
    """Requests of a visitor, byte for byte."""

    def __init__(self, visitor: Visitor, family: Family, url: str) -> None:
        self.visitor, self.family, self.url = visitor, family, url
        self.secure = url.startswith("https")
        self.host = url.rpartition("/")[2]

    def get(self, forged: Forged, claim: Claim, post: bytes = b"") -> bytes:
        return self._send(b"GET / HTTP/1.1\r\n", b"", b"", forged, claim, post)

    def post(self, page: Answer, forged: Forged, claim: Claim) -> bytes:
        """The form of a link's page."""
        line, headers, body = self._form(page)
        return self._send(line, headers, body, forged, claim, b"")

    def claiming_post(self, page: Answer, claim: Claim) -> bytes:
        """The same as bytes, with every header that is believed anywhere."""
        line, headers, body = self._form(page)
        names = ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP")
        forged = b"".join(f"{name}: {claim.ipv4}\r\n".encode() for name in names) + f"Forwarded: for={claim.ipv4}\r\n".encode()
        return line + f"Host: {self.host}\r\nConnection: close\r\n".encode() + forged + headers + b"\r\n" + body

    def _form(self, page: Answer) -> tuple[bytes, bytes, bytes]:
        [form] = [form for form in page.forms if form.method == "POST"]
        body = "&".join(f"{name}={value}" for name, value in form.fields.items()).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in self.visitor.cookies.items())
        path = "/" + form.action.split("/", 3)[3]
        headers = (
            f"Origin: null\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookies}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        )
        return f"POST {path} HTTP/1.1\r\n".encode(), headers.encode(), body

    def _send(self, line: bytes, headers: bytes, body: bytes, forged: Forged, claim: Claim, post: bytes) -> bytes:
        text = forged.bytes(claim, post)
        head = f"Host: {self.host}\r\nAccept-Language: en\r\n".encode()
        if b"onnection: " not in text and forged.where != "body":
            head += b"Connection: close\r\n"
        if forged.where == "first":
            request = line + text + b"\r\n" + head + headers + b"\r\n" + body
        elif forged.where == "headers":
            request = line + head + text + b"\r\n" + headers + b"\r\n" + body
        elif forged.where == "body":
            request = line + head + headers + text
        else:
            request = line + head + headers + b"\r\n" + body
        request = text + request if forged.where == "before" else request
        # what comes before TLS comes before the request where there is none
        return self._exchange(text if forged.where == "outside" else b"", request, patient=forged.where != "body")

    def _exchange(self, outside: bytes, request: bytes, *, patient: bool) -> bytes:
        """All that is answered; empty where the connection was ended."""
        host = GATEWAY4 if self.family == 4 else GATEWAY6
        port = int(self.host.rpartition(":")[2])
        found = b""
        with contextlib.closing(self.visitor.namespace.connect(host, port, WITHIN_S)) as plain, contextlib.suppress(OSError):
            plain.settimeout(WITHIN_S if patient else 1)
            plain.sendall(outside)
            through = self.visitor._tls.wrap_socket(plain, server_hostname=NAME) if self.secure else plain
            with contextlib.closing(through):
                with contextlib.suppress(OSError):
                    through.sendall(request)
                while not _whole(found) or not patient:
                    part = through.recv(65536)
                    if not part:
                        break
                    found += part
        return found


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
    if length is None:
        return bool(end) and body.endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(length[1])


def _nothing_else_shown(answer: bytes, forged: Forged, claim: Claim, true: str) -> bool:
    """Whether a page says the true address; AssertionError where it says, or knows, another."""
    text = answer.decode("utf-8", "replace")
    said = re.findall(rf"{SHOWN}(\S+?)\.(?=[\s<])", text)
    assert set(said) <= {true}, (forged, text)
    assert "never closed" not in text, (forged, text)
    for other in (claim.ipv4, claim.ipv6, "203.0.113.1,", "10.8.0.10", "fd00:8::10"):
        assert other not in text, (forged, text)
    return bool(said)


def try_all(gateway: Gateway, url: str) -> tuple[int, int]:
    """Send each of FORGED as a stranger, by both families, some at once; how many were answered with a page, and how many opened the link."""
    stranger = gateway.stranger
    let_in(gateway, "cloud", HELD.ipv4, HELD.ipv6)
    kept = {HELD.ipv4, "2001:db8:2::"}
    assert granted(gateway) == kept
    asking: dict[Family, Asking] = {family: Asking(stranger, family, url) for family in FAMILIES}
    true = {family: shown(stranger, family) for family in FAMILIES}
    requests = [
        (forged, family, claim)
        for turn, forged in enumerate(FORGED) if forged.where != "body"
        for family, claim in zip(FAMILIES, (HELD, HOME) if turn % 2 else (HOME, HELD), strict=True)
    ]  # fmt: skip

    def shows_a_page(request: tuple[Forged, Family, Claim]) -> bool:
        forged, family, claim = request
        answer = asking[family].get(forged, claim)
        assert b"Cloud" not in answer, forged
        return _nothing_else_shown(answer, forged, claim, true[family])

    def opens(turn: int) -> bool:
        forged, family = FORGED[turn], FAMILIES[turn % 2]
        if forged.where == "body":
            answer = asking[family].get(forged, FRESH, asking[family].claiming_post(forms[family], FRESH))
        else:
            answer = asking[family].post(forms[family], forged, FRESH)
        return _nothing_else_shown(answer, forged, FRESH, true[family]) and b"open from here until" in answer

    with ThreadPoolExecutor(AT_ONCE) as pool:
        pages = sum(pool.map(shows_a_page, requests))
        link = add_link(gateway).replace(URL, url)
        forms = {family: stranger.fetch(link, family=family, timeout=WITHIN_S) for family in FAMILIES}
        opened = 0
        for begin in range(0, len(FORGED), 10):
            turns = range(begin, min(begin + 10, len(FORGED)))
            opened += sum(pool.map(opens, turns))
            # what is granted stays, so that nothing is missed
            assert granted(gateway) <= {*kept, *(element(stranger, one) for one in FAMILIES)}, FORGED[turns.start : turns.stop]
    return pages, opened
