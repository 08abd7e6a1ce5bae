"""When a record was true: the machine's boot, its monotonic clock and the time of day, in one line of fixed length."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

VERSION = 1
LENGTH = 192
"""Bytes of a stamp's line. It is written over in place: that needs no room on a full disk, and a disk writes the
512 bytes of a sector whole or not at all."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment on both clocks, in milliseconds; `boot` is the kernel's name for this boot."""

    monotonic_ms: int
    wall_ms: int
    boot: str

    @staticmethod
    def now() -> "Clock":
        """The present moment."""
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        return Clock(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000, boot)

    def later(self) -> "Clock":
        """The present moment, of the same boot."""
        return Clock(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000, self.boot)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment at which the record was true, and the milliseconds within which the next stamp was to follow."""

    at: Clock
    next_ms: int

    def line(self) -> bytes:
        """The first line of a record, with the version."""
        fields = {
            "version": VERSION,
            "boot": self.at.boot,
            "monotonic_ms": self.at.monotonic_ms,
            "time": iso(self.at.wall_ms),
            "next_ms": self.next_ms,
        }
        return json.dumps(fields).ljust(LENGTH - 1).encode("ascii") + b"\n"

    def end_ms(self, end_ms: int, now: Clock) -> int:
        """Where an end of the record's lies on the monotonic clock of `now`; never later than it was.

        In the same boot nothing changes. On another one no less has passed since the stamp than the time
        until the next, nor than the time of day tells.
        """
        if now.boot == self.at.boot and now.monotonic_ms >= self.at.monotonic_ms:
            return end_ms
        passed_ms = max(self.next_ms, now.wall_ms - self.at.wall_ms)
        return now.monotonic_ms + end_ms - self.at.monotonic_ms - passed_ms


def iso(wall_ms: int) -> str:
    """The time of day for people: ISO 8601, UTC, `2026-11-21T09:30:00.000Z`."""
    at = (_EPOCH + timedelta(milliseconds=wall_ms)).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def parse(line: bytes) -> Stamp:
    """The stamp in a record's first line. Raises ValueError with what is wrong."""
    fields = fields_of(line)
    if (version := fields.get("version")) != VERSION or version is True:
        raise ValueError(f"is not the first of a record of version {VERSION}")
    boot, at = text(fields, "boot"), text(fields, "time")
    try:
        moment = datetime.fromisoformat(at) - _EPOCH
    except (ValueError, TypeError, OverflowError):  # no time; one without a zone
        raise ValueError("needs a time as 'time'") from None
    wall_ms = moment // timedelta(milliseconds=1)
    return Stamp(Clock(number(fields, "monotonic_ms"), wall_ms, boot), number(fields, "next_ms"))


def fields_of(line: bytes) -> dict[str, Any]:
    """The JSON object in a line. Raises ValueError."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 (whoever reads asks for one error)
    return fields


def text(fields: dict[str, Any], name: str) -> str:
    """A text. Raises ValueError."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"needs a text as {name!r}")  # noqa: TRY004 (whoever reads asks for one error)
    return value


def number(fields: dict[str, Any], name: str) -> int:
    """A number of milliseconds, 0 or more. Raises ValueError."""
    value = fields.get(name)
    if type(value) is not int or not 0 <= value < _LONGEST_MS:
        raise ValueError(f"needs a number of milliseconds as {name!r}")
    return value
