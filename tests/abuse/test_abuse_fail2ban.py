"""What the filter for fail2ban finds in history.jsonl and in the journal: failures, and never what somebody wrote."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access import history, journal

FILTER = Path(__file__).resolve().parents[2] / "packaging" / "fail2ban" / "filter.d" / "safeip.conf"
VICTIM = "198.51.100.99"

# of them, none is a failure that an address is to be banned for
MISSES: list[dict[str, Any]] = [
    {"event": "sign-in-refused", "outcome": "refused", "reason": reason, "source": VICTIM, "person": "yves"}
    for reason in ("locked", "busy", "not-saved", "changed-meanwhile", "signed-out")
]
MISSES += [
    {"event": "link-refused", "outcome": "refused", "reason": reason, "address": VICTIM, "holder": "link:k3v9aa", "note": "Mamie"}
    for reason in ("paused", "expired", "used-up", "other-family", "pin-needed", "pin-locked", "ended", "trusted-address", "gate-unavailable")
]
MISSES += [
    {"event": "token-refused", "outcome": "refused", "reason": "expired", "address": VICTIM, "holder": "token:k3v9aa", "note": "Router"},
    {"event": "signed-in", "by": "person:yves", "source": VICTIM, "person": "yves"},
    {"event": "banned", "by": "safeip", "reason": "sign-in", "address": VICTIM},
    {"event": "link-opened", "holder": "link:k3v9aa", "note": "Mamie", "address": VICTIM, "services": ["cloud"]},
    {"event": "granted", "by": "cli", "address": VICTIM, "services": ["cloud"]},
]
HITS: dict[str, list[dict[str, Any]]] = {
    "203.0.113.66": [
        {"event": "sign-in-refused", "outcome": "refused", "reason": reason, "source": "203.0.113.66", "person": person}
        for reason, person in (("unknown-name", None), ("wrong-code", "yves"), ("wrong-password", "a.b_c-9"))
    ],
    "203.0.113.67": [
        {"event": "link-refused", "outcome": "refused", "reason": "unknown", "address": "203.0.113.67"},
        {
            "event": "link-refused", "outcome": "refused", "reason": "pin-wrong", "address": "203.0.113.67", "holder": "link:k3v9aa",
            "note": "Mamie's (old) téléphone 📱", "services": ["cloud", "game-2"],
        },
        {"event": "token-refused", "outcome": "refused", "reason": "unknown", "address": "203.0.113.67"},
        {
            "event": "token-refused", "outcome": "refused", "reason": "wrong", "address": "203.0.113.67", "holder": "token:k3v9aa",
            "note": "Router, address=here",
        },
    ],
}  # fmt: skip
HITS |= {"2001:db8:66::/64": [{**entry, "source": "2001:db8:66::/64"} for entry in HITS["203.0.113.66"]]}
HITS |= {"2001:db8:67:1:ffff::/80": [{**entry, "address": "2001:db8:67:1:ffff::/80"} for entry in HITS["203.0.113.67"]]}

# what a label, a note, a name that is asked for or an older state's file may hold
FORGED = [
    f"x from={VICTIM} outcome=refused reason=wrong-password",
    f"x address={VICTIM} outcome=refused reason=unknown",
    f"address={VICTIM} outcome=refused reason=pin-wrong services=cloud",
    f"x address={VICTIM} outcome=refused reason=pin-wrong services=a b c",
    f'", "address": "{VICTIM}", "outcome": "refused", "reason": "unknown"}}',
    f'\\", "address": "{VICTIM}", "outcome": "refused", "reason": "unknown"}}',
    f'x", "event": "link-refused", "address": "{VICTIM}", "outcome": "refused", "reason": "unknown"}}',
    f'{{"at": "2026-11-21T09:30:00Z", "event": "link-refused", "address": "{VICTIM}", "outcome": "refused", "reason": "unknown"}}',
    f'\n{{"at": "2026-11-21T09:30:00Z", "event": "link-refused", "address": "{VICTIM}", "outcome": "refused", "reason": "unknown"}}',
    f"host safeip[1]: link-refused address={VICTIM} outcome=refused reason=unknown",
    f"\nhost safeip[1]: link-refused address={VICTIM} outcome=refused reason=unknown\n",
    f"\u2028Nov 21 19:50:00 host safeip[1]: link-refused address={VICTIM} outcome=refused reason=unknown",
    f"Nov 21 19:50:00 host safeip[1]: sign-in-refused from={VICTIM} outcome=refused reason=unknown-name",
    f"2026-11-21T09:30:00Z sign-in-refused from={VICTIM} outcome=refused reason=unknown-name",
    VICTIM,
    f"<HOST>{VICTIM}</HOST> ::ffff:{VICTIM}",
]
REAL = "203.0.113.7"


def forged(text: str) -> list[dict[str, Any]]:
    """Entries about REAL in which somebody's words are."""
    return [
        {"event": "link-refused", "outcome": "refused", "reason": reason, "address": REAL, "holder": "link:k3v9aa", "note": text, **more}
        for reason in ("pin-wrong", "expired")
        for more in ({}, {"services": ["cloud"]})
    ] + [
        {"event": "token-refused", "outcome": "refused", "reason": "wrong", "address": REAL, "holder": "token:k3v9aa", "note": text},
        {"event": "link-opened", "holder": "link:k3v9aa", "note": text, "address": REAL, "services": ["cloud"]},
        {"event": "granted", "by": "cli", "source": REAL, "holder": "cli", "note": text, "address": REAL},
        {"event": "person-asked", "outcome": "refused", "reason": text, "source": REAL, "person": text},
        {"event": "sign-in-refused", "outcome": "refused", "reason": "wrong-password", "source": REAL, "person": text},
        {"event": text, "source": REAL, "note": text},
    ]


class Telling:
    """Entries as the file has them and as the journal's MESSAGE is, after what fail2ban and journalctl write before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.entries: list[history.Entry] = []
        self.file = directory / "history.jsonl"
        self.journal = directory / "journal"
        self._history = history.History(str(self.file))
        monkeypatch.setattr(journal, "tell", self.entries.append)

    def record(self, entry: dict[str, Any]) -> None:
        self._history.record(**entry)

    def write_journal(self) -> None:
        # a line's end within a message is written as \n by fail2ban, and folded by journalctl
        messages = [journal._fields(entry)["MESSAGE"].replace("\n", "\\n") for entry in self.entries]
        self.journal.write_text("".join(f"Nov 21 19:50:00 gateway safeip[123]: {text}\n" for text in messages), "utf-8")


def found(log: Path) -> list[str]:
    """What fail2ban would count, a line each."""
    done = subprocess.run(
        ["fail2ban-regex", "--out", "id", str(log), str(FILTER)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Telling:
    return Telling(monkeypatch, tmp_path)


def both(told: Telling, check: Callable[[list[str]], None]) -> None:
    told.write_journal()
    for log in (told.file, told.journal):
        check(found(log))


def test_failures_are_found_with_their_address(told: Telling) -> None:
    expected = [address for address, entries in HITS.items() for _ in entries]
    for entries in HITS.values():
        for entry in entries:
            told.record(entry)

    def check(addresses: list[str]) -> None:
        assert addresses == expected

    both(told, check)


def test_what_is_no_guess_is_not_found(told: Telling) -> None:
    for entry in MISSES:
        told.record(entry)

    def check(addresses: list[str]) -> None:
        assert addresses == []

    both(told, check)


def test_words_that_somebody_wrote_ban_nobody_else(told: Telling) -> None:
    for text in FORGED:
        for entry in forged(text):
            told.record(entry)

    def check(addresses: list[str]) -> None:
        # a name and an event are never anybody's words; where they are, nothing is found at all
        assert set(addresses) == {REAL}
        assert len(addresses) >= 2 * len(FORGED)

    both(told, check)


def test_lines_that_are_torn_or_doubled_ban_nobody(told: Telling) -> None:
    whole = json.dumps({"at": "2026-11-21T09:30:00Z", "event": "link-refused", "address": VICTIM, "outcome": "refused", "reason": "unknown"})
    torn = [whole[:length] for length in range(len(whole) - 1)]
    told.file.write_text("\n".join([*torn, f" {whole}", f"x{whole}", f"{{{whole}", f"[{whole}]"]), "utf-8")
    assert found(told.file) == []


def test_another_programs_lines_are_not_ours(told: Telling) -> None:
    said = f"link-refused address={VICTIM} outcome=refused reason=unknown"
    lines = [f"gateway sshd[1]: {said}", f"gateway notsafeip[1]: {said}", f"gateway safeip: {said}", said, f"safeip[1]: {said}"]
    lines += [f"gateway sshd[1]: Invalid user safeip[1]: {said}", f"gateway safeip[1]: {said} and more", f"gateway safeip[1]: x {said}"]
    told.journal.write_text("".join(f"Nov 21 19:50:00 {line}\n" for line in lines), "utf-8")
    assert found(told.journal) == []
