"""What requests make of the book before the kernel has agreed, and what of it is told."""

from ipaddress import ip_address

import pytest

from nft.book import Book
from nft.checks import Refusal
from nft.plan import Plan, notes
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import Replace
from nft.wire import Grant, Revoke

HERE = "203.0.113.7"
KEY = ip_address(HERE).packed
POLICY = Policy({"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 86_400)}, (), max_grants=2000)


@pytest.fixture
def book() -> Book:
    return Book()


def grant(plan: Plan, seconds: int = 3600, address: str = HERE, holder: str = "link:a", addresses: int | None = None) -> list[str]:
    return plan.grant(Grant(1, {"cloud": seconds}, address, holder, "", addresses))[1]


def test_what_ends_earlier_than_what_it_replaces_is_noted_as_taken_out_first(book: Book) -> None:
    first = Plan(POLICY, book, 0)
    grant(first, 7200)
    longer = book.get("cloud4", KEY)
    assert list(notes(first.changed())) == [("cloud4", KEY, longer)]
    second = Plan(POLICY, book, 0)
    second.revoke(Revoke(1, None, HERE, None, everything=False))
    grant(second, 60, holder="link:b")
    shorter = book.get("cloud4", KEY)
    assert [type(change) for change in second.changes(second.changed())] == [Replace]
    assert list(notes(second.changed())) == [("cloud4", KEY, None), ("cloud4", KEY, shorter)]
    third = Plan(POLICY, book, 0)
    grant(third, 7200)
    assert list(notes(third.changed())) == [("cloud4", KEY, book.get("cloud4", KEY))]


@pytest.mark.parametrize("refused_by", ["gate", "kernel"])
def test_ten_thousand_refusals_leave_the_book_as_it_was_and_as_small(book: Book, refused_by: str) -> None:
    grant(Plan(POLICY, book, 0))
    before = book.get("cloud4", KEY)
    for _ in range(10_000):
        plan = Plan(POLICY, book, 0)
        if refused_by == "gate":
            with pytest.raises(Refusal):
                plan.grant(Grant(1, {"cloud": 7200, "nothing": 1}, HERE, "link:a", "", None))
            assert len(plan) == 0
        else:
            grant(plan, 7200)
            plan.undo()
    assert list(book) == [before]
    assert len(book._ends) + len(book._sifted) < 200
    assert [entry.end_ms for entry in book.expire(3_600_000)] == [3_600_000]


def test_not_more_addresses_leave_at_once_than_one_answer_can_name(book: Book) -> None:
    plan = Plan(POLICY, book, 0)
    for number in range(1500):
        grant(plan, address=f"198.{number >> 8}.{number & 255}.1")
    left = [grant(Plan(POLICY, book, 0), addresses=2) for _ in range(3)]
    assert [len(addresses) for addresses in left] == [1000, 499, 0]
    assert len(book) == 2
