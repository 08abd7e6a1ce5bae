"""From entries of the history to what is worth telling."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from teller.clean import clean
from teller.cursor import moment
from teller.known import Known
from teller.settings import Event
from teller.source import Json

_OPENS = ("link-opened", "granted", "moved")
_REMOVED = {"link-removed": "link", "person-removed": "person", "token-removed": "token"}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to tell, at a moment in seconds since 1970. Its texts are clean.

    `holder`: of which grant; `label`: what people call it. `by`: who banned; `reason`: why, in the history's words.
    """

    kind: Event
    at: int
    holder: str = ""
    label: str = ""
    addresses: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    by: str = ""
    reason: str = ""


def happened(entry: Json, known: Known) -> Happening | None:
    """What an entry tells, if anything; what is known learns from it either way."""
    event, at = str(entry.get("event")), moment(entry)
    if event == "backup-failed":
        return Happening("backup-failed", at, reason=_text(entry, "reason"))
    if entry.get("outcome") != "allowed":
        return None
    if event in _REMOVED:
        name = entry.get("person") if event == "person-removed" else None
        known.forget(clean(entry.get("holder") or f"{_REMOVED[event]}:{name}"))
    if event in _OPENS and "address" in entry:
        return _opened(entry, at, known)
    if event == "banned":
        return Happening("ban", at, addresses=(_text(entry, "address"),), by=_text(entry, "by"), reason=_text(entry, "reason"))
    return Happening("repair", at) if event == "repaired" else None


def _opened(entry: Json, at: int, known: Known) -> Happening | None:
    holder = clean(entry.get("holder") or entry.get("by"))
    if holder == "cli":  # root opens for everybody
        return None
    address = _text(entry, "address")
    kind = known.opened(holder, address, at)
    if kind is None:
        return None
    services = entry.get("services")
    names = tuple(clean(name) for name in services) if isinstance(services, list) else ()
    return Happening(kind, at, holder, _text(entry, "note"), (address,), names)


def _text(entry: Json, key: str) -> str:
    return clean(entry.get(key) or "")


def merged(happenings: Iterable[Happening]) -> list[Happening]:
    """As they came, those of one holder as one: both families of a visitor are no two things."""
    found: dict[tuple[str, str], Happening] = {}
    for number, one in enumerate(happenings):
        key = ("opened", one.holder) if one.holder else (one.kind, "" if one.kind == "repair" else str(number))
        first = found.get(key)
        if first is None:
            found[key] = one
        else:
            addresses = tuple(dict.fromkeys((*first.addresses, *one.addresses)))
            services = tuple(dict.fromkeys((*first.services, *one.services)))
            found[key] = replace(first, addresses=addresses, services=services)
    return list(found.values())
