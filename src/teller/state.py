"""teller.json: how far the teller is, so that it tells nothing twice and misses nothing."""

from dataclasses import asdict, dataclass, field
from typing import Any

from access import files
from access.files import StateError
from access.moment import moment_text
from access.shape import Fields, parse_document
from teller.cursor import Cursor
from teller.granted import read_moments, to_json
from teller.known import Addresses
from teller.outbox import Message
from teller.reports import Book
from teller.settings import EVENTS, Event

FILE = "teller.json"
_MOST = 2**40


@dataclass(slots=True)
class State:
    """Everything but who held a grant. `told` and `beyond` are the limits'."""

    cursor: Cursor = field(default_factory=Cursor)
    addresses: Addresses = field(default_factory=dict)
    told: list[int] = field(default_factory=list)
    beyond: dict[Event, int] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    book: Book = field(default_factory=Book)


def load(path: str) -> State:
    """The state, a new one where there is no file. Raises StateError."""
    data = files.read(path)
    if data is None:
        return State()
    fields = parse_document(path, data)
    fields.number("version", 1, 1)
    state = State(
        Cursor(_list(fields, "tail", str), fields.number("at", 0, _MOST)),
        {holder: _numbers(fields, seen) for holder, seen in fields.object("addresses").items()},
        _list(fields, "told", int),
        {kind: number for kind, number in _numbers(fields, fields.object("beyond")).items() if kind in EVENTS},
        [_message(Fields(path, f"messages[{at}]", one)) for at, one in enumerate(_list(fields, "messages", dict))],
        _book(fields.inner("reports")),
    )
    fields.end()
    return state


def save(path: str, state: State) -> None:
    """Replace the file. Raises NotSaved."""
    book = {key: value for key, value in asdict(state.book).items() if key not in {"reported", "bans"}}
    book["reported"] = {address: moment_text(at) for address, at in state.book.reported.items()}
    book["bans"] = {address: f"{category} {at}" for address, (at, category) in state.book.bans.items()}
    content = {
        "version": 1,
        "tail": state.cursor.tail,
        "at": state.cursor.at,
        "addresses": state.addresses,
        "told": state.told,
        "beyond": state.beyond,
        "messages": [asdict(message) for message in state.messages],
        "reports": book,
    }
    files.replace(path, to_json(content))


def _message(fields: Fields) -> Message:
    message = Message(
        fields.text("title", 1000), fields.text("body", 100_000), fields.flag("warning"), fields.number("at", 0, _MOST),
        fields.maybe("to", lambda key: _list(fields, key, str)), fields.flag("sending"),
    )  # fmt: skip
    fields.end()
    return message


def _book(fields: Fields) -> Book:
    bans = {}
    for address, ban in fields.object("bans").items():
        category, _, at = str(ban).partition(" ")
        if not (at.isascii() and at.isdigit() and category in {"18", "21"}):
            raise fields.wrong("bans", "is not an object of bans")
        bans[address] = (int(at), category)
    book = Book(
        read_moments(fields, "reported"), bans, fields.number("day", 0, _MOST), fields.number("count", 0, _MOST),
        fields.number("not_before", 0, _MOST),
    )  # fmt: skip
    fields.end()
    return book


def _numbers(fields: Fields, found: object) -> dict[Any, int]:
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        raise StateError(fields.file, "", "holds what is no number where one should be")
    return found


def _list(fields: Fields, key: str, kind: type) -> list[Any]:
    value = fields._take(key)  # noqa: SLF001 (what shape has are lists of names)
    if not isinstance(value, list) or not all(type(one) is kind for one in value):
        raise fields.wrong(key, "is not a list as it should be")
    return value
