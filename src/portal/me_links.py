"""The caller's own links: made, shown with their URL, paused, renewed, removed."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from access.actor import Actor
from access.link import Link
from access.services import Service
from access.state import UnknownLink
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.me import check_own, durations, usual
from portal.moments import moment, span
from portal.problems import Problem
from portal.qr import qr_code
from portal.site import Site

_ADD = Fields(one=("label", "for", "expires", "uses"), many=("services",), secret=("pin",))
_LIVES_S = tuple(days * 86400 for days in (1, 7, 30, 90, 365))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages, links = _MyLinks(site), site.access.links
    door.page("/me/links", "person", pages.all)
    door.form("/me/links", "person", pages.add, _ADD)
    door.page("/me/links/{id}", "person", pages.one)
    door.page("/me/links/{id}/rotate", "person", pages.confirm("rotate"))
    door.page("/me/links/{id}/remove", "person", pages.confirm("remove"))
    for verb, act in (
        ("pause", links.pause),
        ("resume", links.resume),
        ("rotate", links.rotate),
        ("remove", links.remove),
    ):
        door.form(f"/me/links/{{id}}/{verb}", "person", pages.act(verb, act))


class _MyLinks:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._links = site.access.links

    async def all(self, request: web.Request, caller: Caller) -> web.Response:
        """The caller's links, and the form for a new one."""
        names = [service.name for service in self._services(caller)]
        return self._page(request, caller, Form(_ADD, {"services": names, "expires": ["30d"]}))

    async def add(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Make a link."""
        _check_may(caller)
        services = check_own(form, self._services(caller))
        values = {
            "duration_s": form.duration("for"),
            "expires_s": form.duration("expires"),
            "uses": form.count("uses"),
            "pin": form.text("pin") or None,
        }
        label, link = form.text("label"), None
        if not form.errors:
            with form.catch():
                link = await self._links.add(caller.actor, label, list(services), **values)
        if link is None:
            return self._page(request, caller, form)
        return redirect(f"/me/links/{link.id}", done="link-added")

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """A link with its URL, to be passed on."""
        link, now = self._link(request, caller), self._site.clock()
        url = self._site.link_url(self._links.token(link))
        return self._site.pages.answer(
            request,
            "me_link.html",
            link=link,
            state=link.state(now),
            url=url,
            code=qr_code(url),
            services=self._named(link),
            for_=None if link.duration_s is None else span(link.duration_s),
            ends=None if link.expires_at is None else moment(link.expires_at, now),
            used_at=None if link.last_used_at is None else moment(link.last_used_at, now),
            uses_left=None if link.uses is None else link.uses - link.used,
        )

    def confirm(self, verb: str) -> Callable[[web.Request, Caller], Awaitable[web.Response]]:
        """A page that asks once more before what cannot be undone."""

        async def page(request: web.Request, caller: Caller) -> web.Response:
            return self._site.pages.answer(
                request, "me_link_sure.html", link=self._link(request, caller), verb=verb
            )

        return page

    def act(
        self, verb: str, act: Callable[[Actor, str], Awaitable[Link]]
    ) -> Callable[[web.Request, Caller, Form], Awaitable[web.Response]]:
        """A handler that does `act` to one of the caller's links."""

        async def handler(request: web.Request, caller: Caller, _form: Form) -> web.Response:
            link = await act(caller.actor, self._link(request, caller).id)
            path = "/me/links" if verb == "remove" else f"/me/links/{link.id}"
            return redirect(path, done=f"link-{_DONE[verb]}")

        return handler

    def _link(self, request: web.Request, caller: Caller) -> Link:
        # An admin may get every link, but here are only their own; another's is as unknown as none.
        link = self._links.get(caller.actor, request.match_info["id"][:64])
        if link.owner != caller.person.name:
            raise UnknownLink(link.id)
        return link

    def _services(self, caller: Caller) -> tuple[Service, ...]:
        return caller.person.opens(self._site.settings.services)

    def _named(self, link: Link) -> list[str]:
        services = self._site.settings.services
        return [services[name].title for name in link.services if name in services]

    def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        _check_may(caller)
        now, services = self._site.clock(), self._services(caller)
        mine = [link for link in self._links.list(caller.actor) if link.owner == caller.person.name]
        return self._site.pages.answer(
            request,
            "me_links.html",
            status=422 if form.errors else 200,
            form=form,
            links=[(link, link.state(now), self._named(link)) for link in mine],
            services=services,
            durations=durations(services),
            usual=usual(services),
            lives=[(f"{seconds // 86400}d", span(seconds)) for seconds in _LIVES_S],
        )


def _check_may(caller: Caller) -> None:
    if not caller.links:
        raise Problem("not-allowed", 403)


_DONE = {"pause": "paused", "resume": "resumed", "rotate": "rotated", "remove": "removed"}
