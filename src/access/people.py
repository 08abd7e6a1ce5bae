"""The people of a house: added, asked for, invited, changed, removed."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from access.actor import Actor
from access.address import Address
from access.enrolment import anew, new_era
from access.finish import finish
from access.gate import Gate
from access.guard import Guard, Throttled
from access.hashes import Hashes
from access.history import History
from access.inputs import BadInput, check_message, check_name, check_services
from access.moment import Clock
from access.password import check_password
from access.person import Invitation, Person, Role
from access.services import Service
from access.state import State, Tables, UnknownPerson
from access.underway import Underway

MOST_PEOPLE = 1_000
MOST_ASKING = 50
ASKING_S = 14 * 86400
"""How long somebody who asks waits for approval, in seconds. Then they are forgotten."""
INVITATION_S = 7 * 86400
"""How long an invitation lives, in seconds."""

_INVITATION_BYTES = 20

_R = TypeVar("_R")


class People:
    """Who may sign in, and what they may open.

    Changes are an admin's to make, never a token's: NotAllowed for others. They raise BadInput, UnknownPerson and NotSaved,
    and then nothing was changed; GateUnavailable when the change was made but what was taken away may
    still be open.
    """

    def __init__(
        self,
        state: State,
        services: Mapping[str, Service],
        gate: Gate,
        hashes: Hashes,
        guard: Guard,
        history: History,
        underway: Underway,
        *,
        clock: Clock = time.time,
        host: str = "",
    ) -> None:
        """`host`: the portal's, which no password should consist of."""
        self._state = state
        self._services = services
        self._gate = gate
        self._hashes = hashes
        self._guard = guard
        self._history = history
        self._underway = underway
        self._clock = clock
        self._host = host

    def list(self, by: Actor) -> list[Person]:
        """All, by name; those who ask first. Raises NotAllowed."""
        by.need_admin()
        there = [person for person in self._state.people.values() if not self._forgotten(person)]
        return sorted(there, key=lambda person: (person.asked is None, person.name))

    def get(self, by: Actor, name: str) -> Person:
        """One, for an admin or for themselves. Raises UnknownPerson."""
        person = self._state.people.get(name)
        if person is None or self._forgotten(person) or not (by.admin or by.name == name):
            raise UnknownPerson(name)
        return person

    async def add(
        self,
        by: Actor,
        name: object,
        *,
        role: Role = "member",
        services: Sequence[str] = (),
        may_link: bool = False,
        password: object = None,
    ) -> Person:
        """Add a person, who cannot sign in before they have a password: one is given here, or by invitation."""
        by.need_hand()
        clean = check_name(name)
        person = Person(
            name=clean,
            role=role,
            created_at=int(self._clock()),
            services=self._check_services(services),
            may_link=may_link,
            era=new_era(),
        )
        if password is not None:
            text = await check_password(password, clean, host=self._host)
            person = replace(person, password=await self._hashes.hash(text))

        def edit(tables: Tables) -> None:
            if clean in tables.people:
                raise BadInput("name", "is taken; choose another, or look among those who ask")
            if len(tables.people) >= MOST_PEOPLE:
                raise BadInput("name", "cannot be added: there are %(most)s people already", most=MOST_PEOPLE)
            tables.people[clean] = person

        await self._commit(by, edit)
        self._record("person-added", by, person)
        return person

    async def change(
        self,
        by: Actor,
        name: str,
        *,
        role: Role | None = None,
        services: Sequence[str] | None = None,
        may_link: bool | None = None,
    ) -> Person:
        """Change what is given. Another role ends their sessions; what they and their links lose is closed."""
        by.need_hand()
        clean, era = None if services is None else self._check_services(services), new_era()

        def edit(tables: Tables) -> tuple[Person, Person]:
            person = self._known(tables, name)
            changed = replace(
                person,
                role=role or person.role,
                services=person.services if clean is None else clean,
                may_link=person.may_link if may_link is None else may_link,
            )
            if changed.role != person.role:
                self._keep_an_admin(tables, person, "role")
                changed = anew(changed, era)
            tables.people[name] = changed
            return person, changed

        async def work() -> Person:
            before, after = await self._commit(by, edit)
            self._record("person-changed", by, after)
            await self._close_lost(before, after)
            return after

        return await finish(work())

    async def remove(self, by: Actor, name: str) -> Person:
        """Forget a person, their links and sessions, and close what they and their links opened."""
        by.need_hand()

        def edit(tables: Tables) -> tuple[Person, list[str]]:
            person = self._known(tables, name)
            self._keep_an_admin(tables, person, "name")
            owned = [link for link in tables.links.values() if link.owner == name]
            for link in owned:
                del tables.links[link.id]
            del tables.people[name]
            return person, [person.holder, *(link.holder for link in owned)]

        async def work() -> Person:
            person, holders = await self._commit(by, edit)
            self._record("person-removed", by, person)
            for holder in holders:
                async with self._underway.closing(holder):
                    await self._gate.revoke(holder=holder)
            return person

        return await finish(work())

    async def ask(
        self, name: object, password: object, message: object, *, address: Address, trusted: bool
    ) -> None:
        """A stranger asks to be let in. Whether the name is taken is told by nothing: not even by the time.

        Raises BadInput for a name, password or message that nobody could have; Throttled, NotSaved, Busy.
        Each time is a strike, so that nobody asks for many.
        """
        if wait_s := self._guard.may_try_s(address, trusted=trusted):
            raise Throttled(wait_s)
        clean, words = check_name(name), check_message(message)
        text = await check_password(password, clean, host=self._host)
        self._guard.count("ask", address, trusted=trusted)
        person = Person(
            name=clean,
            role="member",
            created_at=int(self._clock()),
            password=await self._hashes.hash(text),
            asked=words,
            era=new_era(),
        )

        def edit(tables: Tables) -> str | None:
            tables.people = {key: one for key, one in tables.people.items() if not self._forgotten(one)}
            if clean in tables.people:
                return "taken"
            if sum(one.asked is not None for one in tables.people.values()) >= MOST_ASKING:
                return "too-many"
            tables.people[clean] = person
            return None

        refused = await self._state.commit(edit)  # writes, whatever comes of it
        self._history.record(
            "person-asked",
            outcome="allowed" if refused is None else "refused",
            reason=refused,
            source=str(address),
            person=clean,
        )

    async def approve(
        self, by: Actor, name: str, *, services: Sequence[str], may_link: bool = False
    ) -> Person:
        """Let somebody who asks sign in, as a member who may open `services`."""
        by.need_hand()
        clean, era = self._check_services(services), new_era()

        def approved(person: Person) -> Person:
            return replace(anew(person, era), asked=None, services=clean, may_link=may_link)

        return await self._settle(by, name, "person-approved", approved)

    async def refuse(self, by: Actor, name: str) -> Person:
        """Forget somebody who asks."""
        by.need_hand()
        return await self._settle(by, name, "person-refused", None)

    async def invite(self, by: Actor, name: str) -> str:
        """The token of a new invitation, known now and never again; one before it is of no use any more.

        Whoever opens it within a week sets password and TOTP; until then the old ones are good.
        """
        by.need_hand()
        token = secrets.token_urlsafe(_INVITATION_BYTES)
        invitation = Invitation(hashlib.sha256(token.encode()).hexdigest(), int(self._clock()) + INVITATION_S)

        def edit(tables: Tables) -> Person:
            person = self._known(tables, name)
            if person.asked is not None:
                raise BadInput("name", "asks to be let in; approve that first")
            tables.people[name] = replace(person, invitation=invitation)
            return person

        self._record("person-invited", by, await self._commit(by, edit))
        return token

    async def sign_out_everywhere(self, by: Actor, name: str) -> Person:
        """End all sessions of a person: one's own, as an admin anybody's."""
        if by.name != name:
            by.need_hand()
        era = new_era()

        def edit(tables: Tables) -> Person:
            tables.people[name] = person = anew(tables.person(name), era)
            return person

        person = await self._commit(by, edit)
        self._record("signed-out-everywhere", by, person)
        return person

    async def _settle(
        self, by: Actor, name: str, event: str, change: Callable[[Person], Person] | None
    ) -> Person:
        def edit(tables: Tables) -> Person:
            person = self._known(tables, name)
            if person.asked is None:
                raise BadInput("name", "does not ask any more; somebody has decided already")
            if change is None:
                return tables.people.pop(name)
            tables.people[name] = person = change(person)
            return person

        person = await self._commit(by, edit)
        self._record(event, by, person)
        return person

    async def _commit(self, by: Actor, edit: Callable[[Tables], _R]) -> _R:
        def checked(tables: Tables) -> _R:
            by.need_still(tables)  # a hash, or the disk, took its time
            return edit(tables)

        return await self._state.commit(checked)

    async def _close_lost(self, before: Person, after: Person) -> None:
        lost = _without(before.opens(self._services), after.opens(self._services))
        links_lost = _without(before.links_open(self._services), after.links_open(self._services))
        owned = [link.holder for link in self._state.links.values() if link.owner == after.name]
        for names, holders in ((lost, [after.holder]), (links_lost, owned)):
            for holder in holders if names else []:
                async with self._underway.closing(holder):
                    for name in names:
                        await self._gate.revoke(service=name, holder=holder)

    def _known(self, tables: Tables, name: str) -> Person:
        person = tables.person(name)
        if self._forgotten(person):
            raise UnknownPerson(name)
        return person

    def _forgotten(self, person: Person) -> bool:
        return person.asked is not None and self._clock() >= person.created_at + ASKING_S

    def _check_services(self, names: Sequence[str]) -> tuple[str, ...]:
        return check_services(names, self._services) if names else ()

    def _keep_an_admin(self, tables: Tables, person: Person, field: str) -> None:
        if not (person.admin and person.state == "active"):
            return
        others = (one for one in tables.people.values() if one.name != person.name)
        if not any(one.admin and one.state == "active" for one in others):
            raise BadInput(field, "stays: this is the last admin; make another person admin first")

    def _record(self, event: str, by: Actor, person: Person) -> None:
        self._history.record(
            event, by=by.holder, source=by.address, person=person.name, services=person.services
        )


def _without(before: Iterable[Service], after: Iterable[Service]) -> list[str]:
    left = {service.name for service in after}
    return [service.name for service in before if service.name not in left]
