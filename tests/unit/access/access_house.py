"""The whole package over one directory, with time and the gate in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from access_gate import Clock, MemoryGate

from access.actor import Actor, acting
from access.links import Links
from access.opening import Opening
from access.person import Person
from access.services import Service
from access.start import Access, start

SERVICES = {
    "cloud": Service("cloud", "Nextcloud", "https://cloud.example.org/", 7200, 86400, ("tcp/443",)),
    "game": Service("game", "Game", None, 3600, 7200, ("tcp/25565-25570",)),
}
HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43


@dataclass
class House:
    access: Access
    gate: MemoryGate
    clock: Clock
    monotonic: Clock
    directory: Path

    @property
    def links(self) -> Links:
        return self.access.links

    @property
    def opening(self) -> Opening:
        return self.access.opening

    @property
    def open(self) -> set[tuple[str, str, str]]:
        """Service, address and holder of what is open."""
        return {(grant.service, grant.address, grant.holder) for grant, _ in self.gate.open.values()}

    def by(self, name: str) -> Actor:
        """The actor that this person is now."""
        # with TOTP, without which an admin has no rights
        return acting(replace(self.access.state.people[name], totp="0" * 32), "198.51.100.1")

    async def moves_in(self, name: str, **others: Any) -> Actor:
        """A person who can sign in."""
        row = {"role": "member", "services": ("cloud",), "may_link": True, "password": HASH, "era": f"of-{name}"}
        person = Person(name=name, created_at=int(self.clock()), **(row | others))
        await self.access.state.commit(lambda tables: tables.people.update({name: person}))
        return self.by(name)

    async def told(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in await self.access.history.read() if entry["event"] == event]

    @property
    def state_text(self) -> str:
        return (self.directory / "state.json").read_text()


Live = Callable[[], AbstractAsyncContextManager[House]]


@asynccontextmanager
async def live_in(
    directory: Path,
    services: Mapping[str, Service] = SERVICES,
    make_gate: Callable[[Clock], MemoryGate] = MemoryGate,
) -> AsyncIterator[House]:
    """Start the package in a directory; leaving closes it."""
    clock, monotonic = Clock(), Clock(50.0)
    gate = make_gate(clock)
    access = start(str(directory), services, gate, clock=clock, monotonic=monotonic)
    try:
        yield House(access, gate, clock, monotonic, directory)
    finally:
        for event in (gate.wait, gate.wait_revoke):
            if event is not None:
                event.set()  # a failed test must not wait for ever
        await access.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.001)
