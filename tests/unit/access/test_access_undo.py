"""Undo: what an admin closed, prolonged or banned comes back as it was, once, for them alone, and never against a right lost since."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from access_house import House, Live

from access.actor import Actor, NotAllowed
from access.gate import GateUnavailable
from access.link import Link
from access.undo import LASTS_S, MOST, CannotUndo, Step

THERE = IPv4Address("203.0.113.7")
HOUR = 3600


def in_house(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a house with the admins ann and yves."""

    @wraps(test)
    def run(live: Live, **given: Any) -> None:
        async def whole() -> None:
            async with live() as house:
                for name in ("ann", "yves"):
                    await house.moves_in(name, role="admin")
                await test(house, **given)

        asyncio.run(whole())

    # pytest reads the names of what it is to give
    run.__signature__ = _signature(test)  # type: ignore[attr-defined]
    return run


def _signature(test: Callable[..., Any]) -> Any:
    import inspect

    live = inspect.Parameter("live", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = list(inspect.signature(test).parameters.values())[1:]
    return inspect.Signature([live, *rest])


def passes(house: House, seconds: float) -> None:
    house.clock.now += seconds
    house.monotonic.now += seconds


def left_s(house: House, service: str = "cloud") -> float:
    return house.gate.open[service, str(THERE)][1] - house.clock()


async def opened_by_link(house: House, **values: Any) -> Link:
    link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], **values)
    await house.opening.open(house.links.token(link), THERE)
    return link


async def revoked(house: House, by: str = "ann") -> Step:
    step = await house.access.undo.revoke(house.by(by), "cloud", THERE)
    assert step is not None
    assert house.open == set()
    return step


async def refused(house: House, step: Step, by: str = "ann") -> str:
    before = dict(house.gate.open)
    with pytest.raises(CannotUndo) as error:
        await house.access.undo.undo(house.by(by), step.id)
    assert house.gate.open == before
    return error.value.reason


@in_house
async def test_what_was_closed_is_open_again_for_its_holder_until_its_former_end(house: House) -> None:
    link = await opened_by_link(house)
    passes(house, 200)
    step = await revoked(house)
    passes(house, 300)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert house.open == {("cloud", str(THERE), link.holder)}
    assert left_s(house) == 7200 - 500
    (told,) = await house.told("undone")
    assert (told["by"], told["holder"], told["address"], told["services"], told["reason"]) == (
        "person:ann",
        link.holder,
        str(THERE),
        ["cloud"],
        "revoked",
    )
    assert house.access.state.links[link.id].used == 1, "no use is spent"


@in_house
async def test_once_and_by_nobody_else(house: House) -> None:
    await opened_by_link(house)
    await house.moves_in("mamie")
    step = await revoked(house)
    assert house.access.undo.find(house.by("yves"), step.id) is None
    assert await refused(house, step, "yves") == "unknown"
    with pytest.raises(NotAllowed):
        await house.access.undo.undo(Actor("person:mamie", admin=False, person=house.by("mamie").person), step.id)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert await refused(house, step) == "unknown"
    assert len(await house.told("undone")) == 1


@in_house
async def test_twice_at_once_is_once(house: House) -> None:
    await opened_by_link(house)
    step = await revoked(house)
    undo = house.access.undo
    done = await asyncio.gather(
        *(undo.undo(house.by("ann"), step.id) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, CannotUndo) for one in done) == 4
    assert len(await house.told("undone")) == 1


@in_house
async def test_somebody_else_of_the_same_name_or_with_other_rights_is_somebody_else(house: House) -> None:
    await opened_by_link(house)
    step = await revoked(house)
    old = house.by("ann")
    await house.access.people.remove(Actor.CLI, "ann")
    with pytest.raises(NotAllowed):
        await house.access.undo.undo(old, step.id)
    assert house.open == set()
    await house.moves_in("ann", role="admin", era="another")
    assert await refused(house, step) == "unknown"


@in_house
async def test_not_after_ten_minutes(house: House) -> None:
    await opened_by_link(house)
    step = await revoked(house)
    passes(house, LASTS_S - 1)
    assert house.access.undo.find(house.by("ann"), step.id) is not None
    passes(house, 1)
    assert house.access.undo.find(house.by("ann"), step.id) is None
    assert await refused(house, step) == "unknown"


async def pause(house: House, link: Link) -> None:
    await house.links.pause(Actor.CLI, link.id)


async def pause_and_resume(house: House, link: Link) -> None:
    await house.links.pause(Actor.CLI, link.id)
    await house.links.resume(Actor.CLI, link.id)


async def rotate(house: House, link: Link) -> None:
    await house.links.rotate(Actor.CLI, link.id)


async def remove(house: House, link: Link) -> None:
    await house.links.remove(Actor.CLI, link.id)


async def owner_removed(house: House, _link: Link) -> None:
    await house.access.people.remove(Actor.CLI, "mamie")


async def owner_may_not(house: House, _link: Link) -> None:
    await house.access.people.change(Actor.CLI, "mamie", services=["game"])


async def expire(house: House, _link: Link) -> None:
    passes(house, 301)


Withdraw = Callable[[House, Link], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    "withdraw", [pause, pause_and_resume, rotate, remove, owner_removed, owner_may_not, expire]
)
@pytest.mark.parametrize("kind", ["revoked", "banned"])
@in_house
async def test_a_link_that_lost_its_right_gets_nothing_back(house: House, withdraw: Withdraw, kind: str) -> None:
    mamie = await house.moves_in("mamie")
    link = await house.links.add(mamie, "Papi", ["cloud"], expires_s=300)
    await house.opening.open(house.links.token(link), THERE)
    if kind == "revoked":
        step: Step | None = await revoked(house)
    else:
        step = await house.access.undo.ban(house.by("ann"), THERE)
        assert house.open == set(), "whoever is banned has nothing open"
    assert step is not None
    await withdraw(house, link)
    if kind == "revoked":
        await refused(house, step)
    else:
        await house.access.undo.undo(house.by("ann"), step.id)
        assert house.gate.bans == {}
    assert house.open == set()


@in_house
async def test_a_right_that_goes_while_the_undo_waits(house: House) -> None:
    link = await opened_by_link(house)
    step = await revoked(house)
    house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
    undoing = asyncio.create_task(house.access.undo.undo(house.by("ann"), step.id))
    await house.gate.asked.wait()
    pausing = asyncio.create_task(house.links.pause(Actor.CLI, link.id))
    await asyncio.sleep(0.01)
    house.gate.wait.set()
    await asyncio.gather(undoing, pausing)
    assert house.open == set(), "the pause closes what the undo opened"


@in_house
async def test_a_person_who_is_removed_or_may_less_gets_nothing_back(house: House) -> None:
    for lose in ("remove", "change"):
        mamie = await house.moves_in("mamie")
        await house.access.grants.open(mamie, ["cloud"], THERE)
        step = await revoked(house)
        if lose == "remove":
            await house.access.people.remove(Actor.CLI, "mamie")
        else:
            await house.access.people.change(Actor.CLI, "mamie", services=["game"])
        await refused(house, step)


@in_house
async def test_no_more_addresses_than_the_holder_may_have(house: House) -> None:
    link = await opened_by_link(house, addresses=1)
    step = await revoked(house)
    await house.opening.open(house.links.token(link), IPv4Address("203.0.113.8"))
    assert await refused(house, step) == "not-allowed"
    assert {address for _, address, _ in house.open} == {"203.0.113.8"}


@in_house
async def test_what_is_open_again_meanwhile_stays_as_it_is(house: House) -> None:
    await opened_by_link(house)
    step = await revoked(house)
    await house.access.grants.open(Actor.CLI, ["cloud"], THERE, duration_s=60)
    assert await refused(house, step) == "changed"


@in_house
async def test_what_would_have_ended_meanwhile_stays_closed(house: House) -> None:
    await house.access.grants.open(Actor.CLI, ["cloud"], THERE, duration_s=60)
    step = await revoked(house)
    passes(house, 60)
    assert await refused(house, step) == "over"


@in_house
async def test_a_used_up_link_was_paid_for(house: House) -> None:
    await opened_by_link(house, uses=1)
    step = await revoked(house)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert len(house.open) == 1


@in_house
async def test_a_prolongation_taken_back_sets_the_former_end(house: House) -> None:
    link = await opened_by_link(house)
    passes(house, HOUR)
    _grant, step = await house.access.undo.prolong(house.by("ann"), "cloud", THERE)
    assert step is not None
    assert left_s(house) == 2 * HOUR
    passes(house, 100)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert left_s(house) == HOUR - 100
    assert house.open == {("cloud", str(THERE), link.holder)}
    assert house.gate.calls[-2:] == ["revoke", "grant"]


@in_house
async def test_a_prolongation_that_others_went_on_from_stays(house: House) -> None:
    link = await opened_by_link(house)
    passes(house, HOUR)
    _grant, step = await house.access.undo.prolong(house.by("ann"), "cloud", THERE)
    assert step is not None
    passes(house, 60)
    await house.opening.open(house.links.token(link), THERE)
    assert await refused(house, step) == "changed"
    _grant, step = await house.access.undo.prolong(house.by("ann"), "cloud", THERE)
    assert step is None, "it lasted as long already"
    passes(house, 100)
    _grant, step = await house.access.undo.prolong(house.by("ann"), "cloud", THERE)
    assert step is not None
    await house.links.pause(Actor.CLI, link.id)
    assert await refused(house, step) == "unknown"


@in_house
async def test_a_ban_is_lifted_and_what_it_closed_given_back(house: House) -> None:
    link = await opened_by_link(house)
    step = await house.access.undo.ban(house.by("ann"), THERE)
    assert step is not None
    assert (set(house.gate.bans), house.open) == ({str(THERE)}, set())
    assert house.access.guard.may_try_s(THERE, trusted=False) > 0
    passes(house, 30)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert (house.gate.bans, house.open) == ({}, {("cloud", str(THERE), link.holder)})
    assert left_s(house) == 7200 - 30
    assert house.access.guard.may_try_s(THERE, trusted=False) == 0


@in_house
async def test_the_ban_before_it_goes_on(house: House) -> None:
    there = IPv6Network("2001:db8:1::/64")
    await house.access.bans.ban(house.by("yves"), there, 600)
    step = await house.access.undo.ban(house.by("ann"), there, 86400)
    assert step is not None
    passes(house, 60)
    await house.access.undo.undo(house.by("ann"), step.id)
    assert house.gate.bans[str(there)] - house.clock() == 540
    assert 0 < house.access.guard.may_try_s(there, trusted=False) <= 540


@in_house
async def test_a_ban_that_others_changed_stays(house: House) -> None:
    step = await house.access.undo.ban(house.by("ann"), THERE, 600)
    assert step is not None
    await house.access.bans.ban(house.by("yves"), THERE, 86400)
    assert await refused(house, step) == "changed"
    assert house.gate.bans[str(THERE)] - house.clock() == 86400


@in_house
async def test_nothing_done_is_nothing_to_undo(house: House) -> None:
    undo, ann = house.access.undo, house.by("ann")
    assert await undo.revoke(ann, "cloud", THERE) is None
    assert await undo.ban(ann, THERE, 600) is not None
    for step_id in ("", "x", "0" * 16, "é"):
        with pytest.raises(CannotUndo):
            await undo.undo(ann, step_id)


@in_house
async def test_a_hundred_steps_are_kept(house: House) -> None:
    steps = []
    for number in range(MOST + 5):
        step = await house.access.undo.ban(house.by("ann"), IPv4Address(f"198.51.100.{number}"), 600)
        assert step is not None
        steps.append(step)
    there = [house.access.undo.find(house.by("ann"), step.id) is not None for step in steps]
    assert there == [False] * 5 + [True] * MOST


@in_house
async def test_members_have_no_steps_and_a_silent_gate_leaves_it_closed(house: House) -> None:
    mamie = await house.moves_in("mamie")
    member = Actor(mamie.holder, admin=False, person=mamie.person)
    for act in (
        house.access.undo.revoke(member, "cloud", THERE),
        house.access.undo.prolong(member, "cloud", THERE),
        house.access.undo.ban(member, THERE),
    ):
        with pytest.raises(NotAllowed):
            await act
    await opened_by_link(house)
    step = await revoked(house)
    house.gate.fail = GateUnavailable()
    with pytest.raises(GateUnavailable):
        await house.access.undo.undo(house.by("ann"), step.id)
    house.gate.fail = None
    assert await refused(house, step) == "unknown"
