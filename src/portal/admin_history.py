"""What happened, for an admin who asks who, what, where and whether it was allowed."""

from dataclasses import dataclass

from aiohttp import web

from access.history import Entry, Wanted
from access.moment import parse_moment
from portal.caller import Caller
from portal.door import Door
from portal.form import Fields, Form
from portal.holders import Holder, Holders
from portal.moments import Moment, moment
from portal.opens import service_title
from portal.site import Site

MOST = 500
"""Entries on the page."""

EVENTS = (
    "granted", "prolonged", "moved", "revoked", "undone", "grant-expired",
    "link-opened", "link-refused", "link-added", "link-paused", "link-resumed", "link-rotated", "link-removed",
    "signed-in", "sign-in-refused", "signed-out", "signed-out-everywhere", "session-ended",
    "password-changed", "totp-on", "totp-off", "recovery-codes-made", "recovery-code-used",
    "person-asked", "person-approved", "person-refused", "person-added", "person-invited", "person-accepted",
    "person-changed", "person-removed",
    "refused", "token-refused", "token-added", "token-removed",
    "banned", "unbanned", "ban-expired",
    "foreign-grant", "foreign-revoke", "foreign-ban", "repaired", "unrecorded", "recorded", "backup-made", "backup-failed",
)  # fmt: skip
"""What can be asked for, as the page offers it; another event is found and shown too."""

_WANTED = Fields(one=("who", "event", "address", "outcome"))


@dataclass(frozen=True, slots=True)
class Row:
    """An entry; "" is what it does not say. `about`: for whom or of whom, unless that is who acted."""

    event: str
    at: Moment | None
    refused: bool
    by: Holder | None
    about: Holder | None
    services: list[str]
    note: str
    source: str
    address: str
    reason: str


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.page("/admin/history", "admin", _History(site).show)


class _History:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """The last entries that ?who, ?event, ?address and ?outcome want, the newest first."""
        form = Form(_WANTED, {name: [request.query.get(name, "")[:256]] for name in _WANTED.one})
        address = form.address("address", self._site.settings.ipv6_prefix)
        wanted = Wanted(
            form.text("event") or None,
            form.text("who") or None,
            None if address is None else str(address),
            form.text("outcome") or None,
        )
        entries = [] if form.errors else await self._site.access.history.read(MOST + 1, wanted)
        holders = Holders(self._site.access, caller.actor)
        return self._site.pages.answer(
            request,
            "admin_history.html",
            status=422 if form.errors else 200,
            form=form,
            rows=[row(self._site, entry, holders) for entry in entries[::-1][:MOST]],
            more=len(entries) > MOST,
            narrowed=bool(form.errors) or wanted != Wanted(),
            events=EVENTS,
            most=MOST,
        )


def row(site: Site, entry: Entry, holders: Holders) -> Row:
    """An entry as pages show it; takes whatever somebody else wrote into the file."""

    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    by, note, services = text("by"), text("note"), entry.get("services")
    about = f"person:{text('person')}" if text("person") else text("holder")
    held = holders.holder(about, note) if about and about != by else None
    return Row(
        event=text("event"),
        at=_moment(text("at"), site.clock()),
        refused=text("outcome") == "refused",
        by=holders.holder(by) if by else None,
        about=held,
        services=[service_title(site.settings.services, str(name)) for name in services] if isinstance(services, list) else [],
        note="" if held is not None and note == held.name else note,
        source=text("from"),
        address=text("address"),
        reason=text("reason"),
    )


def _moment(text: str, now: float) -> Moment | None:
    try:
        return moment(parse_moment(text), now)
    except ValueError:
        return None
