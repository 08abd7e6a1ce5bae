"""A full disk, one that cannot be written, one that fails: what is open stays open, and nothing false is read after it."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nft import record
from nft.book import Book, Entry
from nft.policy import Policy, PortRange, ServiceRule
from nft.record import Clock, Record, read

POLICY = Policy(services={"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 86_400)}, trusted=())


def entry(number: int) -> Entry:
    end_ms = time.monotonic_ns() // 1_000_000 + 3_000_000
    return Entry("cloud4", (0x0500_0000 + number).to_bytes(4, "big"), "link:k3v9", "Mamie", end_ms, 3_600_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


class Gate:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "grants.jsonl"
        self.book = Book()
        self.told: list[str | None] = []
        self.record = Record(self.path, self.book, 64, self.told.append)

    def put(self, *entries: Entry) -> None:
        for new in entries:
            self.book.put(new)
            self.record.note([(new.set, new.key, new)])
        self.settle()

    def take(self, old: Entry) -> None:
        self.book.take(old.set, old.key)
        self.record.note([(old.set, old.key, None)])
        self.settle()

    def settle(self, until: Callable[[], bool] = lambda: True) -> None:
        bound = time.monotonic() + 120
        while time.monotonic() < bound:
            in_s = self.record.next_s()
            if until() and (in_s is None or in_s > 1):
                return
            time.sleep(min(in_s or 0.0, 0.01))
            self.record.go_on()
        raise AssertionError("the record does not come to rest")

    def try_anew(self, monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> None:
        """As 50 s later."""
        with monkeypatch.context() as later:
            later.setattr(record, "_STAMP_S", 0.0)
            self.record.go_on()
        self.settle(until)

    def on_disk(self) -> list[Entry]:
        return read(self.path, POLICY, Clock.now())


@pytest.fixture
def gate(disk: Path) -> Iterator[Gate]:
    gate = Gate(disk)
    gate.put(*(entry(number) for number in range(100)))
    gate.record.rewrite()
    gate.settle()
    yield gate
    gate.record.close()


def fill(folder: Path) -> Path:
    """Not a byte is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return ballast


def test_puts_that_find_no_room_leave_the_old_file_and_come_later(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    before = gate.on_disk()
    ballast = fill(gate.path.parent)
    new = [entry(number) for number in range(200, 300)]
    gate.put(*new)
    assert gate.told == [
        f"{gate.path} cannot be written (No space left on device): after a reboot some of what is open is closed"
    ]
    assert len(gate.book) == 200
    assert before == gate.on_disk()[:100]  # and what still found room in the last page
    stamp = gate.path.read_bytes()[:192]
    gate.try_anew(monkeypatch, lambda: gate.path.read_bytes()[:192] != stamp)  # a stamp needs no room
    assert len(gate.told) == 1
    ballast.unlink()
    gate.try_anew(monkeypatch, lambda: gate.told[-1] is None)
    assert gate.on_disk() == list(gate.book)
    assert list(gate.path.parent.iterdir()) == [gate.path]


def test_a_taken_grant_that_finds_no_room_does_not_come_back(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    ballast = fill(gate.path.parent)
    gate.put(*(entry(number) for number in range(200, 300)))
    assert gate.told[-1] is not None
    with monkeypatch.context() as never:
        never.setattr(record, "_STAMP_S", 1e9)
        gate.take(entry(7))
        assert not gate.path.exists()
        assert gate.on_disk() == []
    assert gate.told[-1] == (
        f"{gate.path} cannot be written (No space left on device): a reboot closes what is open"
    )
    assert len(gate.book) == 199
    ballast.unlink()
    gate.try_anew(monkeypatch, lambda: gate.told[-1] is None)
    assert gate.on_disk() == list(gate.book)


def test_a_disk_full_at_the_start_leaves_no_file_of_another_time(disk: Path, monkeypatch: pytest.MonkeyPatch):
    gate = Gate(disk)
    gate.path.write_bytes(b"of another boot\n")
    ballast = fill(disk)
    gate.put(*(entry(number) for number in range(100)))
    gate.record.rewrite()
    gate.settle()
    assert not gate.path.exists()
    assert gate.told[-1] is not None
    ballast.unlink()
    gate.try_anew(monkeypatch, lambda: gate.told[-1] is None)
    assert gate.on_disk() == list(gate.book)
    gate.record.close()


def test_a_disk_that_became_read_only_is_told_and_tried_again(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    """Bound again read-only, as a kernel does it that finds errors: what is open already cannot be written either."""
    held = gate.path.parent
    gate.record.close()
    subprocess.run(["mount", "-o", "remount,ro", held], check=True)
    again = Gate(held)
    again.put(entry(1))
    again.record.rewrite()
    again.settle()
    assert again.told[-1] == (  # after that it cannot be written, where that was seen in between
        f"{again.path} can neither be written nor removed (Read-only file system): "
        "after a reboot it may open what was closed since"
    )
    again.put(entry(2))
    again.take(entry(1))
    subprocess.run(["mount", "-o", "remount,rw", held], check=True)
    again.try_anew(monkeypatch, lambda: again.told[-1] is None)
    assert again.on_disk() == list(again.book)
    again.record.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_disk_that_fails_at_a_taken_grant_leaves_no_file(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, call: str
):
    def fail(*_args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        broken.setattr(record, "_STAMP_S", 1e9)
        gate.put(entry(200))
        assert len(gate.on_disk()) >= 100
        gate.take(entry(7))
        assert gate.on_disk() == []
        assert (
            gate.told[-1]
            == f"{gate.path} cannot be written (Input/output error): a reboot closes what is open"
        )
    gate.try_anew(monkeypatch, lambda: gate.told[-1] is None)
    assert gate.on_disk() == list(gate.book)


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename"])
def test_a_rewriting_that_fails_leaves_the_old_file_true(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, call: str
):
    """Nobody asked for it, the file was only long: what is appended goes on."""

    def fail(*_args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write = os.pwrite
    monkeypatch.setattr(record, "_FLOOR", -1000)
    if call == "rename":
        monkeypatch.setattr(Path, call, fail)
    elif call == "fsync":
        monkeypatch.setattr(os, call, fail)
    else:

        def fail_beside(fd: int, *rest: object) -> object:
            return fail() if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".new" else write(fd, *rest)

        monkeypatch.setattr(os, call, fail_beside)
    gate.put(entry(200))
    gate.settle(lambda: bool(gate.told))
    gate.take(entry(7))
    assert gate.on_disk() == list(gate.book)
    monkeypatch.undo()
    gate.try_anew(monkeypatch, lambda: gate.told[-1] is None)
    assert gate.on_disk() == list(gate.book)
    assert list(gate.path.parent.iterdir()) == [gate.path]
