"""A token: what a program, a router or another host shows to act here."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from access.duration import format_duration
from access.moment import moment_text
from access.services import Service

Scope = Literal["read", "grant:self", "grant:any", "links", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_IMPLIED: Mapping[str, frozenset[str]] = {"grant:any": frozenset({"grant:self"}), "admin": frozenset(SCOPES)}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as state.json holds it, without its secret; the moments are whole seconds since 1970.

    `services` None: all of the configuration, whatever they are by then. `digest`: the SHA-256 of the secret, in
    hex. `duration_s`: how long its grants last, None: each service's default. `last_address`: where it was last used from.
    """

    id: str
    label: str
    scopes: tuple[Scope, ...]
    digest: str
    created_at: int
    services: tuple[str, ...] | None = None
    expires_at: int | None = None
    duration_s: int | None = None
    last_used_at: int | None = None
    last_address: str | None = None

    @property
    def holder(self) -> str:
        """Its name in grants."""
        return f"token:{self.id}"

    def may(self, scope: Scope) -> bool:
        """Whether it has this scope, or one that holds it: admin holds all, grant:any holds grant:self."""
        return scope in self.scopes or any(scope in _IMPLIED.get(one, ()) for one in self.scopes)

    def reaches(self, services: Mapping[str, Service]) -> Mapping[str, Service]:
        """Those of `services` that lie within its limit."""
        if self.services is None:
            return services
        return {name: services[name] for name in self.services if name in services}

    def left_s(self, now: float) -> float:
        """Seconds of its own life; infinite without an end."""
        return math.inf if self.expires_at is None else self.expires_at - now

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.left_s(now) <= 0

    def as_json(self, now: float) -> dict[str, Any]:
        """For interfaces, without digest. `services` null: all."""
        return {
            "id": self.id,
            "label": self.label,
            "scopes": list(self.scopes),
            "services": None if self.services is None else list(self.services),
            "for": None if self.duration_s is None else format_duration(self.duration_s),
            "created_at": moment_text(self.created_at),
            "expires_at": None if self.expires_at is None else moment_text(self.expires_at),
            "last_used_at": None if self.last_used_at is None else moment_text(self.last_used_at),
            "last_address": self.last_address,
            "state": "expired" if self.expired(now) else "good",
        }


def digest_of(secret: str) -> str:
    """What is kept of a secret. 130 random bits need no slow hash."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
