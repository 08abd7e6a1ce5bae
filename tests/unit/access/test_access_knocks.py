"""Blocked packets by hour: what is counted where, and what survives."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from access_gate import Clock, MemoryGate
from access_house import until

from access import files
from access.files import StateError
from access.gate import GateUnavailable
from access.knocks import HOUR_S, HOURS, Knocks

NOON = 1_800_000_000 // HOUR_S * HOUR_S


class Street:
    """A portal that looks at `gate`; `begin` is a start of it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "knocks.json"
        self.clock = Clock(NOON)
        self.gate = MemoryGate(self.clock)
        self.begin()

    def begin(self) -> None:
        self.knocks = Knocks(str(self.file.parent), self.gate, clock=self.clock)

    def see(self, counter: int, after_s: float = 60) -> None:
        """The portal looks, `after_s` later."""
        self.clock.now += after_s
        self.gate.closed_packets = counter
        asyncio.run(self.knocks.look())

    def counts(self) -> dict[int, int]:
        """Packets by hours from noon on."""
        return {(begin - NOON) // HOUR_S: packets for begin, packets in self.knocks.hours() if packets}


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return Street(tmp_path)


def test_what_came_counts_in_its_hour(street: Street) -> None:
    street.see(1000)
    assert street.counts() == {}, "what came before nobody knows the hour of"
    street.see(1007)
    street.see(1007, 30 * 60)
    street.see(1010, 30 * 60)
    assert street.counts() == {0: 7, 1: 3}
    hours = street.knocks.hours()
    assert [begin for begin, _ in hours] == [NOON + HOUR_S * hour for hour in range(1 - HOURS + 1, 2)]
    street.see(1010, 23 * HOUR_S)
    assert street.counts() == {1: 3}
    street.see(1010, HOUR_S)
    assert street.counts() == {}


def test_a_counter_that_fell_was_begun_anew(street: Street) -> None:
    street.see(50)
    street.see(5)
    street.see(0)
    street.see(2)
    assert street.counts() == {0: 7}


def test_what_came_while_nobody_looked_for_long_is_no_peak(street: Street) -> None:
    street.see(0)
    street.see(10**6, HOUR_S)
    assert street.counts() == {}
    street.see(10**6 + 1, HOUR_S - 1)
    assert street.counts() == {2: 1}


def test_a_clock_that_is_set(street: Street) -> None:
    street.see(0)
    street.see(5)
    street.clock.now -= 3 * HOUR_S
    street.see(9)
    assert street.counts() == {}, "hours to come hold nothing"
    street.see(10)
    assert street.counts() == {-3: 1}


def test_it_survives_a_restart(street: Street) -> None:
    street.see(100)
    street.see(107)
    asyncio.run(street.knocks.close())
    assert street.file.stat().st_mode & 0o777 == 0o600
    street.begin()
    street.see(110)
    assert street.counts() == {0: 10}, "what came meanwhile too"
    street.begin()
    street.see(120, HOUR_S)
    assert street.counts() == {0: 7}, "the end was not written this time"


def test_a_start_and_an_end_without_a_look_change_nothing(street: Street) -> None:
    asyncio.run(street.knocks.close())
    assert not street.file.exists()
    street.see(3)
    asyncio.run(street.knocks.close())
    before = street.file.read_bytes()
    street.begin()
    asyncio.run(street.knocks.close())
    assert street.file.read_bytes() == before


def test_it_looks_by_itself_and_writes_once_an_hour(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.knocks._EVERY_S", 0.0)
    looks: list[float] = []
    written: list[float] = []

    async def status() -> dict[str, Any]:
        looks.append(street.clock.now)
        street.clock.now += 60
        if len(looks) % 7 == 0:
            raise GateUnavailable
        return {"mode": "table", "closed_packets": len(looks)}

    def replace(path: str, data: bytes) -> None:
        written.append(street.clock.now)
        files_replace(path, data)

    files_replace = files.replace
    monkeypatch.setattr(street.gate, "status", status)
    monkeypatch.setattr(files, "replace", replace)

    async def whole() -> None:
        task = asyncio.create_task(street.knocks.watch())
        await until(lambda: len(looks) > 200)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(whole())
    hours = [int(at) // HOUR_S for at in written]
    assert hours == sorted(set(hours))
    assert len(hours) >= 3
    assert sum(street.counts().values()) >= 198


def test_a_full_disk_stops_nothing(
    street: Street, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replace(path: str, _data: bytes) -> None:
        raise files.NotSaved(path, OSError(28, "No space left on device"))

    street.see(0)
    monkeypatch.setattr(files, "replace", replace)
    street.see(5)
    asyncio.run(street.knocks.close())
    assert "No space left on device" in caplog.text
    assert street.counts() == {0: 5}


def test_where_another_ruleset_closes(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    async def status() -> dict[str, Any]:
        return {"mode": "sets", "closed_packets": 0}

    street.see(0)
    assert street.knocks.seen
    monkeypatch.setattr(street.gate, "status", status)
    street.see(0)
    assert not street.knocks.seen


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": 2}, "version"),
        ({"counter": -1}, "counter"),
        ({"counter": 2**64}, "counter"),
        ({"at": "noon"}, "at"),
        ({"hours": []}, "hours"),
        ({"hours": {"noon": 1}}, "hours.noon"),
        ({"hours": {"2026-11-21T09:00:00Z": "many"}}, "hours.2026-11-21T09:00:00Z"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named(street: Street, change: dict[str, Any], place: str) -> None:
    good = {"version": 1, "counter": 5, "at": "2026-11-21T09:30:00Z", "hours": {"2026-11-21T09:00:00Z": 4}}
    street.file.write_text(json.dumps(good))
    street.begin()
    street.file.write_text(json.dumps(good | change))
    with pytest.raises(StateError) as refused:
        street.begin()
    assert refused.value.place == place
    assert refused.value.file == str(street.file)
