"""What a visitor's browser sends back: tickets, tokens to stay, remembered links; and where a link leads."""

import re
from ipaddress import IPv4Address, IPv6Network

from aiohttp.test_utils import make_mocked_request
from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st

from access.link import Link
from access.secret import Key
from access.tickets import BadTicket, Tickets
from portal.browsers import Browsers, said
from portal.cookies import Cookie
from portal.headers import content_policy
from portal.origins import web_origin
from portal.site import LINK_TOKENS

LINK = Link("k3v7aa", "Mamie", ("cloud",), 0)
TICKETS = Tickets(lambda: 1000.0)
GIVEN = [
    TICKETS.give(LINK, address, adds=adds).encode()
    for address in (IPv4Address("203.0.113.7"), IPv6Network("2001:db8::/64"))
    for adds in (True, False)
]


@fuzzed("ticket", st.one_of(spoilt(GIVEN, [b"-", b"_", b":", "٣".encode()]), st.binary(max_size=200)))
def test_a_ticket_is_one_that_was_given_to_the_letter(data: bytes) -> None:
    """Whatever else is brought in its place is refused."""
    try:
        ticket = TICKETS.read(data.decode("latin-1"))
    except BadTicket:
        assert data not in GIVEN
        return
    assert data in GIVEN
    assert ticket.link_id == LINK.id


BROWSERS = Browsers(Key(b"k" * 32), lambda: 1000.0, secure=True)
NONCE = "n" * 22
REQUEST = make_mocked_request("POST", "/l/x/stay", {"Cookie": f"__Host-safeip={NONCE}"})
TOKENS = [
    BROWSERS.token(REQUEST, "/l/x/stay", says=says)[0].encode() for says in ("", "203.0.113.7", "2001:db8::/64")
]


@fuzzed("stay-token", st.one_of(spoilt(TOKENS, [b"~", b"-", b" ", b"n"]), st.binary(max_size=100)))
def test_a_token_says_what_it_was_made_to_say(data: bytes) -> None:
    """A token holds as it was given, and a changed word in it or about it is no token."""
    text = data.decode("latin-1")
    assert BROWSERS.holds(REQUEST, text) == (data in TOKENS)
    assert "~" not in said(text) or data not in TOKENS


LINKS = Cookie("safeip-links", LINK_TOKENS, secure=True)
KEPT = [b"k3v7aa-" + b"a" * 32, b".".join([b"k3v7aa-" + b"a" * 32] * 8)]


@fuzzed("remembered", st.one_of(spoilt(KEPT, [b".", b"-", b";", b"="]), st.binary(max_size=100)))
def test_remembered_links_are_at_most_eight_texts_of_a_links_form(data: bytes) -> None:
    """What a cookie holds is taken as tokens that look like ours, or not at all."""
    header = f"a=b; {LINKS.name}={data.decode('latin-1')}"
    kept = LINKS.read(make_mocked_request("GET", "/", {"Cookie": header}))
    if kept is not None:
        tokens = kept.split(".")
        assert len(tokens) <= 8
        assert all(re.fullmatch("[a-z2-7]{6}-[a-z2-7]{32}", token) for token in tokens)


URLS = [
    b"https://cloud.example.org/",
    b"http://[2001:db8::1]:8096/start",
    b"https://Cloud.Example.ORG:443/?x#y",
    b"https://a;script-src/",
    b"https://*.example.org",
    b"https://user:pass@example.org/",
]


@fuzzed("origin", st.one_of(spoilt(URLS, [b"://", b":", b"[", b"]", b"*", b";", b",", b"'"]), st.binary(max_size=80)))
def test_where_a_link_leads_adds_one_source_to_the_policy_and_nothing_else(data: bytes) -> None:
    """A link's target, whatever it is, is one origin in connect-src, or is not there."""
    origin = web_origin(data.decode("latin-1"))
    plain, policy = content_policy(), content_policy([origin])
    if origin is None:
        assert policy == plain
        return
    assert re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", origin)
    assert policy == plain.replace("connect-src 'self'", f"connect-src 'self' {origin}")
    assert web_origin(origin) == origin
