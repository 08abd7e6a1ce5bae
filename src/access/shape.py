"""From JSON that a person may have edited to checked values, with the place of whatever is wrong."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from access.duration import parse_duration
from access.files import StateError
from access.moment import parse_moment

_T = TypeVar("_T")
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=[0-9]{1,6},t=[0-9]{1,2},p=[0-9]\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)


def parse_document(file: str, data: bytes) -> "Fields":
    """The top of a state file. Raises StateError with line and column where it is torn."""
    try:
        text = data.decode()
        value = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        what = "is empty" if not text.strip() else f"is torn or no JSON ({error.msg})"
        raise StateError(file, f"line {error.lineno}, column {error.colno}", what) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise StateError(file, f"line {line}, column {column}", "is not UTF-8") from None
    except UnicodeEncodeError:
        raise StateError(file, "", "holds half a character (a lone surrogate such as \\ud800)") from None
    except ValueError as error:
        raise StateError(file, "", str(error)) from None
    except RecursionError:
        raise StateError(file, "", "is nested too deeply") from None
    return Fields(file, "", value)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"has the key {key[:80]!a} twice in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is no JSON")


class Fields:
    """An object of which each key is taken once; end() refuses what is left. Everything raises StateError."""

    def __init__(self, file: str, place: str, value: object) -> None:
        self.file = file
        self.place = place
        if not isinstance(value, dict):
            raise StateError(file, place, "is not an object")
        self._left = dict(value)

    def wrong(self, key: str, message: str) -> StateError:
        """The error for one key."""
        return StateError(self.file, f"{self.place}.{key}" if self.place else key, message)

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise self.wrong(key, "is missing")
        return self._left.pop(key)

    def object(self, key: str) -> dict[str, Any]:
        """An object, as it is."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "is not an object")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "is neither true nor false")
        return value

    def number(self, key: str, least: int, most: int) -> int:
        """A whole number within bounds, both included."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"is not a whole number from {least} to {most}")
        return value

    def checked(self, key: str, check: Callable[[str], _T]) -> _T:
        """A text that `check` turns into a value, or refuses with a ValueError."""
        value = self._take(key)
        if not isinstance(value, str):
            raise self.wrong(key, "is not text")
        try:
            return check(value)
        except ValueError as error:
            raise self.wrong(key, getattr(error, "message", str(error))) from None

    def maybe(self, key: str, read: Callable[[str], _T]) -> _T | None:
        """None where the key holds null, else what `read` makes of the key."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return read(key)

    def moment(self, key: str) -> int:
        """Seconds since 1970."""
        return self.checked(key, parse_moment)

    def duration(self, key: str) -> int:
        """Seconds, at most LONGEST_S."""
        return self.checked(key, parse_duration)

    def inner(self, key: str) -> "Fields":
        """An object, to be taken apart in its turn."""
        return Fields(self.file, f"{self.place}.{key}" if self.place else key, self.object(key))

    def rows(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """The objects of an object, by their keys."""
        for name, value in self.object(key).items():
            yield name, Fields(self.file, f"{key}.{name[:80]}", value)

    def text(self, key: str, longest: int) -> str:
        """Text of at most so many characters."""
        value = self._take(key)
        if not isinstance(value, str) or len(value) > longest:
            raise self.wrong(key, f"is not text of at most {longest} characters")
        return value

    def match(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A text that matches as a whole."""
        value = self._take(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.wrong(key, f"is not {what}")
        return value

    def names(self, key: str, pattern: re.Pattern[str], *, empty: bool = False) -> tuple[str, ...]:
        """A list of texts that match; not empty, unless it may be."""
        value = self._take(key)
        if not isinstance(value, list) or not (value or empty):
            raise self.wrong(key, "is not a list" if empty else "is not a list with something in it")
        for index, name in enumerate(value):
            if not isinstance(name, str) or not pattern.fullmatch(name):
                raise self.wrong(f"{key}[{index}]", "is not a name")
        return tuple(value)

    def hash(self, key: str) -> str:
        """An argon2id hash."""
        return self.match(key, _HASH, "an argon2id hash")

    def hashes(self, key: str, most: int) -> tuple[str, ...]:
        """A list of at most `most` argon2id hashes, "" where one was used."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(key, f"is not a list of at most {most} hashes")
        for index, text in enumerate(value):
            if not isinstance(text, str) or (text and not _HASH.fullmatch(text)):
                raise self.wrong(f"{key}[{index}]", "is not an argon2id hash")
        return tuple(value)

    def end(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._left:
            raise self.wrong(
                key[:80], "is not known to this version; remove it, or install the version that wrote it"
            )
