import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from access_gate import Clock, MemoryGate
from access_house import until

from access import guard as module
from access.address import Address, parse_address
from access.files import StateError
from access.gate import GateRefusal, GateUnavailable
from access.guard import Guard
from access.history import History
from access.secret import Key

HERE = parse_address("203.0.113.7", 64)
THERE = parse_address("2001:db8:1::5", 64)


def address(number: int) -> Address:
    return parse_address(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 64)


@dataclass
class Watch:
    directory: Path
    clock: Clock = field(default_factory=Clock)
    monotonic: Clock = field(default_factory=lambda: Clock(50.0))
    key: Key = field(default_factory=lambda: Key(b"k" * 32))

    def __post_init__(self) -> None:
        self.gate = MemoryGate(self.clock)
        self.guard = self.start()

    def start(self) -> Guard:
        self.history = History(f"{self.directory}/history.jsonl", clock=self.clock)
        return Guard(
            str(self.directory),
            self.key,
            self.gate,
            self.history,
            clock=self.clock,
            monotonic=self.monotonic,
        )

    def wrong(self, where: Address = HERE, *, trusted: bool = False, **who: str | None) -> bool:
        if self.guard.may_try_s(where, trusted=trusted, **who):
            return False
        with self.guard.attempt("sign-in", where, trusted=trusted, **who):
            return True

    def right(self, where: Address = HERE, *, trusted: bool = False, **who: str | None) -> bool:
        if self.guard.may_try_s(where, trusted=trusted, **who):
            return False
        with self.guard.attempt("sign-in", where, trusted=trusted, **who) as attempt:
            attempt.right()
        return True

    async def events(self) -> list[dict[str, Any]]:
        return await self.history.read()


Run = Callable[[Callable[[Watch], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runner(test: Callable[[Watch], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            watch = Watch(tmp_path)
            try:
                await test(watch)
            finally:
                await watch.guard.close()

        asyncio.run(main())

    return runner


def test_ten_strikes_ban_the_address(run: Run) -> None:
    async def test(watch: Watch) -> None:
        assert [watch.wrong(name=f"n{n}") for n in range(12)] == [True] * 10 + [False] * 2
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600
        assert watch.guard.may_try_s(THERE, trusted=False) == 0
        await until(lambda: "203.0.113.7" in watch.gate.bans)
        assert watch.gate.calls == ["ban"]
        assert watch.gate.bans["203.0.113.7"] == watch.clock() + 3600
        (entry,) = await watch.events()
        del entry["at"]
        assert entry == {
            "event": "banned",
            "by": "safeip",
            "address": "203.0.113.7",
            "outcome": "allowed",
            "reason": "sign-in",
        }
        watch.monotonic.now += 3599.5
        assert watch.guard.may_try_s(HERE, trusted=False) == 1
        watch.monotonic.now += 0.5
        assert watch.wrong()

    run(test)


def test_ipv6_by_the_line(run: Run) -> None:
    async def test(watch: Watch) -> None:
        hosts = [parse_address(f"2001:db8:1:2::{n:x}", 64) for n in range(1, 20)]
        assert sum(watch.wrong(host) for host in hosts) == 10
        await until(lambda: "2001:db8:1:2::/64" in watch.gate.bans)

    run(test)


def test_in_parallel_no_more_than_one_after_the_other(run: Run) -> None:
    async def test(watch: Watch) -> None:
        tried = 0

        async def guess(number: int) -> None:
            nonlocal tried
            if watch.guard.may_try_s(HERE, trusted=False, name=f"n{number}"):
                return
            with watch.guard.attempt("sign-in", HERE, trusted=False, name=f"n{number}"):
                tried += 1
                await asyncio.sleep(0.001)

        await asyncio.gather(*(guess(n) for n in range(1000)))
        assert tried == 10
        await until(lambda: bool(watch.gate.bans))
        assert watch.gate.calls == ["ban"]

    run(test)


def test_the_tenth_try_that_is_right_bans_nobody(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for _ in range(9):
            watch.wrong(name="mamie")
        assert watch.right(name="mamie")
        assert watch.guard.may_try_s(HERE, trusted=False) == 0
        for _ in range(9):
            assert watch.wrong(name="mamie")
        await watch.guard.close()
        assert watch.gate.calls == []

    run(test)


def test_signing_in_to_ones_own_name_excuses_no_guesses_at_another(run: Run) -> None:
    async def test(watch: Watch) -> None:
        tries = 0
        for _ in range(20):
            tries += sum(watch.wrong(name="admin") for _ in range(3))
            watch.right(name="mallory")
        assert tries == 10

    run(test)


def test_signing_in_excuses_no_wrong_links(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for n in range(9):
            watch.guard.count("link", HERE, trusted=False, guess=f"token{n}")
        watch.right(name="mamie")
        watch.guard.count("link", HERE, trusted=False, guess="one more")
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600

    run(test)


def test_untried_is_taken_back(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for _ in range(9):
            watch.wrong(name="mamie")
        for _ in range(50):
            with watch.guard.attempt("sign-in", HERE, trusted=False, name="mamie") as attempt:
                attempt.untried()
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie") == 0
        assert watch.wrong(name="mamie")
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600

    run(test)


def test_a_page_that_is_kept_open_is_one_strike(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for _ in range(100):
            watch.guard.count("link", HERE, trusted=False, guess="an old link")
            watch.guard.count("invitation", HERE, trusted=False, guess="an old link")
        assert watch.guard.may_try_s(HERE, trusted=False) == 0
        for n in range(8):
            watch.guard.count("link", HERE, trusted=False, guess=f"another{n}")
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600
        assert watch.guard.may_try_s(THERE, trusted=False) == 0

    run(test)


def test_a_name_is_locked_whether_somebody_has_it_or_not(run: Run) -> None:
    async def test(watch: Watch) -> None:
        tried = sum(watch.wrong(address(n), name="mamie") for n in range(10_000))
        assert tried == 20
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie") == 900
        assert watch.guard.may_try_s(HERE, trusted=False, name="yves") == 0
        watch.monotonic.now += 900
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie") == 0

    run(test)


def test_many_names_do_not_push_one_out_of_memory(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for n in range(19):
            watch.wrong(address(n), name="mamie")
        for n in range(20_000):
            watch.wrong(address(n), name=f"other{n}")
        watch.wrong(address(50_000), name="mamie")
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie") == 900
        assert all(len(throttle._keys) <= 10_000 for throttle in watch.guard._kept.values())

    run(test)


def test_who_signed_in_before_keeps_a_way_in(run: Run) -> None:
    async def test(watch: Watch) -> None:
        device = watch.guard.device("mamie", None)
        foreign = watch.guard.device("mallory", None)
        for n in range(20):
            watch.wrong(address(n), name="mamie")
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie", device=device) == 0
        for other in (foreign, "", "x", device[:-1], device + "a", "é\ud800-\0"):
            assert watch.guard.may_try_s(HERE, trusted=False, name="mamie", device=other) == 900
        tried = sum(watch.wrong(address(100 + n), name="mamie", device=device) for n in range(50))
        assert tried == 10
        watch.monotonic.now += 900
        assert watch.right(HERE, name="mamie", device=device)
        watch.clock.now += 180 * 86400
        for n in range(20):
            watch.wrong(address(n), name="mamie")
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie", device=device) == 900

    run(test)


def test_success_on_a_known_browser_does_not_unlock_the_name_for_strangers(run: Run) -> None:
    async def test(watch: Watch) -> None:
        device = watch.guard.device("mamie", None)
        for n in range(20):
            watch.wrong(address(n), name="mamie")
        assert watch.right(name="mamie", device=device)
        assert watch.right(name="mamie", trusted=True)
        assert watch.guard.may_try_s(THERE, trusted=False, name="mamie") == 900

    run(test)


def test_a_browser_keeps_its_count_when_its_cookie_is_renewed(run: Run) -> None:
    async def test(watch: Watch) -> None:
        device = watch.guard.device("mamie", None)
        for n in range(10):
            watch.wrong(address(n), name="mamie", device=device)
        watch.clock.now += 60
        renewed = watch.guard.device("mamie", device)
        assert renewed != device
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie", device=renewed) == 900
        assert watch.guard.device("mamie", watch.guard.device("yves", None)).split("-")[1] not in device

    run(test)


def test_a_trusted_visitor_waits_ten_seconds_at_most_and_is_never_banned(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for n in range(40):
            watch.wrong(address(n), name="mamie")
        tried = longest = 0
        for _ in range(3600):
            tried += watch.wrong(trusted=True, name="mamie")
            longest = max(longest, watch.guard.may_try_s(HERE, trusted=True, name="mamie"))
            watch.monotonic.now += 1
        assert longest == 10
        assert 30 + 340 <= tried <= 30 + 360
        await watch.guard.close()
        assert "ban" not in watch.gate.calls or "203.0.113.7" not in watch.gate.bans

    run(test)


@pytest.mark.parametrize(
    "failure", [GateRefusal("trusted-address", "is always let through"), GateUnavailable("gone")]
)
def test_refused_here_when_the_gate_does_not_ban(run: Run, failure: Exception) -> None:
    async def test(watch: Watch) -> None:
        watch.gate.fail = failure
        assert sum(watch.wrong() for _ in range(100)) == 10
        await until(lambda: watch.gate.calls == ["ban"])
        await watch.guard.close()
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600
        told = [(entry["outcome"], entry["reason"]) for entry in await watch.events()]
        assert told == ([("refused", "trusted-address")] if isinstance(failure, GateRefusal) else [])

    run(test)


def test_an_admin_shuts_out_and_forgives(run: Run) -> None:
    async def test(watch: Watch) -> None:
        watch.guard.shut_out(HERE, 60)
        assert watch.guard.may_try_s(HERE, trusted=False) == 60
        assert watch.guard.may_try_s(HERE, trusted=True) == 0
        watch.guard.forget(HERE)
        assert watch.guard.may_try_s(HERE, trusted=False) == 0

    run(test)


def test_a_restart_frees_nobody(run: Run) -> None:
    async def test(watch: Watch) -> None:
        device = watch.guard.device("mamie", None)
        for n in range(20):
            watch.wrong(address(n), name="mamie")
        for _ in range(9):
            watch.wrong(HERE, name="other")
        for _ in range(10):
            watch.wrong(THERE, name="third")
        for n in range(9):
            watch.wrong(address(100 + n), name="mamie", device=device)
        for _ in range(30):
            watch.wrong(HERE, trusted=True)
        await watch.guard.close()
        watch.monotonic.now = 3.0  # another boot
        watch.clock.now -= 5000  # and a clock that was set back
        watch.guard = watch.start()
        assert watch.guard.may_try_s(THERE, trusted=False) == 3600
        assert watch.guard.may_try_s(HERE, trusted=False, name="mamie") == 900
        assert watch.guard.may_try_s(HERE, trusted=True) == 10
        assert watch.wrong(HERE)
        assert watch.guard.may_try_s(HERE, trusted=False) == 3600
        assert watch.wrong(address(999), name="mamie", device=device)
        assert watch.guard.may_try_s(address(998), trusted=False, name="mamie", device=device) == 900
        watch.monotonic.now += 3600
        assert watch.guard.may_try_s(THERE, trusted=False) == 0

    run(test)


def test_saved_before_long_without_what_was_typed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(watch: Watch) -> None:
        monkeypatch.setattr(module, "_LAZY_S", 0.0)
        watch.wrong(name="my secret password typed here")
        watch.guard.count("link", HERE, trusted=False, guess="aaaaaa-token")
        file = watch.directory / "throttle.json"
        await until(file.exists)
        text = file.read_text()
        assert "secret" not in text
        assert "token" not in text
        assert set(json.loads(text)) == {"version", "strikes", "trusted", "names", "devices"}
        assert file.stat().st_mode & 0o777 == 0o600

    run(test)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"version": 2, "strikes": {}, "trusted": {}, "names": {}, "devices": {}}',
        '{"version": 1, "strikes": {"a": 1}, "trusted": {}, "names": {}, "devices": {}}',
        '{"version": 1, "strikes": {"a": {"left": -1, "tries": []}}, "trusted": {}, "names": {}, "devices": {}}',
        '{"version": 1, "strikes": {"a": {"left": 1, "tries": ["x"]}}, "trusted": {}, "names": {}, "devices": {}}',
        '{"version": 1, "strikes": {}, "trusted": {}, "names": {}, "devices": {}, "more": {}}',
    ],
)
def test_garbage_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "throttle.json").write_text(text)
    with pytest.raises(StateError, match=r"throttle\.json"):
        Watch(tmp_path)


def test_ten_thousand_strikes_are_bounded_in_memory_and_on_disk(run: Run) -> None:
    async def test(watch: Watch) -> None:
        for n in range(12_000):
            watch.wrong(address(n), name=f"n{n}")
            watch.guard.count("link", address(n), trusted=False, guess=str(n))
        await watch.guard.close()
        assert (watch.directory / "throttle.json").stat().st_size < 4_000_000

    run(test)
