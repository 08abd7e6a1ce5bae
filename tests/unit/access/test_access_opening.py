import asyncio
import json
import os
import shutil
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from access_house import SERVICES, House, Live, until

from access.actor import Actor
from access.files import NotSaved
from access.gate import GateRefusal, GateUnavailable
from access.opened import Opened, Reason, Refused

HERE = IPv4Address("203.0.113.7")
THERE = IPv4Address("198.51.100.4")


async def refused(
    house: House, token: str, address: IPv4Address | IPv6Network = HERE, pin: str | None = None
) -> Refused:
    with pytest.raises(Refused) as caught:
        await house.opening.open(token, address, pin)
    return caught.value


async def reasons(house: House, *attempts: tuple[str, IPv4Address, str | None]) -> list[str]:
    """What each of some openings at once came to."""
    outcomes = await asyncio.gather(
        *(house.opening.open(*attempt) for attempt in attempts), return_exceptions=True
    )
    return [
        outcome.reason.value if isinstance(outcome, Refused) else type(outcome).__name__
        for outcome in outcomes
    ]


# Abuse.


def test_two_at_once_for_the_last_use(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1))
            came_to = await reasons(
                house, *((token, IPv4Address(f"203.0.113.{n}"), None) for n in range(1, 21))
            )
            assert sorted(came_to) == ["Opened"] + ["used-up"] * 19
            assert len(house.gate.open) == 1
            assert house.links.list(Actor.CLI)[0].used == 1

    asyncio.run(main())


def test_double_tap_spends_one_use(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=2))
            assert await reasons(house, *[(token, HERE, None)] * 5) == ["Opened"] * 5
            assert house.links.list(Actor.CLI)[0].used == 1

    asyncio.run(main())


def test_spent_use_is_on_disk_before_the_gate_is_asked(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.opening.open(house.links.token(link), HERE))
            await house.gate.asked.wait()
            assert json.loads(house.state_text)["links"][link.id]["used"] == 1
            house.gate.wait.set()
            await opening

    asyncio.run(main())


def test_use_is_given_back_when_the_gate_refuses(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.fail = GateRefusal("kernel", "no memory")
            assert (await refused(house, house.links.token(link))).reason is Reason.GATE
            assert house.links.get(Actor.CLI, link.id).used == 0
            house.gate.fail = None
            await house.opening.open(house.links.token(link), HERE)
        async with live() as house:
            assert house.links.get(Actor.CLI, link.id).used == 1

    asyncio.run(main())


def test_given_back_use_reaches_the_disk(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.trusted.add(str(HERE))
            assert (await refused(house, house.links.token(link))).reason is Reason.TRUSTED
        async with live() as house:
            assert house.links.get(Actor.CLI, link.id).used == 0

    asyncio.run(main())


def test_use_stays_spent_when_the_gate_falls_silent(live: Live) -> None:
    """The grant may have been made."""

    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(refused(house, house.links.token(link)))
            await house.gate.asked.wait()
            house.gate.fail = GateUnavailable("gone")
            house.gate.wait.set()
            assert (await opening).reason is Reason.GATE_UNAVAILABLE
            assert house.links.get(Actor.CLI, link.id).used == 1

    asyncio.run(main())


def test_no_use_is_spent_when_the_gate_is_gone_already(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.fail = GateUnavailable("gone")
            assert (await refused(house, house.links.token(link))).reason is Reason.GATE_UNAVAILABLE
            assert house.links.get(Actor.CLI, link.id).used == 0
            house.gate.fail = None

    asyncio.run(main())


def test_cancelled_opening_is_not_left_half_done(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.opening.open(house.links.token(link), HERE))
            await house.gate.asked.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            house.gate.fail = GateRefusal("too-many", "full")
            house.gate.wait.set()
            await house.access.underway.settle()
            assert house.links.get(Actor.CLI, link.id).used == 0
            assert not house.gate.open

    asyncio.run(main())


@pytest.mark.parametrize("withdraw", ["pause", "rotate", "remove"])
@pytest.mark.parametrize("uses", [None, 3])
def test_withdrawing_closes_what_is_being_opened(live: Live, withdraw: str, uses: int | None) -> None:
    """Were the grants revoked before the one underway is made, it would outlive the link."""

    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=uses)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.opening.open(house.links.token(link), HERE))
            await house.gate.asked.wait()
            withdrawal = asyncio.create_task(getattr(house.links, withdraw)(Actor.CLI, link.id))
            await until(lambda: (now := house.links.find(house.links.token(link))) is None or now.paused)
            assert not withdrawal.done()
            house.gate.wait.set()
            await withdrawal
            assert isinstance(await opening, Opened)
            assert house.gate.calls == ["grant", "revoke"]
            assert not house.gate.open

    asyncio.run(main())


def test_link_paused_while_its_pin_is_checked_does_not_open(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711")
            opening = asyncio.create_task(refused(house, house.links.token(link), HERE, "4711"))
            await asyncio.sleep(0)
            await house.links.pause(Actor.CLI, link.id)
            assert (await opening).reason is Reason.PAUSED
            assert house.gate.calls == ["revoke"]

    asyncio.run(main())


def test_link_paused_while_a_use_is_spent_does_not_open(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def slow(fd: int) -> None:
        time.sleep(0.05)
        real(fd)

    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            monkeypatch.setattr(os, "fsync", slow)
            pausing = asyncio.create_task(house.links.pause(Actor.CLI, link.id))
            await asyncio.sleep(0.01)  # its disk is at work, which the opening waits for
            assert (await refused(house, house.links.token(link))).reason is Reason.PAUSED
            await pausing
            assert house.links.get(Actor.CLI, link.id).used == 0
            assert house.gate.calls == ["revoke"]

    asyncio.run(main())


def test_parallel_pin_guesses_do_not_slip_through(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="0029"))
            came_to = await reasons(house, *((token, HERE, f"{guess:04}") for guess in range(30)))
            assert came_to == ["pin-wrong"] * 5 + ["pin-locked"] * 25
            assert (await refused(house, token, HERE, "0029")).reason is Reason.PIN_LOCKED
            assert not house.gate.open

    asyncio.run(main())


def test_guesses_from_many_addresses_lock_the_link(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711"))
            guesses = ((token, IPv4Address(f"203.0.113.{n}"), "0000") for n in range(1, 31))
            came_to = await reasons(house, *guesses)
            assert came_to == ["pin-wrong"] * 20 + ["pin-locked"] * 10
            locked = await refused(house, token, THERE, "4711")
            assert (locked.reason, locked.retry_after_s) == (Reason.PIN_LOCKED, 900)
            house.monotonic.now += 900
            assert (await house.opening.open(token, THERE, "4711")).how == "opened"

    asyncio.run(main())


def test_right_pins_never_lock(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711"))
            for _ in range(25):
                await house.opening.open(token, HERE, "4711")
            assert (await refused(house, token, HERE, "1234")).reason is Reason.PIN_WRONG

    asyncio.run(main())


def test_pin_right_however_it_is_typed(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711"))
            assert (await house.opening.open(token, HERE, " \uff14\uff17\uff11\uff11 ")).how == "opened"

    asyncio.run(main())


def test_missing_pin_is_no_try_and_a_huge_one_is_wrong(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711"))
            for pin in [None, "", "   "] * 4:
                assert (await refused(house, token, HERE, pin)).reason is Reason.PIN_NEEDED
            assert (await refused(house, token, HERE, "4" * 100_000)).reason is Reason.PIN_WRONG

    asyncio.run(main())


def test_pins_beyond_the_queue_are_not_counted(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            first = [
                house.links.token(await house.links.add(Actor.CLI, f"L{n}", ["cloud"], pin="4711"))
                for n in range(9)
            ]
            last = house.links.token(await house.links.add(Actor.CLI, "last", ["cloud"], pin="4711"))
            there = [IPv4Address(f"198.51.100.{n}") for n in range(36)]
            attempts = [(first[n % 9], address, "4711") for n, address in enumerate(there)] + [
                (last, HERE, "0000")
            ] * 25
            came_to = await reasons(house, *attempts)
            assert came_to == ["Opened"] * 33 + ["busy"] * 28
            assert (await house.opening.open(last, HERE, "4711")).how == "opened"

    asyncio.run(main())


def test_used_up_link_tells_without_renewing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1, pin="4711")
            token = house.links.token(link)
            assert (await house.opening.open(token, HERE, "4711")).how == "opened"
            house.clock.now += 3600
            again = await house.opening.open(token, HERE)
            assert (again.how, again.remaining_ms) == ("still", 3_600_000)
            assert (await house.opening.look(token, HERE)).remaining_ms == 3_600_000
            assert (await refused(house, token, THERE, "4711")).reason is Reason.USED_UP
            with pytest.raises(Refused) as caught:
                await house.opening.look(token, THERE)
            assert caught.value.reason is Reason.USED_UP
            house.clock.now += 3600
            assert (await refused(house, token)).reason is Reason.USED_UP
            assert house.gate.calls == ["grant"]

    asyncio.run(main())


def test_renewal_of_a_limited_link_spends_nothing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud", "game"], uses=2)
            token = house.links.token(link)
            await house.opening.open(token, HERE)
            house.clock.now += 1800
            opened = await house.opening.open(token, HERE)
            assert opened.remaining_ms == 3_600_000
            assert house.links.get(Actor.CLI, link.id).used == 1
            house.clock.now += 3601  # game is closed again, cloud still open: that is a new opening
            await house.opening.open(token, HERE)
            assert house.links.get(Actor.CLI, link.id).used == 2

    asyncio.run(main())


def test_full_disk_opens_nothing_on_a_limited_link(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            free = await house.links.add(Actor.CLI, "Yves", ["cloud"])
            (house.directory / "state.json.new").mkdir()  # stands in the way as a full disk would
            failed = await refused(house, house.links.token(link))
            assert failed.reason is Reason.NOT_SAVED
            assert house.links.get(Actor.CLI, link.id).used == 0
            assert not house.gate.open
            await house.opening.open(house.links.token(free), HERE)  # needs no disk
            with pytest.raises(NotSaved):
                await house.links.pause(Actor.CLI, free.id)
            assert not house.links.get(Actor.CLI, free.id).paused
            shutil.rmtree(house.directory / "state.json.new")

    asyncio.run(main())


# The order of refusals, and what opening does.


def test_order_of_refusals(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1, expires_s=60, pin="4711")
            token = house.links.token(link)
            await house.opening.open(token, THERE, "4711")
            assert (await refused(house, token, HERE, "0000")).reason is Reason.USED_UP
            house.clock.now += 60
            assert (await refused(house, token, HERE, "0000")).reason is Reason.EXPIRED
            await house.links.pause(Actor.CLI, link.id)
            assert (await refused(house, token, HERE, "0000")).reason is Reason.PAUSED
            await house.links.remove(Actor.CLI, link.id)
            gone = await refused(house, token, HERE, "0000")
            assert (gone.reason, gone.link) == (Reason.UNKNOWN, None)

    asyncio.run(main())


def test_looking_changes_nothing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], uses=1)
            before = house.state_text
            for _ in range(1000):
                view = await house.opening.look(house.links.token(link), HERE)
            assert (view.link, view.remaining_ms, view.needs_pin) == (link, 0, False)
            assert [service.title for service in view.services] == ["Nextcloud"]
            assert not house.gate.calls
            assert [entry["event"] for entry in await house.access.history.read()] == ["link-added"]
            assert house.state_text == before

    asyncio.run(main())


def test_durations(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            default = await house.links.add(Actor.CLI, "A", ["cloud", "game"])
            own = await house.links.add(Actor.CLI, "B", ["cloud"], duration_s=120)
            ending = await house.links.add(Actor.CLI, "C", ["cloud", "game"], expires_s=100)
            for link in [default, own, ending]:
                await house.opening.open(house.links.token(link), HERE)
            assert house.gate.seconds == [
                {"cloud": 7200, "game": 3600},
                {"cloud": 120},
                {"cloud": 100, "game": 100},
            ]

    asyncio.run(main())


def test_maximum_lowered_since(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "A", ["cloud"], duration_s=7200)
            lower = {"cloud": replace(SERVICES["cloud"], max_duration_s=600)}
            monkeypatch.setattr(house.links, "_services", lower)
            await house.opening.open(house.links.token(link), HERE)
            assert house.gate.seconds == [{"cloud": 600}]

    asyncio.run(main())


def test_services_no_longer_configured(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            both = await house.links.add(Actor.CLI, "A", ["cloud", "game"])
            only = await house.links.add(Actor.CLI, "B", ["game"])
            services = {name: service for name, service in house.links._services.items() if name != "game"}
            monkeypatch.setattr(house.links, "_services", services)
            assert (await refused(house, house.links.token(only))).reason is Reason.NO_SERVICE
            opened = await house.opening.open(house.links.token(both), HERE)
            assert [service.name for service in opened.services] == ["cloud"]

    asyncio.run(main())


def test_the_oldest_address_leaves(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"], addresses=1))
            await house.opening.open(token, HERE)
            await house.opening.open(token, THERE)
            assert [address for _, address in house.gate.open] == [str(THERE)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("special-address", Reason.ADDRESS),
        ("bad-address", Reason.ADDRESS),
        ("trusted-address", Reason.TRUSTED),
        ("too-many", Reason.FULL),
        ("unknown-service", Reason.GATE),
        ("kernel", Reason.GATE),
    ],
)
def test_what_the_gate_refuses(live: Live, code: str, reason: Reason) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            house.gate.fail = GateRefusal(code, "the gate's sentence")
            got = await refused(house, house.links.token(link), IPv6Network("2001:db8:1::/64"))
            assert (got.reason, got.detail, got.link) == (reason, "the gate's sentence", link)
            assert house.links.get(Actor.CLI, link.id).used == 0

    asyncio.run(main())


def test_history_tells_who_and_never_a_secret(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711-secret")
            token = house.links.token(link)
            await refused(house, token, HERE, "guess-secret")
            await house.opening.open(token, HERE, "4711-secret")
            await refused(house, "nobody-secret")
            added, *entries = await house.access.history.read()
            assert added["event"] == "link-added"
            assert entries == [
                {
                    "at": "2027-01-15T08:00:00Z",
                    "event": "link-refused",
                    "holder": link.holder,
                    "note": "Mamie",
                    "address": "203.0.113.7",
                    "outcome": "refused",
                    "reason": "pin-wrong",
                    "services": ["cloud"],
                },
                {
                    "at": "2027-01-15T08:00:00Z",
                    "event": "link-opened",
                    "holder": link.holder,
                    "note": "Mamie",
                    "address": "203.0.113.7",
                    "outcome": "allowed",
                    "services": ["cloud"],
                },
                {
                    "at": "2027-01-15T08:00:00Z",
                    "event": "link-refused",
                    "address": "203.0.113.7",
                    "outcome": "refused",
                    "reason": "unknown",
                },
            ]
            for file in house.directory.iterdir():
                text = file.read_text()
                assert "-secret" not in text
                assert token not in text

    asyncio.run(main())


def test_refusals_do_not_flood_the_history(live: Live) -> None:
    async def main() -> None:
        async with live() as house:

            async def told() -> list[Any]:
                return [e["address"] for e in await house.access.history.read(10_000) if e["event"] == "link-refused"]

            for n in range(100):
                await refused(house, f"aaaaaa-{n}")
            assert len(await told()) == 5
            await refused(house, "aaaaaa-0", THERE)
            assert (await told())[5:] == [str(THERE)], "nobody hides another"
            for n in range(1000):
                await refused(house, "aaaaaa-0", IPv6Network(f"2001:db8:{n:x}::/64"))
            assert len(await told()) == 206
            await refused(house, "aaaaaa-0", IPv4Address("203.0.113.99"))
            assert len(await told()) == 207
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            await house.opening.open(house.links.token(link), HERE)
            assert [entry["event"] for entry in (await house.access.history.read())[-2:]] == [
                "link-added",
                "link-opened",
            ]

    asyncio.run(main())
