"""State files as a torn disk, an editor or an older backup leaves them."""

import asyncio
import base64
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuzz_target import fuzzed, json_objects, spoilt
from hypothesis import strategies as st

from access.files import StateError
from access.history import History
from access.knocks import Knocks
from access.secret import Key
from access.sessions import _Tables as SessionTables
from access.shape import parse_document
from access.state import Tables
from access.throttle import Throttle

HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43
LINK = {
    "label": "Mamie", "owner": "mamie", "services": ["cloud"], "duration": "2h", "expires_at": "2026-11-21T09:30:00Z",
    "uses": 3, "used": 1, "addresses": None, "pin": HASH, "paused": False, "generation": 1,
    "to": "https://cloud.example.org/", "created_at": "2026-11-21T09:30:00Z", "last_used_at": None,
}  # fmt: skip
PERSON = {
    "role": "member", "services": ["cloud"], "links": True, "password": HASH, "totp": "0" * 32, "totp_step": 59_000_000,
    "recovery": [HASH, ""], "invitation": {"digest": "0" * 64, "expires_at": "2026-11-21T09:30:00Z"}, "asked": None,
    "era": "aa", "created_at": "2026-11-21T09:30:00Z", "last_seen_at": None,
}  # fmt: skip
ASKED = PERSON | {"asked": "It is me", "password": HASH, "totp": None, "recovery": [], "invitation": None}
TOKEN = {
    "label": "Router", "scopes": ["grant:self", "read"], "services": ["cloud"], "digest": "0" * 64, "duration": "2h",
    "created_at": "2026-11-21T09:30:00Z", "expires_at": None, "last_used_at": "2026-11-21T09:30:00Z",
    "last_address": "2001:db8::/64",
}  # fmt: skip
STATE = {
    "version": 1, "links": {"aaaaaa": LINK}, "people": {"mamie": PERSON, "yves": ASKED},
    "tokens": {"bbbbbb": TOKEN, "cccccc": TOKEN | {"services": None, "scopes": ["admin"]}},
}  # fmt: skip
SESSION = {
    "person": "mamie", "era": "aa", "created_at": "2026-11-21T09:30:00Z", "seen_at": "2026-11-21T09:30:00Z",
    "expires_at": "2026-11-21T09:30:00Z", "address": "203.0.113.5", "agent": "Browser",
}  # fmt: skip
WORDS = [b'"', b"{", b"}", b"null", b"-1", b"1e9", b"\\ud800", b"Z", b",", b'"mamie"', b"99999999999999999999", b"true"]
VALUES = st.sampled_from([{}, {"aaaaaa": LINK}, {"mamie": PERSON}, {"mamie": {}}, {"": PERSON}, {"aaaaaa": 1}, {"bbbbbb": TOKEN}])


def as_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def read_twice(kind: Any, data: bytes) -> None:
    """What is taken is written and read as the same; anything else is a StateError that names the file."""
    refused = ""
    try:
        tables = kind.read(top(data))
    except StateError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("file")
        assert len(refused) < 1000
    else:
        assert kind.read(top(as_bytes({"version": 1, **tables.document()}))) == tables


def top(data: bytes) -> Any:
    fields = parse_document("file", data)
    fields.number("version", 1, 1)
    return fields


@fuzzed(
    "state",
    st.one_of(
        spoilt([as_bytes(STATE)], WORDS),
        json_objects(version=st.just(1), links=VALUES, people=VALUES, tokens=VALUES),
        st.binary(max_size=40),
    ),
)
def test_a_state_is_taken_whole_or_refused(data: bytes) -> None:
    """A state.json is refused with a sentence that names the file, or means the same after it was written again."""
    read_twice(Tables, data)


@fuzzed("sessions", spoilt([as_bytes({"version": 1, "sessions": {"0" * 64: SESSION}})], WORDS))
def test_sessions_are_taken_whole_or_refused(data: bytes) -> None:
    """A sessions.json is refused with a sentence that names the file, or means the same after it was written again."""
    read_twice(SessionTables, data)


@fuzzed("throttle", spoilt([as_bytes({"203.0.113.7": {"left": 30, "tries": ["1 sign-in:5", "0 pin:"]}})], WORDS))
def test_counts_are_taken_whole_or_refused(data: bytes) -> None:
    """Counts of failures are refused, or lock as they did; nobody is locked for longer than the file says."""
    throttle = Throttle(5, 900, 900, clock=lambda: 0.0)
    try:
        counts = parse_document("file", data)
        throttle.load("file", "counts", dict(counts._left))
    except StateError:
        return
    again = Throttle(5, 900, 900, clock=lambda: 0.0)
    again.load("file", "counts", throttle.dump())
    assert again.dump() == throttle.dump()


KNOCKS = {"version": 1, "counter": 5, "at": "2026-11-21T09:30:00Z", "hours": {"2026-11-21T09:00:00Z": 4}}


@fuzzed("knocks", spoilt([as_bytes(KNOCKS)], WORDS))
def test_blocked_packets_are_taken_whole_or_refused(data: bytes) -> None:
    """A knocks.json is refused with a sentence that names the file, or means the same after it was written again."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "knocks.json").write_bytes(data)

        def begin() -> Knocks:
            return Knocks(directory, None, clock=lambda: 1795253400.0)  # type: ignore[arg-type]

        refused = ""
        try:
            knocks = begin()
        except StateError as error:
            refused = str(error)
        if refused:
            assert refused.startswith(f"{directory}/knocks.json")
            assert len(refused) < 1000
            return
        hours = knocks.hours()
        asyncio.run(knocks.close())
        assert begin().hours() == hours


@fuzzed("key", spoilt([base64.b64encode(bytes(32)) + b"\n"], [b"=", b"\n", b"-", b"_"]))
def test_a_key_has_32_bytes_or_is_refused(data: bytes) -> None:
    """A secret.key gives the key of its 32 bytes, or is refused; it is never made anew over one that is there."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "secret.key")
        file.touch(0o600)
        file.write_bytes(data)
        with suppress(StateError):
            key = Key.load(str(file), needed=False)
            assert key.link_token("aaaaaa", 1) == Key(base64.b64decode(data.strip())).link_token("aaaaaa", 1)
        assert file.read_bytes() == data


ENTRY = b'{"at":"2026-11-21T09:30:00Z","event":"granted","by":"person:mamie","address":"203.0.113.7","outcome":"allowed"}\n'


@fuzzed("history", st.one_of(spoilt([ENTRY * 3], WORDS), st.binary(max_size=60)), share=0.4)
def test_a_torn_history_is_read_and_goes_on(data: bytes) -> None:
    """What is no entry is left out; the next entry is a line of its own and is read again."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "history.jsonl")
        file.write_bytes(data)
        history = History(str(file), clock=lambda: 0.0)
        history.record("granted", address="203.0.113.8")
        entries = asyncio.run(history.read(1000))
        assert entries[-1]["address"] == "203.0.113.8"
        assert all(isinstance(entry, dict) for entry in entries)
