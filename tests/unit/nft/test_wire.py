"""The wire takes exactly five verbs, each with exactly its keys; anything else ends the daemon."""

import json
import random

import pytest

from nft import wire
from nft.wire import Ban, Grant, List, ProtocolError, Reader, Revoke, Watch

GRANT = {
    "id": 1,
    "verb": "grant",
    "services": {"cloud": 7200},
    "address": "203.0.113.7",
    "holder": "link:k3v9aa",
    "note": "Mamie",
    "addresses": None,
}
REVOKE = {"id": 2, "verb": "revoke", "service": None, "address": None, "holder": "cli", "everything": False}
LIST = {"id": 3, "verb": "list", "of": "grants", "service": None, "address": None, "holder": None}
BAN = {"id": 4, "verb": "ban", "address": "198.51.100.4", "duration_s": 3600}
WATCH = {"id": 5, "verb": "watch"}
GOOD = [GRANT, REVOKE, LIST, BAN, WATCH]


def line(message: object) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize(("message", "kind"), list(zip(GOOD, [Grant, Revoke, List, Ban, Watch], strict=True)))
def test_reads_each_verb(message, kind):
    request = wire.parse(line(message))
    assert isinstance(request, kind)
    assert all(getattr(request, key) == value for key, value in message.items() if key != "verb")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"grant"',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"id":' + b"9" * 60_000 + b"}",
        line({"id": 1, "verb": "exec"}),
        line({"id": 1, "verb": ["grant"]}),
        line({"id": 1}),
        line({"verb": "watch"}),
        line(WATCH | {"more": 1}),
        line(WATCH) * 2,
        line(WATCH) + b" ",
        line(WATCH) + b"\r",
        b" " + line(WATCH),
        b"\xef\xbb\xbf" + line(WATCH),
        *(line(GRANT | change) for change in (
            {"id": -1}, {"id": True}, {"id": 1.0}, {"id": "1"}, {"id": 1 << 53}, {"id": None},
            {"services": {}}, {"services": None}, {"services": ["cloud"]}, {"services": {"cloud": "1h"}},
            {"services": {"cloud": True}}, {"services": {"cloud": -1}}, {"services": {"cloud": 1.5}},
            {"services": {f"s{n}": 1 for n in range(65)}}, {"services": {"x" * 257: 1}},
            {"address": None}, {"address": 7}, {"address": "1" * 257}, {"address": "\ud800"},
            {"holder": None}, {"holder": ["cli"]}, {"note": None}, {"note": "x" * 257},
            {"addresses": 0}, {"addresses": -1}, {"addresses": "1"}, {"addresses": True},
            {"more": None},
        )),
        *(line({key: value for key, value in GRANT.items() if key != gone}) for gone in GRANT if gone != "verb"),
        *(line(REVOKE | change) for change in (
            {"holder": None}, {"everything": True}, {"everything": 1}, {"everything": None}, {"service": 5},
        )),
        *(line(LIST | change) for change in ({"of": "rules"}, {"of": None}, {"of": ["grants"]}, {"address": 1})),
        *(line(BAN | change) for change in ({"duration_s": None}, {"duration_s": -1}, {"address": None})),
    ],
)  # fmt: skip
def test_anything_else_is_an_attack(bad):
    with pytest.raises(ProtocolError):
        wire.parse(bad)


def test_everything_goes_alone():
    request = wire.parse(line(REVOKE | {"holder": None, "everything": True}))
    assert isinstance(request, Revoke)
    assert request.everything


def test_the_reader_cuts_lines_wherever_they_arrive():
    stream = b"".join(line(message) + b"\n" for message in GOOD * 3)
    reader, found = Reader(), []
    for start in range(0, len(stream), 7):
        found += reader.feed(stream[start : start + 7])
    assert [type(request) for request in found] == [Grant, Revoke, List, Ban, Watch] * 3


@pytest.mark.parametrize("chunk", [1000, wire.LINE, 1 << 18])
def test_a_line_without_an_end_is_cut_off(chunk):
    reader, fed = Reader(), 0
    with pytest.raises(ProtocolError, match="more than 65536"):
        while fed < 1 << 20:
            reader.feed(b" " * chunk)
            fed += chunk
    assert fed <= wire.LINE + chunk


def test_random_bytes_are_a_request_or_an_attack():
    """Invariant: parse gives a request of a known type with checked fields or raises ProtocolError."""
    chance = random.Random(20261121)
    for _ in range(20_000):
        data = bytearray(line(chance.choice(GOOD)))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        try:
            request = wire.parse(bytes(data).replace(b"\n", b" "))
        except ProtocolError:
            continue
        assert isinstance(request, Grant | Revoke | List | Ban | Watch)
        assert type(request.id) is int


def test_an_answer_is_one_line():
    assert wire.encode({"id": 1, "ok": {"note": "Mémé\n"}}) == '{"id":1,"ok":{"note":"Mémé\\n"}}\n'.encode()
