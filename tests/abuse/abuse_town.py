"""A portal with people, and the browsers that they and strangers sit at."""

import functools
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import argon2
import pyotp
from portal_house import Answer, House, house

from access.actor import Actor
from access.history import Wanted

PASSWORD = "seven purple otters hum"
SEED = "5eed" * 8
FORM = re.compile(r'name="form" value="([^"]+)"')

Typed = Mapping[str, str | Sequence[str]]


@functools.cache
def hashed(text: str) -> str:
    """As the portal stores it; once for all tests."""
    return str(argon2.PasswordHasher(2, 19456, 1).hash(text))


@dataclass
class Browser:
    """Keeps cookies, comes from `address`, and posts the forms of the pages that it has seen."""

    house: House
    address: str = "203.0.113.5"
    jar: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    token: str = ""  # of the last form seen

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self._kept(await self.house.get(path, method, **self._headers(headers)))

    async def post(self, path: str, typed: Typed | None = None, *, token: str | None = "", **headers: str) -> Answer:
        """Post a form with the token of the last page seen, or with `token`, or with None at all."""
        proof = {} if token is None else {"form": token or self.token or "none"}
        body = urlencode({**proof, **(typed or {})}, doseq=True).encode()
        return self._kept(await self.house.post(path, body, **self._headers(headers)))

    async def submit(self, page: str, typed: Typed, *, to: str | None = None) -> Answer:
        """Open a page and post its form."""
        await self.get(page)
        return await self.post(to or page, typed)

    async def sign_in(self, name: str, password: str = PASSWORD, code: str = "") -> Answer:
        return await self.submit("/sign-in", {"name": name, "password": password, "code": code})

    async def signed_in(self) -> bool:
        """Whether the portal knows who this is."""
        return (await self.get("/me")).status == 200

    @property
    def session(self) -> str:
        return self.jar.get("__Host-safeip-session", "")

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        headers = {"X_Forwarded_For": self.address, **self.headers, **more}
        if self.jar and "Cookie" not in headers:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        return headers

    def _kept(self, answer: Answer) -> Answer:
        for key, line in answer.headers:
            if key.lower() == "set-cookie":
                name, _, value = line.partition(";")[0].partition("=")
                self.jar[name] = value
                if not value or "Max-Age=0" in line:
                    del self.jar[name]
        if tokens := FORM.findall(answer.body.decode("utf-8", "replace")):
            self.token = tokens[-1]  # the first may be that of the button to sign out
        return answer


@dataclass
class Town:
    """`mamie` and `yves` are members with the service cloud who may make links, `ann` is the admin."""

    house: House

    @property
    def access(self) -> Any:
        return self.house.site.access

    @property
    def routes(self) -> list[Any]:
        """Every route of the public pages, and who may pass."""
        return list(self.house.door.routes)

    @property
    def gate(self) -> dict[tuple[str, str, str], Any]:
        """What is open: service, address, holder."""
        return self.house.peer.grants

    def browser(self, address: str = "203.0.113.5") -> Browser:
        return Browser(self.house, address)

    async def at(self, name: str, address: str = "203.0.113.5") -> Browser:
        """A browser that is signed in, without the work of signing in."""
        token, _session = await self.access.sessions.start(self.person(name), address, "test")
        browser = self.browser(address)
        browser.jar["__Host-safeip-session"] = token
        browser.jar["__Host-safeip"] = "A" * 22
        return browser

    def person(self, name: str) -> Any:
        return self.access.people.get(Actor.CLI, name)

    def actor(self, name: str) -> Actor:
        person = self.person(name)
        return Actor(person.holder, person.role == "admin", "203.0.113.5", person)

    def code(self, name: str, ahead: int = 0) -> str:
        """The code that the person's authenticator shows, `ahead` steps from now."""
        person = self.person(name)
        secret = self.access.key.totp_secret(name, person.totp)
        return str(pyotp.TOTP(secret).at(int(self.house.now[0]) + 30 * ahead))

    def later(self, seconds: float = 30) -> None:
        """Time goes by, for the portal."""
        self.house.now[0] += seconds

    async def link(self, owner: str | None = None, **values: Any) -> Any:
        by = Actor.CLI if owner is None else self.actor(owner)
        return await self.access.links.add(by, values.pop("label", "Jean"), ["cloud"], **values)

    async def events(self, event: str) -> list[dict[str, Any]]:
        return list(await self.access.history.read(10_000, Wanted(event=event)))


async def settle_in(home: House) -> Town:
    """People with passwords; ann with TOTP, as an admin has to have it."""
    town = Town(home)
    for name, role in (("mamie", "member"), ("yves", "member"), ("ann", "admin")):
        person = await town.access.people.add(
            Actor.CLI, name, role=role, services=["cloud"] if role == "member" else [], may_link=role == "member"
        )
        person = replace(person, password=hashed(PASSWORD), totp=SEED if role == "admin" else None)
        await town.access.state.change_person(name, lambda _person, to=person: to)
    return town


@asynccontextmanager
async def town(directory: Path, **settings: Any) -> AsyncIterator[Town]:
    """Behind a proxy, so that every browser has an address of its own."""
    chosen = {"trusted_proxies": (ip_network("127.0.0.0/8"),), "registration": "approval", **settings}
    async with house(directory, **chosen) as home:
        yield await settle_in(home)
