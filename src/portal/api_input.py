"""What comes in through the API: JSON objects and queries, taken key by key, every key accounted for."""

import json
from collections.abc import Iterable
from typing import Any, Self

from aiohttp import web

from access.address import Address, parse_address
from access.duration import parse_duration
from access.inputs import BadInput
from portal.api_problem import ApiProblem


class Input:
    """Keys and values of one request. Every take_ method raises BadInput; end() refuses what is left."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @classmethod
    async def of_body(cls, request: web.Request) -> Self:
        """The body, one JSON object in UTF-8 without repeated keys. Raises ApiProblem."""
        if request.content_type != "application/json":
            raise ApiProblem(415, "not-json", "send Content-Type: application/json")
        try:
            values = json.loads((await request.read()).decode(), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise ApiProblem(
                400, "not-json", f"the body is not JSON in UTF-8 ({type(error).__name__})"
            ) from None
        if not isinstance(values, dict):
            raise ApiProblem(400, "not-json", "the body is not a JSON object")
        return cls(values)

    @classmethod
    def of_query(cls, request: web.Request) -> Self:
        """The URL's query, no parameter twice. Raises ApiProblem."""
        if len(set(request.query)) != len(request.query):
            raise ApiProblem(400, "repeated", "a parameter comes twice")
        return cls(dict(request.query))

    def take(self, key: str) -> object:
        """The value as it came, None where there is none."""
        return self._values.pop(key, None)

    def take_text(self, key: str) -> str | None:
        """A text, or None."""
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            raise BadInput(key, "is not text")
        return value

    def need_text(self, key: str) -> str:
        """A text that has to be there."""
        value = self.take_text(key)
        if value is None:
            raise BadInput(key, "is missing")
        return value

    def take_texts(self, key: str) -> list[str] | None:
        """A list of texts, or None."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadInput(key, "is not a list of texts")
        return value

    def take_yes(self, key: str) -> bool | None:
        """`true` or `false` of a body, or None."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            raise BadInput(key, "is neither true nor false")
        return value

    def take_duration(self, key: str) -> int | None:
        """Seconds of a duration such as "2h", or None."""
        text = self.take_text(key)
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise BadInput(key, str(error)) from None

    def take_address(self, key: str, ipv6_prefix: int) -> Address | None:
        """An address, or None. Raises BadAddress."""
        text = self.take_text(key)
        return None if text is None else parse_address(text, ipv6_prefix)

    def need_address(self, key: str, ipv6_prefix: int) -> Address:
        """An address that has to be there. Raises BadAddress."""
        return parse_address(self.need_text(key), ipv6_prefix)

    def take_flag(self, key: str) -> bool:
        """`true` or `false` in a query; absent is false."""
        text = self.take_text(key)
        if text not in {None, "true", "false"}:
            raise BadInput(key, "is neither true nor false")
        return text == "true"

    def take_count(self, key: str, default: int, most: int) -> int:
        """A whole number from 1 to `most` in a query."""
        text = self.take_text(key)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise BadInput(key, f"is not a whole number from 1 to {most}")
        return int(text)

    def end(self) -> None:
        """Raise BadInput for a key that nobody asked for."""
        for key in self._values:
            raise BadInput(str(key)[:40], "is not known here")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key comes twice")
    return values
