"""Changing one's own password."""

from aiohttp import web

from access.sign_in import SignInRefused
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.proof import Told, told
from portal.sign_in import keep_signed_in
from portal.site import Site

_FIELDS = Fields(secret=("current", "code", "new", "again"))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Password(site)
    door.page("/me/password", "person", pages.show)
    door.form("/me/password", "person", pages.change, _FIELDS)


class _Password:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, _caller: Caller) -> web.Response:
        """The form."""
        return self._page(request, Form(_FIELDS))

    async def change(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Change it: every session ends, and this browser begins a new one."""
        current, code = form.text("current", longest=1024), form.text("code")
        new = form.text("new", longest=1024)
        if form.text("again", longest=1024) != new:
            form.fail("again", "This is not the same; type the password again")
        person = None
        if not form.errors:
            try:
                with form.catch():
                    person = await self._site.access.credentials.change_password(
                        caller.actor, current, code, new, trusted=caller.visitor.trusted
                    )
            except SignInRefused as refused:
                return self._page(request, form, told(refused))
        if person is None:
            return self._page(request, form)
        response = redirect("/me", done="password-changed")
        await keep_signed_in(self._site, request, response, person)
        return response

    def _page(self, request: web.Request, form: Form, refusal: Told | None = None) -> web.Response:
        status = 422 if form.errors else 200 if refusal is None else refusal.status
        return self._site.pages.answer(request, "me_password.html", status=status, form=form, refusal=refusal)
