"""The wire between portal and gate, the gate's side: bytes become small checked requests here, or nothing.

One JSON object a line, at most 64 KiB, over a socketpair. Five verbs; every key present and no other.
Whatever breaks these rules is no mistake but an attack or a bug, and ends the daemon (ProtocolError).
What keeps them and asks for too much is refused with an answer (nft.checks).
"""

import json
from dataclasses import dataclass, fields
from typing import Any, Literal

LINE = 64 * 1024
_SERVICES = 64
_TEXT = 256
_NUMBER = 1 << 53


class ProtocolError(Exception):
    """The other side does not keep to the wire's rules."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Put `address` into the sets of `services`, each for its number of seconds: all or none.

    With `addresses`, of this holder at most so many of this address family stay, the oldest leave.
    """

    id: int
    services: dict[str, int]
    address: str
    holder: str
    note: str
    addresses: int | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take out what matches all that is given. `everything` goes alone, and so does giving nothing else."""

    id: int
    service: str | None
    address: str | None
    holder: str | None
    everything: bool


@dataclass(frozen=True, slots=True)
class List:
    """Tell what matches all that is given; only grants can be chosen from."""

    id: int
    of: Literal["grants", "blocked", "banned", "status"]
    service: str | None
    address: str | None
    holder: str | None


@dataclass(frozen=True, slots=True)
class Ban:
    """Shut `address` out of portal and services for `duration_s` seconds; 0 lifts the ban."""

    id: int
    address: str
    duration_s: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell from now on, unasked, what happens."""

    id: int


Request = Grant | Revoke | List | Ban | Watch
_VERBS: dict[str, type[Request]] = {
    "grant": Grant,
    "revoke": Revoke,
    "list": List,
    "ban": Ban,
    "watch": Watch,
}


class Reader:
    """Cuts what arrives into requests. Holds at most one line that is not yet whole."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Request]:
        """The requests that are whole now. Raises ProtocolError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LINE:
            raise ProtocolError(f"a line of more than {LINE} bytes")
        return [parse(line) for line in lines]


def parse(line: bytes) -> Request:
    """One line, without its end, as a request. Raises ProtocolError."""
    if len(line) >= LINE:
        raise ProtocolError(f"a line of more than {LINE} bytes")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    verb = message.pop("verb", None)
    kind = _VERBS.get(verb) if isinstance(verb, str) else None
    if kind is None:
        raise ProtocolError("no such verb")
    if message.keys() != {field.name for field in fields(kind)}:
        raise ProtocolError(f"{verb}: keys that do not belong there, or missing ones")
    for key, value in message.items():
        if not _fits(kind, key, value):
            raise ProtocolError(f"{verb}: {key} is not of its type")
    request = kind(**message)
    if isinstance(request, Revoke):
        _check_revoke(request)
    return request


def encode(answer: dict[str, Any]) -> bytes:
    """One line to the portal."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _fits(kind: type[Request], key: str, value: object) -> bool:
    match key:
        case "id" | "duration_s":
            return _is_number(value)
        case "addresses":
            return value is None or _is_number(value, 1)
        case "services":
            return (
                isinstance(value, dict)
                and 0 < len(value) <= _SERVICES
                and all(_is_text(name) and _is_number(seconds) for name, seconds in value.items())
            )
        case "everything":
            return isinstance(value, bool)
        case "of":
            return value in ("grants", "blocked", "banned", "status")
        case _:
            return _is_text(value) or (value is None and kind in (Revoke, List))


def _is_number(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value < _NUMBER


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > _TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _check_revoke(request: Revoke) -> None:
    chosen = [request.service, request.address, request.holder]
    if request.everything == any(choice is not None for choice in chosen):
        raise ProtocolError("revoke: either everything or a service, an address, a holder")
