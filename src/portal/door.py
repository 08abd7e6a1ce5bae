"""The one door: every route of the public pages says who may pass, and every form is checked before it acts."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, overload

from aiohttp import web

from portal.caller import Caller, Callers
from portal.form import BadForm, Fields, Form
from portal.operation import Method, Operation, full_path
from portal.origins import web_origin
from portal.problems import Problem
from portal.same_site import from_own_page
from portal.site import Site

Who = Literal["anyone", "person", "admin", "token"]
Response = Awaitable[web.StreamResponse]
Why = Literal["foreign-form", "old-form"]

_BODY_WITHIN_S = 10.0
_FORM_TYPE = "application/x-www-form-urlencoded"
_NO_FIELDS = Fields()
# What a path to come back to may hold: no percent sign, no backslash, no two slashes or dots in a row.
_SAFE_PATH = re.compile(r"(?:/[A-Za-z0-9](?:\.?[A-Za-z0-9_-])*)+")


@dataclass(frozen=True, slots=True)
class Route:
    """A route and who may pass."""

    method: Method
    path: str
    who: Who


class Door:
    """Adds routes to `app`. There is no other way to add one, so none is without a `who`."""

    def __init__(self, app: web.Application, site: Site) -> None:
        self.routes: list[Route] = []
        self.app = app
        self._site = site
        self._callers = Callers(site)
        self._returns: list[re.Pattern[str]] = []
        settings = site.settings
        own = (web_origin(url) for url in (settings.url, settings.url_ipv4, settings.url_ipv6))
        self._origins = frozenset(origin for origin in own if origin is not None)

    @overload
    def page(
        self, path: str, who: Literal["anyone"], handler: Callable[[web.Request, Caller | None], Response]
    ) -> None: ...

    @overload
    def page(
        self,
        path: str,
        who: Literal["person", "admin"],
        handler: Callable[[web.Request, Caller], Response],
    ) -> None: ...

    def page(self, path: str, who: Who, handler: Callable[[web.Request, Caller], Response]) -> None:
        """GET and HEAD of `path`: changes nothing. Who is not signed in and has to be, is sent to sign in."""

        async def show(request: web.Request) -> web.StreamResponse:
            # A page's script that looks by itself asks for no page as such: nobody uses the session then.
            used = "text/html" in request.headers.get("Accept", "text/html")
            caller = self._caller(request, used=used)
            if caller is None and who != "anyone":
                return to_sign_in(self.way_back(request.path))
            self._check_role(who, caller)
            return await handler(request, caller)  # type: ignore[arg-type]

        if who != "anyone":
            self._returns.append(_pattern(path))
        self.routes.append(Route("GET", path, who))
        self.app.router.add_get(path, show)

    @overload
    def form(
        self,
        path: str,
        who: Literal["anyone"],
        handler: Callable[[web.Request, Caller | None, Form], Response],
        fields: Fields = ...,
        *,
        refused: Callable[[web.Request, Why], Response] | None = None,
        script: bool = False,
    ) -> None: ...

    @overload
    def form(
        self,
        path: str,
        who: Literal["person", "admin"],
        handler: Callable[[web.Request, Caller, Form], Response],
        fields: Fields = ...,
    ) -> None: ...

    def form(
        self,
        path: str,
        who: Who,
        handler: Callable[[web.Request, Caller, Form], Response],
        fields: Fields = _NO_FIELDS,
        *,
        refused: Callable[[web.Request, Why], Response] | None = None,
        script: bool = False,
    ) -> None:
        """POST of `path`, with `fields` beside the form's token.

        The handler runs once the visitor may try, the caller may pass, the body is such a form, comes
        from our own page, and its token was made for this session (`anyone`: for this browser and path).
        `refused` answers a form of another page or time instead of the problem page. `script`: a script
        posts it, and problems are JSON.
        """

        async def act(request: web.Request) -> web.StreamResponse:
            request["problem_json"] = script
            self._check_banned(request)
            self._admitted(request, who, used=not script)
            form = await _read_form(request, fields)
            # Again: a body may take its time, and the session end meanwhile.
            caller = self._admitted(request, who, used=not script)
            why = self._refusal(request, who, caller, form)
            if why is None:
                return await handler(request, caller, form)  # type: ignore[arg-type]
            if refused is None:
                raise Problem(why, 403, back=self.way_back(request.path))
            return await refused(request, why)

        self.routes.append(Route("POST", path, who))
        self.app.router.add_post(path, act)

    def ours(self, path: str, handler: Callable[[web.Request], Response]) -> None:
        """POST of `path` by a script of our pages, which may stand under another of our names.

        Needs the browser's word for that: Origin. Nothing else may read the answer, and neither cookie nor body counts:
        `path` itself has to hold what allows it. Problems are JSON.
        """

        async def act(request: web.Request) -> web.StreamResponse:
            request["problem_json"] = True
            origins = request.headers.getall("Origin", ())
            if len(origins) != 1 or origins[0] not in self._origins:
                request["allowed_origin"] = ""
                raise Problem("foreign-form", 403)
            request["allowed_origin"] = origins[0]
            self._check_banned(request)
            return await handler(request)

        self.routes.append(Route("POST", path, "anyone"))
        self.app.router.add_post(path, act)

    def program(self, path: str, handler: Callable[[web.Request], Response]) -> None:
        """GET of `path` that acts, by a program whose Authorization the handler looks at; no HEAD.

        The one exception to the rule that only a form acts. A browser, which can be led anywhere with what it has
        stored, is known by Fetch Metadata, Origin and cookies, and is refused.
        """

        async def act(request: web.Request) -> web.StreamResponse:
            if any(name.lower() in {"cookie", "origin"} or name.lower().startswith("sec-fetch-") for name in request.headers):
                raise Problem("foreign-form", 403)
            return await handler(request)

        self.routes.append(Route("GET", path, "anyone"))
        self.app.router.add_get(path, act, allow_head=False)

    def api(self, operation: Operation, handler: Callable[[web.Request], Response]) -> None:
        """An operation of the API, whose handler takes a token and nothing else: no cookie, no form, no other origin."""
        who: Who = "anyone" if operation.needs == "nobody" else "token"
        self.routes.append(Route(operation.method, full_path(operation), who))
        add_route(self.app, operation, handler)

    def way_back(self, path: str) -> str | None:
        """`path`, where it is a page of ours that somebody signs in for; else None. Takes any text."""
        if len(path) > 256 or not _SAFE_PATH.fullmatch(path):
            return None
        return path if any(pattern.fullmatch(path) for pattern in self._returns) else None

    def _caller(self, request: web.Request, *, used: bool = True) -> Caller | None:
        request["caller"] = caller = self._callers.of(request) if used else self._callers.still(request)
        return caller

    def _admitted(self, request: web.Request, who: Who, *, used: bool) -> Caller | None:
        """Who posts, if they may. `used`: they use their session."""
        caller = self._caller(request, used=used)
        if caller is None and who != "anyone":
            raise Problem("signed-out", 403)
        self._check_role(who, caller)
        return caller

    def _check_role(self, who: Who, caller: Caller | None) -> None:
        if who == "admin" and (caller is None or not caller.admin):
            raise Problem("not-allowed", 403)

    def _check_banned(self, request: web.Request) -> None:
        visitor = self._site.visitor(request)
        # The kernel shuts a banned address out by itself, but sees only the proxy where there is one.
        if wait_s := self._site.access.guard.may_try_s(visitor.address, trusted=visitor.trusted):
            raise Problem("too-many-tries", 429, retry_after_s=wait_s)

    def _refusal(self, request: web.Request, who: Who, caller: Caller | None, form: Form) -> Why | None:
        if not from_own_page(request.headers, self._origins):
            return "foreign-form"
        if caller is None or who == "anyone":
            ours = self._site.browsers.holds(request, form.token)
        else:
            ours = self._callers.holds(caller, form.token)
        return None if ours else "old-form"


def add_route(app: web.Application, operation: Operation, handler: Callable[[web.Request], Response]) -> None:
    """Let `app` answer an operation; what is read, also by HEAD."""
    add = app.router.add_get if operation.method == "GET" else partial(app.router.add_route, operation.method)
    add(full_path(operation), handler)


async def _read_form(request: web.Request, fields: Fields) -> Form:
    # Browsers send exactly this; aiohttp's parsing of it costs as much as half a bare answer.
    if request.headers.get("Content-Type") != _FORM_TYPE and (
        request.content_type != _FORM_TYPE or (request.charset or "utf-8").lower() != "utf-8"
    ):
        raise Problem("bad-form", 415)
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            return Form.parse(await request.read(), fields)
    except TimeoutError:
        raise Problem("too-slow", 408) from None
    except BadForm:
        raise Problem("bad-form", 400) from None


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{\w+\}", path)
    return re.compile("[^/]+".join(re.escape(part) for part in parts))


def allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page that asked through Door.ours() read the answer, and no other."""
    origin = request.get("allowed_origin")
    if origin is not None:
        response.headers["Vary"] = "Origin"
        if origin:
            response.headers["Access-Control-Allow-Origin"] = origin


def redirect(path: str, *, done: str | None = None) -> web.Response:
    """303 to a page of ours. `done`: the code of what was done, which that page says in words."""
    return web.Response(status=303, headers={"Location": path if done is None else f"{path}?done={done}"})


def to_sign_in(way_back: str | None) -> web.Response:
    """303 to the sign-in page, which leads to `way_back` then."""
    return redirect("/sign-in" if way_back is None else f"/sign-in?next={way_back}")
