"""What a header says, taken apart by our own readers."""

from ipaddress import IPv6Address, ip_address, ip_network

from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st

from access.address import BadAddress, parse_address
from portal.client_address import BadClientAddress, ClientAddress, Peer
from portal.language import choose

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
HOPS = [b"203.0.113.7", b"2001:db8::5", b"10.0.0.2", b"[2001:db8::5]:443", b"203.0.113.7:1234", b"::ffff:203.0.113.7",
        b"fe80::1%eth0", b"unknown", b"_hidden", b"0", b"1.2.3", "\N{ARABIC-INDIC DIGIT ONE}.2.3.4".encode(), b"%", b"[", b"]"]  # fmt: skip
FORWARDED = st.one_of(
    st.lists(st.sampled_from(HOPS), max_size=5).map(b", ".join),
    spoilt(HOPS, [b",", b":", b"[", b"]", b"%25"]),
    st.binary(max_size=40),
)


@fuzzed("forwarded-for", FORWARDED)
def test_a_forwarded_address_is_the_rightmost_that_is_no_proxy_or_none(data: bytes) -> None:
    """A stranger's header counts for nothing; a proxy's gives the last hop that is no proxy, or is refused."""
    text = data.decode("latin-1")
    clients = ClientAddress(PROXIES, "X-Forwarded-For", (), 64)
    assert str(clients.visitor(Peer("203.0.113.9"), [text]).address) == "203.0.113.9"
    try:
        told = clients.visitor(Peer("10.0.0.1"), [text])
    except BadClientAddress:
        return
    invented = clients.visitor(Peer("10.0.0.1"), [f"198.51.100.1, {text}" if text else text])
    host = ip_address(str(told.address).partition("/")[0])
    if not any(host in proxies for proxies in PROXIES):
        assert told == invented, "what the client put in front counts"
    assert clients.visitor(Peer("10.0.0.1"), text.split(",")) == told
    assert parse_address(str(host), 64) == told.address
    assert not told.trusted


@fuzzed("forwarded-for", FORWARDED)
def test_an_address_has_one_spelling(data: bytes) -> None:
    """What is read as an address is one IPv4 host or one /64, and reads as itself again."""
    try:
        address = parse_address(data.decode("latin-1"), 64)
    except BadAddress:
        return
    assert parse_address(str(address), 64) == address
    if ":" in str(address):
        assert str(address).endswith("/64")
        host = IPv6Address(str(address).removesuffix("/64"))
        assert host.ipv4_mapped is None
        assert host.scope_id is None
    else:
        assert str(ip_address(str(address))) == str(address)


LANGUAGES = [b"fr", b"en", b"fr-CA;q=0.5", b"*;q=0.1", b"de, fr;q=0.9", b"fr;q=2", b"fr;q=0.0001", b"x-klingon"]


@fuzzed(
    "accept-language",
    st.one_of(
        st.binary(max_size=60),
        spoilt(LANGUAGES, [b",", b";q=", b"safeip-lang=fr", b";", b"-"]),
        st.integers(1, 4000).map(lambda times: b"fr;q=0." * times),
    ),
)
def test_the_language_is_one_of_ours(data: bytes) -> None:
    """Whatever a browser asks for, and whatever its cookie says, it gets a language that there is."""
    text = data.decode("latin-1")
    assert choose(("en", "fr"), text, "") in {"en", "fr"}
    assert choose(("en", "fr"), "", text) in {"en", "fr"}
    assert choose(("en", "fr"), text, "safeip-lang=fr") == "fr"
