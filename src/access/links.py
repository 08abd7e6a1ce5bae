"""The links of a house: made, found by their token, withdrawn."""

import asyncio
import base64
import secrets
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from access.duration import LONGEST_S
from access.finish import finish
from access.gate import Gate
from access.hashes import Hashes
from access.inputs import (
    BadInput,
    check_count,
    check_duration,
    check_label,
    check_pin,
    check_services,
    check_url,
)
from access.link import Link
from access.moment import Clock
from access.secret import Key, same
from access.services import Service
from access.state import State, UnknownLink
from access.store import MOST

MOST_LINKS = 10_000
MOST_USES = 1_000_000
MOST_ADDRESSES = 1_000

_ID_BYTES = 4  # more than the 30 bits of 6 characters


class UsedUp(Exception):
    """No use is left to spend."""


class Links:
    """All methods that change something raise NotSaved, and then nothing was changed."""

    def __init__(
        self,
        state: State,
        key: Key,
        services: Mapping[str, Service],
        gate: Gate,
        hashes: Hashes,
        *,
        clock: Clock = time.time,
    ) -> None:
        self._state = state
        self._key = key
        self._services = services
        self._gate = gate
        self._clock = clock
        self._hashes = hashes
        self._underway: dict[str, set[asyncio.Task[Any]]] = {}

    def list(self) -> list[Link]:
        """All links, the oldest first."""
        return sorted(self._state.links.values(), key=lambda link: (link.created_at, link.id))

    def get(self, link_id: str) -> Link:
        """Raises UnknownLink."""
        link = self._state.links.get(link_id)
        if link is None:
            raise UnknownLink(link_id)
        return link

    def find(self, token: str) -> Link | None:
        """The link of a URL's token, whatever its state; None for any other text, after as much work."""
        link_id, _, _ = token.partition("-")
        link = self._state.links.get(link_id)
        expected = self._key.link_token(link.id if link else "", link.generation if link else 0)
        return link if same(token, expected) else None

    def token(self, link: Link) -> str:
        """What makes its URL. A secret."""
        return self._key.link_token(link.id, link.generation)

    async def add(
        self,
        label: object,
        services: object,
        *,
        duration_s: object = None,
        expires_s: object = None,
        uses: object = None,
        addresses: object = None,
        pin: object = None,
        to: object = None,
    ) -> Link:
        """Make a link. Values may come as they were typed: BadInput names the field as the API calls it.

        `duration_s` None: each service's default. `expires_s`: the link's own life from now. Raises Busy.
        """
        clean_services = check_services(services, self._services)
        now = int(self._clock())
        lives_s = check_count(expires_s, "expires", most=LONGEST_S)
        link = Link(
            id="",
            label=check_label(label),
            services=clean_services,
            created_at=now,
            duration_s=check_duration(duration_s, clean_services, self._services),
            expires_at=None if lives_s is None else now + lives_s,
            uses=check_count(uses, "uses", most=MOST_USES),
            addresses=check_count(addresses, "addresses", most=MOST_ADDRESSES),
            to=check_url(to),
        )
        if (clean_pin := check_pin(pin)) is not None:
            link = replace(link, pin=await self._hashes.hash(clean_pin))
        if len(self._state.links) >= MOST_LINKS:
            raise BadInput("label", f"cannot be added: there are {MOST_LINKS} links already; remove some")
        while (link_id := _new_id()) in self._state.links:
            pass
        return await self._state.add(replace(link, id=link_id))

    async def resume(self, link_id: str) -> Link:
        """Undo a pause. Raises UnknownLink."""
        return await self._state.change(link_id, lambda link: replace(link, paused=False))

    async def pause(self, link_id: str) -> Link:
        """Let the link open nothing until it is resumed, and close what it opened.

        Raises UnknownLink; GateUnavailable when the link is paused but what it opened may still be open.
        """
        return await finish(
            self._withdraw(self._state.change(link_id, lambda link: replace(link, paused=True)))
        )

    async def rotate(self, link_id: str) -> Link:
        """Make the link's URL unknown, give it a new one, close what it opened. Raises as pause does."""
        change = self._state.change(link_id, lambda link: replace(link, generation=link.generation + 1))
        return await finish(self._withdraw(change))

    async def remove(self, link_id: str) -> Link:
        """Forget the link, and close what it opened; gives back what it was. Raises as pause does."""
        return await finish(self._withdraw(self._state.remove(link_id)))

    async def spend_use(self, link_id: str) -> Link:
        """Count a use of a link with `uses` and make it last. Raises UsedUp, UnknownLink, NotSaved."""
        now = int(self._clock())

        def spend(link: Link) -> Link:
            if link.used_up:
                raise UsedUp
            return replace(link, used=link.used + 1, last_used_at=now)

        return await self._state.change(link_id, spend)

    def give_use_back(self, link_id: str) -> None:
        """Undo spend_use. A power cut within seconds may lose it: then the use stays spent."""
        self._state.change_lazily(link_id, lambda link: replace(link, used=max(0, link.used - 1)))

    def count_use(self, link_id: str) -> None:
        """Note an opening that needs no lasting."""
        now = int(self._clock())
        self._state.change_lazily(
            link_id, lambda link: replace(link, used=min(link.used + 1, MOST), last_used_at=now)
        )

    @contextmanager
    def underway(self, link_id: str) -> Iterator[None]:
        """Around an opening, in a task of its own: who withdraws the link waits for it before closing."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an opening runs in a task")
        tasks = self._underway.setdefault(link_id, set())
        tasks.add(task)
        try:
            yield
        finally:
            tasks.discard(task)
            if not tasks:
                self._underway.pop(link_id, None)

    async def settle(self) -> None:
        """Wait for the openings that are underway."""
        for tasks in list(self._underway.values()):
            await asyncio.wait(tasks)

    async def _withdraw(self, change: Coroutine[Any, Any, Link]) -> Link:
        link = await change
        # From here on openings are refused. Those let through before must be open before they can be closed.
        if tasks := self._underway.get(link.id):
            await asyncio.wait(tasks)
        await self._gate.revoke(holder=link.holder)
        return link


def _new_id() -> str:
    return base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()[:6]
