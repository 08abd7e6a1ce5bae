"""Why somebody was not believed to be who they say, in words for a page."""

from dataclasses import dataclass

from access.guard import Throttled
from access.sign_in import SignInRefused
from portal.moments import Span, patience

_STATUS = {"wrong": 403, "locked": 429, "busy": 503, "not-saved": 507}


@dataclass(frozen=True, slots=True)
class Told:
    """A refusal as pages tell it: `reason` is one that the macro `refused` knows, `wait` for "locked"."""

    reason: str
    status: int
    wait: Span | None = None


def told(refused: SignInRefused | Throttled) -> Told:
    """The refusal of a name, password or code."""
    reason = refused.reason if isinstance(refused, SignInRefused) else "locked"
    return Told(reason, _STATUS[reason], patience(refused.retry_after_s or 0))
