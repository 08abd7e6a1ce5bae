"""Durations as people write them: 90s, 15m, 12h, 7d."""

import re

LONGEST_S = 3650 * 86400
"""Ten years, in seconds: longer is not meant."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def parse_duration(text: str) -> int:
    """Seconds, from 1 to LONGEST_S. Raises ValueError with a message that says what would be right."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!a} is not a duration; write 90s, 15m, 12h or 7d")
    seconds = int(match[1]) * _UNITS[match[2]]
    if not 1 <= seconds <= LONGEST_S:
        raise ValueError(f"{text!a} is out of range; write 1s to {format_duration(LONGEST_S)}")
    return seconds


def format_duration(seconds: int) -> str:
    """Whole `seconds` in the largest unit that divides them, as parse_duration reads them back."""
    for unit, size in reversed(_UNITS.items()):
        if seconds % size == 0 and seconds:
            return f"{seconds // size}{unit}"
    return "0s"
