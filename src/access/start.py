"""Everything that decides, over one state directory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from access.gate import Gate
from access.hashes import Hashes
from access.history import History
from access.links import Links
from access.moment import Clock
from access.opening import Opening
from access.secret import Key
from access.services import Service
from access.state import State


@dataclass(frozen=True, slots=True)
class Access:
    """The parts that the portal works with. End with close()."""

    key: Key
    links: Links
    opening: Opening
    history: History
    state: State

    async def close(self) -> None:
        """Wait for what is underway, write what is left, let the directory go. Raises NotSaved."""
        await self.links.settle()
        await self.state.close()


def start(
    state_dir: str,
    services: Mapping[str, Service],
    gate: Gate,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> Access:
    """Read the state of a directory that exists, and claim it for this process. Blocks.

    Raises StateError where anything there cannot be taken, or another process has it; NotSaved where
    the first key cannot be written.
    """
    state = State(state_dir)
    try:
        key = Key.load(f"{state_dir}/secret.key", needed=bool(state.links))
        history = History(f"{state_dir}/history.jsonl", clock=clock)
    except BaseException:
        state.release()
        raise
    hashes = Hashes()
    links = Links(state, key, services, gate, hashes, clock=clock)
    opening = Opening(links, gate, services, history, hashes, clock=clock, monotonic=monotonic)
    return Access(key, links, opening, history, state)
