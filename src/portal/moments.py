"""Points in time and spans as pages tell them: parts that templates put into words."""

from dataclasses import dataclass
from datetime import UTC, datetime

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in the server's zone. `days`: calendar days from now; `weekday` and `month` count from 0.

    `year` is None where it is this one.
    """

    iso: str
    days: int
    weekday: int
    day: int
    month: int
    year: int | None
    hour: int
    minute: int
    zone: str


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time in one unit: exact where one divides it, else rounded down."""

    number: int
    unit: str


def moment(at: float, now: float) -> Moment:
    """The moment `at`, seen from `now`; both in seconds since 1970."""
    there, here = (datetime.fromtimestamp(int(seconds), UTC).astimezone() for seconds in (at, now))
    return Moment(
        iso=there.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        days=(there.date() - here.date()).days,
        weekday=there.weekday(),
        day=there.day,
        month=there.month - 1,
        year=None if there.year == here.year else there.year,
        hour=there.hour,
        minute=there.minute,
        zone=f"{there:%Z}",
    )


def patience(seconds: int) -> Span:
    """How long to wait at least, as people say it: rounded up to minutes, beyond two hours to hours."""
    size = _HOUR if seconds > 2 * _HOUR else _MINUTE
    return span(max(1, -(-seconds // size)) * size)


def span(seconds: int) -> Span:
    """`seconds` as people say it: 7200 is 2 hours, 5400 is 90 minutes."""
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size and (seconds % size == 0 or seconds >= 2 * size):
            return Span(seconds // size, unit)
    return Span(seconds, "second")
