"""What is open is on disk within moments, in words, and nothing that the disk does holds up who notes it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.process import wait_for
from nft import record
from nft.book import Book, Entry
from nft.policy import Policy, PortRange, ServiceRule
from nft.record import Clock, Record, read

POLICY = Policy(services={"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 86_400)}, trusted=())


def entry(number: int, left_s: int = 3500, holder: str = "link:k3v9") -> Entry:
    end_ms = time.monotonic_ns() // 1_000_000 + left_s * 1000
    return Entry("cloud4", (0x0500_0000 + number).to_bytes(4, "big"), holder, "Mamie", end_ms, 3_600_000)


def tasks() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


class Gate:
    """Notes what it changes in its book, and gives the record its slices."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "grants.jsonl"
        self.book = Book()
        self.told: list[str | None] = []
        self.record = Record(self.path, self.book, 64, self.told.append)

    def start(self) -> None:
        self.record.rewrite()
        self.settle()

    def put(self, *entries: Entry) -> None:
        for new in entries:
            self.book.put(new)
        self.record.note([(new.set, new.key, new) for new in entries])

    def take(self, *entries: Entry) -> None:
        for old in entries:
            self.book.take(old.set, old.key)
        self.record.note([(old.set, old.key, None) for old in entries])

    def settle(self, until: Callable[[], bool] = lambda: True) -> None:
        """Slices until nothing is left to be done for seconds, and `until` holds."""
        bound = time.monotonic() + 20
        while time.monotonic() < bound:
            in_s = self.record.next_s()
            if until() and (in_s is None or in_s > 1):
                return
            time.sleep(min(in_s or 0.0, 0.01))
            self.record.go_on()
        raise AssertionError("the record does not come to rest")

    def on_disk(self) -> list[Entry]:
        return read(self.path, POLICY, Clock.now())


@pytest.fixture
def gate(tmp_path: Path):
    gate = Gate(tmp_path)
    yield gate
    gate.record.close()


def test_an_admin_can_read_what_is_open(gate: Gate):
    gate.start()
    gate.put(entry(1), Entry("cloud6", bytes.fromhex("20010db8000100000000000000000000"), "cli", "", 5, 5))
    gate.put(Entry("banned4", b"\6\6\6\6", "cli", "", 7, 9))
    gate.take(entry(1))
    gate.settle()
    stamp, put, put6, ban, taken = gate.path.read_text().splitlines()
    assert stamp.startswith('{"version": 1, "boot": "')
    assert '"time": "20' in stamp
    assert put.startswith(
        '{"put": "cloud4", "address": "5.0.0.1", "holder": "link:k3v9", "note": "Mamie", "until": "20'
    )
    assert '"put": "cloud6", "address": "2001:db8:1::/64", "holder": "cli"' in put6
    assert ban.endswith('"end_ms": 7, "timeout_ms": 9}')
    assert taken == '{"taken": "cloud4", "address": "5.0.0.1"}'
    assert gate.path.stat().st_mode & 0o777 == 0o600


def test_what_was_noted_is_read_again_and_what_was_taken_is_not(gate: Gate):
    gate.start()
    entries = [entry(number) for number in range(50)]
    gate.put(*entries)
    gate.take(*entries[:20])
    longer = entry(30, left_s=3599)
    gate.put(longer)
    gate.settle()
    assert gate.on_disk() == [*entries[20:30], *entries[31:], longer]  # in the order in which they were put


def test_the_file_of_the_boot_before_is_left_alone_until_it_is_written_anew(gate: Gate):
    gate.path.write_text("of the boot before")
    gate.put(entry(1))
    gate.record.go_on()
    assert gate.record.next_s() is None
    assert gate.path.read_text() == "of the boot before"
    gate.start()
    assert gate.on_disk() == list(gate.book)


def test_no_thread_starts_before_the_loop_asks(gate: Gate):
    """A thread that started before the process gave up its capabilities would keep them."""
    before = tasks()  # those of other tests may still be ending
    gate.put(entry(1))
    gate.record.rewrite()
    assert tasks() <= before
    gate.settle()
    (own,) = tasks() - before
    gate.record.close()
    wait_for("the thread's end, which comes a moment after it was joined", lambda: own not in tasks())


def test_one_that_never_began_leaves_the_file_as_it_is(gate: Gate):
    """A start that failed half way knows less than the file."""
    gate.path.write_text("of the boot before")
    gate.put(entry(1))
    gate.record.close()
    assert gate.path.read_text() == "of the boot before"


def test_one_that_was_asked_and_ends_before_its_first_slice_writes_all_the_same(gate: Gate):
    """A start that failed after all was put back: what the next one reads is of this boot, and as old as it is."""
    gate.path.write_text("of the boot before")
    gate.put(entry(1))
    gate.record.rewrite()
    gate.record.close()
    assert gate.on_disk() == list(gate.book)
    assert f'"boot": "{Clock.now().boot}"' in gate.path.read_text()


def test_a_rewriting_that_waits_is_done_at_the_end(gate: Gate):
    gate.start()
    gate.book.put(entry(1))
    gate.record.rewrite()
    gate.record.close()
    assert gate.on_disk() == list(gate.book)


def test_when_all_has_ended_the_file_forgets_it(gate: Gate):
    gate.start()
    gate.put(*(entry(number) for number in range(3000)))
    gate.settle()
    gate.book.expire(1 << 60, most=3000)
    gate.settle()
    assert gate.path.read_bytes().count(b"\n") == 1


def test_nothing_is_written_while_nothing_is_open(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    gate.start()
    assert gate.record.next_s() is None
    before = gate.path.stat()
    monkeypatch.setattr(record, "_STAMP_S", 0.0)
    gate.record.go_on()
    assert gate.record.next_s() is None
    gate.record.close()
    assert gate.path.stat() == before


def test_stamps_follow_one_another_and_the_last_promises_none(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    gate.put(entry(1))
    gate.start()
    first = gate.path.read_text().splitlines()[0]
    assert 0 < (gate.record.next_s() or 0) <= 50
    monkeypatch.setattr(record, "_STAMP_S", 0.0)
    gate.record.go_on()
    monkeypatch.undo()
    gate.settle(lambda: gate.path.read_text().splitlines()[0] != first)
    assert '"next_ms": 60000' in gate.path.read_text()
    gate.record.close()
    assert '"next_ms": 0}' in gate.path.read_text()
    assert gate.on_disk() == list(gate.book)


def test_a_grant_after_an_idle_day_is_stamped_before_it_is_written(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    """Else a clock that starts in 1970 would give it the day."""
    gate.start()
    first = gate.path.read_text().splitlines()[0]
    monkeypatch.setattr(record, "_STAMP_S", 0.0)
    gate.put(entry(1))
    monkeypatch.undo()
    gate.settle()
    assert gate.path.read_text().splitlines()[0] != first


def test_changes_during_a_rewriting_are_in_the_new_file(gate: Gate):
    entries = [entry(number) for number in range(20_000)]
    for new in entries:
        gate.book.put(new)
    gate.record.rewrite()
    gate.record.go_on()
    assert gate.record._rest is not None, "it goes in slices"
    added = [entry(number) for number in range(30_000, 30_010)]
    for at, new in enumerate(added):
        gate.put(new)
        gate.take(entries[at * 1900])
        gate.record.go_on()
    assert gate.record._rest is not None, "the changes came while it was being written, however far the disk was"
    gate.settle()
    assert gate.on_disk() == list(gate.book)
    assert not list(gate.path.parent.glob("*.new"))


def test_a_rewriting_ends_however_much_is_noted(gate: Gate):
    for number in range(10_000):
        gate.book.put(entry(number))
    gate.record.rewrite()
    gate.record.go_on()
    for number in range(6_000):  # and not one slice
        gate.put(entry(number))
    gate.record.close()
    assert set(gate.on_disk()) == set(gate.book)
    assert gate.path.read_bytes().count(b"\n") < 20_000


def test_the_file_does_not_grow_past_twice_what_it_must_hold(gate: Gate):
    gate.start()
    for round_ in range(30):
        for number in range(200):
            gate.put(entry(number, left_s=3000 + round_))
        gate.settle()
        assert gate.path.read_bytes().count(b"\n") <= 2 * 200 + 1000 + 201
    assert gate.on_disk() == list(gate.book)


def test_very_many_changes_at_once_go_in_slices(gate: Gate):
    entries = [entry(number) for number in range(20_000)]
    gate.put(*entries[:10])
    gate.start()
    gate.put(*entries)
    assert gate.record.next_s() == 0
    gate.take(*entries[5:])
    gate.settle()
    assert gate.on_disk() == entries[:5] == list(gate.book)


def test_a_disk_that_hangs_holds_up_nobody_and_takes_no_memory(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    gate.put(*(entry(number) for number in range(10)))
    gate.start()
    hanging, go = os.pipe()
    hangs = threading.Event()
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (hangs.set(), os.read(hanging, 1), flush(fd)))
    monkeypatch.setattr(record, "_WAITING", 1 << 18)
    gate.put(entry(0))
    wait_for("the disk hangs", lambda: (gate.record.go_on(), hangs.is_set())[1])
    for number in range(4_000):
        gate.put(entry(number))
        assert gate.record._disk.waiting <= 2 << 18
    gate.record.go_on()
    assert gate.told == [f"{gate.path}: the disk does not keep up"]
    monkeypatch.undo()
    os.close(go)
    gate.settle(lambda: not gate.record._disk.busy())
    assert gate.on_disk() == []
    monkeypatch.setattr(record, "_STAMP_S", 0.0)  # the next try
    gate.record.go_on()
    monkeypatch.undo()
    gate.settle(lambda: gate.told[-1] is None)
    assert set(gate.on_disk()) == set(gate.book)
    os.close(hanging)


_WRITER = """
import os, sys, time
from pathlib import Path
from nft.book import Book, Entry
from nft.record import Record

flush = os.fdatasync
def acknowledged(fd):
    flush(fd)
    end = os.lseek(fd, 0, os.SEEK_END)
    lines = os.pread(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 200, max(0, end - 200)).splitlines()
    os.write(1, lines[-1] + b"\\n")
os.fdatasync = acknowledged

book = Book()
record = Record(Path(sys.argv[1]), book, 64, lambda problem: sys.exit(f"the disk: {problem}"))
record.rewrite()
number = 0
while True:
    record.go_on()
    while record._disk.waiting > 1 << 20:  # who outruns the disk is left without a file, which is no fault
        time.sleep(0.001)
    new = Entry("cloud4", (0x05000000 + number).to_bytes(4, "big"), "cli", "", time.monotonic_ns() // 10**6 + 10**6, 10**6)
    book.put(new)
    record.note([(new.set, new.key, new)])
    if number >= 5:
        book.take("cloud4", (0x05000000 + number - 5).to_bytes(4, "big"))
        record.note([("cloud4", (0x05000000 + number - 5).to_bytes(4, "big"), None)])
    number += 1
"""


@pytest.mark.parametrize("after", [1, 3, 9, 25])
def test_killed_at_any_time_it_leaves_a_file_with_all_that_the_disk_had_taken(tmp_path: Path, after: int):
    path = tmp_path / "grants.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}
    ) as writer:
        assert writer.stdout
        for _ in range(after):
            last = writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = [line for line in writer.stdout.read().split(b"\n")[:-1] if line.startswith(b"{")]
    last = rest[-1] if rest else last
    address = last.split(b'"address": "')[1].split(b'"')[0].decode()
    number = int.from_bytes(bytes(map(int, address.split("."))), "big") - 0x0500_0000
    newest = number + 5 if b"taken" in last else number
    found = [int.from_bytes(e.key, "big") - 0x0500_0000 for e in read(path, POLICY, Clock.now())]
    assert found, "grants were acknowledged"
    assert found[-1] >= newest
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] >= (number + 1 if b"taken" in last else number - 5)
