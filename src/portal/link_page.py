"""A link's page: GET shows what it would open and changes nothing, POST opens."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from access.opening import Opened, Reason, Refused, View
from access.services import Service
from portal.client_address import Visitor
from portal.forms import BadForm, LinkForm
from portal.moments import Moment, Span, moment, span
from portal.problems import Problem
from portal.same_site import from_own_page
from portal.site import Site

_BODY_WITHIN_S = 10.0
_TOKEN_LONGEST = 64
_FORM_TYPE = "application/x-www-form-urlencoded"

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


@dataclass(frozen=True, slots=True)
class Opens:
    """A service on the page: for how long it would open, and until when it is open from here."""

    service: Service
    for_: Span
    until: Moment | None


class LinkPage:
    """GET, HEAD and POST of /l/{token}."""

    def __init__(self, site: Site) -> None:
        self._site = site
        settings = site.settings
        self._origins = frozenset(
            url for url in (settings.url, settings.url_ipv4, settings.url_ipv6) if url is not None
        )

    async def show(self, request: web.Request) -> web.Response:
        """The page with its form. Grants nothing, whoever fetches it and however often."""
        return await self._page(request, _token(request), self._site.visitor(request))

    async def open(self, request: web.Request) -> web.Response:
        """Open the link for the visitor, if the form is our own."""
        visitor = self._site.visitor(request)
        token = _token(request)
        form = await _read_form(request)
        nonce = self._site.browsers.nonce(request.headers.get("Cookie", ""))
        if not from_own_page(request.headers, self._origins):
            return await self._page(request, token, visitor, "foreign-form")
        if not self._site.browsers.holds(form.token, token, nonce):
            return await self._page(request, token, visitor, "old-form")
        if visitor.trusted:
            return await self._page(request, token, visitor)
        try:
            opened = await self._site.access.opening.open(token, visitor.address, form.pin)
        except Refused as refused:
            if refused.reason in {Reason.PIN_NEEDED, Reason.PIN_WRONG}:
                return await self._page(request, token, visitor, refused.reason.value)
            if refused.reason is Reason.TRUSTED:
                return await self._page(request, token, Visitor(visitor.address, trusted=True))
            raise _problem(refused) from None
        return self._opened(request, opened)

    async def _page(
        self, request: web.Request, token: str, visitor: Visitor, notice: str = ""
    ) -> web.Response:
        """The page with a fresh form, and with what was wrong with the one that came."""
        try:
            view = await self._site.access.opening.look(token, visitor.address)
        except Refused as refused:
            raise _problem(refused) from None
        if visitor.trusted:
            return self._always_open(request, view)
        return self._form(request, token, visitor, view, notice)

    def _form(
        self, request: web.Request, token: str, visitor: Visitor, view: View, notice: str
    ) -> web.Response:
        browsers, now = self._site.browsers, self._site.clock()
        nonce, cookie = browsers.nonce(request.headers.get("Cookie", "")), None
        if nonce is None:
            nonce, cookie = browsers.new_nonce()
        link = view.link
        response = self._site.pages.answer(
            request,
            "link.html",
            status=403 if notice else 200,
            link=link,
            opens=_opens(view, now),
            until=moment(now + view.remaining_ms / 1000, now) if view.remaining_ms else None,
            ends=None if link.expires_at is None else moment(link.expires_at, now),
            uses_left=None if link.uses is None else link.uses - link.used,
            renewable=not link.used_up,
            address=str(visitor.address),
            token=browsers.token(token, nonce),
            notice=notice,
            next_url=_next_url(view),
        )
        if cookie is not None:
            response.headers.add("Set-Cookie", cookie)
        return response

    def _opened(self, request: web.Request, opened: Opened) -> web.Response:
        now = self._site.clock()
        return self._site.pages.answer(
            request,
            "opened.html",
            link=opened.link,
            opens=_opens(opened, now),
            until=moment(now + opened.remaining_ms / 1000, now),
            next_url=_next_url(opened),
            trusted=False,
        )

    def _always_open(self, request: web.Request, view: View) -> web.Response:
        return self._site.pages.answer(
            request,
            "opened.html",
            link=view.link,
            opens=_opens(view, self._site.clock()),
            until=None,
            next_url=_next_url(view),
            trusted=True,
        )


def _token(request: web.Request) -> str:
    token = request.match_info["token"]
    if len(token) > _TOKEN_LONGEST:
        raise Problem("unknown", 404)
    return token


async def _read_form(request: web.Request) -> LinkForm:
    # Browsers send exactly this; aiohttp's parsing of it costs as much as half a bare answer.
    if request.headers.get("Content-Type") != _FORM_TYPE and (
        request.content_type != _FORM_TYPE or (request.charset or "utf-8").lower() != "utf-8"
    ):
        raise Problem("bad-form", 415)
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            return LinkForm.parse(await request.read())
    except TimeoutError:
        raise Problem("too-slow", 408) from None
    except BadForm:
        raise Problem("bad-form", 400) from None


def _problem(refused: Refused) -> Problem:
    return Problem(
        refused.reason.value,
        _STATUS.get(refused.reason, 503),
        detail=refused.detail if refused.reason is Reason.ADDRESS else "",
        retry_after_s=refused.retry_after_s,
    )


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
