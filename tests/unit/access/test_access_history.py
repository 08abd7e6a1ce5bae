import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from access_gate import Clock
from access_house import until

from access.files import StateError
from access.history import History


def history(directory: Path, **others: int) -> History:
    return History(str(directory / "history.jsonl"), clock=Clock(), **others)


def events(entries: list[dict[str, str]]) -> list[str]:
    return [entry["event"] for entry in entries]


def test_one_json_object_a_line(tmp_path: Path) -> None:
    book = history(tmp_path)
    book.record("granted", holder="cli", note="Mémé\n", address="203.0.113.7", services=("cloud",))
    book.record("link-refused", outcome="refused", reason="expired")
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "at": "2027-01-15T08:00:00Z",
            "event": "granted",
            "holder": "cli",
            "note": "Mémé\n",
            "address": "203.0.113.7",
            "outcome": "allowed",
            "services": ["cloud"],
        },
        {"at": "2027-01-15T08:00:00Z", "event": "link-refused", "outcome": "refused", "reason": "expired"},
    ]
    assert stat.S_IMODE((tmp_path / "history.jsonl").stat().st_mode) == 0o600


def test_rotates_and_stays_bounded(tmp_path: Path) -> None:
    book = history(tmp_path, size=1000, keep=2)
    for n in range(200):
        book.record(f"event-{n}", note="x" * 50)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["history.jsonl", "history.jsonl.1", "history.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tmp_path.iterdir())
    kept = events(asyncio.run(book.read(1000)))
    assert kept == [f"event-{n}" for n in range(200 - len(kept), 200)]
    assert len(kept) >= 16
    assert events(asyncio.run(book.read(3))) == ["event-197", "event-198", "event-199"]
    assert asyncio.run(book.read(0)) == []


def test_texts_are_cut(tmp_path: Path) -> None:
    book = history(tmp_path)
    book.record("e", note="x" * 100_000)
    assert len(asyncio.run(book.read())[0]["note"]) == 200


@pytest.mark.parametrize(
    "torn", [b'{"at": "2027', b"\0" * 300, b"\xff\xfe", b"[" * 50_000, b"[1]", b'"text"', b""]
)
def test_torn_last_line(tmp_path: Path, torn: bytes) -> None:
    history(tmp_path).record("before")
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(torn)
    book = history(tmp_path)
    assert events(asyncio.run(book.read())) == ["before"]
    book.record("after")
    book.record("and more")
    assert events(asyncio.run(book.read())) == ["before", "after", "and more"]


def test_full_disk_loses_entries_and_no_more(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = history(small_disk)
    book.record("before")
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 65536 - 4096)
    for n in range(100):
        book.record(f"event-{n}", note="x" * 200)
    assert len(caplog.records) == 1
    assert "entries are lost (No space left on device)" in caplog.text
    filler.unlink()
    book.record("after")
    kept = events(asyncio.run(book.read()))
    assert (kept[0], kept[-1]) == ("before", "after")
    assert kept[1:-1] == [f"event-{n}" for n in range(len(kept) - 2)]


def test_somebody_else_rotates_it(tmp_path: Path) -> None:
    book = history(tmp_path)
    book.record("one")
    (tmp_path / "history.jsonl").unlink()
    book.record("two")
    assert events(asyncio.run(book.read())) == ["two"]


def test_no_file_to_append_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "history.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(StateError, match=r"history\.jsonl: cannot be appended to \("):
        history(tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"
    (tmp_path / "history.jsonl").unlink()
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(StateError, match=r"\(Is a directory\)"):
        history(tmp_path)
    (tmp_path / "history.jsonl").rmdir()
    os.mkfifo(tmp_path / "history.jsonl")
    with pytest.raises(StateError, match=r"\(not a regular file\)"):
        history(tmp_path)


def test_follow(tmp_path: Path) -> None:
    async def main() -> None:
        book = history(tmp_path)
        book.record("before")
        seen: list[str] = []

        async def read() -> None:
            with book.follow() as entries:
                while True:
                    seen.append((await anext(entries))["event"])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        for n in range(3):
            book.record(f"event-{n}")
        await until(lambda: len(seen) == 3)
        book.record("event-3")
        await until(lambda: len(seen) == 4)
        assert seen == [f"event-{n}" for n in range(4)]
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not book._followers

    asyncio.run(main())


def test_follower_who_does_not_keep_up_misses_the_oldest(tmp_path: Path) -> None:
    async def main() -> None:
        book = history(tmp_path)
        with book.follow() as entries:
            for n in range(5000):
                book.record(f"event-{n}")
            assert (await anext(entries))["event"] == "event-4000"

    asyncio.run(main())


def test_reading_while_it_rotates(tmp_path: Path) -> None:
    async def main() -> None:
        book = history(tmp_path, size=1000, keep=2)
        for n in range(30):
            book.record(f"event-{n}")
        reading = asyncio.create_task(book.read(1000))
        await asyncio.sleep(0)
        for n in range(30, 60):
            book.record(f"event-{n}")
        numbers = [int(event.removeprefix("event-")) for event in events(await reading)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert numbers[-1] >= 29

    asyncio.run(main())
