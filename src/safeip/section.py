"""A table of the configuration, read key by key; problems are collected, never raised."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from safeip.problem import Problem, WrongValueError, nearest, shown

_T = TypeVar("_T")
_D = TypeVar("_D")
_LONGEST_KEY = 200  # characters of a path that a message repeats
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Report:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def add(self, key: str, wrong: str, right: str) -> None:
        """Take down a problem of the key with this dotted path."""
        cut = key if len(key) <= _LONGEST_KEY else key[:_LONGEST_KEY] + "…"
        self.problems.append(Problem(self.file, cut, wrong, right))


class Section:
    """One TOML table at `path` ("" for the whole file).

    A getter takes the key's parser, which raises WrongValueError, and answers the default where the key is
    missing or wrong, so that one mistake doesn't hide the next. `sound` tells the two apart.
    """

    def __init__(self, report: Report, path: str, table: Mapping[str, object], *, readable: bool = True) -> None:
        self.report = report
        self.path = path
        self._table = table
        self._readable = readable  # where the file holds no table here, what is missing in it was said with that
        self._known: list[str] = []
        self._wrong: set[str] = set()

    def at(self, key: str) -> str:
        """The dotted path of a key of this table, quoted where TOML would quote it."""
        name = key if _BARE_KEY.fullmatch(key) else shown(key)
        return f"{self.path}.{name}" if self.path else name

    def has(self, key: str) -> bool:
        """Whether the file has the key, right or wrong."""
        return key in self._table

    def is_table(self, key: str) -> bool:
        """Whether the key is there and holds a table."""
        return isinstance(self._table.get(key), dict)

    def sound(self, *keys: str) -> bool:
        """Whether no problem was found with any of these keys."""
        return self._wrong.isdisjoint(keys)

    def problem(self, key: str, wrong: str, right: str) -> None:
        """Take down a problem of a key of this table."""
        self._wrong.add(key)
        self.report.add(self.at(key), wrong, right)

    def problem_at(self, key: str, index: int, wrong: str, right: str) -> None:
        """Take down a problem of an item of a key's list."""
        self._wrong.add(key)
        self.report.add(f"{self.at(key)}[{index}]", wrong, right)

    def get(self, key: str, parse: Callable[[object], _T], default: _D) -> _T | _D:
        """The key's value, or the default."""
        self._known.append(key)
        if key not in self._table:
            return default
        try:
            return parse(self._table[key])
        except WrongValueError as error:
            self.problem(key, error.wrong, error.right)
            return default

    def need_many(
        self, key: str, parse: Callable[[object], _T], default: tuple[_T, ...], example: str
    ) -> tuple[tuple[int, _T], ...]:
        """As `many`, where an empty list is a problem, and a missing one where there is no default."""
        found = self.many(key, parse, default, example)
        if not found and self.sound(key) and self._readable:
            self.problem(key, "is empty" if self.has(key) else "is missing", f"write at least one, such as {example}")
        return found

    def need(self, key: str, parse: Callable[[object], _T], stand_in: _T, right: str) -> _T:
        """The value of a key that must be there; the stand-in where it is missing or wrong."""
        if key not in self._table and self._readable:
            self.problem(key, "is missing", right)
        return self.get(key, parse, stand_in)

    def many(
        self, key: str, parse: Callable[[object], _T], default: tuple[_T, ...], example: str
    ) -> tuple[tuple[int, _T], ...]:
        """The key's list as (index in the file, value), without the items that are wrong."""
        self._known.append(key)
        if key not in self._table:
            return tuple(enumerate(default))
        value = self._table[key]
        if not isinstance(value, list):
            right = f"[{shown(value)}]" if isinstance(value, str) else f"a list, such as {example}"
            self.problem(key, f"{shown(value)} is not a list", f"write {right}")
            return tuple(enumerate(default))
        found = []
        for index, item in enumerate(value):
            try:
                found.append((index, parse(item)))
            except WrongValueError as error:
                self.problem_at(key, index, error.wrong, error.right)
        return tuple(found)

    def section(self, key: str) -> "Section":
        """The table under a key; an empty one where it is missing or no table."""
        self._known.append(key)
        value = self._table.get(key, {})
        if isinstance(value, dict):
            return Section(self.report, self.at(key), value)
        self.problem(key, f"{shown(value)} is not a table", f"write [{self.at(key)}] on a line, its keys below it")
        return Section(self.report, self.at(key), {}, readable=False)

    def sections(self) -> Iterator[tuple[str, "Section"]]:
        """Every key of this table, each of which must be a table."""
        for name in self._table:
            yield name, self.section(name)

    def close(self) -> None:
        """Report the keys that nothing asked for."""
        for key in self._table:
            if key not in self._known:
                meant = nearest(key, self._known)
                known = ", ".join(self._known)
                self.problem(key, "is not known", f'did you mean "{meant}"?' if meant else f"known here: {known}")
