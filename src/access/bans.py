"""Bans that an admin makes, sees and lifts."""

import asyncio

from access.actor import Actor
from access.address import Address
from access.gate import Banned, Gate
from access.guard import Guard
from access.history import History
from access.state import State

DEFAULT_S = 86400
"""How long an admin's ban lasts where nothing else is said, in seconds."""


class Bans:
    """An admin's: NotAllowed for others, and for tokens that are limited to services. Everything raises GateUnavailable."""

    def __init__(self, state: State, gate: Gate, guard: Guard, history: History) -> None:
        self._state = state
        self._gate = gate
        self._guard = guard
        self._history = history

    async def ban(self, by: Actor, address: Address, duration_s: int = DEFAULT_S) -> None:
        """Keep an address away from the portal and all services. Raises GateRefusal, as for a trusted one."""
        by.need_admin()
        by.need_still(self._state)
        await self._gate.ban(address, duration_s)
        self._guard.shut_out(address, duration_s)
        self._history.tally["banned", "hand"] += 1
        self._history.record("banned", by=by.holder, source=by.address, address=str(address))

    async def unban(self, by: Actor, address: Address) -> None:
        """Let an address back in, and start its strikes anew. No error where it was not banned."""
        by.need_admin()
        by.need_still(self._state)
        await self._gate.ban(address, 0)
        self._guard.forget(address)
        self._history.record("unbanned", by=by.holder, source=by.address, address=str(address))

    async def set_back(self, by: Actor, address: Address, left_s: int) -> None:
        """Let a ban end in `left_s` seconds, 0: now, although it would last longer. Whoever undoes tells the history."""
        by.need_admin()
        by.need_still(self._state)
        lifted = self._gate.ban(address, 0)
        if left_s < 1:
            await lifted
        else:
            # Asked at once, so that the gate makes one transaction of both.
            await asyncio.gather(lifted, self._gate.ban(address, left_s))
        self._guard.forget(address)
        if left_s >= 1:
            self._guard.shut_out(address, left_s)

    async def list(self, by: Actor) -> list[Banned]:
        """Who is banned; for a token with read, too."""
        by.need_house("read")
        return await self._gate.banned()
