"""The admin's tokens: listed, made and shown once, removed."""

from urllib.parse import urlsplit

from aiohttp import web

from access.token import SCOPES, Token
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Fields, Form
from portal.me import durations
from portal.moments import moment, span
from portal.opens import service_title
from portal.paging import SHOWN
from portal.site import Site

_ADD = Fields(one=("label", "expires", "for"), many=("scopes", "services"))
_ALL = "*"  # no service is called so
_LIVES_S = tuple(days * 86400 for days in (1, 30, 90, 365))
_LIST, _REMOVE = "/admin/tokens", "/admin/tokens/{id}/remove"


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Tokens(site)
    door.page(_LIST, "admin", pages.all)
    door.form(_LIST, "admin", pages.add, _ADD)
    door.page(_REMOVE, "admin", pages.sure)
    door.form(_REMOVE, "admin", pages.remove)


class _Tokens:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._tokens = site.access.tokens

    async def all(self, request: web.Request, caller: Caller) -> web.Response:
        """The tokens, and the form for a new one."""
        return self._page(request, caller, Form(_ADD, {"expires": ["365d"]}))

    async def add(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """Make a token and show its text, this once."""
        services, scopes = form.many("services"), form.many("scopes")
        if not services:
            form.fail("services", "Choose at least one")
        if not scopes:
            form.fail("scopes", "Choose at least one")
        label, made = form.text("label"), None
        expires_s, duration_s = form.duration("expires"), form.duration("for")
        if not form.errors:
            with form.catch():
                made = await self._tokens.add(
                    caller.actor,
                    label,
                    list(scopes),
                    services=None if _ALL in services else list(services),
                    expires_s=expires_s,
                    duration_s=duration_s,
                )
        if made is None:
            return self._page(request, caller, form)
        token, text = made
        return self._site.pages.answer(
            request,
            "admin_token.html",
            path=_LIST,
            token_=token,
            text=text,
            services=self._named(token),
            opens=token.may("grant:self"),
            ends=None if token.expires_at is None else moment(token.expires_at, self._site.clock()),
            url=self._site.settings.url,
            host=urlsplit(self._site.settings.url).hostname,
        )

    async def sure(self, request: web.Request, caller: Caller) -> web.Response:
        """Asks once more before what cannot be undone."""
        token = self._tokens.get(caller.actor, _id(request))
        return self._site.pages.answer(request, "admin_token_sure.html", token_=token)

    async def remove(self, request: web.Request, caller: Caller, _form: Form) -> web.Response:
        """Forget a token, and close what it opened."""
        await self._tokens.remove(caller.actor, _id(request))
        return redirect(_LIST, done="token-removed")

    def _page(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        now, services = self._site.clock(), tuple(self._site.settings.services.values())
        wanted = request.query.get("q", "")[:64].strip()
        tokens = self._tokens.list(caller.actor)
        found = [token for token in tokens if wanted.lower() in f"{token.label}\n{token.id}".lower()]
        rows = [
            (
                token,
                token.expired(now),
                self._named(token),
                None if token.last_used_at is None else moment(token.last_used_at, now),
                None if token.expires_at is None else moment(token.expires_at, now),
            )
            for token in found[::-1][:SHOWN]
        ]
        return self._site.pages.answer(
            request,
            "admin_tokens.html",
            status=422 if form.errors else 200,
            path=_LIST,
            form=form,
            rows=rows,
            all=len(tokens),
            more=len(found) - len(rows),
            wanted=wanted,
            scopes=SCOPES,
            services=services,
            durations=durations(services),
            lives=[(f"{seconds // 86400}d", span(seconds)) for seconds in _LIVES_S],
        )

    def _named(self, token: Token) -> list[str] | None:
        """The titles of its services; None: all."""
        if token.services is None:
            return None
        return [service_title(self._site.settings.services, name) for name in token.services]


def _id(request: web.Request) -> str:
    return request.match_info["id"][:64]
