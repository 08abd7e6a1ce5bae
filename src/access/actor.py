"""Who acts, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from access.person import Person


class NotAllowed(Exception):
    """The actor may not do this. The message is for logs and tests."""


@dataclass(frozen=True, slots=True)
class Actor:
    """`holder` is "cli" or "person:NAME"; `address` where they act from, None on the control socket."""

    CLI: ClassVar["Actor"]
    """Root at the command line."""

    holder: str
    admin: bool
    address: str | None = None
    person: Person | None = None

    @property
    def name(self) -> str | None:
        """The person's name; None for the command line."""
        return None if self.person is None else self.person.name

    def need_admin(self) -> None:
        """Raise NotAllowed for everybody else."""
        if not self.admin:
            raise NotAllowed(f"{self.holder} is no admin")

    def need_still(self, people: Mapping[str, Person]) -> None:
        """Raise NotAllowed for a person who was removed, signed out or given another role since they asked."""
        if self.person is not None:
            now = people.get(self.person.name)
            if now is None or now.era != self.person.era:
                raise NotAllowed(f"{self.holder} was removed or signed out meanwhile")


Actor.CLI = Actor("cli", admin=True)


def acting(person: Person, address: str | None = None) -> Actor:
    """The actor that a signed-in person is. Without TOTP, an admin has no more rights than a member."""
    return Actor(person.holder, person.admin and person.totp is not None, address, person)
