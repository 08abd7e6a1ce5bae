"""The API's people: who may sign in, with what, and what they may open."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from access.actor import Actor
from access.inputs import BadInput
from access.moment import moment_text
from access.person import Person
from access.sessions import Session
from portal.api_input import Input
from portal.site import Site

_BY = Actor.CLI


def add_routes(app: web.Application, site: Site) -> None:
    """Add what this module answers."""
    api, people, router = _PeopleApi(site), site.access.people, app.router
    one = "/api/v1/people/{name}"
    router.add_get("/api/v1/people", api.all)
    router.add_post("/api/v1/people", api.add)
    router.add_get(one, api.one)
    router.add_patch(one, api.change)
    router.add_delete(one, api.act(people.remove))
    router.add_post(f"{one}/password", api.password)
    router.add_post(f"{one}/totp", api.new_totp)
    router.add_post(f"{one}/totp/confirm", api.totp_on)
    router.add_delete(f"{one}/totp", api.act(site.access.credentials.totp_off))
    router.add_post(f"{one}/invitation", api.invite)
    router.add_post(f"{one}/approve", api.approve)
    router.add_post(f"{one}/refuse", api.refuse)
    router.add_post(f"{one}/sign-out", api.act(people.sign_out_everywhere))
    router.add_get(f"{one}/sessions", api.sessions)


class _PeopleApi:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._people = site.access.people
        self._credentials = site.access.credentials

    async def all(self, _request: web.Request) -> web.Response:
        """All people, the oldest first."""
        return web.json_response([self._json(person) for person in self._people.list(_BY)])

    async def one(self, request: web.Request) -> web.Response:
        """One person."""
        return self._answer(self._people.get(_BY, _name(request)))

    async def add(self, request: web.Request) -> web.Response:
        """Add a person; with `invite` the answer holds the invitation's `url` too."""
        body = await Input.of_body(request)
        name, invite, password = body.need_text("name"), body.take_yes("invite"), body.take_text("password")
        rights = _rights(body)
        body.end()
        if invite and password is not None:
            raise BadInput("invite", "goes without a password, which the person chooses")
        person = await self._people.add(_BY, name, password=password, **rights)
        if not invite:
            return self._answer(person, status=201)
        return web.json_response(await self._invitation(person.name), status=201)

    async def change(self, request: web.Request) -> web.Response:
        """Change `role`, `services`, `links`; what is not given stays."""
        body = await Input.of_body(request)
        rights = _rights(body)
        body.end()
        return self._answer(await self._people.change(_BY, _name(request), **rights))

    async def password(self, request: web.Request) -> web.Response:
        """Set a person's password."""
        body = await Input.of_body(request)
        password = body.need_text("password")
        body.end()
        return self._answer(await self._credentials.set_password(_BY, _name(request), password))

    async def new_totp(self, request: web.Request) -> web.Response:
        """What an authenticator app is to learn; nothing is changed until its code is confirmed."""
        offer = self._credentials.new_totp(_BY, _name(request))
        return web.json_response({"seed": offer.seed, "secret": offer.secret, "uri": offer.uri})

    async def totp_on(self, request: web.Request) -> web.Response:
        """Ask the person for codes from now on."""
        body = await Input.of_body(request)
        seed, code = body.need_text("seed"), body.need_text("code")
        body.end()
        _person, recovery_codes = await self._credentials.totp_on(_BY, _name(request), seed, code)
        return web.json_response({"recovery_codes": list(recovery_codes)})

    async def invite(self, request: web.Request) -> web.Response:
        """A URL with which the person sets password and TOTP, once."""
        return web.json_response(await self._invitation(_name(request)), status=201)

    async def approve(self, request: web.Request) -> web.Response:
        """Let in somebody who asked."""
        body = await Input.of_body(request)
        services, may_link = body.take_texts("services"), body.take_yes("links")
        body.end()
        person = await self._people.approve(
            _BY, _name(request), services=services or [], may_link=bool(may_link)
        )
        return self._answer(person)

    async def refuse(self, request: web.Request) -> web.Response:
        """Forget somebody who asked."""
        await self._people.refuse(_BY, _name(request))
        return web.json_response({"name": _name(request)})

    async def sessions(self, request: web.Request) -> web.Response:
        """Where a person is signed in, the last seen first."""
        name = self._people.get(_BY, _name(request)).name
        return web.json_response([_session_json(one) for one in self._site.access.sessions.of(name)])

    def act(
        self, act: Callable[[Actor, str], Awaitable[Person]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that does `act` to the person and answers what they are then, or were."""

        async def handler(request: web.Request) -> web.Response:
            return self._answer(await act(_BY, _name(request)))

        return handler

    async def _invitation(self, name: str) -> dict[str, Any]:
        token = await self._people.invite(_BY, name)
        person = self._json(self._people.get(_BY, name))
        return {
            **person,
            "url": f"{self._site.settings.url}/invitation/{token}",
            "expires_at": person["invitation_expires_at"],
        }

    def _answer(self, person: Person, *, status: int = 200) -> web.Response:
        return web.json_response(self._json(person), status=status)

    def _json(self, person: Person) -> dict[str, Any]:
        return person.as_json(self._site.clock())


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _rights(body: Input) -> dict[str, Any]:
    """What the body says of what a person may do, by the names of People's parameters."""
    role = body.take_text("role")
    if role not in {None, "admin", "member"}:
        raise BadInput("role", "is neither admin nor member")
    given = {
        "role": role,
        "services": body.take_texts("services"),
        "may_link": body.take_yes("links"),
    }
    return {key: value for key, value in given.items() if value is not None}


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "address": session.address,
        "agent": session.agent,
        "created_at": moment_text(session.created_at),
        "seen_at": moment_text(session.seen_at),
        "expires_at": moment_text(session.expires_at),
    }
