"""Who holds a grant or acted, in the words of the admin's pages."""

from dataclasses import dataclass
from typing import Literal

from access.actor import Actor
from access.start import Access
from access.state import UnknownLink, UnknownPerson


@dataclass(frozen=True, slots=True)
class Holder:
    """`name` as it is; `kind` says what it names; `path` is its page, where it has one; `owner` is a link's."""

    kind: Literal["person", "link", "cli", "safeip", "other"]
    name: str
    path: str | None = None
    owner: str | None = None


class Holders:
    """Turns holders such as link:ID into what an admin calls them. Raises NotAllowed for others."""

    def __init__(self, access: Access, by: Actor) -> None:
        by.need_admin()
        self._access = access
        self._by = by

    def holder(self, text: str, note: str = "") -> Holder:
        """Takes any text. `note`: what a link was called that is gone by now."""
        kind, _, name = text.partition(":")
        if kind == "link":
            return self._link(name, note)
        if kind == "person":
            return self._person(name)
        if text == "cli":
            return Holder("cli", text)
        return Holder("safeip" if text == "safeip" else "other", text)

    def _link(self, link_id: str, note: str) -> Holder:
        try:
            link = self._access.links.get(self._by, link_id)
        except UnknownLink:
            return Holder("link", note or link_id)
        return Holder("link", link.label, f"/admin/links/{link.id}", link.owner)

    def _person(self, name: str) -> Holder:
        try:
            self._access.people.get(self._by, name)
        except UnknownPerson:
            return Holder("person", name)
        return Holder("person", name, f"/admin/people/{name}")
