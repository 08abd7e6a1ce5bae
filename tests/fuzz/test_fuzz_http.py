"""Raw bytes at the public listener and at the control socket, over real sockets, signed in and not."""

import itertools
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from fuzz_portal import Portal, portal, secure
from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st
from portal_house import House

ADDRESSES = (f"198.51.{third}.{last}".encode() for third, last in itertools.product(range(256), range(1, 255)))
LINK: list[bytes] = []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """Behind a proxy, so that each request may come from an address of its own and none is banned for the others."""

    async def prepare(house: House) -> None:
        LINK[:] = [(await house.link(pin="4711")).removeprefix("/l/").encode()]

    with portal(tmp_path_factory.mktemp("portal"), prepare, trusted_proxies=(ip_network("127.0.0.0/8"),)) as made:
        yield made


HEADERS = [
    b"Host: open.example.org\r\n",
    b"X-Forwarded-For: {ADDRESS}\r\n",
    b"Cookie: __Host-safeip=AAAAAAAAAAAAAAAAAAAAAA; safeip-lang=fr\r\n",
    b"Cookie: __Host-safeip-session=" + b"A" * 43 + b"; __Host-safeip-device=1-a-b\r\n",
    b"Accept-Language: fr-FR,fr;q=0.9\r\n",
    b"Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n",
    b"Content-Type: application/x-www-form-urlencoded\r\n",
    b"Expect: 100-continue\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Range: bytes=0-1\r\n",
    b"If-None-Match: *\r\n",
    b"Authorization: Basic azN2N2FhOnNhZmVpcF9rM3Y3YWE=\r\nUser-Agent: router\r\n",
]
TARGETS = [b"/", b"/l/{LINK}", b"/l/aaaaaa-x", b"/healthz", b"/sign-in?next=/me", b"/?lang=fr&done=x", b"/static/x/style.css",
           b"/me/links/aaaaaa", b"/admin/people/x", b"//evil.example/", b"http://evil.example/", b"/l/%00", b"*", b"/%2e%2e/",
           b"/auth?service=cloud", b"/auth?service=%ff", b"/nic/update?hostname=cloud&myip=203.0.113.7", b"/nic/update?hostname=,%00&myip=%ff",
           b"/l/" + b"a" * 9000]  # fmt: skip
WORDS = [b"%0d%0a", b"\r\n\r\n", b":", b"chunked", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"HTTP/1.0",
         b"HTTP/9.9", b"..;/", b"\x7f", b"\xc3\xa9", b"{LINK}"]  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request as a client could send it."""
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"FOO"]))
    target = draw(st.one_of(st.sampled_from(TARGETS), st.binary(min_size=1, max_size=12).map(lambda text: b"/" + text)))
    headers = b"".join(draw(st.lists(st.sampled_from(HEADERS), max_size=5)))
    body = draw(st.one_of(st.just(b""), st.sampled_from([b"form=x", b"form=x&pin=4711", b"5\r\nform=\r\n0\r\n\r\n"])))
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    return b"%s %s %s\r\n%s%s\r\n%s" % (method, target, version, headers, length, body)


GOOD = [
    b"GET /l/{LINK} HTTP/1.1\r\nHost: open.example.org\r\nX-Forwarded-For: {ADDRESS}\r\n\r\n",
    b"POST /l/{LINK} HTTP/1.1\r\n%s\r\nform=x&pin=4711" % b"".join((*HEADERS[:2], HEADERS[6], b"Content-Length: 15\r\n")),
]


def filled(data: bytes) -> bytes:
    return data.replace(b"{LINK}", LINK[0]).replace(b"{ADDRESS}", next(ADDRESSES))


@fuzzed("http", st.one_of(requests(), spoilt(GOOD, WORDS), st.binary(max_size=100)))
def test_whatever_comes_is_answered_below_500_with_every_header(running: Portal, data: bytes) -> None:
    """Any bytes get answers below 500 that carry the security headers, or none; nothing is logged at error."""
    for status, headers in running.send(filled(data)):
        assert status < 500, (status, headers)
        if status >= 200:
            secure(headers)
    running.is_well()
