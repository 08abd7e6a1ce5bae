"""The book knows what is open: by key, by holder and by end."""

import random
from collections import Counter

import pytest

from nft.book import Book, Entry


def entry(key: int, end_ms: int = 1000, holder: str = "cli", set_name: str = "cloud4") -> Entry:
    return Entry(set_name, key.to_bytes(4, "big"), holder, "", end_ms, 1000)


def test_finds_what_was_put_and_forgets_what_was_taken():
    book = Book()
    book.put(entry(1))
    assert book.get("cloud4", b"\0\0\0\1") == entry(1)
    assert book.get("cloud6", b"\0\0\0\1") is None
    assert book.take("cloud4", b"\0\0\0\1") == entry(1)
    assert book.take("cloud4", b"\0\0\0\1") is None
    assert (len(book), list(book), book.of_holder("cli"), book.count("cloud4")) == (0, [], [], 0)


def test_a_holders_entries_come_oldest_first_and_a_renewed_one_last():
    book = Book()
    for number in (1, 2, 3):
        book.put(entry(number, holder="link:a"))
    book.put(entry(4, holder="link:b"))
    book.put(entry(1, end_ms=2000, holder="link:a"))
    assert [held.key[3] for held in book.of_holder("link:a")] == [2, 3, 1]


def test_another_holder_takes_an_entry_over():
    book = Book()
    book.put(entry(1, holder="link:a"))
    book.put(entry(1, holder="link:b"))
    assert book.of_holder("link:a") == []
    assert len(book.of_holder("link:b")) == len(book) == 1


def test_ends_come_in_order_and_a_renewed_entry_does_not_end_early():
    book = Book()
    book.put(entry(1, end_ms=1000))
    book.put(entry(2, end_ms=500))
    book.put(entry(2, end_ms=3000))
    assert book.expire(499) == []
    assert [ended.key[3] for ended in book.expire(1000)] == [1]
    assert book.next_end_ms() == 3000
    assert [ended.key[3] for ended in book.expire(5000)] == [2]
    assert book.next_end_ms() is None


def test_very_many_ends_at_once_come_in_parts():
    book = Book()
    for number in range(600):
        book.put(entry(number, end_ms=1000))
    assert [len(book.expire(2000)) for _ in range(4)] == [250, 250, 100, 0]
    assert len(book) == 0


def test_a_thousand_renewals_keep_the_book_small():
    book = Book()
    for number in range(10_000):
        book.put(entry(number % 10, end_ms=number))
    assert len(book) == 10
    assert len(book._ends) + len(book._sifted) < 200


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often two ends were compared."""
    counts: Counter[str] = Counter()

    def earlier(self: Entry, other: Entry) -> bool:
        counts["ends"] += 1
        return self.end_ms < other.end_ms

    monkeypatch.setattr(Entry, "__lt__", earlier)
    return counts


def test_no_single_renewal_among_many_pays_for_all(compared: Counter[str]):
    """All are renewed again and again; ends that were replaced go a few at a time."""
    book, chance, worst = Book(), random.Random(7), 0
    for number in range(40_000):
        before = compared["ends"]
        book.put(entry(number % 5000, end_ms=10_000 + number + chance.randrange(1000)))
        worst = max(worst, compared["ends"] - before)
    assert worst < 200
    assert len(book._ends) + len(book._sifted) < 3 * 5000
    in_order = sorted(held.end_ms for held in book)
    assert [ended.end_ms for ended in book.expire(60_000, most=50_000)] == in_order


def test_ends_that_were_replaced_come_up_in_parts_too(compared: Counter[str]):
    book = Book()
    for end_ms in (1000, 90_000):
        for number in range(10_000):
            book.put(entry(number, end_ms))
    looks, most = 0, 0
    while book.next_end_ms() != 90_000:
        before = compared["ends"]
        assert book.expire(2000) == []
        looks, most = looks + 1, max(most, compared["ends"] - before)
    assert looks >= 10
    assert most < 50_000


def test_agrees_with_a_plain_dictionary():
    """Invariant: whatever is put, taken and expired, all three views show the same entries."""
    chance, book, plain = random.Random(7), Book(), {}
    for now in range(5000):
        put = entry(chance.randrange(50), now + chance.randint(1, 200), f"link:{chance.randrange(5)}")
        if chance.random() < 0.8:
            book.put(put)
            plain[put.key] = put
        else:
            assert book.take("cloud4", put.key) == plain.pop(put.key, None)
        ended = {gone.key for gone in book.expire(now)}
        assert ended == {key for key, held in plain.items() if held.end_ms <= now}
        plain = {key: held for key, held in plain.items() if key not in ended}
        assert len(book) == book.count("cloud4") == len(plain)
    assert sorted(book, key=lambda held: held.key) == [plain[key] for key in sorted(plain)]
    assert {held for number in range(5) for held in book.of_holder(f"link:{number}")} == set(plain.values())
