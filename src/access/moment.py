"""Points in time as text: UTC, whole seconds, "2026-11-21T09:30:00Z"."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Gives seconds: since 1970 (time.time) where dates matter, of any origin (time.monotonic) for spans."""

_FORM = "%Y-%m-%dT%H:%M:%SZ"


def moment_text(seconds: float) -> str:
    """The text of a moment in seconds since 1970, rounded down."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime(_FORM)


def parse_moment(text: str) -> int:
    """Seconds since 1970 of exactly the text that moment_text gives. Raises ValueError."""
    problem = f"{text[:40]!a} is not a moment; write one such as 2026-11-21T09:30:00Z"
    try:
        seconds = int(datetime.strptime(text, _FORM).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise ValueError(problem) from None
    if moment_text(seconds) != text:  # strptime also takes "2026-1-1T…"
        raise ValueError(problem)
    return seconds
