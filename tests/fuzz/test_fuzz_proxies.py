"""What proxies put in front of a connection, and the header Forwarded: whatever it is, it names one address that stands in it, or nobody."""

import tracemalloc
from ipaddress import ip_address, ip_network

from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st

from portal.client_address import BadClientAddress, ClientAddress, Peer
from portal.proxy_protocol import MOST, BadHeader, missing, source

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = ip_address("203.0.113.7").packed + ip_address("192.0.2.9").packed + b"\x9c\x40\x01\xbb"
SIX = ip_address("2001:db8:5::7").packed + ip_address("2001:db8::9").packed + b"\x9c\x40\x01\xbb"
GOOD = [
    b"PROXY TCP4 203.0.113.7 192.0.2.9 40000 443\r\n",
    b"PROXY TCP6 2001:db8:5::7 2001:db8::9 40000 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    SIGNATURE + b"\x21\x11\0\x0c" + FOUR,
    SIGNATURE + b"\x21\x21\0\x24" + SIX,
    SIGNATURE + b"\x21\x11\0\x13" + FOUR + b"\x04\0\x04\0\0\0\0",
    SIGNATURE + b"\x20\0\0\0",
]
WORDS = [b"PROXY", b"TCP4", b"TCP6", b"\r\n", b"\r", b"\n", b" ", b"::", b"65536", b"00", SIGNATURE, b"\x21\x11", b"\x20", b"\xff\xff", b"%"]
AFTER = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def read(data: bytes) -> tuple[str | None, int]:
    """What a listener makes of a connection: whom it names, and how many bytes it took. Raises BadHeader."""
    header, steps = b"", 0
    while more := missing(header):
        steps += 1
        assert steps <= 128, "so many turns of the loop at most"
        assert len(header) + more <= MOST
        part = data[len(header) : len(header) + more]
        if not part:
            raise BadHeader("it ended")
        header += part
    return source(header), len(header)


@fuzzed("proxy-header", st.one_of(spoilt(GOOD, WORDS), st.binary(max_size=200)))
def test_a_header_names_one_address_or_the_proxy_or_is_refused(data: bytes) -> None:
    """It is read to its last byte and not beyond, however it comes, and what it names stands in it."""
    tracemalloc.start()
    try:
        named, length = read(data)
    except BadHeader:
        # what follows makes no good header of it, unless it was cut
        try:
            _, length = read(data + AFTER)
        except BadHeader:
            return
        assert length > len(data)
        return
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 512 * 1024
    assert (named, length) == read(data[:length]) == read(data[:length] + AFTER)
    assert 15 <= length <= MOST
    for cut in range(0, length, max(1, length // 20)):
        assert 0 < missing(data[:cut]) <= length - cut
    if named is not None:
        address = ip_address(named)
        assert str(address) == named
        if data.startswith(b"PROXY"):
            assert ip_address(data.split(b" ")[2].decode()) == address
        else:
            assert data[16 : 16 + len(address.packed)] == address.packed


PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
ELEMENTS = [b"for=203.0.113.7", b'for="[2001:db8::5]:443"', b"for=10.0.0.2;proto=https", b'For="203.0.113.7:_p";host="a.example:443"', b"for=unknown",
            b"for=_hidden", b"by=203.0.113.7", b'x="', b'"', b"", b'host="a,b"', b"for=203.0.113.7;for=198.51.100.1", b'for="[fe80::1%eth0]"']  # fmt: skip


@fuzzed(
    "forwarded",
    st.one_of(
        st.lists(st.sampled_from(ELEMENTS), max_size=5).map(b", ".join),
        spoilt(ELEMENTS, [b",", b";", b"for=", b'"', b"\\", b"[", b"]", b"="]),
        st.binary(max_size=60),
    ),
)
def test_forwarded_names_the_rightmost_that_is_no_proxy_or_nobody(data: bytes) -> None:
    """A stranger's header counts for nothing; what a client wrote, whatever it left open, changes nothing of what a proxy wrote behind it."""
    text = data.decode("latin-1")
    clients = ClientAddress(PROXIES, "Forwarded", (), 64)
    assert str(clients.visitor(Peer("203.0.113.9"), [text]).address) == "203.0.113.9"
    for written, address in (("for=192.0.2.77", "192.0.2.77"), ('proto=https;for="[2001:db8:7::7]:9"', "2001:db8:7::/64")):
        for lines in ([f"{text}, {written}"], [text, written], [text, f"{written}, for=10.0.0.3"], [f"{text},{written}", 'for="10.0.0.4:1"']):
            assert str(clients.visitor(Peer("10.0.0.1"), lines).address) == address
    try:
        told = clients.host(Peer("10.0.0.1"), [text])
    except BadClientAddress:
        return
    assert not any(told in proxies for proxies in PROXIES)
    assert told == clients.host(Peer("10.0.0.1"), [f"for=198.51.100.1, {text}"]), "what the client put in front counts"
    assert "for=" in text.lower()
