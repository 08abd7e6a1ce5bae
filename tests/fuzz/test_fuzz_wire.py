"""The wire between portal and gate, each side against anything from the other."""

import asyncio
import json
import socket
from ipaddress import IPv4Address, ip_network
from typing import Any

from fuzz_target import fuzzed, json_objects, spoilt
from hypothesis import strategies as st

from access.gate import Banned, Blocked, GateRefusal, GateUnavailable, Grant, Granted
from nft import checks, wire
from nft.policy import Policy, PortRange, ServiceRule
from portal.gate import LINE_LIMIT, GateClient

HOUR = 3600
POLICY = Policy(
    {"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)}, (ip_network("10.0.0.0/8"),)
)
NOTHING = {"service": None, "address": None, "holder": None}
REQUESTS = [
    {"verb": "grant", "services": {"cloud": 60}, "address": "203.0.113.7", "holder": "cli", "note": "", "addresses": None},
    {"verb": "grant", "services": {"cloud": 60}, "address": "2001:db8::/64", "holder": "link:aaaaaa", "note": "é", "addresses": 2},
    {"verb": "revoke", **NOTHING, "everything": True},
    {"verb": "revoke", **NOTHING, "holder": "person:mamie", "everything": False},
    {"verb": "list", "of": "grants", **NOTHING},
    {"verb": "ban", "address": "203.0.113.7", "duration_s": 60},
    {"verb": "watch"},
]  # fmt: skip
LINES = [json.dumps({"id": number, **request}).encode() + b"\n" for number, request in enumerate(REQUESTS)]
OBJECTS = json_objects(
    verb=st.sampled_from(["grant", "revoke", "list", "ban", "watch"]),
    id=st.integers(0, 9),
    services=st.dictionaries(st.sampled_from(["cloud", "x"]), st.integers(-1, 50_000), max_size=2),
    address=st.sampled_from(["203.0.113.7", "2001:db8::/64", "0.0.0.0/0", "10.0.0.1", "::ffff:1.2.3.4"]),
    holder=st.sampled_from(["cli", "person:mamie", "root"]),
    note=st.text(max_size=5),
    addresses=st.none(),
    service=st.sampled_from([None, "cloud"]),
    everything=st.booleans(),
    of=st.sampled_from(["grants", "banned", "all"]),
    duration_s=st.integers(-1, 90),
)
REQUEST_BYTES = st.one_of(
    st.binary(max_size=64), OBJECTS.map(lambda line: line + b"\n"), spoilt(LINES), spoilt([b"".join(LINES)])
)


@fuzzed("wire-request", REQUEST_BYTES)
def test_the_gate_reads_requests_of_their_declared_types_or_ends(data: bytes) -> None:
    """However bytes come and however they are cut, they are requests that the wire could have sent, or a ProtocolError."""
    whole, in_two = read([data]), read([data[: len(data) // 2], data[len(data) // 2 :]])
    assert whole == in_two
    for request in whole or ():
        assert type(request.id) is int
        again = json.dumps({"verb": type(request).__name__.lower(), **request._asdict()})
        assert wire.parse(again.encode()) == request


def read(pieces: list[bytes]) -> list[wire.Request] | None:
    reader = wire.Reader()
    try:
        return [request for piece in pieces for request in reader.feed(piece)]
    except wire.ProtocolError:
        return None


@fuzzed("wire-request", REQUEST_BYTES)
def test_the_gates_checks_let_nothing_wider_than_the_policy_pass(data: bytes) -> None:
    """What passes the checks is one host or one /64, not special or trusted, of a service, within its longest time."""
    for request in read([data]) or ():
        if not isinstance(request, wire.Grant):
            continue
        try:
            for name, seconds in request.services.items():
                checks.duration(checks.service(POLICY, name), seconds)
            key = checks.key(POLICY, request.address)
            checks.open_to(POLICY, key)
            checks.holder(request.holder)
            checks.note(request.note)
        except checks.Refusal:
            continue
        assert set(request.services) == {"cloud"}
        assert all(0 < seconds <= 12 * HOUR for seconds in request.services.values())
        assert len(key) in {4, 16}
        assert checks.address(POLICY, key) == request.address
        assert not request.address.startswith(("10.", "0.", "127."))
        comment = checks.comment(request.holder, request.note)
        assert checks.read_comment(comment) == (request.holder, request.note.rstrip() if request.note else "")


ROW = {"service": "cloud", "address": "203.0.113.7", "holder": "cli", "note": "", "remaining_ms": 5, "packets": 0, "bytes": 0}
ANSWERS = [
    {"id": 1, "ok": {"grants": [ROW], "left": [], "renewed": False}},
    {"id": 2, "part": [ROW]},
    {"id": 2, "ok": {}},
    {"id": 3, "error": {"code": "too-many", "message": "full"}},
    {"event": {"event": "restored", "grants": 3}},
]
ANSWER_LINES = [json.dumps(answer).encode() + b"\n" for answer in ANSWERS]
ANSWER_BYTES = st.one_of(
    st.binary(max_size=64),
    json_objects(
        id=st.integers(0, 5),
        ok=st.sampled_from([{}, {"grants": [ROW]}, {"revoked": 1}, {"grants": [{}]}, {"revoked": "1"}]),
        part=st.lists(st.sampled_from([ROW, {}, 7, None]), max_size=3),
        error=st.sampled_from([{"code": "kernel", "message": ""}, {"code": 1}, {}]),
        event=st.sampled_from([{"event": "x"}, {}, 3]),
    ).map(lambda line: line + b"\n"),
    spoilt(ANSWER_LINES),
    spoilt([b"".join(ANSWER_LINES)]),
    st.sampled_from([b"x" * LINE_LIMIT, b"[" * 60_000 + b"\n"]),
)


@fuzzed("wire-answer", ANSWER_BYTES, share=0.7)
def test_whatever_the_gate_says_every_caller_hears_something_and_nothing_breaks(data: bytes) -> None:
    """Each caller gets rows, a refusal, or that the gate is unavailable; no exception is left in the loop."""
    asyncio.run(answers(data))


async def answers(data: bytes) -> None:
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: broken.append(context))
    ours, theirs = socket.socketpair()
    client = await GateClient.connect(ours)
    calls = [
        client.grant({"cloud": 60}, IPv4Address("203.0.113.7"), holder="cli", note=""),
        client.grants(),
        client.revoke(holder="cli"),
        client.blocked(),
        client.banned(),
        client.status(),
        client.watch(lambda _event: None),
    ]
    asking = asyncio.gather(*calls, return_exceptions=True)
    _reader, writer = await asyncio.open_unix_connection(sock=theirs)
    writer.write(data)
    writer.close()  # then the gate has gone: nobody is left waiting
    async with asyncio.timeout(5):
        heard = await asking
    client.close()
    await asyncio.sleep(0)
    for answer in heard:
        if isinstance(answer, list):
            assert all(isinstance(row, Grant | Blocked | Banned) for row in answer)
        else:
            assert answer is None or isinstance(answer, int | dict | Granted | GateRefusal | GateUnavailable), answer
    assert broken == []
