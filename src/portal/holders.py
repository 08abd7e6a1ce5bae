"""Who holds a grant or acted, in the words of the admin's pages."""

from dataclasses import dataclass
from typing import Literal

from access.actor import Actor
from access.start import Access


@dataclass(frozen=True, slots=True)
class Holder:
    """`name` as it is; `kind` says what it names; `path` is its page, where it has one; `owner` is a link's."""

    kind: Literal["person", "link", "token", "cli", "safeip", "other"]
    name: str
    path: str | None = None
    owner: str | None = None


class Holders:
    """Turns holders such as link:ID into what an admin calls them. Raises NotAllowed for others."""

    def __init__(self, access: Access, by: Actor) -> None:
        by.need_admin()
        self._state = access.state
        self._known: dict[tuple[str, str], Holder] = {}

    def holder(self, text: str, note: str = "") -> Holder:
        """Takes any text. `note`: what a link or a token was called that is gone by now."""
        holder = self._known.get((text, note))
        if holder is None:
            holder = self._known[text, note] = self._find(text, note)
        return holder

    def _find(self, text: str, note: str) -> Holder:
        kind, _, name = text.partition(":")
        if kind == "link":
            link = self._state.links.get(name)
            if link is None:
                return Holder("link", note or name)
            return Holder("link", link.label, f"/admin/links/{link.id}", link.owner)
        if kind == "person":
            return Holder("person", name, f"/admin/people/{name}" if name in self._state.people else None)
        if kind == "token":
            token = self._state.tokens.get(name)
            return Holder("token", token.label if token else note or name, None if token is None else "/admin/tokens")
        if text == "cli":
            return Holder("cli", text)
        return Holder("safeip" if text == "safeip" else "other", text)
