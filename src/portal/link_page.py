"""A link's page: GET shows what it would open and changes nothing, POST opens."""

from typing import Any

from aiohttp import web

from access.opened import Opened, Reason, Refused, View
from portal.caller import Caller
from portal.client_address import Visitor
from portal.door import Door, Why
from portal.form import Fields, Form
from portal.headers import POLICY, content_policy
from portal.moments import moment, span
from portal.needs import needs
from portal.opens import Opens, owner_name
from portal.origins import web_origin
from portal.problems import Problem
from portal.refusals import link_problem
from portal.remembered import remember
from portal.site import Site
from portal.stay import stay_path, stay_token

_TOKEN_LONGEST = 64
_FIELDS = Fields(secret=("pin",))


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
        return await self._page(request, link_token(request), self._site.visitor(request))

    async def refuse(self, request: web.Request, why: Why) -> web.Response:
        """The page again, with a form that works."""
        return await self._page(request, link_token(request), self._site.visitor(request), why)

    async def open(self, request: web.Request, _caller: Caller | None, form: Form) -> web.Response:
        """Open the link for the visitor."""
        visitor = self._site.visitor(request)
        token = link_token(request)
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
            if refused.reason in {Reason.PIN_NEEDED, Reason.PIN_WRONG, Reason.OTHER_FAMILY}:
                return await self._page(request, token, visitor, refused.reason.value)
            if refused.reason is Reason.TRUSTED:
                return await self._page(request, token, Visitor(visitor.address, trusted=True))
            raise link_problem(refused) from None
        return self._opened(request, visitor, token, opened)

    async def _page(
        self, request: web.Request, token: str, visitor: Visitor, notice: str = ""
    ) -> web.Response:
        """The page with a fresh form, and with what was wrong with the one that came."""
        try:
            view = await self._site.access.opening.look(token, visitor.address, trusted=visitor.trusted)
        except Refused as refused:
            raise link_problem(refused) from None
        if visitor.trusted:
            return self._always_open(request, visitor, view)
        return self._form(request, visitor, view, notice)

    def _form(self, request: web.Request, visitor: Visitor, view: View, notice: str) -> web.Response:
        if wait_s := self._site.access.guard.may_try_s(visitor.address, trusted=False):
            raise Problem("too-many-tries", 429, retry_after_s=wait_s)  # the form would not be looked at
        return self._site.open_page(
            request,
            "opened.html" if view.remaining_ms else "link.html",
            status=403 if notice else 200,
            headers=self._policy(view),
            **{**self._shown(view, visitor), "notice": notice, "asks": _asks(view, visitor)},
        )

    def _opened(self, request: web.Request, visitor: Visitor, token: str, opened: Opened) -> web.Response:
        shown = self._shown(opened, visitor)
        shown |= {
            "how": opened.how,
            "left": opened.left,
            # What was used up is open for as long as it is, and no page changes that
            "stay_token": None if opened.link.used_up else stay_token(self._site, request, opened, visitor.address),
            "also": self._site.also_url(visitor.address, opened.ticket),
        }
        response = self._site.pages.answer(request, "opened.html", headers=self._policy(opened), **shown)
        remember(self._site, request, response, token)
        return response

    def _always_open(self, request: web.Request, visitor: Visitor, view: View) -> web.Response:
        return self._site.pages.answer(
            request, "opened.html", headers=self._policy(view), **self._shown(view, visitor)
        )

    def _policy(self, view: View) -> dict[str, str]:
        """Its scripts ask our names for the other family, and the service whether it answers."""
        settings = self._site.settings
        asked = (settings.url_ipv4, settings.url_ipv6, _next_url(view))
        return {POLICY: content_policy(web_origin(url) for url in asked)}

    def _shown(self, view: View, visitor: Visitor) -> dict[str, Any]:
        """What link.html and opened.html say of a link."""
        now, link, next_url = self._site.clock(), view.link, _next_url(view)
        needed = needs(self._site, view.services, visitor.address, f"/l/{self._site.access.links.token(link)}")
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
            "shared": view.shared,
            "shortened": view.shortened,
            "next_url": next_url,
            "needs": needed,
            # Whether the other family may count for anything
            "either": needed is None and any(len(service.families) > 1 for service in view.services),
            # What the page leads to is not reached; nothing is, nor can the page do anything about it
            "lost": needed is not None and (needed.every or next_url in {service.url for service in needed.services}),
            "astray": needed is not None and needed.every and (needed.url is None or not _asks(view, visitor)),
            "stay_path": stay_path(self._site, view),
            "manifest": f"/l/{self._site.access.links.token(link)}/app.webmanifest",
            "stay_token": None,
            "also": None,
            "notice": "",
            "asks": False,
        }


def link_token(request: web.Request) -> str:
    """What the path of a link's page holds. Raises Problem for what is too long to be a token."""
    token = request.match_info["token"]
    if len(token) > _TOKEN_LONGEST:
        raise Problem("unknown", 404)
    return token


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
                    service.longest_s(shared=view.shared is not None),
                    left_s or service.max_duration_s,
                )
            ),
            open_until.get(service.name),
        )
        for service in view.services
    ]


def _asks(view: View, visitor: Visitor) -> bool:
    """Whether the page has its form. What is open from a link that opens no more stays so, and its time does not start again."""
    link = view.link
    reached = link.uses is None or view.remaining_ms or any(service.is_reached(visitor.address) for service in view.services)
    return bool(reached) and not link.used_up and not view.lacks_pin


def _next_url(view: View) -> str | None:
    """Where the visitor goes from here: the link's own target, else the first service with a page."""
    return view.link.to or next((service.url for service in view.services if service.url), None)
