"""What the record on disk costs the gate's loop, with 100,000 grants open: a note, a slice of a rewriting, a stamp."""

import contextlib
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from statistics import median, quantiles

from bench._figures import microseconds, shown, table
from lab.net import Namespace
from nft.book import Book, Entry
from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.recall import read
from nft.record import Record
from nft.stamps import Clock
from nft.wire import Grant

OPEN, ROUNDS = 100_000, 2000
HOUR = 3600
POLICY = Policy(
    {"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)}, (), max_grants=2 * OPEN
)


def entry(number: int) -> Entry:
    end_ms = time.monotonic_ns() // 1_000_000 + HOUR * 1000
    return Entry(
        "cloud4", (0x0B00_0000 + number).to_bytes(4, "big"), "link:k3v9aa", "Mamie", end_ms, HOUR * 1000
    )


def grants(count: int) -> list[float]:
    """Transactions of one grant each, in a gate without a record."""
    with Namespace("bench", "sipb").entered(), contextlib.closing(Gate(POLICY)) as gate:
        gate.start()
        asked = [
            Grant(1, {"cloud": HOUR}, str(ip_address(0x0C00_0000 + n)), "link:k3v9aa", "Mamie", None)
            for n in range(count)
        ]
        return [microseconds(lambda request=request: gate.decide([request])) for request in asked]


def slices(record: Record) -> list[float]:
    """Until nothing is left to be done for a while."""
    times = []
    while (in_s := record.next_s()) is not None and in_s < 1:
        times.append(microseconds(record.go_on))
        time.sleep(min(in_s, 0.001))
    return times


def notes(book: Book, record: Record, first: int) -> list[float]:
    times = []
    for number in range(first, first + ROUNDS):
        new = entry(number)
        book.put(new)
        times.append(microseconds(lambda new=new: record.note([(new.set, new.key, new)])))
    return times


def row(name: str, times: list[float], transaction: float) -> list[str]:
    return [
        name,
        f"{len(times):,}",
        *(shown(figure) for figure in (median(times), quantiles(times, n=100)[98], max(times))),
        f"{median(times) / transaction:.2f}",
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".", prefix="build-record-") as folder:  # a disk; /tmp may be memory
        path = Path(folder) / "grants.jsonl"
        book = Book()
        for number in range(OPEN):
            book.put(entry(number))
        record = Record(path, book, 64, print)
        record.rewrite()
        first = microseconds(record.go_on)
        began = time.perf_counter()
        rewriting = [first, *slices(record)]
        took_s = time.perf_counter() - began
        size = path.stat().st_size
        alone = notes(book, record, OPEN)
        slices(record)
        record.rewrite()
        record.go_on()
        beside = notes(book, record, OPEN + ROUNDS)
        slices(record)
        record.close()
        reading = [microseconds(lambda: read(path, POLICY, Clock.now())) for _ in range(3)]
    transactions = grants(ROUNDS)
    usual = median(transactions)
    table(
        ("", "times", "median", "p99", "worst", "median, in grants"),
        [
            row("one grant's transaction, no record", transactions, usual),
            row("note of one grant", alone, usual),
            row("note of one grant, during a rewriting", beside, usual),
            row(f"slice of rewriting {OPEN:,}", rewriting, usual),
        ],
    )
    table(
        ("grants", "on disk", "a grant", "rewritten in", "read in"),
        [
            (
                f"{OPEN:,}",
                f"{size / 1e6:.1f} MB",
                f"{size / OPEN:.0f} bytes",
                f"{took_s:.1f} s",
                f"{min(reading) / 1e6:.1f} s",
            )
        ],
    )


if __name__ == "__main__":
    main()
