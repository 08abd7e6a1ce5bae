"""What the command line prints: tables and times for people, JSON for programs."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def print_anywhere() -> None:
    """A terminal that has no é still gets its table."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def clean(value: object) -> str:
    """A value as one line that no terminal obeys; None is empty."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)


def print_json(value: object) -> None:
    """Indented JSON, readable without an escape for each accent."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: object) -> None:
    """One object on one line, out at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_fields(*fields: tuple[str, object]) -> None:
    """Names and values, one a line, the values aligned."""
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        print(f"{name + ':':<{width}}{clean(value)}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Aligned columns under headings, numbers to the right; without rows the sentence `empty`."""
    if not rows:
        print(empty)
        return
    cells = [list(headings), *([clean(count(cell) if isinstance(cell, int) else cell) for cell in row] for row in rows)]
    to_right = [all(isinstance(row[column], int) for row in rows) for column in range(len(headings))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    for line in cells:
        aligned = zip(line, widths, to_right, strict=True)
        print("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in aligned).rstrip())


def print_list(
    found: list[dict[str, Any]],
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[object]],
    *,
    empty: str,
    as_json: bool,
) -> None:
    """What the daemon listed, as JSON or as a table with a row for each."""
    if as_json:
        print_json(found)
    else:
        print_table(headings, [row(item) for item in found], empty=empty)


def print_qr(text: str) -> None:
    """A QR code of blocks, for a camera before the terminal."""
    import segno  # noqa: PLC0415 (rarely wanted)

    print()
    segno.make(text, micro=False).terminal(compact=True)


def span(seconds: float) -> str:
    """A length of time in its two largest units: "1 h 59 min", "45 s"."""
    left = max(0, int(seconds))
    for index, (unit, size) in enumerate(_UNITS):
        if left >= size:
            small, small_size = _UNITS[index + 1] if index + 1 < len(_UNITS) else ("", 0)
            rest = left % size // small_size if small else 0
            return f"{left // size} {unit} {rest} {small}" if rest else f"{left // size} {unit}"
    return "0 s"


def local(moment: str | None, *, seconds: bool = False) -> str:
    """The UTC moment "2026-11-21T09:30:00Z" in this machine's zone: "2026-11-21 10:30"; None is empty."""
    if not moment:
        return ""
    try:
        there = datetime.fromisoformat(moment).astimezone()
    except ValueError:
        return clean(moment)
    return there.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def until(item: Mapping[str, Any]) -> str:
    """When a grant or a ban ends: "2026-11-21 10:30 (in 2 h)"."""
    # whole seconds are rounded down, and what was opened for 2 h a moment ago is open for 2 h
    return f"{local(item['expires_at'])} (in {span(item['remaining_s'] + 1)})"


def count(number: int) -> str:
    """1234567 as "1,234,567"."""
    return f"{number:,}"


def size(octets: int) -> str:
    """Bytes in the unit that suits: "512 B", "3.5 kB", "1.2 GB"."""
    amount = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{octets} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def plural(number: int, word: str) -> str:
    """The number and the word, with an s unless it is one: "1,200 grants"."""
    return f"{count(number)} {word}" if number == 1 else f"{count(number)} {word}s"
