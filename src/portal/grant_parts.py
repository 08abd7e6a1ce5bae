"""Parts of the admin's first page, for scripts that put them in their places."""

from collections.abc import Iterable, Sequence

from aiohttp import web

from access.gate import Grant
from access.history import Entry
from portal.admin_history import Row as Line
from portal.admin_history import row as line
from portal.caller import Caller
from portal.grant_rows import GrantRows, Row, Wanted
from portal.holders import Holders
from portal.knocks import Hour
from portal.site import Site


class Parts:
    """Renders them in the language of whoever asks, with the tokens of their forms."""

    def __init__(self, site: Site, rows: GrantRows) -> None:
        self._site = site
        self._rows = rows
        self._part = site.pages.part

    def rows(
        self, request: web.Request, caller: Caller, wanted: Wanted, grants: Iterable[Grant]
    ) -> list[dict[str, str]]:
        """Those of the grants that are wanted, as they stand in the table."""
        name, more = "admin_grants_row.html", {"back": wanted.query(), "here": str(caller.visitor.address)}
        return [
            {"key": row.key, "html": self._part(request, name, row=row, form_token=caller.form_token, **more)}
            for row in self._wanted(caller, wanted, grants)
        ]

    def counts(
        self, request: web.Request, caller: Caller, wanted: Wanted, grants: Iterable[Grant]
    ) -> list[dict[str, str]]:
        """Their counters alone."""
        name = "admin_grants_counts.html"
        return [
            {"key": row.key, "html": self._part(request, name, row=row)}
            for row in self._wanted(caller, wanted, grants)
        ]

    def last(self, request: web.Request, caller: Caller, entries: Iterable[Entry]) -> str:
        """The history's last lines, the newest first."""
        return self._part(request, "admin_last.html", last=lines(self._site, caller, entries))

    def knocks(self, request: web.Request, hours: Sequence[Hour]) -> str:
        """The picture of who knocked."""
        return self._part(request, "admin_knocks.html", hours=hours)

    def said(self, request: web.Request, said: str, undo: str | None, back: str) -> str:
        """What was done, and the button that takes it back."""
        return self._part(request, "admin_said.html", said=said, undo=undo, back=back, to="in")

    def _wanted(self, caller: Caller, wanted: Wanted, grants: Iterable[Grant]) -> list[Row]:
        chosen = self._rows.chosen(caller.actor, grants, wanted)
        return [self._rows.row(holder, grant) for holder, grant in chosen]


def lines(site: Site, caller: Caller, entries: Iterable[Entry]) -> list[Line]:
    """Entries of the history, given oldest first, as pages show them: the newest first."""
    holders = Holders(site.access, caller.actor)
    return [line(site, entry, holders) for entry in reversed(list(entries))]
