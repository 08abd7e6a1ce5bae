"""What is wrong with a configuration, in words that an admin can act on."""

from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 60  # characters of a value that a message repeats


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `key` is the dotted path in the file, or a place such as "line 3, column 5", or empty where the file as a
    whole is meant. `wrong` says what is wrong, `right` what would be right.
    """

    file: str
    key: str
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        return f"{place}: {self.wrong}; {self.right}"


class ConfigError(Exception):
    """The configuration can't be used. `problems` holds everything that was found, at least one; its text is a line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NotConfiguredError(ConfigError):
    """There is no configuration in the usual place: SafeIP was never set up."""

    def __init__(self, path: str) -> None:
        super().__init__([Problem(path, "", "there is no such file", "begin with 'safeip setup'")])
        self.args = (f"there is no {path} yet: begin with 'safeip setup'",)


class WrongValueError(ValueError):
    """A value that a key can't take: what is wrong with it, and what would be right."""

    def __init__(self, wrong: str, right: str) -> None:
        self.wrong = wrong
        self.right = right
        super().__init__(f"{wrong}; {right}")


def shown(value: object) -> str:
    """A value from the file as a message repeats it: one line, bounded, nothing that a terminal obeys."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + '"'
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "this number"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that somebody who wrote `word` most likely meant, or None."""
    import difflib  # noqa: PLC0415 - needed after a mistake only, and by the daemon, which loads it before it enters its cell

    found = difflib.get_close_matches(word.casefold(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
