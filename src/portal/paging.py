"""Long lists on pages: a page of rows at a time, or the first rows where a search finds the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

PAGE = 100
"""Rows on one page of a list that has pages."""
SHOWN = 200
"""Rows of a list that has none."""

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Paged(Generic[_Row]):
    """The rows of one page, its number from 1, and the numbers of pages and rows that there are."""

    rows: Sequence[_Row]
    page: int
    pages: int
    all: int


def page_number(text: str) -> int:
    """The number in a page's address, which anybody may have written: 1 for what is none."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def paged(rows: Sequence[_Row], wanted: int) -> Paged[_Row]:
    """The page that is wanted, or the last where there are not so many."""
    pages = max(1, -(-len(rows) // PAGE))
    page = min(wanted, pages)
    return Paged(rows[(page - 1) * PAGE : page * PAGE], page, pages, len(rows))
