"""Where somebody is signed in, and how to end it."""

from aiohttp import web

from access.sessions import Session
from portal.agents import browser_and_system
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.moments import Moment, moment
from portal.site import Site

_END = Fields(one=("session",))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Sessions(site)
    door.page("/me/sessions", "person", pages.show)
    door.form("/me/sessions/end", "person", pages.end, _END)
    door.form("/me/sessions/end-all", "person", pages.end_all)


class _Sessions:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """The caller's sessions, the one seen last first."""
        now = self._site.clock()
        rows = [_row(session, now) for session in self._site.access.sessions.of(caller.person.name)]
        return self._site.pages.answer(request, "me_sessions.html", rows=rows, this=caller.session.id)

    async def end(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """End one of the caller's sessions."""
        session_id = form.text("session", longest=64)
        # An admin ends anybody's, but not on the page of their own.
        if session_id in {session.id for session in self._site.access.sessions.of(caller.person.name)}:
            await self._site.access.sessions.end(caller.actor, session_id)
        if session_id == caller.session.id:
            return self._signed_out("signed-out")
        return redirect("/me/sessions", done="session-ended")

    async def end_all(self, _request: web.Request, caller: Caller, _form: Form) -> web.Response:
        """End them all, this one too."""
        await self._site.access.people.sign_out_everywhere(caller.actor, caller.person.name)
        return self._signed_out("signed-out-everywhere")

    def _signed_out(self, done: str) -> web.Response:
        response = redirect("/sign-in", done=done)
        self._site.session_cookie.take_back(response)
        return response


def _row(session: Session, now: float) -> tuple[Session, str, str, Moment, Moment]:
    return (
        session,
        *browser_and_system(session.agent),
        moment(session.created_at, now),
        moment(session.seen_at, now),
    )
