"""Everything that decides, over one state directory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from access.bans import Bans
from access.credentials import Credentials
from access.gate import Gate
from access.grants import Grants
from access.guard import Guard
from access.hashes import Hashes
from access.history import History
from access.invitations import Invitations
from access.knocks import Knocks
from access.limits import Limits
from access.links import Links
from access.moment import Clock
from access.opening import Opening
from access.pace import Pace
from access.people import People
from access.pins import Pins
from access.secret import Key
from access.services import Service
from access.sessions import Sessions
from access.shared import Shared
from access.sign_in import SignIn
from access.state import State
from access.tokens import Tokens
from access.underway import Underway
from access.undo import Undo


@dataclass(frozen=True, slots=True)
class Access:
    """The parts that the portal works with. End with close()."""

    key: Key
    state: State
    history: History
    guard: Guard
    people: People
    sessions: Sessions
    sign_in: SignIn
    credentials: Credentials
    invitations: Invitations
    links: Links
    tokens: Tokens
    opening: Opening
    grants: Grants
    bans: Bans
    knocks: Knocks
    undo: Undo
    shared: Shared
    underway: Underway

    async def close(self) -> None:
        """Wait for what is underway, write what is left, let the directory go. Raises NotSaved."""
        await self.underway.settle()
        try:
            await self.guard.close()
            await self.sessions.close()
        finally:
            await self.knocks.close()
            await self.state.close()


def start(
    state_dir: str,
    services: Mapping[str, Service],
    gate: Gate,
    limits: Limits | None = None,
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
        return _build(state, state_dir, services, gate, limits or Limits(), clock, monotonic)
    except BaseException:
        state.release()
        raise


def _build(
    state: State,
    state_dir: str,
    services: Mapping[str, Service],
    gate: Gate,
    limits: Limits,
    clock: Clock,
    monotonic: Clock,
) -> Access:
    key = Key.load(f"{state_dir}/secret.key", needed=state.needs_key)
    history = History(f"{state_dir}/history.jsonl", clock=clock)
    hashes, underway, pace, shared = Hashes(), Underway(), Pace(clock=monotonic), Shared(gate)
    guard = Guard(
        state_dir,
        key,
        gate,
        history,
        ban_after=limits.ban_after,
        ban_duration_s=limits.ban_duration_s,
        clock=clock,
        monotonic=monotonic,
    )
    people = People(state, services, gate, hashes, guard, history, underway, clock=clock, host=limits.host)
    sessions = Sessions(
        state_dir,
        state,
        history,
        idle_s=limits.session_idle_s,
        lifetime_s=limits.session_lifetime_s,
        clock=clock,
    )
    sign_in = SignIn(state, key, hashes, guard, sessions, history, clock)
    links = Links(state, key, services, gate, hashes, history, underway, pace, clock=clock)
    grants = Grants(state, services, gate, history, underway, pace, shared, clock=clock, monotonic=monotonic)
    bans, pins = Bans(state, gate, guard, history), Pins(hashes, guard, monotonic=monotonic)
    undo = Undo(
        state, links, services, gate, grants, bans, history, underway, clock=clock, monotonic=monotonic
    )
    return Access(
        key=key,
        state=state,
        history=history,
        guard=guard,
        people=people,
        sessions=sessions,
        sign_in=sign_in,
        credentials=Credentials(state, key, hashes, sign_in, guard, history, clock, host=limits.host),
        invitations=Invitations(state, key, hashes, guard, history, clock, host=limits.host),
        links=links,
        tokens=Tokens(state, services, gate, guard, history, underway, clock=clock, monotonic=monotonic),
        opening=Opening(
            links, gate, history, pins, guard, underway, shared, clock=clock, monotonic=monotonic
        ),
        grants=grants,
        bans=bans,
        knocks=Knocks(state_dir, gate, clock=clock),
        undo=undo,
        shared=shared,
        underway=underway,
    )
