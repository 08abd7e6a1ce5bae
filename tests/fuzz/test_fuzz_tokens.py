"""The API on the public door: whatever comes, with a token and without."""

from collections.abc import Iterator

import pytest
from fuzz_portal import Portal, portal, secure
from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st
from portal_house import House
from test_fuzz_api import GOOD, requests

from access.actor import Actor

TEXT: list[bytes] = []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    async def prepare(house: House) -> None:
        await house.site.access.people.add(Actor.CLI, "mamie", services=["cloud"])
        _token, text = await house.site.access.tokens.add(Actor.CLI, "Fuzz", ["admin"])
        TEXT[:] = [text.encode()]

    # Every guess counts, and this guesses a lot.
    with portal(tmp_path_factory.mktemp("portal"), prepare, ban_after=1_000_000) as made:
        yield made


def with_token(data: bytes) -> bytes:
    return data.replace(b"Host: localhost", b"Host: localhost\r\nAuthorization: Bearer {TEXT}", 1)


@fuzzed("api", st.one_of(requests(), spoilt(GOOD)).map(with_token), share=0.7)
def test_whatever_a_token_asks_is_answered_below_500(running: Portal, data: bytes) -> None:
    """Any request with an admin's token gets answers below 500, each with the headers that all answers have; nothing is logged."""
    for status, headers in running.send(data.replace(b"{LINK}", b"aaaaaa").replace(b"{TEXT}", TEXT[0])):
        assert status < 500, status
        secure(headers)
        assert "access-control-allow-origin" not in headers
    running.is_well()


HEADERS = [b"Bearer {TEXT}", b"bearer {TEXT}", b"Basic eDp5", b"Bearer safeip_aaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa", b"Bearer", b""]


@fuzzed("authorization", spoilt(HEADERS, [b"Bearer ", b"{TEXT}", b",", b"\t", b"\x80"]))
def test_only_the_tokens_own_text_is_somebody(running: Portal, data: bytes) -> None:
    """Whatever stands in Authorization: the answer is 200 where it is the one scheme and the one text, else a refusal."""
    value = data.replace(b"{TEXT}", TEXT[0])
    answers = running.send(b"GET /api/v1/token HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n")
    scheme, _, rest = value.strip().partition(b" ")
    right = scheme.lower() == b"bearer" and rest.strip(b" ") == TEXT[0]
    if b"\n" not in value and b"\0" not in value:
        assert {status for status, _ in answers[:1]} <= ({200} if right else {400, 401, 431}), value
    running.is_well()
