"""Amounts of data as pages tell them: parts that templates put into words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """`whole` and `tenth` of a unit: kB, MB, GB or TB; rounded down."""

    whole: int
    tenth: int
    unit: str


def size(count: int) -> Size:
    """`count` bytes, in the largest unit of which there is one."""
    tenths, unit = count // 100, "kB"
    for larger in ("MB", "GB", "TB"):
        if tenths < 10_000:
            break
        tenths, unit = tenths // 1000, larger
    return Size(tenths // 10, tenths % 10, unit)
