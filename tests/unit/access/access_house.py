"""The whole package over one directory, with time and the gate in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from access_gate import Clock, MemoryGate

from access.links import Links
from access.opening import Opening
from access.services import Service
from access.start import Access, start

SERVICES = {
    "cloud": Service("cloud", "Nextcloud", "https://cloud.example.org/", 7200, 86400, ("tcp/443",)),
    "game": Service("game", "Game", None, 3600, 7200, ("tcp/25565-25570",)),
}


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
    def state_text(self) -> str:
        return (self.directory / "state.json").read_text()


Live = Callable[[], AbstractAsyncContextManager[House]]


@asynccontextmanager
async def live_in(directory: Path) -> AsyncIterator[House]:
    """Start the package in a directory; leaving closes it."""
    clock, monotonic = Clock(), Clock(50.0)
    gate = MemoryGate(clock)
    access = start(str(directory), SERVICES, gate, clock=clock, monotonic=monotonic)
    try:
        yield House(access, gate, clock, monotonic, directory)
    finally:
        if gate.wait is not None:
            gate.wait.set()  # a failed test must not wait for ever
        await access.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.001)
