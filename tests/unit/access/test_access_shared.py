"""Shared addresses: what a service that is careful with them gives, and the ways round it that are none."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from access_book import BookGate
from access_house import House, live_in
from access_tokens import token_text

from access.actor import Actor, acting_token
from access.address import Address
from access.gate import GateUnavailable
from access.link import Link
from access.opened import Opened, Reason, Refused
from access.services import Service
from access.shared import is_carrier, why

HOUR, DAY = 3600, 86_400
SERVICES = {
    "cloud": Service("cloud", "Cloud", None, 12 * HOUR, 30 * DAY, ("tcp/443",), shared_max_duration_s=HOUR),
    "vault": Service("vault", "Vault", None, 12 * HOUR, 30 * DAY, ("tcp/444",), shared_pin=True),
    "game": Service("game", "Game", None, 12 * HOUR, 30 * DAY, ("tcp/25565",)),
}
HERE, THERE = IPv4Address("203.0.113.7"), IPv4Address("198.51.100.4")
CARRIER, SIX = IPv4Address("100.64.0.9"), IPv6Network("2001:db8:1::/64")
CLI = Actor.CLI

Case = Callable[[House], Awaitable[None]]


def in_house(case: Case) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def main() -> None:
            async with live_in(tmp_path, SERVICES, BookGate) as house:
                await case(house)

        asyncio.run(main())

    return run


async def linked(house: House, *services: str, **values: Any) -> tuple[Link, str]:
    link = await house.links.add(CLI, "Mamie", list(services or ("cloud",)), **values)
    return link, house.links.token(link)


async def refusal(opening: Awaitable[Opened]) -> Reason:
    with pytest.raises(Refused) as caught:
        await opening
    return caught.value.reason


async def left_s(house: House, address: Address = HERE, service: str = "cloud") -> int:
    """For how long it is open there, for everybody."""
    found = await house.gate.grants(service=service, address=address)
    return round(found[0].remaining_ms / 1000) if found else 0


async def neighbour(house: House, address: Address = HERE, service: str = "game") -> None:
    """Somebody else is let in there."""
    _link, token = await linked(house, service)
    await house.opening.open(token, address)


# what is shared


@pytest.mark.parametrize("text", ["100.64.0.0", "100.64.0.9", "100.127.255.255"])
def test_a_carriers_address_is_known_by_its_network(text: str) -> None:
    assert is_carrier(text)
    assert why(IPv4Address(text), others=False) == why(text, others=True) == "carrier"


@pytest.mark.parametrize("text", ["100.63.255.255", "100.128.0.0", "203.0.113.7", "10.64.0.1", "2001:db8:1::/64", "100::/64"])
def test_others_are_shared_where_somebody_else_is_let_in(text: str) -> None:
    assert why(text, others=False) is None
    assert why(text, others=True) == "others"


# the cap, and the ways round it


@in_house
async def test_alone_nothing_changes(house: House) -> None:
    _link, token = await linked(house)
    for _ in range(2):
        assert (await house.opening.open(token, HERE)).shared is None
        assert await left_s(house) == 12 * HOUR


@in_house
async def test_a_carriers_address_opens_no_longer_than_the_cap(house: House) -> None:
    _link, token = await linked(house, duration_s=10 * DAY)
    opened = await house.opening.open(token, CARRIER)
    assert (opened.shared, opened.remaining_ms) == ("carrier", HOUR * 1000)
    assert (await house.opening.look(token, CARRIER)).shared == "carrier"


@pytest.mark.parametrize("first", ["cloud", "game"])
def test_where_somebody_else_is_let_in_it_opens_no_longer_than_the_cap(tmp_path: Path, first: str) -> None:
    async def main() -> None:
        async with live_in(tmp_path, SERVICES, BookGate) as house:
            _other, other = await linked(house, first, duration_s=60)
            await house.opening.open(other, HERE)
            _link, token = await linked(house)
            opened = await house.opening.open(token, HERE)
            assert (opened.shared, opened.remaining_ms) == ("others", HOUR * 1000)

    asyncio.run(main())


@in_house
async def test_of_two_at_once_one_is_the_second(house: House) -> None:
    tokens = [(await linked(house, duration_s=(number + 1) * DAY))[1] for number in range(6)]
    opened = await asyncio.gather(*(house.opening.open(token, HERE) for token in tokens))
    asked = [seconds["cloud"] for seconds in house.gate.seconds]
    assert len([one for one in asked if one > HOUR]) == 1, "the one who was alone"
    assert sorted(one.shared or "" for one in opened) == [""] + ["others"] * 5


@in_house
async def test_who_was_first_keeps_their_end_and_renews_no_further_than_the_cap(house: House) -> None:
    _link, first = await linked(house)
    await house.opening.open(first, HERE)
    await neighbour(house, service="cloud")
    assert await left_s(house) == 12 * HOUR, "nobody's visit takes time from another"
    house.clock.now += 600
    for again in (house.opening.open(first, HERE), house.opening.stay(first, HERE, HERE)):
        assert (await again).shared == "others"
        assert await left_s(house) == 12 * HOUR - 600
    house.clock.now += 11.5 * HOUR - 600
    await neighbour(house, service="cloud")
    opened = await house.opening.open(first, HERE)
    assert (opened.shared, await left_s(house)) == ("others", HOUR)


@in_house
async def test_renewing_and_staying_do_not_get_round_the_cap(house: House) -> None:
    link, token = await linked(house)
    await neighbour(house)
    await house.opening.open(token, HERE)
    for _ in range(5):
        house.clock.now += 0.9 * HOUR
        await house.opening.stay(token, HERE, HERE)
        assert 0 < await left_s(house) <= HOUR
        await house.opening.open(token, HERE)
        assert await left_s(house) == HOUR
    assert house.links.get(CLI, link.id).used > 5


@in_house
async def test_two_who_renew_by_turns_see_each_other(house: House) -> None:
    """The book names one holder of a service at an address, whoever came last must not be alone there."""
    _a, one = await linked(house, duration_s=5 * DAY)
    _b, other = await linked(house, duration_s=6 * DAY)
    await neighbour(house, CARRIER)  # elsewhere
    await house.opening.open(one, HERE)
    house.clock.now += 5 * DAY - 600
    for _ in range(6):
        for token in (other, one):
            house.clock.now += 60
            assert (await house.opening.open(token, HERE)).shared == "others"
            assert await left_s(house) <= HOUR


@in_house
async def test_who_keeps_open_where_another_holds_it_longer_is_there_as_long_as_they_do(house: House) -> None:
    _a, one = await linked(house, duration_s=10 * DAY)
    _b, other = await linked(house)
    await house.opening.open(one, HERE)
    await house.opening.open(other, HERE)
    for _ in range(4):
        house.clock.now += 0.9 * HOUR
        await house.opening.stay(other, HERE, HERE)
        assert (await house.opening.open(one, HERE)).shared == "others"
    assert await left_s(house) == 10 * DAY - 4 * 0.9 * HOUR
    house.clock.now += HOUR
    assert (await house.opening.open(one, HERE)).shared is None, "once they have gone"


@in_house
async def test_time_that_is_over_is_no_neighbour_any_more(house: House) -> None:
    _link, token = await linked(house)
    _other, other = await linked(house, "game", duration_s=60)
    await house.opening.open(other, HERE)
    house.clock.now += 60
    assert (await house.opening.open(token, HERE)).shared is None
    assert await left_s(house) == 12 * HOUR


@in_house
async def test_the_other_family_of_a_shared_address_is_capped_too(house: House) -> None:
    _link, token = await linked(house)
    first = await house.opening.open(token, CARRIER)
    assert (await house.opening.also(first.ticket or "", SIX)).shared == "carrier"
    assert await left_s(house, SIX) == HOUR


@in_house
async def test_a_shared_other_family_is_capped_however_good_the_first_was(house: House) -> None:
    _link, token = await linked(house)
    first = await house.opening.open(token, SIX)
    assert await left_s(house, SIX) == 12 * HOUR
    await house.opening.also(first.ticket or "", CARRIER)
    assert await left_s(house, CARRIER) == HOUR


@in_house
async def test_staying_from_a_shared_address_is_capped_though_home_was_not(house: House) -> None:
    _link, token = await linked(house)
    await house.opening.open(token, HERE)
    await house.opening.stay(token, CARRIER, HERE)
    assert await left_s(house, CARRIER) == HOUR


@in_house
async def test_a_member_is_capped_from_and_for_and_the_admins_hand_is_not(house: House) -> None:
    grants = house.access.grants
    mamie = await house.moves_in("mamie", services=("cloud", "game"))
    ann = await house.moves_in("ann", role="admin")
    far = replace(mamie, address=str(CARRIER))
    for by, address, most_s in (
        (mamie, CARRIER, HOUR),
        (far, THERE, HOUR),
        (mamie, HERE, 10 * DAY),
        (replace(ann, address=str(CARRIER)), IPv4Address("100.64.0.10"), 10 * DAY),
        (CLI, IPv4Address("100.64.0.11"), 10 * DAY),
    ):
        await grants.open(by, ["cloud"], address, duration_s=10 * DAY)
        assert await left_s(house, address) == most_s, (by.holder, address)
    await grants.open(far, ["game"], THERE, duration_s=10 * DAY)
    assert await left_s(house, THERE, "game") == 10 * DAY, "the game does not mind"


@in_house
async def test_moving_brings_no_more_than_the_cap_to_a_shared_address(house: House) -> None:
    grants, mamie = house.access.grants, await house.moves_in("mamie")
    await grants.open(mamie, ["cloud"], HERE, duration_s=10 * DAY)
    await grants.move(replace(mamie, address=str(CARRIER)), HERE, CARRIER)
    assert (await left_s(house, HERE), await left_s(house, CARRIER)) == (0, HOUR)
    await neighbour(house, THERE)
    await grants.open(mamie, ["cloud"], HERE, duration_s=10 * DAY)
    await grants.move(replace(mamie, address=str(THERE)), HERE, THERE)
    assert await left_s(house, THERE) == HOUR


@in_house
async def test_moving_takes_ones_own_time_along_and_not_a_neighbours(house: House) -> None:
    grants, mamie = house.access.grants, await house.moves_in("mamie")
    _link, token = await linked(house, duration_s=10 * DAY)
    await house.opening.open(token, HERE)
    await grants.open(mamie, ["cloud"], HERE)
    await grants.move(replace(mamie, address=str(THERE)), HERE, THERE)
    assert (await left_s(house, THERE), await left_s(house, HERE)) == (HOUR, 10 * DAY)
    assert [one.shared for one in await house.gate.grants(address=HERE)] == [None], "who moved is there no more"


@pytest.mark.parametrize("scopes", [("grant:self",), ("grant:any",), ("admin",)])
def test_a_token_is_capped_whatever_its_scope(tmp_path: Path, scopes: tuple[str, ...]) -> None:
    async def main() -> None:
        async with live_in(tmp_path, SERVICES, BookGate) as house:
            token = house.access.tokens.check(await token_text(house, *scopes), CARRIER, trusted=False)
            by = acting_token(token, CARRIER)
            granted = await house.access.grants.open(by, ["cloud"], CARRIER, duration_s=10 * DAY)
            assert granted.grants[0].remaining_ms == HOUR * 1000
            assert granted.grants[0].shared == "carrier"
            if scopes != ("grant:self",):
                for address in (THERE, IPv4Address("100.64.0.77")):
                    await house.access.grants.open(by, ["cloud"], address, duration_s=10 * DAY)
                    assert await left_s(house, address) == HOUR, "from a shared address, and for one"
            if scopes == ("admin",):
                await house.access.grants.prolong(by, "cloud", CARRIER, duration_s=10 * DAY)
                assert await left_s(house, CARRIER) == HOUR
            ann = await house.moves_in("ann", role="admin")
            await house.access.grants.prolong(ann, "cloud", CARRIER, duration_s=10 * DAY)
            assert await left_s(house, CARRIER) == 10 * DAY, "an admin's own hand"

    asyncio.run(main())


@in_house
async def test_a_token_at_once_with_a_link_is_not_alone(house: House) -> None:
    by = acting_token(house.access.tokens.check(await token_text(house, "grant:self"), HERE, trusted=False), HERE)
    _link, token = await linked(house, duration_s=10 * DAY)
    await asyncio.gather(
        house.access.grants.open(by, ["cloud"], HERE, duration_s=10 * DAY), house.opening.open(token, HERE)
    )
    assert sorted(seconds["cloud"] for seconds in house.gate.seconds) == [HOUR, 10 * DAY]


@in_house
async def test_what_a_link_lost_is_no_neighbour_of_anybodys(house: House) -> None:
    link, token = await linked(house, "game")
    await house.opening.open(token, HERE)
    await house.links.pause(CLI, link.id)
    _other, other = await linked(house)
    assert (await house.opening.open(other, HERE)).shared is None


# the PIN, and the ways round it


@pytest.mark.parametrize("carrier", [True, False])
def test_a_link_without_a_pin_opens_nothing_there(tmp_path: Path, carrier: bool) -> None:
    async def main() -> None:
        async with live_in(tmp_path, SERVICES, BookGate) as house:
            where: Address = CARRIER if carrier else HERE
            await neighbour(house, HERE)
            link, token = await linked(house, "game", "vault", uses=3)
            assert await refusal(house.opening.open(token, where)) is Reason.SHARED
            assert await refusal(house.opening.open(token, where, "4711")) is Reason.SHARED
            with pytest.raises(Refused) as caught:
                await house.opening.look(token, where)
            assert caught.value.reason is Reason.SHARED
            assert await house.gate.grants(holder=link.holder) == []
            assert house.links.get(CLI, link.id).used == 0
            assert [entry["reason"] for entry in await house.told("link-refused")] == ["shared-address"] * 2
            assert (await house.opening.open(token, THERE)).shared is None, "elsewhere it opens"

    asyncio.run(main())


@in_house
async def test_a_link_with_a_pin_opens_it(house: House) -> None:
    _link, token = await linked(house, "vault", pin="4711")
    assert await refusal(house.opening.open(token, CARRIER)) is Reason.PIN_NEEDED
    assert await refusal(house.opening.open(token, CARRIER, "0000")) is Reason.PIN_WRONG
    first = await house.opening.open(token, CARRIER, "4711")
    assert await left_s(house, CARRIER, "vault") == 12 * HOUR
    house.clock.now += 11 * HOUR
    assert (await house.opening.stay(token, CARRIER, CARRIER)).how == "renewed", "open by this link already"
    assert first.ticket


@in_house
async def test_staying_brings_no_shared_address_in(house: House) -> None:
    _link, token = await linked(house, "vault", pin="4711")
    await house.opening.open(token, HERE, "4711")
    assert await refusal(house.opening.stay(token, CARRIER, HERE)) is Reason.PIN_NEEDED
    _bare, bare = await linked(house, "vault")
    await house.opening.open(bare, THERE)
    assert await refusal(house.opening.stay(bare, CARRIER, THERE)) is Reason.SHARED
    assert await left_s(house, CARRIER, "vault") == 0


@in_house
async def test_a_ticket_brings_a_shared_family_in_only_with_the_pin_that_was_given_for_it(house: House) -> None:
    _bare, bare = await linked(house, "vault")
    first = await house.opening.open(bare, SIX)
    assert await refusal(house.opening.also(first.ticket or "", CARRIER)) is Reason.SHARED
    assert await left_s(house, CARRIER, "vault") == 0
    _link, token = await linked(house, "vault", pin="4711")
    first = await house.opening.open(token, SIX, "4711")
    assert (await house.opening.also(first.ticket or "", CARRIER)).how == "opened", "a minute ago, by the same page"
    await house.gate.revoke(address=CARRIER)
    house.clock.now += 11 * HOUR
    stayed = await house.opening.stay(token, SIX, SIX)
    assert stayed.ticket
    assert await refusal(house.opening.also(stayed.ticket, CARRIER)) is Reason.PIN_NEEDED
    assert await left_s(house, CARRIER, "vault") == 0


@in_house
async def test_what_another_holds_open_there_is_not_open_by_this_link(house: House) -> None:
    _other, other = await linked(house, "vault", pin="1234")
    await house.opening.open(other, CARRIER, "1234")
    _link, token = await linked(house, "vault", pin="4711")
    await house.opening.open(token, HERE, "4711")
    house.clock.now += 11 * HOUR
    assert await refusal(house.opening.stay(token, CARRIER, HERE)) is Reason.PIN_NEEDED
    assert await left_s(house, CARRIER, "vault") == HOUR


@in_house
async def test_who_was_there_before_it_was_shared_may_stay_and_may_not_open_anew(house: House) -> None:
    _link, token = await linked(house, "vault")
    await house.opening.open(token, HERE)
    await neighbour(house)
    assert await refusal(house.opening.open(token, HERE)) is Reason.SHARED
    assert (await house.opening.look(token, HERE)).remaining_ms, "what it is, is shown"
    house.clock.now += 11 * HOUR
    await neighbour(house)
    assert (await house.opening.stay(token, HERE, HERE)).how == "renewed"


@in_house
async def test_two_without_a_pin_at_once_are_one(house: House) -> None:
    tokens = [(await linked(house, "vault"))[1] for _ in range(4)]
    came = await asyncio.gather(*(house.opening.open(token, HERE) for token in tokens), return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["Opened", "Refused", "Refused", "Refused"]


@in_house
async def test_people_and_tokens_have_given_more_than_a_pin(house: House) -> None:
    mamie = await house.moves_in("mamie", services=("vault",))
    await house.access.grants.open(mamie, ["vault"], CARRIER)
    assert await left_s(house, CARRIER, "vault") == 12 * HOUR


@in_house
async def test_a_gate_that_does_not_answer_opens_nothing(house: House) -> None:
    _link, token = await linked(house, "vault", uses=1)
    house.gate.fail = GateUnavailable("gone")
    assert await refusal(house.opening.open(token, HERE)) is Reason.GATE_UNAVAILABLE
    house.gate.fail = None
    assert await house.gate.grants() == []
