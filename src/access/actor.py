"""Who acts, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from access.address import Address
from access.person import Person
from access.services import Service
from access.token import Scope, Token


class NotAllowed(Exception):
    """The actor may not do this. The message is for logs, tests and programs."""


class Known(Protocol):
    """Who there is at this moment: the state, or its tables."""

    @property
    def people(self) -> Mapping[str, Person]:
        """By name."""

    @property
    def tokens(self) -> Mapping[str, Token]:
        """By id."""


@dataclass(frozen=True, slots=True)
class Actor:
    """`holder` is "cli", "person:NAME" or "token:ID"; `address` where they act from, None on the control socket.

    `admin`: may do everything; of tokens only one with the scope admin and without a limit of services.
    """

    CLI: ClassVar["Actor"]
    """Root at the command line."""

    holder: str
    admin: bool
    address: str | None = None
    person: Person | None = None
    token: Token | None = None

    @property
    def name(self) -> str | None:
        """The person's name; None for the command line and tokens."""
        return None if self.person is None else self.person.name

    def may(self, scope: Scope) -> bool:
        """Whether the actor may do what a token needs this scope for, on the services within its reach."""
        return self.admin or (self.token is not None and self.token.may(scope))

    def reaches(self, services: Mapping[str, Service]) -> Mapping[str, Service]:
        """Those of `services` that lie within the limit of the actor's token; all where there is none."""
        return services if self.token is None else self.token.reaches(services)

    def need(self, scope: Scope) -> None:
        """Raise NotAllowed for who may not."""
        if not self.may(scope):
            raise NotAllowed(f"{self.holder} may not: it needs the scope {scope}")

    @property
    def hand(self) -> bool:
        """Whether an admin's own hand, or the command line."""
        return self.admin and self.token is None

    @property
    def limited(self) -> bool:
        """Whether a token, and limited to services."""
        return self.token is not None and self.token.services is not None

    def need_house(self, scope: Scope) -> None:
        """The same for what is no single service's: a token needs the scope without a limit of services."""
        self.need(scope)
        if self.limited:
            raise NotAllowed(f"{self.holder} may not: it is limited to services, and this is the house's")

    def need_whole(self) -> None:
        """Raise NotAllowed for a token that may not close everything; a member's everything is their own."""
        if self.token is not None:
            self.need_admin()

    def need_admin(self) -> None:
        """Raise NotAllowed for everybody else."""
        if not self.admin:
            raise NotAllowed(f"{self.holder} is no admin")

    def need_hand(self) -> None:
        """The same, and for every token: what makes a person, a token or a password is for people and the command line."""
        if self.token is not None:
            raise NotAllowed(
                f"{self.holder} may not: this is for the command line, or an admin who is signed in"
            )
        self.need_admin()

    def need_still(self, known: Known) -> None:
        """Raise NotAllowed for a person who was removed, signed out or given another role since they asked, and for a token that was removed."""
        if self.person is not None:
            now = known.people.get(self.person.name)
            if now is None or now.era != self.person.era:
                raise NotAllowed(f"{self.holder} was removed or signed out meanwhile")
        if self.token is not None:
            there = known.tokens.get(self.token.id)
            if there is None or there.digest != self.token.digest:
                raise NotAllowed(f"{self.holder} was removed meanwhile")


Actor.CLI = Actor("cli", admin=True)


def acting(person: Person, address: str | None = None) -> Actor:
    """The actor that a signed-in person is. Without TOTP, an admin has no more rights than a member."""
    return Actor(person.holder, person.admin and person.totp is not None, address, person)


def acting_token(token: Token, address: Address | None = None) -> Actor:
    """The actor that a token is, which Tokens.check found good."""
    everything = token.may("admin") and token.services is None
    return Actor(token.holder, everything, None if address is None else str(address), None, token)
