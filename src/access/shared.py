"""Shared addresses: a grant lets in everybody behind them. Here is decided which they are, and what that changes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

from access.address import Address

if TYPE_CHECKING:  # its grants say why too
    from access.gate import Gate, Grant

Why = Literal["carrier", "others"]
"""carrier: a provider gives the address to many customers. others: somebody else is let in at it too, by the gate's book."""

_CARRIER = IPv4Network("100.64.0.0/10")  # RFC 6598


def is_carrier(address: Address | str) -> bool:
    """Whether an address is of a provider's own network, in which nobody is seen from outside. An address's text will do."""
    text = str(address)
    return text.startswith("100.") and IPv4Address(text) in _CARRIER


def why(address: Address | str, *, others: bool) -> Why | None:
    """Why an address is a shared one, or None. `others`: whether somebody else is let in at it."""
    if is_carrier(address):
        return "carrier"
    return "others" if others else None


def why_for(holder: str, address: Address, grants: Iterable["Grant"]) -> Why | None:
    """The same for somebody who opens there; `grants`: all that is open at it."""
    return why(address, others=any(grant.others or grant.holder != holder for grant in grants))


class Shared:
    """Who opens for an address finds out here whether they share it, and does it in one turn: of two at once one is the second."""

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._turns: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, address: Address) -> AsyncIterator[None]:
        """Around asking why and opening."""
        async with self._turns.setdefault(address, asyncio.Lock()):
            yield

    async def why(self, holder: str, *addresses: Address) -> Why | None:
        """Why one of the addresses is shared for a holder who opens from or for it. Raises GateUnavailable."""
        for address in addresses:
            if found := why_for(holder, address, await self._gate.grants(address=address)):
                return found
        return None
