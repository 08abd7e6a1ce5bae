"""The API on the control socket. Root alone reaches it, and a mistake of root's is answered, too."""

from collections.abc import Iterator

import pytest
from fuzz_portal import Portal, portal
from fuzz_target import fuzzed, json_objects, spoilt
from hypothesis import strategies as st
from portal_house import House

from access.actor import Actor

LINK: list[bytes] = []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    async def prepare(house: House) -> None:
        people = house.site.access.people
        await people.add(Actor.CLI, "mamie", services=["cloud"], may_link=True)
        await people.add(Actor.CLI, "yves", role="admin")
        LINK[:] = [(await house.link(pin="4711")).removeprefix("/l/").partition("-")[0].encode()]

    with portal(tmp_path_factory.mktemp("portal"), prepare) as made:
        yield made


PATHS = ["status", "grants", "blocked", "banned", "bans", "links", "links/{LINK}", "links/{LINK}/pause", "links/{LINK}/rotate",
         "links/aaaaaa", "history", "people", "people/mamie", "people/yves", "people/mamie/totp",
         "people/mamie/totp/confirm", "people/mamie/invitation", "people/mamie/approve", "people/mamie/refuse",
         "grants/cloud/203.0.113.7", "grants/cloud/2001:db8::%2F64", "grants/game/self", "grants/%ff/%00", "grants/nothing/::1",
         "token", "tokens", "tokens/aaaaaa", "openapi.json", "problems/busy", "problems/%ff", "people/mamie/sign-out", "people/mamie/sessions", "people/%00", "people/\u2160", "nowhere"]  # fmt: skip
QUERIES = ["", "?", "?service=cloud", "?address=203.0.113.7", "?address=%ff", "?all=true", "?all=maybe", "?last=3", "?last=-1",
           "?last=99999999999", "?who=person:mamie", "?event=granted&event=granted", "?holder=%0a", "?outcome=refused"]  # fmt: skip
BODIES = json_objects(
    service=st.sampled_from(["cloud", "nothing"]),
    services=st.lists(st.sampled_from(["cloud", "game", "nothing"]), max_size=3),
    address=st.sampled_from(["203.0.113.7", "2001:db8::1", "::1", "0.0.0.0/0"]),
    scopes=st.lists(st.sampled_from(["read", "grant:any", "root"]), max_size=3),
    label=st.sampled_from(["Mamie", "", "é" * 80, '"']),
    note=st.text(max_size=6),
    uses=st.integers(-1, 5),
    addresses=st.integers(-1, 5),
    pin=st.sampled_from(["4711", "1", "\N{FULLWIDTH DIGIT ONE}234"]),
    to=st.sampled_from(["https://example.org/", "javascript:alert(1)", "//x", "http://[::1", "http://a:99999/"]),
    expires=st.sampled_from(["30d", "forever"]),
    name=st.sampled_from(["mamie", "jean", "JEAN ", "\u2160", "a" * 33, "../x", "safeip"]),
    role=st.sampled_from(["admin", "member", "root"]),
    links=st.booleans(),
    invite=st.booleans(),
    seed=st.text(max_size=10),
    code=st.sampled_from(["000000", "1-aaaa-aaaa-aaaa", "\N{ARABIC-INDIC DIGIT ONE}23456"]),
    **{"for": st.sampled_from(["2h", "9000d", "-1s"])},
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request to the API."""
    method = draw(st.sampled_from(["GET", "POST", "DELETE", "PATCH", "PUT"]))
    path = draw(st.sampled_from(PATHS)) + draw(st.sampled_from(QUERIES))
    body = draw(st.one_of(BODIES, st.just(b""))) if method in {"POST", "PATCH", "PUT"} else b""
    return request(method, path, body)


def request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


GOOD = [
    request("PUT", "grants/cloud/203.0.113.7", b'{"for":"2h","note":"x"}'),
    request("DELETE", "grants/cloud/2001:db8::%2F64", b""),
    request("POST", "tokens", b'{"label":"Router","scopes":["grant:self"],"services":["cloud"],"expires":"365d"}'),
    request("POST", "links", b'{"label":"Jean","services":["cloud"],"for":"2h","uses":3}'),
    request("POST", "people", b'{"name":"jean","services":["cloud"],"links":true}'),
    request("PATCH", "people/mamie", b'{"role":"member","services":["cloud","game"]}'),
    request("GET", "history?last=3&event=granted", b""),
]


@fuzzed("api", st.one_of(requests(), requests(), spoilt(GOOD)))
def test_whatever_root_asks_is_answered_below_500(running: Portal, data: bytes) -> None:
    """Any request on the control socket gets answers below 500; nothing is logged at error."""
    for status, _headers in running.send(data.replace(b"{LINK}", LINK[0]), control=True):
        assert status < 500, status
    running.is_well()
