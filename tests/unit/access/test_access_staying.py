"""Staying and tickets, while somebody withdraws the link or takes back what it opened."""

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from access_house import House, Live, until

from access.actor import Actor
from access.link import Link
from access.opened import Opened, Reason, Refused
from access.tickets import LIFE_S, BadTicket, Tickets

HERE, THERE = IPv4Address("203.0.113.7"), IPv4Address("198.51.100.4")
SIX = IPv6Network("2001:db8:1::/64")
CALLER = Actor.CLI

Withdraw = Callable[[House, str], Coroutine[Any, Any, object]]
WITHDRAWN: dict[str, Withdraw] = {
    "pause": lambda house, link: house.links.pause(CALLER, link),
    "rotate": lambda house, link: house.links.rotate(CALLER, link),
    "remove": lambda house, link: house.links.remove(CALLER, link),
}


async def opened(house: House, **values: Any) -> tuple[Link, str, Opened]:
    link = await house.links.add(CALLER, "Mamie", ["cloud"], **values)
    token = house.links.token(link)
    return link, token, await house.opening.open(token, HERE)


async def refusal(opening: Coroutine[Any, Any, Opened]) -> Reason:
    with pytest.raises(Refused) as caught:
        await opening
    return caught.value.reason


def joins(house: House, token: str, first: Opened, *, by_ticket: bool) -> Coroutine[Any, Any, Opened]:
    """What comes after an opening: its other family, or the same browser from elsewhere."""
    if by_ticket:
        return house.opening.also(first.ticket or "", SIX)
    return house.opening.stay(token, THERE, HERE)


@pytest.mark.parametrize("by_ticket", [True, False], ids=["ticket", "stay"])
@pytest.mark.parametrize("verb", WITHDRAWN)
def test_withdrawn_while_the_gate_is_asked_to_grant(live: Live, verb: str, by_ticket: bool) -> None:
    async def main() -> None:
        async with live() as house:
            link, token, first = await opened(house)
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            joining = asyncio.create_task(joins(house, token, first, by_ticket=by_ticket))
            await house.gate.asked.wait()
            withdrawing = asyncio.create_task(WITHDRAWN[verb](house, link.id))
            await until(lambda: house.access.underway.closes(link.holder))
            house.gate.wait.set()
            await asyncio.gather(joining, withdrawing)
            assert house.open == set(), "what came in at the last moment is closed with the rest"

    asyncio.run(main())


@pytest.mark.parametrize("by_ticket", [True, False], ids=["ticket", "stay"])
@pytest.mark.parametrize("verb", WITHDRAWN)
def test_withdrawn_while_the_gate_is_asked_what_is_open(
    live: Live, verb: str, by_ticket: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with live() as house:
            link, token, first = await opened(house)
            listed, go_on, grants = asyncio.Event(), asyncio.Event(), house.gate.grants

            async def slow(**wanted: Any) -> Any:
                found = await grants(**wanted)
                listed.set()
                await go_on.wait()
                return found

            monkeypatch.setattr(house.gate, "grants", slow)
            joining = asyncio.create_task(refusal(joins(house, token, first, by_ticket=by_ticket)))
            await listed.wait()
            withdrawing = asyncio.create_task(WITHDRAWN[verb](house, link.id))
            await until(lambda: house.access.underway.closes(link.holder))
            go_on.set()
            assert await joining is (Reason.PAUSED if verb == "pause" else Reason.UNKNOWN)
            await withdrawing
            assert house.open == set()

    asyncio.run(main())


@pytest.mark.parametrize("by_ticket", [True, False], ids=["ticket", "stay"])
def test_the_links_end_comes_first(live: Live, by_ticket: bool) -> None:
    async def main() -> None:
        async with live() as house:
            _link, token, first = await opened(house, expires_s=100)
            house.clock.now += 40
            house.monotonic.now += 40
            await joins(house, token, first, by_ticket=by_ticket)
            assert house.gate.seconds[-1] == {"cloud": 60}
            house.clock.now += 60
            assert await refusal(house.opening.stay(token, THERE, HERE)) is Reason.EXPIRED

    asyncio.run(main())


def test_a_look_changes_nothing_while_there_is_time(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link, token, _first = await opened(house, duration_s=1000)
            for later, how, left_ms in ((0, "open", 1_000_000), (700, "open", 300_000), (100, "renewed", 1_000_000)):
                house.clock.now += later
                stayed = await house.opening.stay(token, HERE, HERE)
                assert (stayed.how, stayed.remaining_ms) == (how, left_ms)
                assert (stayed.ticket is None) == (how == "open")
            assert house.links.get(CALLER, link.id).used == 2
            assert len(await house.told("link-opened")) == 2

    asyncio.run(main())


def test_what_somebody_else_holds_open_from_there_counts(live: Live) -> None:
    """The gate leaves a grant to who holds it longer, so the link may hold none where it opened."""

    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.access.grants.open(mamie, ["cloud"], HERE, duration_s=86400)
            _link, token, first = await opened(house)
            assert {holder for _, _, holder in house.open} == {mamie.holder}
            assert (await house.opening.stay(token, HERE, HERE)).how == "open"
            assert (await house.opening.also(first.ticket or "", SIX)).how == "opened"

    asyncio.run(main())


def test_a_service_that_the_owner_may_open_no_more(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            link = await house.links.add(mamie, "Jean", ["cloud"])
            token = house.links.token(link)
            first = await house.opening.open(token, HERE)
            await house.access.people.change(CALLER, "mamie", may_link=False)
            for by_ticket in (True, False):
                assert await refusal(joins(house, token, first, by_ticket=by_ticket)) is Reason.NO_SERVICE
            assert house.open == set()

    asyncio.run(main())


def test_a_ticket_does_not_outlive_its_process(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            _link, _token, first = await opened(house)
        async with live() as house:
            assert await refusal(house.opening.also(first.ticket or "", SIX)) is Reason.TICKET

    asyncio.run(main())


LINK = Link("k3v7aa", "Mamie", ("cloud",), 0)


def test_used_tickets_are_remembered_in_bounds_and_forgotten_in_time() -> None:
    now = [1000.0]
    tickets = Tickets(lambda: now[0], most=3)
    given = [tickets.give(LINK, HERE, adds=True) for _ in range(5)]
    for text in given[:3]:
        tickets.use_up(tickets.read(text))
    with pytest.raises(BadTicket):
        tickets.use_up(tickets.read(given[3]))
    for text in given[:3]:
        with pytest.raises(BadTicket):
            tickets.read(text)
    now[0] += LIFE_S
    later = tickets.give(LINK, HERE, adds=True)
    tickets.use_up(tickets.read(later))
    with pytest.raises(BadTicket):
        tickets.read(later)


@pytest.mark.parametrize(("asked", "family"), [(HERE, 6), (SIX, 4), (IPv6Network("2001:db8::1/128"), 4)])
def test_a_ticket_says_what_it_was_given_for(asked: IPv4Address | IPv6Network, family: int) -> None:
    tickets = Tickets(lambda: 5.0)
    ticket = tickets.read(tickets.give(LINK, asked, adds=False))
    assert (ticket.asked, ticket.family, ticket.adds) == (asked, family, False)
    assert (ticket.link_id, ticket.generation) == ("k3v7aa", 1)
