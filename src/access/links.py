"""The links of a house: made, found by their token, withdrawn."""

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from access.actor import Actor, NotAllowed
from access.duration import LONGEST_S
from access.finish import finish
from access.gate import Gate
from access.hashes import Hashes
from access.history import History
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
from access.pace import Pace
from access.secret import Key, same
from access.services import Service
from access.state import State, Tables, UnknownLink
from access.store import MOST
from access.underway import Underway

MOST_LINKS = 10_000
MOST_OF_ONE = 50
"""Links that one member may have."""
MOST_USES = 1_000_000
MOST_ADDRESSES = 1_000

_ID_BYTES = 4  # more than the 30 bits of 6 characters


class UsedUp(Exception):
    """No use is left to spend."""


class Links:
    """An admin's hand reaches all links, a member's only their own: others are UnknownLink to them.

    A token with the scope links reaches the house's, those that nobody owns, all of whose services are within its limit;
    Throttled where it changes too much (Pace).

    All methods that change something raise NotSaved, and then nothing was changed.
    """

    def __init__(
        self,
        state: State,
        key: Key,
        services: Mapping[str, Service],
        gate: Gate,
        hashes: Hashes,
        history: History,
        underway: Underway,
        pace: Pace,
        *,
        clock: Clock = time.time,
    ) -> None:
        self._state = state
        self._key = key
        self._services = services
        self._gate = gate
        self._clock = clock
        self._hashes = hashes
        self._history = history
        self._underway = underway
        self._pace = pace

    def list(self, by: Actor) -> list[Link]:
        """All that the actor may see, the oldest first. NotAllowed for a token that has not the scope."""
        if by.token is not None:
            by.need("links")
        mine = [link for link in self._state.links.values() if _may(by, link)]
        return sorted(mine, key=lambda link: (link.created_at, link.id))

    def get(self, by: Actor, link_id: str) -> Link:
        """Raises UnknownLink."""
        link = self._state.links.get(link_id)
        if link is None or not _may(by, link):
            raise UnknownLink(link_id)
        return link

    def find(self, token: str) -> Link | None:
        """The link of a URL's token, whatever its state; None for any other text, after as much work."""
        link_id, _, _ = token.partition("-")
        link = self._state.links.get(link_id)
        expected = self._key.link_token(link.id if link else "", link.generation if link else 0)
        return link if same(token, expected) else None

    def known(self, link_id: str, generation: int) -> Link | None:
        """The link of this id, whatever its state; None where it was removed, or rotated since."""
        link = self._state.links.get(link_id)
        return link if link is not None and link.generation == generation else None

    def token(self, link: Link) -> str:
        """What makes its URL. A secret."""
        return self._key.link_token(link.id, link.generation)

    def opens(self, link: Link) -> tuple[Service, ...]:
        """Of its services, those that are configured and that its owner may open through links."""
        allowed = self._services
        if link.owner is not None:
            owner = self._state.people.get(link.owner)
            rights = () if owner is None else owner.links_open(self._services)
            allowed = {service.name: service for service in rights}
        return tuple(allowed[name] for name in link.services if name in allowed)

    def wanting_pin(self, link: Link) -> tuple[str, ...]:
        """The services for which a link without a PIN opens nothing at shared addresses."""
        return () if link.pin else tuple(service.name for service in self.opens(link) if service.shared_pin)

    def may_add(self, by: Actor) -> Mapping[str, Service]:
        """The services that the actor may make links for; none where they may make no links."""
        if by.person is None:
            return by.reaches(self._services) if by.may("links") else {}
        person = self._state.people.get(by.person.name)
        rights = () if person is None else person.links_open(self._services)
        return {service.name: service for service in rights}

    async def add(
        self,
        by: Actor,
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
        """Make a link; a member's is their own, an admin's is the house's.

        Values may come as they were typed: BadInput names the field as the API calls it. `duration_s` None:
        each service's default. `expires_s`: the link's own life from now. Raises Busy; NotAllowed for a
        member or a token who may make none.
        """
        allowed = self.may_add(by)
        if not allowed:
            raise NotAllowed(f"{by.holder} may make no links")
        clean_services = check_services(services, allowed)
        now = int(self._clock())
        lives_s = check_count(expires_s, "expires", most=LONGEST_S)
        link = Link(
            id="",
            label=check_label(label),
            services=clean_services,
            created_at=now,
            owner=None if by.admin else by.name,
            duration_s=check_duration(duration_s, clean_services, self._services),
            expires_at=None if lives_s is None else now + lives_s,
            uses=check_count(uses, "uses", most=MOST_USES),
            addresses=check_count(addresses, "addresses", most=MOST_ADDRESSES),
            to=check_url(to),
        )
        if (clean_pin := check_pin(pin)) is not None:
            link = replace(link, pin=await self._hashes.hash(clean_pin))
        while (link_id := _new_id()) in self._state.links:
            pass
        link = replace(link, id=link_id)
        self._pace.need(by)
        await self._state.commit(lambda tables: _insert(tables, by, link))
        self._record("link-added", by, link)
        return link

    async def resume(self, by: Actor, link_id: str) -> Link:
        """Undo a pause. Raises UnknownLink."""
        self._pace.need(by)
        link = await self._state.commit(_change(by, link_id, lambda link: replace(link, paused=False)))
        self._record("link-resumed", by, link)
        return link

    async def pause(self, by: Actor, link_id: str) -> Link:
        """Let the link open nothing until it is resumed, and close what it opened.

        Raises UnknownLink; GateUnavailable when the link is paused but what it opened may still be open.
        """
        edit = _change(by, link_id, lambda link: replace(link, paused=True))
        return await finish(self._withdraw("link-paused", by, edit))

    async def rotate(self, by: Actor, link_id: str) -> Link:
        """Make the link's URL unknown, give it a new one, close what it opened. Raises as pause does."""
        edit = _change(by, link_id, lambda link: replace(link, generation=link.generation + 1))
        return await finish(self._withdraw("link-rotated", by, edit))

    async def remove(self, by: Actor, link_id: str) -> Link:
        """Forget the link, and close what it opened; gives back what it was. Raises as pause does."""
        return await finish(self._withdraw("link-removed", by, _change(by, link_id, None)))

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

    async def _withdraw(self, event: str, by: Actor, edit: Callable[[Tables], Link]) -> Link:
        self._pace.need(by)
        link = await self._state.commit(edit)
        self._record(event, by, link)
        # From here on openings are refused. Those let through before must be open before they can be closed.
        async with self._underway.closing(link.holder):
            await self._gate.revoke(holder=link.holder)
        return link

    def _record(self, event: str, by: Actor, link: Link) -> None:
        self._pace.count(by)
        self._history.record(
            event,
            by=by.holder,
            source=by.address,
            holder=link.holder,
            note=link.label,
            services=link.services,
        )


def _may(by: Actor, link: Link) -> bool:
    if by.token is not None and not by.admin:
        limit = by.token.services
        within = limit is None or set(link.services) <= set(limit)
        return by.may("links") and link.owner is None and within
    return by.admin or (by.name is not None and link.owner == by.name)


def _change(by: Actor, link_id: str, change: Callable[[Link], Link] | None) -> Callable[[Tables], Link]:
    """An edit of one link that the actor may touch; None forgets it."""

    def edit(tables: Tables) -> Link:
        by.need_still(tables)
        link = tables.link(link_id)
        if not _may(by, link):
            raise UnknownLink(link_id)
        if change is None:
            return tables.links.pop(link_id)
        tables.links[link_id] = changed = change(link)
        return changed

    return edit


def _insert(tables: Tables, by: Actor, link: Link) -> None:
    by.need_still(tables)
    if link.id in tables.links:
        raise BadInput("label", "could not be added; try again")  # two at once drew the same id of 2**30
    if len(tables.links) >= MOST_LINKS:
        raise BadInput(
            "label", "cannot be added: there are %(most)s links already; remove some", most=MOST_LINKS
        )
    if link.owner is not None and (
        sum(one.owner == link.owner for one in tables.links.values()) >= MOST_OF_ONE
    ):
        raise BadInput(
            "label", "cannot be added: you have %(most)s links already; remove some", most=MOST_OF_ONE
        )
    tables.links[link.id] = link


def _new_id() -> str:
    return base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()[:6]
