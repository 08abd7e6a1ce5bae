"""Grants that people make and see, and bans."""

import asyncio

import pytest
from access_desk import HERE, THERE, address
from access_house import Live, until

from access.actor import Actor, NotAllowed
from access.address import parse_address
from access.gate import GateRefusal, GateUnavailable
from access.grants import MOST_ADDRESSES
from access.inputs import BadInput

NEW = parse_address("198.51.100.20", 64)


def test_a_members_hand_reaches_their_own_alone(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            grants = house.access.grants
            mamie, yves = await house.moves_in("mamie"), await house.moves_in("yves")
            await grants.open(mamie, ["cloud"], HERE)
            await grants.open(Actor.CLI, ["cloud"], THERE)
            before = house.open
            for holder in (None, "person:mamie", "cli"):
                assert await grants.list(yves, holder=holder) == []
                for where in (HERE, THERE, None):
                    assert await grants.revoke(yves, address=where, holder=holder, everything=True) == 0
            with pytest.raises(BadInput):
                await grants.move(yves, HERE, NEW)
            with pytest.raises(NotAllowed):
                await grants.prolong(yves, "cloud", HERE)
            assert house.open == before
            assert await house.told("revoked") == []
            assert [grant.address for grant in await grants.list(mamie, holder="cli")] == [str(HERE)]
            assert await grants.revoke(mamie, holder="cli") == 1
            assert house.open == {("cloud", str(THERE), "cli")}

    asyncio.run(main())


@pytest.mark.parametrize("services", [["game"], ["cloud", "game"], ["nothing"], [], ["cloud\n"]])
def test_a_member_opens_what_was_given_and_nothing_else(live: Live, services: list[str]) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            with pytest.raises(BadInput) as caught:
                await house.access.grants.open(mamie, services, HERE)
            assert caught.value.field == "services"
            assert house.gate.calls == []
            assert await house.told("granted") == []

    asyncio.run(main())


@pytest.mark.parametrize("change", ["removed", "signed out", "invited", "asked"])
def test_who_is_no_longer_active_opens_nothing(live: Live, change: str) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            match change:
                case "removed":
                    await house.access.people.remove(Actor.CLI, "mamie")
                case "signed out":
                    await house.access.people.sign_out_everywhere(Actor.CLI, "mamie")
                case "invited":
                    await house.moves_in("mamie", password=None)
                case _:
                    await house.moves_in("mamie", asked="again")
            for act in (
                house.access.grants.open(mamie, ["cloud"], HERE),
                house.access.grants.move(mamie, HERE, NEW),
            ):
                with pytest.raises((NotAllowed, BadInput)):
                    await act
            assert "grant" not in house.gate.calls

    asyncio.run(main())


def test_twenty_addresses_of_a_member_and_any_of_an_admin(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie, ann = await house.moves_in("mamie"), await house.moves_in("ann", role="admin")
            for number in range(MOST_ADDRESSES + 3):
                await house.access.grants.open(mamie, ["cloud"], address(number))
            assert len(house.open) == MOST_ADDRESSES
            for number in range(100, 100 + MOST_ADDRESSES + 3):
                await house.access.grants.open(ann, ["game"], address(number))
            assert len(house.open) == 2 * MOST_ADDRESSES + 3

    asyncio.run(main())


def test_what_history_tells(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.access.grants.open(mamie, ["cloud"], HERE)
            await house.access.grants.open(Actor.CLI, ["cloud"], THERE, note="the box")
            first, second = await house.told("granted")
            del first["at"], second["at"]
            assert first == {
                "event": "granted",
                "by": "person:mamie",
                "from": "198.51.100.1",
                "address": str(HERE),
                "services": ["cloud"],
                "outcome": "allowed",
            }
            assert second["by"] == "cli"
            assert second["note"] == "the box"
            assert "from" not in second
            assert {grant.note for grant, _ in house.gate.open.values()} == {"", "the box"}

    asyncio.run(main())


def test_moving_keeps_the_time_left(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.access.grants.open(mamie, ["cloud"], HERE, duration_s=3600)
            house.clock.now += 600
            moved = await house.access.grants.move(mamie, HERE, NEW)
            assert [(grant.address, grant.remaining_ms) for grant in moved] == [(str(NEW), 3_000_000)]
            assert house.open == {("cloud", str(NEW), "person:mamie")}

    asyncio.run(main())


def test_moving_to_where_it_may_not_be_opened_changes_nothing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.access.grants.open(mamie, ["cloud"], HERE)
            house.gate.trusted.add(str(NEW))
            with pytest.raises(GateRefusal):
                await house.access.grants.move(mamie, HERE, NEW)
            with pytest.raises(BadInput):
                await house.access.grants.move(mamie, HERE, HERE)
            assert house.open == {("cloud", str(HERE), "person:mamie")}
            assert await house.told("moved") == []

    asyncio.run(main())


def test_moving_leaves_behind_what_was_taken_away(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie", services=("cloud", "game"))
            await house.access.grants.open(mamie, ["cloud", "game"], HERE)
            mamie = await house.moves_in("mamie")  # the configuration of rights, without the closing
            await house.access.grants.move(mamie, HERE, NEW)
            assert house.open == {("cloud", str(NEW), "person:mamie")}

    asyncio.run(main())


def test_prolonging_keeps_holder_and_note(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            ann = await house.moves_in("ann", role="admin")
            link = await house.links.add(Actor.CLI, "Friend", ["cloud"], duration_s=600)
            await house.opening.open(house.links.token(link), HERE)
            grant = await house.access.grants.prolong(ann, "cloud", HERE)
            assert (grant.holder, grant.note, grant.remaining_ms) == (link.holder, "Friend", 7_200_000)
            with pytest.raises(BadInput, match="not open any more"):
                await house.access.grants.prolong(ann, "cloud", THERE)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["remove the person", "rotate the link"])
def test_prolonging_while_it_is_closed_for_good(live: Live, end: str) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            link = await house.links.add(mamie, "Friend", ["cloud"])
            if end == "rotate the link":
                await house.opening.open(house.links.token(link), HERE)
            else:
                await house.access.grants.open(mamie, ["cloud"], HERE)

            house.gate.wait_revoke = asyncio.Event()
            closing = asyncio.create_task(
                house.links.rotate(Actor.CLI, link.id)
                if end == "rotate the link"
                else house.access.people.remove(Actor.CLI, "mamie")
            )
            holder = next(iter(house.open))[2]
            await until(lambda: house.access.underway.closes(holder))
            assert house.open
            with pytest.raises(BadInput, match="not open any more"):
                await house.access.grants.prolong(Actor.CLI, "cloud", HERE)
            house.gate.wait_revoke.set()
            await closing
            assert house.gate.calls == ["grant", "revoke"] + (["revoke"] if end != "rotate the link" else [])
            assert not house.access.underway.closes(holder)
            assert house.open == set()

    asyncio.run(main())


def test_prolonging_underway_is_waited_for_and_closed(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.access.grants.open(mamie, ["cloud"], HERE)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            prolonging = asyncio.create_task(house.access.grants.prolong(Actor.CLI, "cloud", HERE))
            await house.gate.asked.wait()
            removing = asyncio.create_task(house.access.people.remove(Actor.CLI, "mamie"))
            await until(lambda: house.access.underway.closes("person:mamie"))
            house.gate.wait.set()
            await prolonging
            await removing
            assert house.open == set()

    asyncio.run(main())


def test_nothing_said_closes_nothing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await house.access.grants.open(Actor.CLI, ["cloud"], HERE)
            with pytest.raises(BadInput):
                await house.access.grants.revoke(Actor.CLI)
            with pytest.raises(BadInput):
                await house.access.grants.revoke(Actor.CLI, service="nothing")
            assert house.gate.calls == ["grant"]
            assert await house.access.grants.revoke(Actor.CLI, everything=True) == 1

    asyncio.run(main())


def test_a_cancelled_opening_is_told_all_the_same(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.access.grants.open(Actor.CLI, ["cloud"], HERE))
            await house.gate.asked.wait()
            opening.cancel()
            house.gate.wait.set()
            await until(lambda: bool(house.open))
            await house.access.underway.settle()
            assert len(await house.told("granted")) == 1

    asyncio.run(main())


# Bans.


def test_bans_are_an_admins(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            bans = house.access.bans
            mamie, ann = await house.moves_in("mamie"), await house.moves_in("ann", role="admin")
            for act in (bans.ban(mamie, HERE), bans.unban(mamie, HERE), bans.list(mamie)):
                with pytest.raises(NotAllowed):
                    await act
            assert house.gate.calls == []
            await bans.ban(ann, HERE, 60)
            assert [banned.address for banned in await bans.list(ann)] == [str(HERE)]
            assert 0 < house.access.guard.may_try_s(HERE, trusted=False) <= 60
            await bans.unban(ann, HERE)
            assert (await bans.list(ann), house.access.guard.may_try_s(HERE, trusted=False)) == ([], 0)
            assert [(await house.told(event))[0]["by"] for event in ("banned", "unbanned")] == ["person:ann"] * 2

    asyncio.run(main())


def test_a_ban_that_the_gate_refuses_is_none(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            house.gate.trusted.add(str(HERE))
            with pytest.raises(GateRefusal):
                await house.access.bans.ban(Actor.CLI, HERE)
            house.gate.fail = GateUnavailable("gone")
            with pytest.raises(GateUnavailable):
                await house.access.bans.ban(Actor.CLI, THERE)
            for where in (HERE, THERE):
                assert house.access.guard.may_try_s(where, trusted=False) == 0
            assert await house.told("banned") == []

    asyncio.run(main())
