"""Signing in and out."""

from aiohttp import web

from access.inputs import clean_name
from access.person import Person
from access.sign_in import SignInRefused
from portal.caller import Caller
from portal.door import Door, Why, redirect
from portal.form import Fields, Form
from portal.proof import Told, told
from portal.site import Site

_FIELDS = Fields(one=("name", "next"), secret=("password", "code"))
_AGENT_LONGEST = 256


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _SignIn(door, site)
    door.page("/sign-in", "anyone", pages.show)
    door.form("/sign-in", "anyone", pages.sign_in, _FIELDS, refused=pages.refuse)
    door.form("/sign-out", "person", pages.sign_out)


class _SignIn:
    def __init__(self, door: Door, site: Site) -> None:
        self._door = door
        self._site = site

    async def show(self, request: web.Request, caller: Caller | None) -> web.Response:
        """The form; who is signed in already is led on."""
        way_back = self._door.way_back(request.query.get("next", ""))
        if caller is not None:
            return redirect(way_back or "/me")
        return self._page(request, Form(_FIELDS, {"next": [way_back or ""]}))

    async def refuse(self, request: web.Request, why: Why) -> web.Response:
        """An empty form that works, in the place of one that was too old or of another page."""
        return self._page(request, Form(_FIELDS), Told(why, 403))

    async def sign_in(self, request: web.Request, caller: Caller | None, form: Form) -> web.Response:
        """Begin a session. The session that this browser had before ends."""
        site, visitor = self._site, self._site.visitor(request)
        name, password, code = form.text("name"), form.text("password", longest=1024), form.text("code")
        if form.errors:
            return self._page(request, form, Told("wrong", 403))
        if caller is not None and caller.person.name == clean_name(name):
            # The second tap of two, whose code is used up.
            return redirect(self._door.way_back(form.value("next")) or "/me")
        try:
            signed_in = await site.access.sign_in.sign_in(
                name,
                password,
                code,
                address=visitor.address,
                trusted=visitor.trusted,
                agent=agent(request),
                device=site.device_cookie.read(request),
            )
        except SignInRefused as refused:
            return self._page(request, form, told(refused))
        if caller is not None:
            await site.access.sessions.end(caller.actor, caller.session.id)
        response = redirect(self._door.way_back(form.value("next")) or "/me")
        site.session_cookie.give(response, signed_in.token)
        site.device_cookie.give(response, signed_in.device)
        return response

    async def sign_out(self, request: web.Request, _caller: Caller, _form: Form) -> web.Response:
        """End this session."""
        cookie = self._site.session_cookie
        await self._site.access.sessions.end_token(cookie.read(request) or "")
        response = redirect("/sign-in", done="signed-out")
        cookie.take_back(response)
        return response

    def _page(self, request: web.Request, form: Form, refusal: Told | None = None) -> web.Response:
        return self._site.open_page(
            request,
            "sign_in.html",
            status=200 if refusal is None else refusal.status,
            form=form,
            refusal=refusal,
            may_ask=self._site.settings.registration == "approval",
        )


async def keep_signed_in(site: Site, request: web.Request, response: web.Response, person: Person) -> None:
    """Begin a new session for somebody who has just proven who they are, in this browser."""
    address = str(site.visitor(request).address)
    token, _session = await site.access.sessions.start(person, address, agent(request))
    site.session_cookie.give(response, token)


def agent(request: web.Request) -> str:
    """What the browser calls itself, as far as it is ASCII."""
    return request.headers.get("User-Agent", "")[:_AGENT_LONGEST].encode("ascii", "replace").decode()
