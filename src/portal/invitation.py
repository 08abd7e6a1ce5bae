"""An invitation's page: somebody who was invited chooses a password and sets up their codes."""

from aiohttp import web

from access.guard import Throttled
from access.invitations import InvitationGone, Invited
from portal.ask import new_password
from portal.caller import Caller
from portal.door import Door, Why
from portal.form import Fields, Form
from portal.problems import Problem
from portal.proof import Told, told
from portal.qr import qr_code
from portal.sign_in import keep_signed_in
from portal.site import Site

_FIELDS = Fields(secret=("password", "again", "code"))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Invitation(site)
    door.page("/invitation/{token}", "anyone", pages.show)
    door.form("/invitation/{token}", "anyone", pages.accept, _FIELDS, refused=pages.refuse)


class _Invitation:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, _caller: Caller | None) -> web.Response:
        """Who is invited, and the form. Changes nothing: an invitation is used up by accepting it."""
        return self._page(request, Form(_FIELDS))

    async def refuse(self, request: web.Request, why: Why) -> web.Response:
        """An empty form that works."""
        return self._page(request, Form(_FIELDS), Told(why, 403))

    async def accept(self, request: web.Request, caller: Caller | None, form: Form) -> web.Response:
        """Set password and codes, begin a session, and show the recovery codes, this once.

        The session that this browser had before ends.
        """
        site, visitor = self._site, self._site.visitor(request)
        password, code = new_password(form), form.text("code")
        accepted = None
        if not form.errors:
            try:
                with form.catch():
                    accepted = await site.access.invitations.accept(
                        _token(request), password, code, address=visitor.address, trusted=visitor.trusted
                    )
            except InvitationGone:
                raise Problem("invitation-gone", 404) from None
            except Throttled as refused:
                return self._page(request, form, told(refused))
        if accepted is None:
            return self._page(request, form)
        if caller is not None:
            await site.access.sessions.end(caller.actor, caller.session.id)
        response = site.pages.answer(request, "codes.html", codes=accepted.recovery_codes, fresh=True)
        await keep_signed_in(site, request, response, accepted.person)
        return response

    def _page(self, request: web.Request, form: Form, refusal: Told | None = None) -> web.Response:
        invited = self._invited(request)
        return self._site.open_page(
            request,
            "invitation.html",
            status=422 if form.errors else 200 if refusal is None else refusal.status,
            form=form,
            refusal=refusal,
            offer=invited,
            code=qr_code(invited.uri),
        )

    def _invited(self, request: web.Request) -> Invited:
        site, token = self._site, _token(request)
        invited = site.access.invitations.invited(token)
        if invited is None:
            visitor = site.visitor(request)
            site.access.guard.count("invitation", visitor.address, trusted=visitor.trusted, guess=token)
            raise Problem("invitation-gone", 404)
        return invited


def _token(request: web.Request) -> str:
    return request.match_info["token"][:64]
