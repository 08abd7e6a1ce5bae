"""Where what happened may have changed what is open."""

from typing import Literal

from access.history import Entry
from access.state import State

Scope = tuple[Literal["address", "holder"], str]
"""An address, or a holder."""

_AT_ADDRESS = {"prolonged", "revoked", "undone", "grant-expired", "foreign-grant", "foreign-revoke"}
_OF_HOLDER = {"link-paused", "link-rotated", "link-removed", "token-removed"}
_ANYWHERE = {"repaired", "person-changed", "person-removed"}


def changed(entry: Entry, state: State) -> list[Scope | None]:
    """Where an entry of the history tells of grants that began, ended or were changed; None: anywhere."""
    event, address, holder = (str(entry.get(name, "")) for name in ("event", "address", "holder"))
    if event in {"link-opened", "granted"}:
        whose = holder or str(entry.get("by", ""))
        return [("address", address), ("holder", whose)] if _limited(whose, state) else [("address", address)]
    if event == "moved":
        return [("address", address), ("address", str(entry.get("reason", "")).removeprefix("from "))]
    if event in _OF_HOLDER or (event == "revoked" and holder and not address):
        return [("holder", holder)]
    if event in _AT_ADDRESS and address:
        return [("address", address)]
    return [None] if event in _ANYWHERE or event == "revoked" else []


def _limited(holder: str, state: State) -> bool:
    """Whether older addresses of the holder may have had to leave for a new one."""
    kind, _, name = holder.partition(":")
    if kind == "link":
        return (link := state.links.get(name)) is not None and link.addresses is not None
    if kind == "token":
        return True
    return kind == "person" and (person := state.people.get(name)) is not None and not person.admin
