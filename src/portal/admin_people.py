"""The admin's people: asked for, invited, changed, removed."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from access.actor import Actor
from access.person import Invitation, Person
from portal.agents import browser_and_system
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.moments import Moment, moment
from portal.paging import SHOWN
from portal.qr import qr_code
from portal.site import Site

_ADD = Fields(one=("name", "role", "links"), many=("services",))
_CHANGE = Fields(one=("role", "links"), many=("services",))
_APPROVE = Fields(one=("links",), many=("services",))
_REMOVE = Fields(one=("name",))
_ONE = "/admin/people/{name}"


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages, people = _People(site), site.access.people
    door.page("/admin/people", "admin", pages.all)
    door.form("/admin/people", "admin", pages.add, _ADD)
    door.page(_ONE, "admin", pages.one)
    door.form(_ONE, "admin", pages.change, _CHANGE)
    door.form(f"{_ONE}/approve", "admin", pages.approve, _APPROVE)
    door.form(f"{_ONE}/refuse", "admin", pages.act(people.refuse, "person-refused", leaves=True), _APPROVE)
    # An invitation is shown once: who opens its page anew finds its person there.
    door.page(f"{_ONE}/invite", "admin", pages.one)
    door.form(f"{_ONE}/invite", "admin", pages.invite)
    door.form(f"{_ONE}/sign-out", "admin", pages.act(people.sign_out_everywhere, "person-signed-out"))
    door.page(f"{_ONE}/remove", "admin", pages.sure)
    door.form(f"{_ONE}/remove", "admin", pages.remove, _REMOVE)


class _People:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._people = site.access.people

    async def all(self, request: web.Request, caller: Caller) -> web.Response:
        """Who asks, who is there, and the form for somebody new."""
        return self._list(request, caller, Form(_ADD, {"role": ["member"]}))

    async def add(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Add a person and show their invitation, this once."""
        person = None
        with form.catch():
            person = await self._people.add(
                caller.actor,
                form.text("name"),
                role="admin" if form.text("role") == "admin" else "member",
                services=form.many("services"),
                may_link=form.flag("links"),
            )
        if person is None:
            return self._list(request, caller, form)
        return await self._invitation(request, caller, person.name)

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """A person, what they may open, and where they are signed in."""
        person = self._person(request, caller)
        chosen: dict[str, Sequence[str]] = {
            "role": [person.role],
            "links": ["yes"] if person.may_link else [],
            "services": person.services,
        }
        return self._page(request, person, Form(_CHANGE, chosen))

    async def change(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Change role and rights; what is lost closes at once."""
        person = self._person(request, caller)
        with form.catch():
            await self._people.change(
                caller.actor,
                person.name,
                role="admin" if form.text("role") == "admin" else "member",
                services=form.many("services"),
                may_link=form.flag("links"),
            )
        if form.errors:
            return self._page(request, person, form)
        return redirect(f"/admin/people/{person.name}", done="person-changed")

    async def approve(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Let somebody who asks in, with the services chosen."""
        name = self._person(request, caller).name
        await self._people.approve(
            caller.actor, name, services=form.many("services"), may_link=form.flag("links")
        )
        return redirect(f"/admin/people/{name}", done="person-approved")

    async def invite(self, request: web.Request, caller: Caller, _form: Form) -> web.Response:
        """A new invitation, shown this once."""
        return await self._invitation(request, caller, self._person(request, caller).name)

    async def sure(self, request: web.Request, caller: Caller) -> web.Response:
        """Ask once more before a person is removed."""
        return self._sure(request, caller, Form(_REMOVE))

    async def remove(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Forget a person and close what they opened."""
        with form.catch():
            await self._people.remove(caller.actor, self._person(request, caller).name)
        return (
            self._sure(request, caller, form)
            if form.errors
            else redirect("/admin/people", done="person-removed")
        )

    def act(
        self, act: Callable[[Actor, str], Awaitable[Person]], done: str, *, leaves: bool = False
    ) -> Callable[[web.Request, Caller, Form], Awaitable[web.Response]]:
        """A handler that does `act` to a person, who is gone then where it `leaves` nothing."""

        async def handler(request: web.Request, caller: Caller, _form: Form) -> web.Response:
            name = self._person(request, caller).name
            await act(caller.actor, name)
            return redirect("/admin/people" if leaves else f"/admin/people/{name}", done=done)

        return handler

    def _person(self, request: web.Request, caller: Caller) -> Person:
        return self._people.get(caller.actor, request.match_info["name"][:64])

    @property
    def _services(self) -> list[tuple[str, str]]:
        return [(name, service.title) for name, service in self._site.settings.services.items()]

    def _list(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        people, now = self._people.list(caller.actor), self._site.clock()
        wanted = request.query.get("q", "")[:64].strip().lower()
        found = [person for person in people if person.asked is None and wanted in person.name]
        return self._site.pages.answer(
            request,
            "admin_people.html",
            status=422 if form.errors else 200,
            form=form,
            asking=[
                (person, moment(person.created_at, now)) for person in people if person.asked is not None
            ],
            people=[
                (person, _when(person.last_seen_at, now), self._titles(person)) for person in found[:SHOWN]
            ],
            all=len(found),
            more=max(0, len(found) - SHOWN),
            wanted=wanted,
            services=self._services,
            registration=self._site.settings.registration,
        )

    def _page(self, request: web.Request, person: Person, form: Form) -> web.Response:
        now, sessions = self._site.clock(), self._site.access.sessions.of(person.name)
        invitation = person.invitation
        return self._site.pages.answer(
            request,
            "admin_person.html",
            status=422 if form.errors else 200,
            form=form,
            person=person,
            invited_until=None if invitation is None else _open_until(invitation, now),
            seen_at=_when(person.last_seen_at, now),
            sessions=[
                (session, *browser_and_system(session.agent), moment(session.seen_at, now))
                for session in sessions
            ],
            services=self._services,
        )

    def _sure(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        return self._site.pages.answer(
            request,
            "admin_person_sure.html",
            status=422 if form.errors else 200,
            form=form,
            person=self._person(request, caller),
        )

    async def _invitation(self, request: web.Request, caller: Caller, name: str) -> web.Response:
        url = f"{self._site.settings.url}/invitation/{await self._people.invite(caller.actor, name)}"
        person, now = self._people.get(caller.actor, name), self._site.clock()
        return self._site.pages.answer(
            request,
            "admin_invitation.html",
            person=person,
            url=url,
            code=qr_code(url),
            ends=None if person.invitation is None else moment(person.invitation.expires_at, now),
        )

    def _titles(self, person: Person) -> list[str]:
        return [title for name, title in self._services if person.admin or name in person.services]


def _when(at: int | None, now: float) -> Moment | None:
    return None if at is None else moment(at, now)


def _open_until(invitation: Invitation, now: float) -> Moment | None:
    return moment(invitation.expires_at, now) if now < invitation.expires_at else None
