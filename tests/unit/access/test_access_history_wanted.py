import asyncio
from pathlib import Path

import pytest

from access.history import History, Wanted

ENTRIES = [
    {"event": "signed-in", "by": "person:yves", "source": "203.0.113.7", "person": "yves"},
    {"event": "granted", "by": "person:yves", "source": "203.0.113.7", "address": "198.51.100.4"},
    {"event": "link-opened", "holder": "link:k3v7aa", "note": "Mamie", "address": "203.0.113.7"},
    {"event": "sign-in-refused", "outcome": "refused", "reason": "wrong-password", "source": "2001:db8:1::/64"},
    {"event": "revoked", "by": "cli", "holder": "person:yves"},
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [0, 1, 2, 3, 4]),
        (Wanted(event="granted"), [1]),
        (Wanted(event="grant"), []),
        (Wanted(who="yves"), [0, 1, 4]),
        (Wanted(who="Person:Yves"), [0, 1, 4]),
        (Wanted(who="yve"), []),
        (Wanted(who="mamie"), [2]),
        (Wanted(who="k3v7aa"), [2]),
        (Wanted(who="cli"), [4]),
        (Wanted(address="203.0.113.7"), [0, 1, 2]),
        (Wanted(address="2001:db8:1::/64"), [3]),
        (Wanted(outcome="refused"), [3]),
        (Wanted(who="yves", address="198.51.100.4"), [1]),
    ],
)
def test_only_what_is_wanted(tmp_path: Path, wanted: Wanted, found: list[int]) -> None:
    history = History(str(tmp_path / "history.jsonl"), clock=lambda: 1_800_000_000)
    for entry in ENTRIES:
        history.record(**entry)  # type: ignore[arg-type]
    events = [entry["event"] for entry in asyncio.run(history.read(100, wanted))]
    assert events == [ENTRIES[index]["event"] for index in found]


def test_the_last_of_the_wanted(tmp_path: Path) -> None:
    history = History(str(tmp_path / "history.jsonl"), size=2000, keep=4)
    for number in range(60):
        history.record("granted" if number % 2 else "revoked", note=str(number))
    entries = asyncio.run(history.read(5, Wanted(event="granted")))
    assert [entry["note"] for entry in entries] == ["51", "53", "55", "57", "59"]
