"""Which addresses held a grant in the last 30 days: granted.json. They are never reported."""

import json
from collections.abc import Iterable

from access import files
from access.files import StateError
from access.moment import moment_text, parse_moment
from access.shape import Fields, parse_document

FILE = "granted.json"
_KEPT_S = 30 * 86_400


class Granted:
    """`held` are open now, as far as known; `ended` holds when the others were last open, in seconds since 1970.

    Before `since` nothing is known: until that is 30 days ago, everybody may have held one.
    """

    def __init__(self, path: str) -> None:
        """Read the file. Raises StateError."""
        self._path = path
        self.since: int | None = None
        self.held: set[str] = set()
        self.ended: dict[str, int] = {}
        self._changed = False
        data = files.read(path)
        if data is not None:
            self._read(parse_document(path, data))

    def _read(self, fields: Fields) -> None:
        fields.number("version", 1, 1)
        self.since = fields.moment("since")
        self.ended = read_moments(fields, "ended")
        self.held = set(read_moments(fields, "held"))
        fields.end()

    def begin(self, since: int) -> None:
        """What is known from here on reaches back to `since` without a gap."""
        self.since = since
        self._changed = True

    def held_now(self, addresses: Iterable[str], now: int) -> None:
        """All that is open at this moment; who is not in it any more was until now, for all that is known."""
        found = set(addresses)
        self._changed |= found != self.held
        self.ended |= dict.fromkeys(self.held - found, now)
        self.held = found
        for address in [address for address, at in self.ended.items() if now - at > _KEPT_S or address in found]:
            del self.ended[address]
            self._changed = True

    def held_once(self, address: str, now: int) -> None:
        """It was open at some moment, which the history tells: until now, for all that is known."""
        if address not in self.held and self.ended.get(address) != now:
            self.ended[address] = now
            self._changed = True

    def may_have_held(self, address: str, now: int) -> bool:
        """Whether it held a grant in the last 30 days, or may have. In doubt, yes."""
        if self.since is None or now - self.since < _KEPT_S:
            return True
        return address in self.held or now - self.ended.get(address, -_KEPT_S) < _KEPT_S

    def save(self) -> None:
        """Put what changed onto the disk. Raises NotSaved."""
        if self._changed and self.since is not None:
            ended = {address: moment_text(at) for address, at in self.ended.items()}
            held = {address: moment_text(0) for address in sorted(self.held)}
            files.replace(self._path, to_json({"version": 1, "since": moment_text(self.since), "held": held, "ended": ended}))
            self._changed = False


def to_json(value: object) -> bytes:
    """A state file's text."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def read_moments(fields: Fields, key: str) -> dict[str, int]:
    """An object of moments. Raises StateError."""
    found = {}
    for name, text in fields.object(key).items():
        try:
            found[name] = parse_moment(text)
        except (TypeError, ValueError):
            raise StateError(fields.file, f"{key}.{name[:80]}", "is not a moment") from None
    return found
