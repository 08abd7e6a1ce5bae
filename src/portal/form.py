"""A form as it was posted: what was typed, what is wrong with it, and nothing that the page did not ask for."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self
from urllib.parse import parse_qsl

from access.address import Address, BadAddress, parse_address
from access.duration import parse_duration
from access.inputs import BadInput

LONGEST = 256
"""Characters in a field that says nothing else."""

_TOKEN = "form"  # noqa: S105 - the name of a field
_TOKEN_LONGEST = 128
_MOST_FIELDS = 256


class BadForm(ValueError):
    """A body that our form does not send. The message is for logs and tests; it repeats nothing of the body."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a form may post: fields that come once, fields that may repeat, and those whose value never comes back."""

    one: tuple[str, ...] = ()
    many: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()

    @property
    def single(self) -> frozenset[str]:
        """All that come once."""
        return frozenset((*self.one, *self.secret, _TOKEN))


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a field: an English sentence with places as `%(most)s`, and what fills them."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.values if self.values else self.template


class Form:
    """Values as typed, and `errors` by field. A field that was not sent is empty.

    Readers of typed values (address, duration) put what is wrong beside the field and give back None;
    so a handler reads everything, then looks at `errors`, then acts.
    """

    def __init__(self, fields: Fields, values: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        """A form to be shown, with `values` in it."""
        self.errors: dict[str, Wrong] = {}
        self._fields = fields
        self._values = {name: list(texts) for name, texts in values.items()}

    @classmethod
    def parse(cls, body: bytes, fields: Fields) -> Self:
        """Read an application/x-www-form-urlencoded body. Raises BadForm."""
        try:
            pairs = parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
        except ValueError:  # UnicodeDecodeError is one
            raise BadForm("not a form in UTF-8") from None
        single = fields.single
        values: dict[str, list[str]] = {}
        for name, text in pairs:
            if name in single and name in values:
                raise BadForm("a field comes twice")
            if name not in single and name not in fields.many:
                raise BadForm("not a field of this form")
            values.setdefault(name, []).append(text)
        if _TOKEN not in values or len(values[_TOKEN][0]) > _TOKEN_LONGEST:
            raise BadForm("no form token, or a long one")
        return cls(fields, values)

    @property
    def token(self) -> str:
        """What proves that the form is ours."""
        return self._typed(_TOKEN)

    def text(self, name: str, *, longest: int = LONGEST) -> str:
        """What was typed, without the spaces around it unless it is secret."""
        typed = self._typed(name)
        if len(typed) > longest:
            self.fail(name, "This is too long; write at most %(most)s characters", most=longest)
            return ""
        return typed if name in self._fields.secret else typed.strip()

    def many(self, name: str) -> tuple[str, ...]:
        """What was chosen in a field that may repeat, each once."""
        if name not in self._fields.many:
            raise KeyError(name)
        return tuple(dict.fromkeys(self._values.get(name, ())))

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return self._typed(name) != ""

    def duration(self, name: str) -> int | None:
        """Seconds of a duration such as 12h; None where nothing was typed, or where it is wrong."""
        typed = self.text(name, longest=40)
        try:
            return parse_duration(typed.lower()) if typed else None
        except ValueError:
            self.fail(name, "This is not a duration; write one such as 90s, 15m, 12h or 7d")
            return None

    def count(self, name: str) -> int | None:
        """A whole number; None where nothing was typed, or where it is wrong."""
        typed = self.text(name, longest=40)
        if typed and not (typed.isascii() and typed.isdigit() and len(typed) <= 12):
            self.fail(name, "This is not a whole number")
            return None
        return int(typed) if typed else None

    def address(self, name: str, prefix: int) -> Address | None:
        """An address; None where nothing was typed, or where it is wrong."""
        typed = self.text(name, longest=64)
        try:
            return parse_address(typed, prefix) if typed else None
        except BadAddress:
            self.fail(name, "This is not an address; write one such as 203.0.113.7 or 2001:db8:1::5")
            return None

    def fail(self, name: str, template: str, /, **values: object) -> None:
        """Say what is wrong with a field. The first thing said of it stays."""
        if name not in self._fields.single and name not in self._fields.many:
            raise KeyError(name)
        self.errors.setdefault(name, Wrong(template, values))

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Put a BadInput of one of the form's fields beside that field, and go on after the block."""
        try:
            yield
        except BadInput as bad:
            if bad.field not in self._fields.single and bad.field not in self._fields.many:
                raise
            self.fail(bad.field, bad.template, **bad.values)

    def value(self, name: str) -> str:
        """What to show in a field again: never a secret."""
        return "" if name in self._fields.secret else self._typed(name)

    def values(self, name: str) -> Collection[str]:
        """What to show as chosen again."""
        return frozenset(self.many(name))

    def error(self, name: str) -> Wrong | None:
        """What to show beside a field."""
        return self.errors.get(name)

    def _typed(self, name: str) -> str:
        if name not in self._fields.single:
            raise KeyError(name)
        return "".join(self._values.get(name, ()))
