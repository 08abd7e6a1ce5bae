"""Codes from an authenticator app, and recovery codes: turned on, made anew, turned off."""

from aiohttp import web

from access.sign_in import SignInRefused
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.problems import Problem
from portal.proof import Told, told
from portal.qr import qr_code
from portal.sign_in import keep_signed_in
from portal.site import Site

_ON = Fields(one=("seed",), secret=("code", "password", "proof"))
_PROOF = Fields(secret=("password", "code"))


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Totp(site)
    door.page("/me/totp", "person", pages.show)
    door.page("/me/totp/new", "person", pages.offer)
    door.form("/me/totp/new", "person", pages.turn_on, _ON)
    door.form("/me/totp/off", "person", pages.turn_off, _PROOF)
    door.page("/me/recovery", "person", pages.recovery)
    door.form("/me/recovery", "person", pages.new_recovery, _PROOF)


class _Totp:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._credentials = site.access.credentials

    async def show(self, request: web.Request, _caller: Caller) -> web.Response:
        """Whether codes are asked for, and what can be done about it."""
        return self._state(request, Form(_PROOF))

    async def offer(self, request: web.Request, caller: Caller) -> web.Response:
        """A new secret, and the form that turns it on. Changes nothing."""
        return self._offer(request, caller, Form(_ON))

    async def turn_on(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Ask for codes from now on; every session ends, and this browser begins a new one."""
        code, password, proof = form.text("code"), form.text("password", longest=1024), form.text("proof")
        seed, turned_on = form.text("seed"), None
        if not form.errors:
            try:
                with form.catch():
                    turned_on = await self._credentials.totp_on(
                        caller.actor,
                        caller.person.name,
                        seed,
                        code,
                        password=password,
                        proof=proof,
                        trusted=caller.visitor.trusted,
                    )
            except SignInRefused as refused:
                return self._offer(request, caller, form, told(refused))
        if form.error("seed"):
            raise Problem("old-form", 422, back="/me/totp/new")
        if turned_on is None:
            return self._offer(request, caller, form)
        person, codes = turned_on
        response = self._site.pages.answer(request, "codes.html", codes=codes, fresh=True)
        await keep_signed_in(self._site, request, response, person)
        return response

    async def turn_off(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Ask for codes no more; every session ends, and this browser begins a new one."""
        if caller.admin:  # who can do everything has to have both
            raise Problem("not-allowed", 403)
        person = None
        password, code = form.text("password", longest=1024), form.text("code")
        if not form.errors:
            try:
                with form.catch():
                    person = await self._credentials.totp_off(
                        caller.actor,
                        caller.person.name,
                        password=password,
                        code=code,
                        trusted=caller.visitor.trusted,
                    )
            except SignInRefused as refused:
                return self._state(request, form, told(refused))
        if person is None:
            return self._state(request, form)
        response = redirect("/me", done="totp-off")
        await keep_signed_in(self._site, request, response, person)
        return response

    async def recovery(self, request: web.Request, caller: Caller) -> web.Response:
        """How many recovery codes are left, and the form for new ones."""
        return self._recovery(request, caller, Form(_PROOF))

    async def new_recovery(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Make new recovery codes, and show them this once."""
        codes = None
        password, code = form.text("password", longest=1024), form.text("code")
        if not form.errors:
            try:
                with form.catch():
                    codes = await self._credentials.new_recovery_codes(
                        caller.actor, password=password, code=code, trusted=caller.visitor.trusted
                    )
            except SignInRefused as refused:
                return self._recovery(request, caller, form, told(refused))
        if codes is None:
            return self._recovery(request, caller, form)
        return self._site.pages.answer(request, "codes.html", codes=codes, fresh=False)

    def _offer(
        self, request: web.Request, caller: Caller, form: Form, refusal: Told | None = None
    ) -> web.Response:
        # The seed that was offered before: an app that has scanned it keeps giving the right codes.
        offer = self._credentials.new_totp(caller.actor, caller.person.name, form.value("seed") or None)
        return self._site.pages.answer(
            request,
            "me_totp_new.html",
            status=_status(form, refusal),
            form=form,
            refusal=refusal,
            offer=offer,
            code=qr_code(offer.uri),
        )

    def _state(self, request: web.Request, form: Form, refusal: Told | None = None) -> web.Response:
        return self._site.pages.answer(
            request, "me_totp.html", status=_status(form, refusal), form=form, refusal=refusal
        )

    def _recovery(
        self, request: web.Request, caller: Caller, form: Form, refusal: Told | None = None
    ) -> web.Response:
        if caller.person.totp is None:
            raise Problem("not-found", 404)
        left = sum(code != "" for code in caller.person.recovery)
        return self._site.pages.answer(
            request,
            "me_recovery.html",
            status=_status(form, refusal),
            form=form,
            refusal=refusal,
            left=left,
        )


def _status(form: Form, refusal: Told | None) -> int:
    return 422 if form.errors else 200 if refusal is None else refusal.status
