"""What an opening comes to: a link that is open, or why nothing was opened."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from access.gate import Grant
from access.link import Link
from access.services import Service
from access.shared import Why


class Reason(StrEnum):
    """Why nothing was opened. The first five in the order in which they are found."""

    UNKNOWN = "unknown"
    PAUSED = "paused"
    EXPIRED = "expired"
    USED_UP = "used-up"
    PIN_NEEDED = "pin-needed"  # none was given; not counted as a try
    PIN_WRONG = "pin-wrong"
    PIN_LOCKED = "pin-locked"  # too many wrong ones; the PIN given was not looked at
    BUSY = "busy"  # too many PINs are being checked; the try is not counted
    ENDED = "ended"  # nothing is open any more that could be kept open, or joined by the other family
    TICKET = "bad-ticket"  # not ours, too old, or used
    SAME_FAMILY = "same-family"  # a ticket for the other one
    OTHER_FAMILY = "other-family"  # none of its services is reached by this one, and a use would be spent on nothing
    NO_SERVICE = "no-service"  # none of the link's services is configured any more
    SHARED = "shared-address"  # a service wants a PIN there, and the link has none
    TRUSTED = "trusted-address"  # always open from here
    ADDRESS = "address-refused"
    FULL = "too-many"  # the gate's ceiling
    GATE = "gate-refused"
    GATE_UNAVAILABLE = "gate-unavailable"
    NOT_SAVED = "not-saved"  # a full disk


class Refused(Exception):
    """Nothing was opened.

    `link` where the token was right; `detail`: the gate's sentence, or ""; `retry_after_s` for PIN_LOCKED
    and BUSY.
    """

    def __init__(
        self, reason: Reason, link: Link | None = None, detail: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.link = link
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class View:
    """What a visitor with a good link may know: its services still configured, its grants at this address, why that is a shared one."""

    link: Link
    services: tuple[Service, ...]
    grants: tuple[Grant, ...]
    shared: Why | None = field(default=None, kw_only=True)

    @property
    def remaining_ms(self) -> int:
        """For how long all services are open from here; 0 where one is not."""
        if {grant.service for grant in self.grants} != {service.name for service in self.services}:
            return 0
        return min(grant.remaining_ms for grant in self.grants)

    @property
    def needs_pin(self) -> bool:
        """Whether opening asks for a PIN."""
        return self.link.pin is not None

    @property
    def shortened(self) -> bool:
        """Whether a service opens for a shorter time because the address is a shared one."""
        if self.shared is None:
            return False
        asked = [(one, min(self.link.duration_s or one.default_duration_s, one.max_duration_s)) for one in self.services]
        return any(asked_s > one.longest_s(shared=True) for one, asked_s in asked)

    @property
    def lacks_pin(self) -> bool:
        """Whether the link cannot open from here: a service wants a PIN at a shared address, and the link has none."""
        return self.shared is not None and self.link.pin is None and any(one.shared_pin for one in self.services)


@dataclass(frozen=True, slots=True)
class Opened(View):
    """The way is open. `how` it came to be so; `left`: the link's addresses that had to leave for this one.

    "moved": one or more left; "renewed": it was open from here before; "still": so it was, but a used-up link does
    not renew; "open": so it was, and has time enough. `ticket` opens the visitor's other family.
    """

    how: Literal["opened", "renewed", "moved", "still", "open"]
    left: tuple[str, ...] = ()
    ticket: str | None = None
