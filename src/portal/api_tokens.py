"""The API's tokens: a token sees itself; the rest is the command line's."""

from typing import Any

from access.state import UnknownToken
from access.token import SCOPES
from portal import api_answers as answers
from portal.api_kinds import DURATION, LABEL, SERVICE, Field, Fields, Names, Text
from portal.operation import Call, Operation
from portal.site import Site

_NEW = Fields(
    (
        Field("label", LABEL, "Who or what it is for.", needed=True),
        Field("scopes", Names(Text(choice=SCOPES), least=1), "What it may do.", needed=True),
        Field("services", Names(SERVICE, least=1), "The services within its reach; else all."),
        Field("expires", DURATION, "How long it lives.", into="expires_s"),
        Field("for", DURATION, "How long its grants last; else each service's default.", into="duration_s"),
    )
)
_ONE = Fields((Field("id", Text(32, 1, example="k3v9aa"), "The token's id.", needed=True),))


def operations(site: Site) -> tuple[Operation, ...]:
    """What this module answers."""
    api, one = _Tokens(site), "/tokens/{id}"
    return (
        Operation("GET", "/token", "token", "Who asks: the token, its scopes, where from.", api.who, answers.WHO, problems=("unknown-token",)),
        Operation("GET", "/tokens", "hand", "All tokens, the oldest first.", api.all, answers.many(answers.TOKEN)),
        Operation("POST", "/tokens", "hand", "Make a token.", api.add, answers.TOKEN_WITH_TEXT, body=_NEW, status=201),
        Operation("GET", one, "hand", "One token.", api.one, answers.TOKEN, places=_ONE),
        Operation("DELETE", one, "hand", "Forget a token, and close what it opened.", api.remove, answers.TOKEN, places=_ONE),
    )  # fmt: skip


class _Tokens:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._tokens = site.access.tokens

    async def who(self, call: Call) -> dict[str, Any]:
        token, visitor = call.by.token, call.visitor
        if token is None or visitor is None:
            raise UnknownToken(call.by.holder)
        return {
            **token.as_json(self._site.clock()),
            "holder": token.holder,
            "address": str(visitor.address),
            "trusted": visitor.trusted,
            "opens": list(call.by.reaches(self._site.settings.services)),
        }

    async def all(self, call: Call) -> list[dict[str, Any]]:
        now = self._site.clock()
        return [token.as_json(now) for token in self._tokens.list(call.by)]

    async def one(self, call: Call) -> dict[str, Any]:
        return self._tokens.get(call.by, call.path["id"]).as_json(self._site.clock())

    async def add(self, call: Call) -> dict[str, Any]:
        token, text = await self._tokens.add(call.by, **call.body)
        return {**token.as_json(self._site.clock()), "text": text}

    async def remove(self, call: Call) -> dict[str, Any]:
        return (await self._tokens.remove(call.by, call.path["id"])).as_json(self._site.clock())
