"""A new era is the same in memory and on disk, so that a restart signs nobody out who is signed in."""

import asyncio
import json
from ipaddress import IPv4Address

import pyotp
from access_house import House, Live

from access.actor import Actor


async def mamies_eras(house: House) -> tuple[str, str]:
    """In memory, and as the next start reads it."""
    saved = json.loads(house.state_text)["people"]["mamie"]["era"]
    return house.access.state.people["mamie"].era, saved


def test_an_era_outlives_a_restart(live: Live) -> None:
    async def run() -> None:
        async with live() as house:
            access = house.access
            mamie = await house.moves_in("mamie")
            await house.moves_in("ann", role="admin")
            eras = {mamie.person.era if mamie.person else ""}

            async def begun() -> None:
                memory, disk = await mamies_eras(house)
                assert memory == disk
                assert memory not in eras
                eras.add(memory)

            await access.people.sign_out_everywhere(Actor.CLI, "mamie")
            await begun()
            await access.people.change(Actor.CLI, "mamie", role="admin")
            await begun()
            token = await access.people.invite(Actor.CLI, "mamie")
            invited = access.invitations.invited(token)
            assert invited is not None
            code = pyotp.TOTP(invited.secret).at(int(house.clock()))
            there = IPv4Address("203.0.113.7")
            await access.invitations.accept(token, "four words nobody guesses", code, address=there, trusted=True)
            await begun()
            await access.credentials.totp_off(Actor.CLI, "mamie")
            await begun()

    asyncio.run(run())
