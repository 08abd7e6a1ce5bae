"""A link: a personal URL, and what whoever opens it is granted."""

from dataclasses import dataclass
from typing import Any, Literal

from access.duration import format_duration
from access.moment import moment_text

LinkState = Literal["open", "paused", "expired", "used-up"]


@dataclass(frozen=True, slots=True)
class Link:
    """A link as state.json holds it; its URL derives from id and generation.

    `duration_s` None: each service's default. `expires_at` and the other moments are whole seconds since
    1970. `uses`: openings allowed in all, None without limit. `addresses`: how many of one family may be
    open at once. `owner`: the person whose link it is, None for the admin's. `pin` is an argon2id hash. `to`:
    where the visitor goes next, None for the first service's.
    """

    id: str
    label: str
    services: tuple[str, ...]
    created_at: int
    owner: str | None = None
    duration_s: int | None = None
    expires_at: int | None = None
    uses: int | None = None
    used: int = 0
    addresses: int | None = None
    pin: str | None = None
    paused: bool = False
    generation: int = 1
    to: str | None = None
    last_used_at: int | None = None

    @property
    def holder(self) -> str:
        """Its name in grants."""
        return f"link:{self.id}"

    @property
    def used_up(self) -> bool:
        """Whether no opening is left."""
        return self.uses is not None and self.used >= self.uses

    def state(self, now: float) -> LinkState:
        """What a visitor would meet first."""
        if self.paused:
            return "paused"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "used-up" if self.used_up else "open"

    def as_json(self, now: float) -> dict[str, Any]:
        """For interfaces: without its URL, and of the PIN only whether there is one."""
        return {
            "id": self.id,
            "label": self.label,
            "owner": self.owner,
            "services": list(self.services),
            "for": None if self.duration_s is None else format_duration(self.duration_s),
            "uses": self.uses,
            "used": self.used,
            "addresses": self.addresses,
            "pin": self.pin is not None,
            "paused": self.paused,
            "to": self.to,
            "created_at": moment_text(self.created_at),
            "expires_at": None if self.expires_at is None else moment_text(self.expires_at),
            "last_used_at": None if self.last_used_at is None else moment_text(self.last_used_at),
            "state": self.state(now),
        }
