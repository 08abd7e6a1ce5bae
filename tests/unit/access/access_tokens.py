"""Tokens for tests."""

from typing import Any

from access_desk import HERE
from access_house import House

from access.actor import Actor, acting_token
from access.address import Address


async def token_text(house: House, *scopes: str, **others: Any) -> str:
    """The text of a new token."""
    return (await house.access.tokens.add(Actor.CLI, "Router", list(scopes), **others))[1]


async def token_actor(house: House, *scopes: str, at: Address = HERE, **others: Any) -> Actor:
    """The actor that a new token is, when it is shown from `at`."""
    text = await token_text(house, *scopes, **others)
    return acting_token(house.access.tokens.check(text, at, trusted=False), at)
