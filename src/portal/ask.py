"""Asking to be let in: a stranger gives a name, a password and a word about themselves; the admin decides."""

from aiohttp import web

from access.guard import Throttled
from portal.caller import Caller
from portal.door import Door, Why, redirect
from portal.form import Fields, Form
from portal.problems import Problem
from portal.proof import Told, told
from portal.site import Site

_FIELDS = Fields(one=("name", "message"), secret=("password", "again"))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Ask(site)
    door.page("/ask", "anyone", pages.show)
    door.form("/ask", "anyone", pages.ask, _FIELDS, refused=pages.refuse)


class _Ask:
    """With `registration = "closed"` there is no such page. No answer tells whether a name is taken."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller | None) -> web.Response:
        """The form."""
        return redirect("/me") if caller is not None else self._page(request, Form(_FIELDS))

    async def refuse(self, request: web.Request, why: Why) -> web.Response:
        """An empty form that works."""
        return self._page(request, Form(_FIELDS), Told(why, 403))

    async def ask(self, request: web.Request, _caller: Caller | None, form: Form) -> web.Response:
        """Keep what was asked for the admin."""
        self._check_open()
        visitor = self._site.visitor(request)
        name, message = form.text("name"), form.text("message")
        password = new_password(form)
        if not form.errors:
            try:
                with form.catch():
                    await self._site.access.people.ask(
                        name, password, message, address=visitor.address, trusted=visitor.trusted
                    )
            except Throttled as refused:
                return self._page(request, form, told(refused))
        return self._page(request, form) if form.errors else redirect("/sign-in", done="asked")

    def _check_open(self) -> None:
        if self._site.settings.registration != "approval":
            raise Problem("not-found", 404)

    def _page(self, request: web.Request, form: Form, refusal: Told | None = None) -> web.Response:
        self._check_open()
        status = 422 if form.errors else 200 if refusal is None else refusal.status
        return self._site.open_page(request, "ask.html", status=status, form=form, refusal=refusal)


def new_password(form: Form) -> str:
    """The fields `password` and `again` of a form that sets a password; puts beside them where they differ."""
    password = form.text("password", longest=1024)
    if form.text("again", longest=1024) != password:
        form.fail("again", "This is not the same; type the password again")
    return password
