"""The API's people: who may sign in, with what, and what they may open. A token may look; the rest is the command line's."""

from collections.abc import Awaitable, Callable
from typing import Any

from access.actor import Actor
from access.inputs import BadInput
from access.moment import moment_text
from access.person import Person
from access.sessions import Session
from portal import api_answers as answers
from portal.api_kinds import SERVICES, Field, Fields, Text, Yes
from portal.operation import Call, Operation
from portal.site import Site

_SECRET = Text(1024, secret=True)
_RIGHTS = (
    Field("role", Text(choice=("admin", "member")), "What they are."),
    Field("services", SERVICES, "What they may open."),
    Field("links", Yes(), "Whether they may make links.", into="may_link"),
)
_NEW = Fields(
    (
        Field("name", Text(example="yves"), "Their name.", needed=True),
        Field("invite", Yes(), "Whether to invite them at once."),
        Field("password", _SECRET, "Their password."),
        *_RIGHTS,
    )
)
_ONE = Fields((Field("name", Text(128, 1, example="yves"), "The person's name.", needed=True),))
_CODE = Fields(
    (
        Field("seed", Text(), "The offer's.", needed=True),
        Field("code", _SECRET, "What the app shows.", needed=True),
    )
)
_PASSWORD = Fields((Field("password", _SECRET, "The new password.", needed=True),))


def operations(site: Site) -> tuple[Operation, ...]:
    """What this module answers."""
    api, people, one = _People(site), site.access.people, "/people/{name}"
    unknown = ("unknown-person",)
    return (
        Operation("GET", "/people", "admin", "All people, those who ask to be let in first.", api.all, answers.many(answers.PERSON), house=True),
        Operation("GET", one, "admin", "One person.", api.one, answers.PERSON, places=_ONE, house=True, problems=unknown),
        Operation(
            "GET", f"{one}/sessions", "admin", "Where a person is signed in, the last seen first.",
            api.sessions, answers.many(answers.SESSION), places=_ONE, house=True, problems=unknown,
        ),
        Operation("POST", "/people", "hand", "Add a person, with an invitation if wanted.", api.add, answers.ADDED_PERSON, body=_NEW, status=201),
        Operation("PATCH", one, "hand", "Change a person's rights; what is not given stays.", api.change, answers.PERSON, places=_ONE, body=Fields(_RIGHTS)),
        Operation("DELETE", one, "hand", "Forget a person, and close what they opened.", api.act(people.remove), answers.PERSON, places=_ONE),
        Operation("POST", f"{one}/password", "hand", "Set a person's password.", api.password, answers.PERSON, places=_ONE, body=_PASSWORD),
        Operation("POST", f"{one}/totp", "hand", "Offer a TOTP secret; changes nothing.", api.new_totp, answers.TOTP_OFFER, places=_ONE),
        Operation("POST", f"{one}/totp/confirm", "hand", "Ask for codes from now on.", api.totp_on, answers.RECOVERY_CODES, places=_ONE, body=_CODE),
        Operation("DELETE", f"{one}/totp", "hand", "Ask for no codes.", api.act(site.access.credentials.totp_off), answers.PERSON, places=_ONE),
        Operation("POST", f"{one}/invitation", "hand", "Invite a person to set password and TOTP.", api.invite, answers.INVITATION, places=_ONE, status=201),
        Operation("POST", f"{one}/approve", "hand", "Let in somebody who asked.", api.approve, answers.PERSON, places=_ONE, body=Fields(_RIGHTS[1:])),
        Operation("POST", f"{one}/refuse", "hand", "Forget somebody who asked.", api.refuse, answers.NAME, places=_ONE),
        Operation("POST", f"{one}/sign-out", "hand", "End a person's sessions.", api.act(people.sign_out_everywhere), answers.PERSON, places=_ONE),
    )  # fmt: skip


class _People:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._people = site.access.people
        self._credentials = site.access.credentials

    async def all(self, call: Call) -> list[dict[str, Any]]:
        return [self._json(person) for person in self._people.list(call.by)]

    async def one(self, call: Call) -> dict[str, Any]:
        return self._json(self._people.get(call.by, call.path["name"]))

    async def add(self, call: Call) -> dict[str, Any]:
        asked = dict(call.body)
        invite = asked.pop("invite", False)
        if invite and "password" in asked:
            raise BadInput("invite", "goes without a password, which the person chooses")
        person = await self._people.add(call.by, **asked)
        return await self._invitation(call.by, person.name) if invite else self._json(person)

    async def change(self, call: Call) -> dict[str, Any]:
        return self._json(await self._people.change(call.by, call.path["name"], **call.body))

    async def password(self, call: Call) -> dict[str, Any]:
        person = await self._credentials.set_password(call.by, call.path["name"], call.body["password"])
        return self._json(person)

    async def new_totp(self, call: Call) -> dict[str, Any]:
        offer = self._credentials.new_totp(call.by, call.path["name"])
        return {"seed": offer.seed, "secret": offer.secret, "uri": offer.uri}

    async def totp_on(self, call: Call) -> dict[str, Any]:
        _person, codes = await self._credentials.totp_on(call.by, call.path["name"], **call.body)
        return {"recovery_codes": list(codes)}

    async def invite(self, call: Call) -> dict[str, Any]:
        return await self._invitation(call.by, call.path["name"])

    async def approve(self, call: Call) -> dict[str, Any]:
        rights = {"services": [], **call.body}
        return self._json(await self._people.approve(call.by, call.path["name"], **rights))

    async def refuse(self, call: Call) -> dict[str, Any]:
        return {"name": (await self._people.refuse(call.by, call.path["name"])).name}

    async def sessions(self, call: Call) -> list[dict[str, Any]]:
        name = self._people.get(call.by, call.path["name"]).name
        return [_session_json(one) for one in self._site.access.sessions.of(name)]

    def act(
        self, act: Callable[[Actor, str], Awaitable[Person]]
    ) -> Callable[[Call], Awaitable[dict[str, Any]]]:
        """What does `act` to the person and answers what they are then, or were."""

        async def done(call: Call) -> dict[str, Any]:
            return self._json(await act(call.by, call.path["name"]))

        return done

    async def _invitation(self, by: Actor, name: str) -> dict[str, Any]:
        token = await self._people.invite(by, name)
        person = self._json(self._people.get(by, name))
        return {
            **person,
            "url": f"{self._site.settings.url}/invitation/{token}",
            "expires_at": person["invitation_expires_at"],
        }

    def _json(self, person: Person) -> dict[str, Any]:
        return person.as_json(self._site.clock())


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "address": session.address,
        "agent": session.agent,
        "created_at": moment_text(session.created_at),
        "seen_at": moment_text(session.seen_at),
        "expires_at": moment_text(session.expires_at),
    }
