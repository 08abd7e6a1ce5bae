"""A program with a token, at a portal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abuse_town import Town, town
from portal_house import Answer, ask

from access.actor import Actor
from access.address import parse_address

ADDRESS = "203.0.113.5"
OPEN = "/api/v1/grants/cloud/self"


@dataclass
class Client:
    """A program with a token, at an address."""

    there: Town
    text: str
    address: str = ADDRESS

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        given = {"X-Forwarded-For": self.address, "Authorization": f"Bearer {self.text}"}
        given |= {"Content-Type": "application/json"} if body else {}
        given |= {key.replace("_", "-"): text for key, text in headers.items()}
        return await ask(self.there.house.public, method, path, {key: text for key, text in given.items() if text}, body)

    @property
    def opened(self) -> list[tuple[str, str, str]]:
        return list(self.there.gate)


@asynccontextmanager
async def client(directory: Path, *scopes: str, **settings: Any) -> AsyncIterator[Client]:
    async with town(directory, **settings) as there:
        _token, text = await there.access.tokens.add(Actor.CLI, "Home", scopes or ["admin"])
        yield Client(there, text)


def problem(answer: Answer) -> tuple[int, str]:
    """The status and the type's name. The answer says nothing of what it is made with, and is for nobody else's script."""
    assert answer.header("Content-Type") == "application/problem+json; charset=utf-8", answer.headers
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    names = {name.lower() for name, _ in answer.headers}
    assert not names & {"server", "set-cookie"}
    assert not [name for name in names if name.startswith("access-control-")]
    said = answer.json
    assert said["status"] == answer.status
    assert said.keys() <= {"type", "title", "status", "detail", "field"}
    return answer.status, said["type"].removeprefix("/api/v1/problems/")


def ip(text: str) -> Any:
    """The address that a text means."""
    return parse_address(text, 64)
