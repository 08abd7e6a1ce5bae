"""Who is let in at an address beside the one holder that the book names there."""

import sys
from collections import Counter
from socket import inet_aton

import pytest

from nft import listing
from nft.book import Book
from nft.checks import Refusal
from nft.plan import Plan
from nft.policy import Policy, PortRange, ServiceRule
from nft.wire import Ban, Grant, Revoke

HERE, THERE, SIX = "203.0.113.7", "198.51.100.4", "2001:db8:1::/64"
POLICY = Policy(
    {name: ServiceRule(name, (PortRange("tcp", port, port),), 86_400) for name, port in (("cloud", 443), ("game", 25565))}, ()
)


@pytest.fixture
def now() -> list[int]:
    return [listing.now_ms()]


@pytest.fixture
def book() -> Book:
    return Book()


def grant(book: Book, now: list[int], holder: str, seconds: int = 3600, service: str = "cloud", address: str = HERE) -> Plan:
    plan = Plan(POLICY, book, now[0])
    plan.grant(Grant(1, {service: seconds}, address, holder, "", None))
    return plan


def revoke(book: Book, now: list[int], *, service: str | None = None, address: str | None = None, holder: str | None = None) -> None:
    Plan(POLICY, book, now[0]).revoke(Revoke(1, service, address, holder, everything=False))


def shared(book: Book, now: list[int]) -> dict[tuple[str, str, str], bool]:
    entries = list(book)
    return {
        (one["service"], one["address"], one["holder"]): book.others(entry, now[0])
        for entry, one in zip(entries, listing.show(POLICY, book, entries), strict=True)
    }


def test_the_listing_says_it(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a")
    assert [one["others"] for one in listing.show(POLICY, book, list(book))] == [False]
    grant(book, now, "link:b", service="game")
    assert [one["others"] for one in listing.show(POLICY, book, list(book))] == [True, True]


def test_one_holder_is_nobody_else_whatever_they_hold(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a")
    grant(book, now, "link:a", 7200)
    grant(book, now, "link:a", service="game")
    grant(book, now, "link:b", address=THERE)
    grant(book, now, "link:c", address=SIX)
    assert set(shared(book, now).values()) == {False}


@pytest.mark.parametrize("seconds", [60, 7200], ids=["shorter", "longer"])
def test_who_the_entry_does_not_name_is_there_until_their_own_end(book: Book, now: list[int], seconds: int) -> None:
    grant(book, now, "link:a")
    grant(book, now, "link:b", seconds)
    assert len(book) == 1
    assert list(shared(book, now).values()) == [True]
    now[0] += min(seconds, 3600) * 1000
    assert list(shared(book, now).values()) == [False]


def test_asking_again_for_less_brings_nobodys_end_nearer(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a", 7200)
    grant(book, now, "link:b", 3600)
    grant(book, now, "link:b", 1)
    now[0] += 60_000
    assert list(shared(book, now).values()) == [True]


def test_who_takes_the_entry_over_again_is_not_their_own_neighbour(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a", 10)
    grant(book, now, "link:b", 20)
    grant(book, now, "link:a", 30)
    assert dict(book.beside("cloud4", next(iter(book)).key)) == {"link:b": now[0] + 20_000}
    now[0] += 20_000
    assert list(shared(book, now).values()) == [False]


@pytest.mark.parametrize(
    "closed", [{"holder": "link:b"}, {"holder": "link:b", "address": HERE}, {"holder": "link:b", "service": "cloud", "address": HERE}]
)
def test_a_neighbour_who_is_closed_is_gone(book: Book, now: list[int], closed: dict[str, str]) -> None:
    grant(book, now, "link:a")
    grant(book, now, "link:b", 60)
    revoke(book, now, **closed)
    assert shared(book, now) == {("cloud", HERE, "link:a"): False}


@pytest.mark.parametrize("closed", [{"holder": "link:c"}, {"holder": "link:b", "address": THERE}, {"holder": "link:b", "service": "game"}])
def test_closing_elsewhere_takes_no_neighbour_away(book: Book, now: list[int], closed: dict[str, str]) -> None:
    grant(book, now, "link:a")
    grant(book, now, "link:b", 60)
    revoke(book, now, **closed)
    assert shared(book, now) == {("cloud", HERE, "link:a"): True}


def test_what_is_closed_for_all_has_no_neighbours_when_it_is_opened_anew(book: Book, now: list[int]) -> None:
    for end in ("revoked", "expired"):
        grant(book, now, "link:a")
        grant(book, now, "link:b", 60)
        if end == "revoked":
            revoke(book, now, address=HERE)
        else:
            now[0] += 3_600_000
            book.expire(now[0])
        grant(book, now, "link:a", 10)
        assert shared(book, now) == {("cloud", HERE, "link:a"): False}


def test_bans_are_no_neighbours(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a")
    Plan(POLICY, book, now[0]).ban(Ban(1, HERE, 60))
    [entry] = [entry for entry in book if entry.set == "cloud4"]
    assert not book.others(entry, now[0])


def test_a_refused_request_and_a_failed_transaction_leave_no_neighbour(book: Book, now: list[int]) -> None:
    first = grant(book, now, "link:a")
    assert len(first.changed()) == 1
    plan = Plan(POLICY, book, now[0])
    with pytest.raises(Refusal):
        plan.grant(Grant(1, {"cloud": 60, "nothing": 60}, HERE, "link:b", "", None))
    assert shared(book, now) == {("cloud", HERE, "link:a"): False}
    for seconds in (60, 7200):
        failed = grant(book, now, "link:b", seconds)
        failed.undo()
        assert shared(book, now) == {("cloud", HERE, "link:a"): False}
    grant(book, now, "link:b", 60)
    plan = Plan(POLICY, book, now[0])
    plan.revoke(Revoke(1, None, None, "link:b", everything=False))
    plan.revoke(Revoke(1, None, HERE, None, everything=False))
    plan.undo()
    assert shared(book, now) == {("cloud", HERE, "link:a"): True}


def test_a_neighbour_changes_nothing_in_the_kernel_and_not_whose_turn_it_is_to_leave(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a", 7200)
    grant(book, now, "link:a", 7200, address=THERE)
    assert grant(book, now, "link:b", 60).changed() == []
    assert [checked.key for checked in book.of_holder("link:a")] == [bytes([203, 0, 113, 7]), bytes([198, 51, 100, 4])]


def test_a_crowd_takes_no_memory(book: Book, now: list[int]) -> None:
    grant(book, now, "link:a", 7200)
    for number in range(1000):
        grant(book, now, f"link:n{number}", 60)
    assert len(book.beside("cloud4", next(iter(book)).key)) == 8
    for number in range(12_000):
        address = f"198.18.{number >> 8}.{number & 255}"
        grant(book, now, "link:a", 7200, address=address)
        grant(book, now, "link:b", 60, address=address)
    assert len(book.places_beside("link:b")) == 10_000


def test_closing_one_address_after_another_does_not_look_at_all_that_are_shared(book: Book, now: list[int]) -> None:
    addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(4000)]
    for address in addresses:
        grant(book, now, "link:a", 7200, address=address)
        grant(book, now, "link:b", 60, address=address)
    steps = Counter[str]()

    def step(_frame: object, event: str, _what: object) -> None:
        steps[event] += 1

    for address in addresses[:500]:
        sys.setprofile(step)
        revoke(book, now, holder="link:b", address=address)
        sys.setprofile(None)
    assert steps["call"] < 100 * 500
    assert book.places_beside("link:b") == [("cloud4", inet_aton(address)) for address in addresses[500:]]
    revoke(book, now, holder="link:b")
    assert book.places_beside("link:b") == []
    assert set(shared(book, now).values()) == {False}
