"""Who holds a grant or acted, in the words of the admin's pages."""

from dataclasses import dataclass
from typing import Literal

from access.actor import Actor
from access.start import Access


@dataclass(frozen=True, slots=True)
class Holder:
    """`name` as it is; `kind` says what it names; `path` is its page, where it has one; `owner` is a link's."""

    kind: Literal["person", "link", "cli", "safeip", "other"]
    name: str
    path: str | None = None
    owner: str | None = None


class Holders:
    """Turns holders such as link:ID into what an admin calls them, as of one moment."""

    def __init__(self, access: Access, by: Actor) -> None:
        self._links = {link.holder: link for link in access.links.list(by)}
        self._people = {person.holder for person in access.people.list(by)}

    def holder(self, text: str, note: str = "") -> Holder:
        """Takes any text. `note`: what a link was called that is gone by now."""
        kind, _, name = text.partition(":")
        if link := self._links.get(text):
            return Holder("link", link.label, f"/admin/links/{link.id}", link.owner)
        if kind == "link":
            return Holder("link", note or name)
        if kind == "person":
            return Holder("person", name, f"/admin/people/{name}" if text in self._people else None)
        if text == "cli":
            return Holder("cli", text)
        return Holder("safeip" if text == "safeip" else "other", text)
