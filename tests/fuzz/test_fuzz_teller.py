"""What the teller reads: entries of the history with any values, any answer of AbuseIPDB's, its own state as a torn disk leaves it."""

import json
import tempfile
from pathlib import Path
from typing import Any

from fuzz_target import fuzzed, spoilt
from hypothesis import given
from hypothesis import strategies as st

from access.files import StateError
from portal.catalogue import Catalogue
from teller import state
from teller.abuse_answers import read_answer
from teller.cursor import Cursor
from teller.happenings import happened, merged
from teller.known import Known
from teller.outbox import Message
from teller.reports import Book
from teller.teller import once_held
from teller.words import Words

EVENTS = ["link-opened", "granted", "moved", "banned", "repaired", "backup-failed", "link-removed", "person-removed", "revoked"]
VALUES = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text(), max_size=3), st.just("2026-11-21T09:30:00Z"), st.just("allowed"), st.just("\ud800"))
ENTRIES = st.fixed_dictionaries(
    {"event": st.sampled_from(EVENTS), "outcome": st.just("allowed")},
    optional=dict.fromkeys(("at", "by", "holder", "note", "address", "reason", "person", "services"), VALUES),
)  # fmt: skip
KEPT = state.State(
    addresses={"link:a": {"192.0.2.1": 7}}, told=[1], beyond={"ban": 3}, messages=[Message("t", "b", warning=True, at=5, to=["a"])],
    book=Book({"192.0.2.1": 1_800_000_000}, {"192.0.2.2": (5, "21")}, 4, 5, 6),
)  # fmt: skip


@given(st.lists(ENTRIES, max_size=20))
def test_any_entries_become_messages_of_printable_text_or_none(entries: list[dict[str, Any]]) -> None:
    known, cursor, words = Known({}), Cursor(), Words(Catalogue(), "open.example.org")
    happenings = [one for entry in entries if (one := happened(entry, known))]
    for one in merged(happenings):
        body = words.message(one, 1_800_000_000).body
        assert body.replace("\N{WORD JOINER}", "").isprintable()
    cursor.move(entries)
    assert cursor.new(entries) == []
    held = [address for entry in entries if (address := once_held(entry))]
    assert json.dumps([known.addresses, held], ensure_ascii=False).encode()


@fuzzed("abuse-answer", spoilt([b'{"errors":[{"detail":"x","status":429,"source":{"parameter":"ip"}}]}'], [b'"', b"[", b"null", b"\xff"]))
def test_any_answer_has_a_meaning(data: bytes) -> None:
    """A line for the log, and a pause that ends."""
    for status in (200, 301, 401, 422, 429, 503):
        answer = read_answer(status, {"retry-after": data.decode("latin-1")}, data, 0.0)
        assert answer.detail.replace("\N{WORD JOINER}", "").isprintable()
        assert answer.pause_s is None or 60 <= answer.pause_s <= 2 * 86_400


def state_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        state.save(f"{folder}/x", KEPT)
        return Path(folder, "x").read_bytes()


@fuzzed("teller-state", spoilt([state_bytes()], [b'"', b"{", b"}", b"null", b"-1", b"1e9", b","]))
def test_any_state_is_taken_or_refused_by_name(data: bytes) -> None:
    """What is taken is written as it is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(data)
        path.chmod(0o600)
        try:
            found = state.load(str(path))
        except StateError:
            return
        state.save(str(path), found)
        written = path.read_bytes()
        state.save(str(path), state.load(str(path)))
        assert path.read_bytes() == written
