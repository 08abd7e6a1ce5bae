"""Links on pages, a member's own and for an admin all: made, shown with their URL, paused, renewed, removed."""

from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web

from access.actor import Actor
from access.link import Link
from access.services import Service
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.me import check_own, durations, usual
from portal.moments import Moment, moment, span
from portal.paging import SHOWN
from portal.problems import Problem
from portal.qr import qr_code
from portal.site import Site

_ADD = Fields(one=("label", "for", "expires", "uses", "addresses", "to"), many=("services",), secret=("pin",))
_LIVES_S = tuple(days * 86400 for days in (1, 7, 30, 90, 365))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    _add(door, _Pages(site, "/me/links", "base.html"), "person")
    _add(door, _Pages(site, "/admin/links", "admin_base.html"), "admin")


def _add(door: Door, pages: "_Pages", who: Literal["person", "admin"]) -> None:
    links, base = pages.links, pages.base
    door.page(base, who, pages.all)
    door.form(base, who, pages.add, _ADD)
    door.page(f"{base}/{{id}}", who, pages.one)
    door.page(f"{base}/{{id}}/rotate", who, pages.confirm("rotate"))
    door.page(f"{base}/{{id}}/remove", who, pages.confirm("remove"))
    for verb, act in (
        ("pause", links.pause),
        ("resume", links.resume),
        ("rotate", links.rotate),
        ("remove", links.remove),
    ):
        door.form(f"{base}/{{id}}/{verb}", who, pages.act(verb, act))


class _Pages:
    """The pages below `base`, in the template `layout`. Whose links they show, access.links decides."""

    def __init__(self, site: Site, base: str, layout: str) -> None:
        self.base = base
        self.links = site.access.links
        self._site = site
        self._layout = layout

    async def all(self, request: web.Request, caller: Caller) -> web.Response:
        """The links, and the form for a new one."""
        if caller.admin and self.base != _ADMINS:
            return redirect(_ADMINS)  # theirs are the house's
        names = [service.name for service in self._services(caller)]
        return self._page(request, caller, Form(_ADD, {"services": names, "expires": ["30d"]}))

    async def add(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Make a link."""
        self._check_may(caller)
        services = check_own(form, self._services(caller))
        values = {
            "duration_s": form.duration("for"),
            "expires_s": form.duration("expires"),
            "uses": form.count("uses"),
            "addresses": form.count("addresses"),
            "to": form.text("to", longest=2048) or None,
            "pin": form.text("pin") or None,
        }
        label, link = form.text("label"), None
        if not form.errors:
            with form.catch():
                link = await self.links.add(caller.actor, label, list(services), **values)
        if link is None:
            return self._page(request, caller, form)
        return redirect(f"{self.base}/{link.id}", done="link-added")

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """A link with its URL, to be passed on."""
        link, now = self._link(request, caller), self._site.clock()
        url = self._site.link_url(self.links.token(link))
        return self._site.pages.answer(
            request,
            "links_one.html",
            layout=self._layout,
            base=self.base,
            link=link,
            state=link.state(now),
            url=url,
            code=qr_code(url),
            services=self._named(link),
            for_=None if link.duration_s is None else span(link.duration_s),
            ends=None if link.expires_at is None else moment(link.expires_at, now),
            used_at=self._used(link, now),
            uses_left=None if link.uses is None else link.uses - link.used,
        )

    def confirm(self, verb: str) -> Callable[[web.Request, Caller], Awaitable[web.Response]]:
        """A page that asks once more before what cannot be undone."""

        async def page(request: web.Request, caller: Caller) -> web.Response:
            return self._site.pages.answer(
                request,
                "links_sure.html",
                layout=self._layout,
                base=self.base,
                link=self._link(request, caller),
                verb=verb,
            )

        return page

    def act(
        self, verb: str, act: Callable[[Actor, str], Awaitable[Link]]
    ) -> Callable[[web.Request, Caller, Form], Awaitable[web.Response]]:
        """A handler that does `act` to one of the caller's links."""

        async def handler(request: web.Request, caller: Caller, _form: Form) -> web.Response:
            link = await act(caller.actor, self._link(request, caller).id)
            path = self.base if verb == "remove" else f"{self.base}/{link.id}"
            return redirect(path, done=f"link-{_DONE[verb]}")

        return handler

    def _link(self, request: web.Request, caller: Caller) -> Link:
        self._check_may(caller)
        return self.links.get(caller.actor, request.match_info["id"][:64])

    def _services(self, caller: Caller) -> tuple[Service, ...]:
        return caller.person.opens(self._site.settings.services)

    def _named(self, link: Link) -> list[str]:
        services = self._site.settings.services
        return [services[name].title for name in link.services if name in services]

    def _used(self, link: Link, now: float) -> Moment | None:
        return None if link.last_used_at is None else moment(link.last_used_at, now)

    def _text(self, link: Link) -> str:
        """What a search looks at."""
        return "\n".join((link.label, link.owner or "", *self._named(link)))

    def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        self._check_may(caller)
        now, services = self._site.clock(), self._services(caller)
        wanted, wanted_state = request.query.get("q", "")[:64].strip().lower(), request.query.get("state", "")
        found = [
            link
            for link in self.links.list(caller.actor)
            if wanted_state in {"", link.state(now)} and wanted in self._text(link).lower()
        ]
        shown = found[::-1][:SHOWN]
        return self._site.pages.answer(
            request,
            "links.html",
            status=422 if form.errors else 200,
            layout=self._layout,
            base=self.base,
            form=form,
            links=[(link, link.state(now), self._named(link), self._used(link, now)) for link in shown],
            more=len(found) - len(shown),
            wanted=wanted,
            wanted_state=wanted_state,
            narrowed=bool(wanted or wanted_state),
            services=services,
            durations=durations(services),
            usual=usual(services),
            lives=[(f"{seconds // 86400}d", span(seconds)) for seconds in _LIVES_S],
        )

    def _check_may(self, caller: Caller) -> None:
        if not (caller.admin if self.base == _ADMINS else caller.links):
            raise Problem("not-allowed", 403)


_ADMINS = "/admin/links"
_DONE = {"pause": "paused", "resume": "resumed", "rotate": "rotated", "remove": "removed"}
