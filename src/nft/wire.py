"""The wire between portal and gate, the gate's side: bytes become small checked requests here, or nothing.

One JSON object a line, with nothing around it, at most 64 KiB, over a socketpair. Five verbs; every key present and no other.
Whatever breaks these rules is no mistake but an attack or a bug, and ends the daemon (ProtocolError).
What keeps them and asks for too much is refused with an answer (nft.checks).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

LINE = 64 * 1024
_SERVICES = 64
_TEXT = 256
_NUMBER = 1 << 53


class ProtocolError(Exception):
    """The other side does not keep to the wire's rules."""


class Grant(NamedTuple):
    """Put `address` into the sets of `services`, each for its number of seconds: all or none.

    With `addresses`, of this holder at most so many of this address family stay: the oldest leave, 1,000 at once.
    """

    id: int
    services: dict[str, int]
    address: str
    holder: str
    note: str
    addresses: int | None


class Revoke(NamedTuple):
    """Take out what matches all that is given. `everything` goes alone, and so does giving nothing else."""

    id: int
    service: str | None
    address: str | None
    holder: str | None
    everything: bool


class List(NamedTuple):
    """Tell what matches all that is given; only grants can be chosen from. `held` are grants without their counters."""

    id: int
    of: Literal["grants", "held", "blocked", "banned", "status"]
    service: str | None
    address: str | None
    holder: str | None


class Ban(NamedTuple):
    """Shut `address` out of portal and services for `duration_s` seconds; 0 lifts the ban."""

    id: int
    address: str
    duration_s: int


class Watch(NamedTuple):
    """Tell from now on, unasked, what happens."""

    id: int


Request = Grant | Revoke | List | Ban | Watch


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
        text = line.decode()
        message, end = _read(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(message, dict) or end != len(text):
        raise ProtocolError("not one JSON object")
    verb = message.pop("verb", None)
    if not isinstance(verb, str) or verb not in _VERBS:
        raise ProtocolError("no such verb")
    kind, keys = _VERBS[verb]
    if message.keys() != keys.keys():
        raise ProtocolError(f"{verb}: keys that do not belong there, or missing ones")
    for key, fits in keys.items():
        if not fits(message[key]):
            raise ProtocolError(f"{verb}: {key} is not of its type")
    request = kind(**message)
    if isinstance(request, Revoke):
        _check_revoke(request)
    return request


def encode(answer: dict[str, Any]) -> bytes:
    """One line to the portal."""
    return _json(answer).encode() + b"\n"


_read = json.JSONDecoder().raw_decode
_json = json.JSONEncoder(check_circular=False, ensure_ascii=False, separators=(",", ":")).encode


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < _NUMBER


def _is_count(value: object) -> bool:
    return value is None or (_is_number(value) and value != 0)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT and (value.isascii() or _is_unicode(value))


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _is_choice(value: object) -> bool:
    return value is None or _is_text(value)


def _is_services(value: object) -> bool:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= _SERVICES
        and all(map(_is_text, value))
        and all(map(_is_number, value.values()))
    )


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_listed(value: object) -> bool:
    return value in ("grants", "held", "blocked", "banned", "status")


_CHOSEN = {"service": _is_choice, "address": _is_choice, "holder": _is_choice}
_VERBS: Mapping[str, tuple[type[Request], Mapping[str, Callable[[object], bool]]]] = {
    "grant": (
        Grant,
        {
            "id": _is_number,
            "services": _is_services,
            "address": _is_text,
            "holder": _is_text,
            "note": _is_text,
            "addresses": _is_count,
        },
    ),
    "revoke": (Revoke, {"id": _is_number, **_CHOSEN, "everything": _is_flag}),
    "list": (List, {"id": _is_number, "of": _is_listed, **_CHOSEN}),
    "ban": (Ban, {"id": _is_number, "address": _is_text, "duration_s": _is_number}),
    "watch": (Watch, {"id": _is_number}),
}
"""The verbs, and what each of their keys holds."""


def _check_revoke(request: Revoke) -> None:
    chosen = [request.service, request.address, request.holder]
    if request.everything == any(choice is not None for choice in chosen):
        raise ProtocolError("revoke: either everything or a service, an address, a holder")
