"""A person: somebody who signs in, and what they may open."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from access.moment import moment_text
from access.services import Service

Role = Literal["admin", "member"]
PersonState = Literal["asked", "invited", "active"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time URL with which a person sets password and TOTP. `digest`: SHA-256 of its token, in hex."""

    digest: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Person:
    """A person as state.json holds them. Moments are whole seconds since 1970.

    `services`: what a member may open; an admin may open all. `password` is an argon2id hash. `totp` is the
    id from which the secret derives (Key.totp_secret), None where TOTP is off; `totp_step` the last time
    step used. `recovery`: argon2id hashes in the order of their codes, "" where used. `asked`: the message
    of a stranger who waits for approval. `era`: sessions of another one are over; it is new with each
    change of password, role or TOTP.
    """

    name: str
    role: Role
    created_at: int
    services: tuple[str, ...] = ()
    may_link: bool = False
    password: str | None = None
    totp: str | None = None
    totp_step: int = 0
    recovery: tuple[str, ...] = ()
    invitation: Invitation | None = None
    asked: str | None = None
    era: str = ""
    last_seen_at: int | None = None

    @property
    def holder(self) -> str:
        """Their name in grants."""
        return f"person:{self.name}"

    @property
    def state(self) -> PersonState:
        """Only the active can sign in."""
        if self.asked is not None:
            return "asked"
        return "invited" if self.password is None else "active"

    @property
    def admin(self) -> bool:
        """Whether they may do everything."""
        return self.role == "admin"

    def opens(self, services: Mapping[str, Service]) -> tuple[Service, ...]:
        """Of the configured `services`, those that they may open; none unless active."""
        if self.state != "active":
            return ()
        return tuple(service for name, service in services.items() if self.admin or name in self.services)

    def links_open(self, services: Mapping[str, Service]) -> tuple[Service, ...]:
        """Of the configured `services`, those that their own links may open."""
        return self.opens(services) if self.admin or self.may_link else ()

    def as_json(self, now: float) -> dict[str, Any]:
        """For interfaces: no hash, no secret."""
        invited = self.invitation is not None and now < self.invitation.expires_at
        return {
            "name": self.name,
            "role": self.role,
            "state": self.state,
            "services": list(self.services),
            "links": self.may_link,
            "totp": self.totp is not None,
            "recovery_left": sum(bool(code) for code in self.recovery),
            "invitation_expires_at": moment_text(self.invitation.expires_at)
            if invited and self.invitation
            else None,
            "message": self.asked,
            "created_at": moment_text(self.created_at),
            "last_seen_at": None if self.last_seen_at is None else moment_text(self.last_seen_at),
        }
