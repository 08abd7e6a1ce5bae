"""state.json: links, people and tokens."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self, TypeVar

from access import files
from access.duration import format_duration
from access.inputs import check_label, check_name, check_url
from access.link import Link
from access.moment import moment_text
from access.person import Invitation, Person
from access.shape import Fields
from access.store import MOST, Store
from access.token import Token
from access.token_row import read_token, token_row

FILE = "state.json"

LINK_ID = re.compile(r"[a-z2-7]{6}")
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,23}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SEED = re.compile(r"[0-9a-f]{32}")
_ROLE = re.compile(r"admin|member")
_ERA = re.compile(r"[A-Za-z0-9_-]{0,64}")
_RECOVERY_CODES = 10

_R = TypeVar("_R")


class UnknownLink(LookupError):
    """There is no link with this id."""

    def __init__(self, link_id: str) -> None:
        super().__init__(f"there is no link {link_id[:40]!a}")
        self.link_id = link_id


class UnknownPerson(LookupError):
    """There is no person of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no person {name[:40]!a}")
        self.name = name


class UnknownToken(LookupError):
    """There is no token with this id."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no token {token_id[:40]!a}")
        self.token_id = token_id


@dataclass(slots=True)
class Tables:
    """Links by id, people by name, tokens by id."""

    links: dict[str, Link] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def link(self, link_id: str) -> Link:
        """Raises UnknownLink."""
        if link_id not in self.links:
            raise UnknownLink(link_id)
        return self.links[link_id]

    def person(self, name: str) -> Person:
        """Raises UnknownPerson."""
        if name not in self.people:
            raise UnknownPerson(name)
        return self.people[name]

    @property
    def needs_key(self) -> bool:
        """Whether anything of it derives from secret.key: URLs of links, TOTP secrets."""
        return bool(self.links) or any(person.totp is not None for person in self.people.values())

    @classmethod
    def read(cls, top: Fields) -> Self:
        """From a document. Raises StateError."""
        tables = cls(
            {key: _link(fields, key) for key, fields in top.rows("links")},
            {key: _person(fields, key) for key, fields in top.rows("people")},
            {key: read_token(fields, key) for key, fields in top.rows("tokens")},
        )
        for link in tables.links.values():
            if link.owner is not None and link.owner not in tables.people:
                raise files.StateError(top.file, f"links.{link.id}.owner", "is no person; remove the link")
        return tables

    def document(self) -> dict[str, Any]:
        """As JSON objects."""
        return {
            "links": {link.id: _link_fields(link) for link in self.links.values()},
            "people": {person.name: _person_fields(person) for person in self.people.values()},
            "tokens": {token.id: token_row(token) for token in self.tokens.values()},
        }

    def copy(self) -> Self:
        """New dictionaries with the same rows."""
        return type(self)(dict(self.links), dict(self.people), dict(self.tokens))


class State:
    """The state of one directory, which it holds locked until close(). See Store for what lasts when."""

    def __init__(self, directory: str, *, lazy_s: float = 10.0, wait_s: float = 3.0) -> None:
        """Read the state, or begin an empty one. Raises StateError.

        Blocks, and up to `wait_s` seconds for a portal before this one that is on its way out.
        """
        self.path = f"{directory}/{FILE}"
        self._directory = files.lock_directory(directory, wait_s)
        try:
            self._store = Store(self.path, Tables, lazy_s=lazy_s)
        except BaseException:
            self.release()
            raise

    @property
    def links(self) -> Mapping[str, Link]:
        """The links by id, as they are now."""
        return MappingProxyType(self._store.tables.links)

    @property
    def needs_key(self) -> bool:
        """See Tables."""
        return self._store.tables.needs_key

    @property
    def people(self) -> Mapping[str, Person]:
        """The people by name, as they are now."""
        return MappingProxyType(self._store.tables.people)

    @property
    def tokens(self) -> Mapping[str, Token]:
        """The tokens by id, as they are now."""
        return MappingProxyType(self._store.tables.tokens)

    async def commit(self, edit: Callable[[Tables], _R]) -> _R:
        """Change several rows at once. `edit` may run twice, may raise. Raises NotSaved and what `edit` raises."""
        return await self._store.commit(edit)

    async def add(self, link: Link) -> Link:
        """Make a link with a new id last. Raises NotSaved."""
        return await self.commit(lambda tables: tables.links.setdefault(link.id, link))

    async def remove(self, link_id: str) -> Link:
        """Forget a link and give back what it was. Raises UnknownLink, NotSaved."""

        def edit(tables: Tables) -> Link:
            link = tables.link(link_id)
            del tables.links[link_id]
            return link

        return await self.commit(edit)

    async def change(self, link_id: str, change: Callable[[Link], Link]) -> Link:
        """Make what `change` makes of a link last. Raises UnknownLink, NotSaved, and what `change` raises."""

        def edit(tables: Tables) -> Link:
            tables.links[link_id] = changed = change(tables.link(link_id))
            return changed

        return await self.commit(edit)

    async def change_person(self, name: str, change: Callable[[Person], Person]) -> Person:
        """Make what `change` makes of a person last. Raises UnknownPerson, NotSaved, and what `change` raises."""

        def edit(tables: Tables) -> Person:
            tables.people[name] = changed = change(tables.person(name))
            return changed

        return await self.commit(edit)

    def change_lazily(self, link_id: str, change: Callable[[Link], Link]) -> None:
        """Change counts of a link, if it is still there; the disk follows. Needs a running event loop."""

        def edit(tables: Tables) -> None:
            tables.links[link_id] = change(tables.links[link_id])

        if link_id in self.links:
            self._store.change_lazily(edit)

    def change_person_lazily(self, name: str, change: Callable[[Person], Person]) -> None:
        """The same for a person."""

        def edit(tables: Tables) -> None:
            tables.people[name] = change(tables.people[name])

        if name in self.people:
            self._store.change_lazily(edit)

    def change_token_lazily(
        self, token_id: str, change: Callable[[Token], Token], *, within_s: float
    ) -> None:
        """The same for a token; the disk follows within so many seconds."""

        def edit(tables: Tables) -> None:
            tables.tokens[token_id] = change(tables.tokens[token_id])

        if token_id in self.tokens:
            self._store.change_lazily(edit, within_s=within_s)

    async def close(self) -> None:
        """Write what is left and let the directory go, even where that raises NotSaved."""
        try:
            await self._store.close()
        finally:
            self.release()

    def release(self) -> None:
        """Let the directory go and write nothing."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def _link(fields: Fields, link_id: str) -> Link:
    if not LINK_ID.fullmatch(link_id):
        raise files.StateError(fields.file, fields.place, "is not a link's id: 6 characters of a-z and 2-7")
    link = Link(
        id=link_id,
        label=fields.checked("label", check_label),
        owner=fields.maybe("owner", lambda key: fields.checked(key, check_name)),
        services=fields.names("services", _SERVICE),
        duration_s=fields.maybe("duration", fields.duration),
        expires_at=fields.maybe("expires_at", fields.moment),
        uses=fields.maybe("uses", lambda key: fields.number(key, 1, MOST)),
        used=fields.number("used", 0, MOST),
        addresses=fields.maybe("addresses", lambda key: fields.number(key, 1, MOST)),
        pin=fields.maybe("pin", fields.hash),
        paused=fields.flag("paused"),
        generation=fields.number("generation", 1, MOST),
        to=fields.maybe("to", lambda key: fields.checked(key, check_url)),
        created_at=fields.moment("created_at"),
        last_used_at=fields.maybe("last_used_at", fields.moment),
    )
    fields.end()
    return link


def _link_fields(link: Link) -> dict[str, Any]:
    return {
        "label": link.label,
        "owner": link.owner,
        "services": link.services,
        "duration": None if link.duration_s is None else format_duration(link.duration_s),
        "expires_at": _moment(link.expires_at),
        "uses": link.uses,
        "used": link.used,
        "addresses": link.addresses,
        "pin": link.pin,
        "paused": link.paused,
        "generation": link.generation,
        "to": link.to,
        "created_at": moment_text(link.created_at),
        "last_used_at": _moment(link.last_used_at),
    }


def _person(fields: Fields, name: str) -> Person:
    try:
        clean = check_name(name)
    except ValueError:
        clean = ""
    if clean != name:
        raise files.StateError(
            fields.file, fields.place, "is not a name: a-z, then a-z, 0-9, '.', '_' and '-'"
        )
    person = Person(
        name=name,
        role="admin" if fields.match("role", _ROLE, "admin or member") == "admin" else "member",
        services=fields.names("services", _SERVICE, empty=True),
        may_link=fields.flag("links"),
        password=fields.maybe("password", fields.hash),
        totp=fields.maybe("totp", lambda key: fields.match(key, _SEED, "a TOTP seed")),
        totp_step=fields.number("totp_step", 0, MOST),
        recovery=fields.hashes("recovery", _RECOVERY_CODES),
        invitation=fields.maybe("invitation", lambda key: _invitation(fields.inner(key))),
        asked=fields.maybe("asked", lambda key: fields.text(key, 500)),
        era=fields.match("era", _ERA, "an era"),
        created_at=fields.moment("created_at"),
        last_seen_at=fields.maybe("last_seen_at", fields.moment),
    )
    fields.end()
    return person


def _invitation(fields: Fields) -> Invitation:
    invitation = Invitation(fields.match("digest", _DIGEST, "a SHA-256 in hex"), fields.moment("expires_at"))
    fields.end()
    return invitation


def _person_fields(person: Person) -> dict[str, Any]:
    invitation = person.invitation
    return {
        "role": person.role,
        "services": person.services,
        "links": person.may_link,
        "password": person.password,
        "totp": person.totp,
        "totp_step": person.totp_step,
        "recovery": person.recovery,
        "invitation": None
        if invitation is None
        else {"digest": invitation.digest, "expires_at": moment_text(invitation.expires_at)},
        "asked": person.asked,
        "era": person.era,
        "created_at": moment_text(person.created_at),
        "last_seen_at": _moment(person.last_seen_at),
    }


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else moment_text(seconds)
