"""The kinds of values that the API takes: what checks a value is what describes it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from access.address import parse_address
from access.duration import parse_duration
from access.inputs import BadInput

Schema = Mapping[str, Any]
"""A schema of JSON Schema 2020-12, as OpenAPI 3.1 holds it."""


class Kind(Protocol):
    """A kind of value. What `take` or `read` lets through is valid by `schema`; what they refuse may be so too."""

    @property
    def schema(self) -> Schema:
        """What it looks like."""

    def take(self, name: str, value: object) -> Any:  # noqa: ANN401 - each kind has a type of its own
        """A JSON value of the key `name`, checked. Raises BadInput, and BadAddress for an address."""

    def read(self, name: str, text: str) -> Any:  # noqa: ANN401 - as above
        """The same of the text in a query or a path."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text of `least` to `most` characters that UTF-8 can hold, one of `choice` or all of `form` where they are given.

    `secret`: a password or the like, for who shows what was typed. `check` makes something of it, or raises
    ValueError, whose words say what would be right.
    """

    most: int = 256
    least: int = 0
    form: str | None = None
    choice: tuple[str, ...] = ()
    example: str | None = None
    secret: bool = False
    check: Callable[[str], Any] | None = None

    @property
    def schema(self) -> Schema:
        """What it looks like."""
        if self.choice:
            return {"type": "string", "enum": list(self.choice)}
        said = {"type": "string", "minLength": self.least, "maxLength": self.most}
        more = {
            "pattern": None if self.form is None else f"^(?:{self.form})$",
            "examples": None if self.example is None else [self.example],
            "format": "password" if self.secret else None,
        }
        return said | {key: value for key, value in more.items() if value is not None}

    def take(self, name: str, value: object) -> Any:  # noqa: ANN401 - what `check` makes of it
        """See Kind."""
        if not isinstance(value, str):
            raise BadInput(name, "is not text")
        if self.choice and value not in self.choice:
            raise BadInput(name, f"is none of {', '.join(self.choice)}")
        if len(value) > self.most:
            raise BadInput(name, f"has {len(value)} characters; write {self.most} at most")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadInput(name, "holds half a character")
        made = self._checked(name, value)  # first: it says best what would be right
        if len(value) < self.least:
            raise BadInput(name, "is empty")
        if self.form is not None and not re.fullmatch(self.form, value, re.ASCII):
            raise BadInput(name, f"{value[:40]!a} is not as it should be; write one such as {self.example}")
        return made

    def read(self, name: str, text: str) -> Any:  # noqa: ANN401 - what `check` makes of it
        """See Kind."""
        return self.take(name, text)

    def _checked(self, name: str, value: str) -> Any:  # noqa: ANN401 - what `check` makes of it
        if self.check is None:
            return value
        try:
            return self.check(value)
        except BadInput:
            raise
        except ValueError as error:
            raise BadInput(name, str(error)) from None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from 1 to `most`."""

    most: int

    @property
    def schema(self) -> Schema:
        """What it looks like."""
        return {"type": "integer", "minimum": 1, "maximum": self.most}

    def take(self, name: str, value: object) -> int:
        """See Kind."""
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= self.most:
            raise BadInput(name, f"is not a whole number from 1 to {self.most}")
        return value

    def read(self, name: str, text: str) -> int:
        """See Kind."""
        return self.take(name, int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else None)


@dataclass(frozen=True, slots=True)
class Yes:
    """True or false."""

    schema: Schema = field(default_factory=lambda: {"type": "boolean"})

    def take(self, name: str, value: object) -> bool:
        """See Kind."""
        if not isinstance(value, bool):
            raise BadInput(name, "is neither true nor false")
        return value

    def read(self, name: str, text: str) -> bool:
        """See Kind."""
        return self.take(name, {"true": True, "false": False}.get(text))


@dataclass(frozen=True, slots=True)
class Names:
    """Up to `most` texts of one kind."""

    of: Text
    most: int = 256
    least: int = 0

    @property
    def schema(self) -> Schema:
        """What it looks like."""
        return {"type": "array", "items": self.of.schema, "minItems": self.least, "maxItems": self.most}

    def take(self, name: str, value: object) -> list[str]:
        """See Kind."""
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadInput(name, "is not a list of texts")
        if not self.least <= len(value) <= self.most:
            raise BadInput(name, f"has {len(value)} entries; write {self.least} to {self.most}" if value else "is empty")
        return [self.of.take(name, one) for one in value]

    def read(self, name: str, text: str) -> list[str]:
        """See Kind."""
        return self.take(name, text.split(","))


DURATION = Text(10, 2, "[0-9]{1,9}[smhd]", example="12h", check=parse_duration)
"""Seconds."""
SERVICE = Text(64, 1, example="cloud")
"""A service's name; whether there is such a service is not looked at."""
SERVICES = Names(SERVICE)
LABEL = Text(128, 1, example="Mamie")
"""Who or what something is for; access.inputs says what it may hold."""
_ADDRESS = r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?"
SELF = "self"


def address(ipv6_prefix: int) -> Text:
    """An address, as access.address makes it."""
    return Text(64, 1, _ADDRESS, example="203.0.113.7", check=lambda text: parse_address(text, ipv6_prefix))


def address_or_self(ipv6_prefix: int) -> Text:
    """The same, or None for "self": the address that asks."""
    some = address(ipv6_prefix)
    return Text(64, 1, f"{SELF}|{_ADDRESS}", example=SELF, check=lambda text: None if text == SELF else some.take("address", text))


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a body or a query, or a part of a path. `into`: its name to the code, where that is another.

    `local`: there on the control socket alone.
    """

    name: str
    kind: Kind
    does: str
    needed: bool = False
    into: str | None = None
    local: bool = False


class Fields(tuple[Field, ...]):
    """The keys that something has. No other is taken."""

    __slots__ = ()

    @property
    def public(self) -> "Fields":
        """Those that are there for tokens."""
        return Fields(one for one in self if not one.local)

    @property
    def needed(self) -> list[str]:
        """The names of those that have to be there."""
        return [one.name for one in self if one.needed]

    @property
    def schema(self) -> Schema:
        """As an object."""
        properties = {one.name: {**one.kind.schema, "description": one.does} for one in self}
        said = {"type": "object", "properties": properties, "additionalProperties": False}
        return said | ({"required": self.needed} if self.needed else {})

    def take(self, values: Mapping[str, object]) -> dict[str, Any]:
        """The values of a JSON object by the code's names; what is not there stays away. Raises BadInput."""
        return self._all(values, lambda one: one.kind.take(one.name, values[one.name]))

    def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """The same of a query or a path."""
        return self._all(texts, lambda one: one.kind.read(one.name, texts[one.name]))

    def _all(self, given: Iterable[str], one_of: Callable[[Field], Any]) -> dict[str, Any]:
        keys = set(given)
        found = {}
        for one in self:
            if one.name in keys:
                keys.remove(one.name)
                found[one.into or one.name] = one_of(one)
            elif one.needed:
                raise BadInput(one.name, "is missing")
        for key in keys:
            raise BadInput(ascii(key[:40])[1:-1], "is not known here")
        return found


class NotJson(ValueError):
    """A body that is no JSON object. The message says why."""


def json_object(data: bytes) -> dict[str, Any]:
    """The one JSON object in UTF-8 that a body is, without repeated keys, NaN and infinity. Raises NotJson."""
    try:
        values = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the body is not JSON in UTF-8 ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise NotJson("the body is not a JSON object")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key comes twice")
    return values


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
