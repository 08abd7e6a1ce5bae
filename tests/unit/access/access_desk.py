"""Who signs in and how, over one directory, with time, the gate and argon2 in the test's hands."""

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest
from access_gate import Clock, MemoryGate

from access import hashes
from access.actor import Actor
from access.address import Address, parse_address
from access.credentials import Credentials
from access.guard import Guard
from access.hashes import Hashes
from access.history import History
from access.invitations import Invitations
from access.person import Person
from access.secret import Key
from access.sessions import Sessions
from access.sign_in import SignedIn, SignIn, SignInRefused
from access.state import State

HERE = parse_address("203.0.113.7", 64)
THERE = parse_address("2001:db8:1::5", 64)
PASSWORD = "violet tractor under ice"
NEW = "seven quiet lamps at noon"
TODAY = "$argon2id$v=19$m=19456,t=2,p=1$"


def address(number: int) -> Address:
    return parse_address(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 64)


def quick_hash(data: bytes, form: str = TODAY) -> str:
    return form + "A" * 22 + "$" + base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


@dataclass
class Argon2:
    """Stands for it, and counts."""

    hashed: int = 0
    matched: int = 0

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def quick(data: bytes) -> str:
            self.hashed += 1
            return quick_hash(data)

        def matches(stored: str, data: bytes) -> bool:
            self.matched += 1
            return stored.rpartition("$")[2] == quick_hash(data).rpartition("$")[2]

        monkeypatch.setattr(hashes, "_hash", quick)
        monkeypatch.setattr(hashes, "_matches", matches)


@dataclass
class Desk:
    directory: Path
    clock: Clock = field(default_factory=Clock)
    monotonic: Clock = field(default_factory=lambda: Clock(50.0))
    hashes: Hashes = field(default_factory=Hashes)

    def open(self) -> None:
        """As at a start."""
        path = str(self.directory)
        self.gate = MemoryGate(self.clock)
        self.state = State(path)
        self.key = Key.load(f"{path}/secret.key", needed=False)
        self.history = History(f"{path}/history.jsonl", clock=self.clock)
        self.guard = Guard(
            path, self.key, self.gate, self.history, clock=self.clock, monotonic=self.monotonic
        )
        self.sessions = Sessions(
            path, self.state, self.history, idle_s=43200, lifetime_s=30 * 86400, clock=self.clock
        )
        self.entry = SignIn(
            self.state, self.key, self.hashes, self.guard, self.sessions, self.history, self.clock
        )
        self.credentials = Credentials(
            self.state,
            self.key,
            self.hashes,
            self.entry,
            self.guard,
            self.history,
            self.clock,
            host="open.example.org",
        )
        self.invitations = Invitations(
            self.state, self.key, self.hashes, self.guard, self.history, self.clock, host="open.example.org"
        )

    async def close(self) -> None:
        await self.guard.close()
        await self.sessions.close()
        await self.state.close()

    async def reopen(self) -> None:
        await self.close()
        self.open()

    def kill(self) -> None:
        """The disk as it is, the memory gone."""
        self.state.release()
        self.open()

    async def put(self, person: Person) -> Person:
        await self.state.commit(lambda tables: tables.people.update({person.name: person}))
        return person

    async def person(self, name: str = "mamie", *, totp: bool = True, **others: Any) -> Person:
        recovery = tuple(quick_hash(f"{name[0] * 11}{n}".encode()) for n in "abcdefghij")
        return await self.put(
            Person(
                **{
                    "name": name,
                    "role": "member",
                    "created_at": int(self.clock()),
                    "password": quick_hash(PASSWORD.encode()),
                    "totp": "a" * 32 if totp else None,
                    "recovery": recovery if totp else (),
                    "era": f"first-of-{name}",
                }
                | others
            )
        )

    def get(self, name: str = "mamie") -> Person:
        return self.state.people[name]

    def actor(self, name: str = "mamie") -> Actor:
        person = self.get(name)
        return Actor(person.holder, person.role == "admin", str(HERE), person)

    def code(self, name: str = "mamie", *, steps: int = 0) -> str:
        person = self.get(name)
        assert person.totp is not None
        return self.code_of(self.key.totp_secret(name, person.totp), steps=steps)

    def code_of(self, secret: str, *, steps: int = 0) -> str:
        return pyotp.TOTP(secret).at(int(self.clock()) + 30 * steps)

    def recovery(self, name: str = "mamie", number: int = 1) -> str:
        return f"{number}-{name[0] * 4}-{name[0] * 4}-{name[0] * 3}{'abcdefghij'[number - 1]}"

    def next_step(self) -> None:
        self.clock.now += 30
        self.monotonic.now += 30

    async def sign_in(
        self,
        name: str = "mamie",
        password: str = PASSWORD,
        code: str | None = None,
        where: Address = HERE,
        *,
        trusted: bool = False,
        device: str | None = None,
    ) -> SignedIn:
        code = self.code(name) if code is None else code
        return await self.entry.sign_in(
            name, password, code, address=where, trusted=trusted, agent="Firefox", device=device
        )

    async def refused(self, *arguments: Any, **others: Any) -> SignInRefused:
        with pytest.raises(SignInRefused) as caught:
            await self.sign_in(*arguments, **others)
        return caught.value

    async def told(self, event: str) -> list[dict[str, Any]]:
        entries = [entry for entry in await self.history.read() if entry["event"] == event]
        for entry in entries:
            del entry["at"], entry["event"]
        return entries


OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]


@asynccontextmanager
async def desk_in(directory: Path) -> AsyncIterator[Desk]:
    desk = Desk(directory)
    desk.open()
    try:
        yield desk
    finally:
        await desk.close()
