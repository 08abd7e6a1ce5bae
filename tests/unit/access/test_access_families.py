"""Services that are reached by one family alone: what a link does for who comes by the other."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network

import pytest
from access_house import SERVICES, House, Live

from access.actor import Actor
from access.address import Address
from access.opened import Reason, Refused
from access.services import Service

FOUR = IPv4Address("203.0.113.7")
SIX = IPv6Network("2001:db8:1::/64")


@pytest.fixture(autouse=True)
def by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloud is reached by IPv4 alone, the game by both."""
    monkeypatch.setitem(SERVICES, "cloud", replace(SERVICES["cloud"], families=("ipv4",)))


async def a_link(house: House, *services: str, uses: int | None = 1, pin: str | None = None) -> str:
    return house.links.token(await house.links.add(Actor.CLI, "Mamie", list(services), uses=uses, pin=pin))


async def refusal(house: House, token: str, address: Address) -> Refused:
    with pytest.raises(Refused) as caught:
        await house.opening.open(token, address)
    return caught.value


def used(house: House) -> int:
    return house.links.list(Actor.CLI)[0].used


# Abuse.


def test_a_limited_link_opens_no_address_without_a_use(live: Live) -> None:
    """Whatever the admin wrote of families: the port may be reached by IPv6 all the same."""

    async def main() -> None:
        async with live() as house:
            token = await a_link(house, "cloud")
            for n in range(1, 21):
                refused = await refusal(house, token, IPv6Network(f"2001:db8:{n}::/64"))
                assert refused.reason is Reason.OTHER_FAMILY
            assert (house.open, used(house)) == (set(), 0)
            assert (await house.opening.open(token, FOUR)).how == "opened"
            assert used(house) == 1
            assert (await refusal(house, token, SIX)).reason is Reason.USED_UP
            assert (await refusal(house, token, IPv4Address("203.0.113.8"))).reason is Reason.USED_UP

    asyncio.run(main())


def test_staying_brings_no_address_of_the_other_family_in(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = await a_link(house, "cloud", uses=2)
            await house.opening.open(token, FOUR)
            before = house.open
            with pytest.raises(Refused) as caught:
                await house.opening.stay(token, SIX, FOUR)
            assert caught.value.reason is Reason.OTHER_FAMILY
            assert (house.open, used(house)) == (before, 1)

    asyncio.run(main())


# Use.


def test_a_link_without_limit_opens_and_its_ticket_opens_what_counts(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = await a_link(house, "cloud", uses=None)
            opened = await house.opening.open(token, SIX)
            assert opened.ticket
            await house.opening.also(opened.ticket, FOUR)
            assert {address for _, address, _ in house.open} == {str(FOUR), str(SIX)}

    asyncio.run(main())


def test_a_use_is_spent_where_one_of_the_services_is_reached(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            token = await a_link(house, "cloud", "game")
            opened = await house.opening.open(token, SIX)
            assert ({grant.service for grant in opened.grants}, used(house)) == ({"cloud", "game"}, 1)
            assert opened.ticket
            assert (await house.opening.also(opened.ticket, FOUR)).remaining_ms
            assert used(house) == 1

    asyncio.run(main())


def test_what_was_open_before_the_family_was_left_out_is_renewed_without_a_use(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            with monkeypatch.context() as both:
                both.setitem(SERVICES, "cloud", replace(SERVICES["cloud"], families=("ipv4", "ipv6")))
                token = await a_link(house, "cloud", uses=2)
                await house.opening.open(token, SIX)
            assert (await house.opening.look(token, SIX)).remaining_ms
            assert (await house.opening.open(token, SIX)).how == "renewed"
            assert used(house) == 1

    asyncio.run(main())


@pytest.mark.parametrize(("families", "four", "six"), [(("ipv4",), True, False), (("ipv6",), False, True), (("ipv4", "ipv6"), True, True)])
def test_a_service_is_reached_by_its_families(families: tuple[str, ...], four: bool, six: bool) -> None:
    service: Service = replace(SERVICES["cloud"], families=families)
    assert (service.is_reached(FOUR), service.is_reached(SIX)) == (four, six)
