"""A link's page: GET shows what it would open and changes nothing, POST opens."""

from aiohttp import web

from access.link import Link
from access.opening import Opened, Reason, Refused, View
from portal.caller import Caller
from portal.client_address import Visitor
from portal.door import Door, Why
from portal.form import Fields, Form
from portal.moments import moment, span
from portal.opens import Opens
from portal.problems import Problem
from portal.site import Site

_TOKEN_LONGEST = 64
_FIELDS = Fields(secret=("pin",))

_STATUS = {
    Reason.UNKNOWN: 404,
    Reason.PAUSED: 410,
    Reason.EXPIRED: 410,
    Reason.USED_UP: 410,
    Reason.NO_SERVICE: 410,
    Reason.ADDRESS: 403,
    Reason.PIN_LOCKED: 429,
}
"""What is not here is the gateway's own trouble: 503."""


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _LinkPage(site)
    door.page("/l/{token}", "anyone", pages.show)
    door.form("/l/{token}", "anyone", pages.open, _FIELDS, refused=pages.refuse)


class _LinkPage:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, _caller: Caller | None) -> web.Response:
        """The page with its form. Grants nothing, whoever fetches it and however often."""
        return await self._page(request, _token(request), self._site.visitor(request))

    async def refuse(self, request: web.Request, why: Why) -> web.Response:
        """The page again, with a form that works."""
        return await self._page(request, _token(request), self._site.visitor(request), why)

    async def open(self, request: web.Request, _caller: Caller | None, form: Form) -> web.Response:
        """Open the link for the visitor."""
        visitor = self._site.visitor(request)
        token = _token(request)
        pin = form.text("pin")
        if form.errors:
            raise Problem("bad-form", 400)
        if visitor.trusted:
            return await self._page(request, token, visitor)
        try:
            opened = await self._site.access.opening.open(
                token, visitor.address, pin, trusted=visitor.trusted
            )
        except Refused as refused:
            if refused.reason in {Reason.PIN_NEEDED, Reason.PIN_WRONG}:
                return await self._page(request, token, visitor, refused.reason.value)
            if refused.reason is Reason.TRUSTED:
                return await self._page(request, token, Visitor(visitor.address, trusted=True))
            raise _problem(refused) from None
        return self._opened(request, visitor, token, opened)

    async def _page(
        self, request: web.Request, token: str, visitor: Visitor, notice: str = ""
    ) -> web.Response:
        """The page with a fresh form, and with what was wrong with the one that came."""
        try:
            view = await self._site.access.opening.look(token, visitor.address, trusted=visitor.trusted)
        except Refused as refused:
            raise _problem(refused) from None
        if visitor.trusted:
            return self._always_open(request, visitor, view)
        return self._form(request, visitor, view, notice)

    def _form(self, request: web.Request, visitor: Visitor, view: View, notice: str) -> web.Response:
        return self._site.open_page(
            request,
            "opened.html" if view.remaining_ms else "link.html",
            status=403 if notice else 200,
            # A used-up link is still open from here, and its time does not start again.
            **{**self._shown(view, visitor), "notice": notice, "asks": not view.link.used_up},
        )

    def _opened(self, request: web.Request, visitor: Visitor, token: str, opened: Opened) -> web.Response:
        shown = self._shown(opened, visitor)
        stay_token, _ = self._site.browsers.token(request, f"/l/{token}/stay")
        return self._site.pages.answer(
            request,
            "opened.html",
            **{**shown, "how": opened.how, "left": opened.left, "stay_token": stay_token},
        )

    def _always_open(self, request: web.Request, visitor: Visitor, view: View) -> web.Response:
        return self._site.pages.answer(request, "opened.html", **self._shown(view, visitor))

    def _shown(self, view: View, visitor: Visitor) -> dict[str, object]:
        """What link.html and opened.html say of a link."""
        now, link = self._site.clock(), view.link
        return {
            "link": link,
            "owner": owner_name(link),
            "opens": _opens(view, now),
            "how": "open",
            "left": (),
            "until": moment(now + view.remaining_ms / 1000, now) if view.remaining_ms else None,
            "remaining_ms": view.remaining_ms,
            "ends": None if link.expires_at is None else moment(link.expires_at, now),
            "uses_left": None if link.uses is None else link.uses - link.used,
            "address": str(visitor.address),
            "family": f"IPv{visitor.address.version}",
            "trusted": visitor.trusted,
            "next_url": _next_url(view),
            "stay_path": f"/l/{self._site.access.links.token(link)}/stay",
            "stay_token": None,
            "also": None,
            "notice": "",
            "asks": False,
        }


def _token(request: web.Request) -> str:
    token = request.match_info["token"]
    if len(token) > _TOKEN_LONGEST:
        raise Problem("unknown", 404)
    return token


def _problem(refused: Refused) -> Problem:
    return Problem(
        refused.reason.value,
        _STATUS.get(refused.reason, 503),
        detail=refused.detail if refused.reason is Reason.ADDRESS else "",
        retry_after_s=refused.retry_after_s,
    )


def owner_name(link: Link) -> str | None:
    """Whose the link is, as a sentence says it; None for the house's."""
    return link.owner and link.owner[:1].upper() + link.owner[1:]


def _opens(view: View, now: float) -> list[Opens]:
    link = view.link
    left_s = None if link.expires_at is None else max(1, int(link.expires_at - now))
    open_until = {grant.service: moment(now + grant.remaining_ms / 1000, now) for grant in view.grants}
    return [
        Opens(
            service,
            span(
                min(
                    link.duration_s or service.default_duration_s,
                    service.max_duration_s,
                    left_s or service.max_duration_s,
                )
            ),
            open_until.get(service.name),
        )
        for service in view.services
    ]


def _next_url(view: View) -> str | None:
    """Where the visitor goes from here: the link's own target, else the first service with a page."""
    return view.link.to or next((service.url for service in view.services if service.url), None)
