"""What is worth telling, where the teller stood, how much it tells, and in which words."""

import random
from pathlib import Path

import pytest

from access.moment import moment_text
from portal.catalogue import Catalogue, read_catalogue
from teller.cursor import Cursor
from teller.happenings import Happening, happened, merged
from teller.known import _MOST_ADDRESSES, Known
from teller.limits import Limits
from teller.settings import EVENTS
from teller.words import Words

LOCALE = Path(__file__).parents[3] / "locale"
NOW = 1_800_000_000
SERVICES = ["cloud"]


def entry(event: str, at: int = NOW, **more: object) -> dict:
    return {"at": moment_text(at), "event": event, "outcome": "allowed", **more}


def opened(address: str, holder: str = "link:k3v9aa", at: int = NOW) -> dict:
    return entry("link-opened", at, holder=holder, note="Mamie", address=address, services=SERVICES)


# what happened


def test_a_link_is_told_at_its_first_use_then_at_each_new_address() -> None:
    known = Known({})
    told = [happened(opened(address), known) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1")]
    assert [one and one.kind for one in told] == ["first-use", None, "new-address", None]


def test_persons_and_tokens_have_addresses_and_root_has_none() -> None:
    known = Known({})
    for by, kind in (("person:yves", "new-address"), ("token:k3v9aa", "new-address"), ("cli", None)):
        found = happened(entry("granted", by=by, address="192.0.2.1", services=SERVICES), known)
        assert (found and found.kind) == kind


def test_a_link_that_was_removed_is_forgotten() -> None:
    known = Known({})
    happened(opened("192.0.2.1"), known)
    happened(entry("link-removed", holder="link:k3v9aa", by="cli"), known)
    assert known.addresses == {}


def test_what_was_refused_is_not_told_but_a_backup_that_failed() -> None:
    known = Known({})
    for event in ("link-opened", "banned", "granted"):
        assert happened(opened("192.0.2.1") | {"event": event, "outcome": "refused"}, known) is None
    assert happened(entry("backup-failed", reason="no space") | {"outcome": "refused"}, known) == Happening("backup-failed", NOW, reason="no space")


def test_both_families_of_a_visitor_are_one_message() -> None:
    known = Known({})
    found = [happened(opened(address), known) for address in ("192.0.2.1", "2001:db8:1::/64")]
    (one,) = merged(one for one in found if one)
    assert (one.kind, one.addresses) == ("first-use", ("192.0.2.1", "2001:db8:1::/64"))


def test_bans_stay_apart_and_repairs_are_one() -> None:
    found = [happened(entry("banned", by="safeip", address=f"192.0.2.{n}"), Known({})) for n in (1, 2)]
    found += [happened(entry("repaired"), Known({}))] * 2
    assert [one.kind for one in merged(one for one in found if one)] == ["ban", "ban", "repair"]


def test_what_is_known_is_bounded_and_the_last_are_kept() -> None:
    known = Known({})
    for n in range(3 * _MOST_ADDRESSES):
        known.opened("link:a", f"10.0.{n // 256}.{n % 256}", n)
        known.opened("link:a", "192.0.2.1", n)
    assert len(known.addresses["link:a"]) == _MOST_ADDRESSES
    assert known.opened("link:a", "192.0.2.1", 0) is None


@pytest.mark.parametrize("value", [None, 7, [], {}, "\x1b[2J\nhidden", "x" * 100_000, "@everyone", "\u202egpj"])
def test_no_text_breaks_a_message(value: object) -> None:
    """A label is typed by somebody: no control character, no mention, no more than a line of it."""
    words = Words(Catalogue(), "open.example.org")
    for base in (opened("192.0.2.1"), entry("banned", by="safeip", address="192.0.2.1"), entry("repaired"), entry("backup-failed")):
        for key in (*base, "reason", "by"):
            found = happened(base | {key: value}, Known({}))
            if found is not None:
                body = words.message(found, NOW).body
                assert body.isprintable() or "\N{WORD JOINER}" in body
                assert len(body) < 1000
                assert "@everyone" not in body


# where it stood


def test_the_place_is_found_by_what_stands_there() -> None:
    entries = [opened(f"192.0.2.{n}", at=NOW - n) for n in range(50)]  # a clock that goes backwards
    cursor = Cursor()
    cursor.move(entries[:30])
    assert cursor.new(entries) == entries[30:]
    assert cursor.new(entries[20:]) == entries[30:]


def test_nothing_is_read_twice_and_nothing_left_out_however_it_comes() -> None:
    choose = random.Random(7)
    for _ in range(200):
        entries = [opened(f"192.0.2.{n}", at=NOW + n // choose.randint(1, 9)) for n in range(choose.randint(1, 80))]
        cursor, seen = Cursor(), []
        cursor.begin([], NOW)
        for end in [*sorted(choose.randint(0, len(entries)) for _ in range(5)), len(entries)]:
            window = entries[max(0, end - choose.choice([90, 200])) : end]
            new = cursor.new(window)
            cursor.move(new)
            seen += new
        assert seen == entries


def test_where_the_place_is_gone_the_moment_tells() -> None:
    cursor = Cursor()
    cursor.move([opened("192.0.2.1", at=NOW)])
    later = [opened("192.0.2.2", at=NOW - 9), opened("192.0.2.3", at=NOW + 9)]
    assert not cursor.found(later)
    assert cursor.new(later) == later[1:]


# how much


def test_no_hour_has_more_messages_than_allowed_and_the_rest_is_summed_up_once() -> None:
    limits, told, sums = Limits(5, [], {}), [], []
    for now in range(NOW, NOW + 4 * 3600, 7):
        if limits.takes("ban", now):
            told.append(now)
        if beyond := limits.summary(now):
            sums.append((now, beyond["ban"]))
    moments = sorted(told + [now for now, _ in sums])
    for start in moments:
        assert sum(start <= at < start + 3600 for at in moments) <= 5
    assert len(told) + sum(count for _, count in sums) + sum(limits.beyond.values()) == len(range(0, 4 * 3600, 7))
    assert sums


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    limits = Limits(1, [NOW + 10 * 86_400], {})
    assert limits.takes("ban", NOW)


def test_the_summary_is_due_when_there_is_room() -> None:
    limits = Limits(1, [], {})
    assert limits.takes("ban", NOW)
    assert not limits.takes("ban", NOW + 1)
    assert limits.due_at() == NOW + 3600
    assert limits.summary(NOW + 3599) is None
    assert limits.summary(NOW + 3600) == {"ban": 1}
    assert limits.due_at() is None


# in which words


@pytest.mark.parametrize("language", ["en", "fr", "de", "es"])
def test_each_message_is_there_in_each_language(language: str) -> None:
    catalogue = Catalogue() if language == "en" else read_catalogue(LOCALE / language / "LC_MESSAGES" / "safeip.po")
    words, english = Words(catalogue, "open.example.org"), Words(Catalogue(), "open.example.org")
    ones = [Happening(kind, NOW, "link:k3v9aa", "Mamie", ("192.0.2.1",), ("cloud",), by, "a disk") for kind in EVENTS for by in ("safeip", "cli")]
    ones.append(Happening("new-address", NOW, "person:yves", "", ("192.0.2.1",), ("cloud",)))
    for one in ones:
        said, plain = words.message(one, NOW).body, english.message(one, NOW).body
        assert "%" not in said
        assert (said == plain) == (language == "en")
        assert "192.0.2.1" in said or one.kind in {"repair", "backup-failed"}
    beyond = dict.fromkeys(EVENTS, 3)
    assert (words.summary(beyond, NOW).body == english.summary(beyond, NOW).body) == (language == "en")
    assert words.trial(NOW).title == "SafeIP, open.example.org"


def test_what_is_told_late_says_when_it_was() -> None:
    words = Words(Catalogue(), "open.example.org")
    assert words.message(Happening("repair", NOW - 700), NOW).body[:2] == "20"
    assert words.message(Happening("repair", NOW - 60), NOW).body[:2] != "20"
