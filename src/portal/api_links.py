"""The API's links."""

from collections.abc import Awaitable, Callable
from typing import Any

from access.actor import Actor
from access.inputs import PIN_SHORTEST, URL_LONGEST
from access.link import Link
from access.links import MOST_ADDRESSES, MOST_USES
from portal import api_answers as answers
from portal.api_kinds import DURATION, LABEL, SERVICE, Field, Fields, Names, Text, Whole
from portal.operation import Call, Operation
from portal.site import Site

_NEW = Fields(
    (
        Field("label", LABEL, "Whose it is.", needed=True),
        Field("services", Names(SERVICE, least=1), "What it opens.", needed=True),
        Field("for", DURATION, "How long its grants last; else each service's default.", into="duration_s"),
        Field("expires", DURATION, "How long the link itself lives.", into="expires_s"),
        Field("uses", Whole(MOST_USES), "How often it opens."),
        Field("addresses", Whole(MOST_ADDRESSES), "How many addresses of one family it opens at once."),
        Field("pin", Text(256, PIN_SHORTEST, secret=True), "A PIN that it asks for."),
        Field("to", Text(URL_LONGEST, 1, example="https://cloud.example.org/"), "Where the visitor goes next."),
    )
)
_ONE = Fields((Field("id", Text(32, 1, example="k3v9aa"), "The link's id.", needed=True),))
_SAVES = ("not-saved",)
_CLOSES = ("unknown-link", "not-saved", "gate-unavailable")


def operations(site: Site) -> tuple[Operation, ...]:
    """What this module answers."""
    api, links, one = _Links(site), site.access.links, "/links/{id}"
    return (
        Operation("GET", "/links", "links", "The links within reach, the oldest first, without their URLs.", api.all, answers.many(answers.LINK)),
        Operation("POST", "/links", "links", "Make a link.", api.add, answers.LINK_WITH_URL, body=_NEW, status=201, problems=("busy", *_SAVES)),
        Operation("GET", one, "links", "One link, with its URL.", api.one, answers.LINK_WITH_URL, places=_ONE, problems=("unknown-link",)),
        Operation("DELETE", one, "links", "Forget a link, and close what it opened.", api.act(links.remove), answers.LINK, places=_ONE, problems=_CLOSES),
        Operation(
            "POST", f"{one}/pause", "links", "Let a link open nothing until it is resumed, and close what it opened.",
            api.act(links.pause), answers.LINK, places=_ONE, problems=_CLOSES,
        ),
        Operation("POST", f"{one}/resume", "links", "Undo a pause.", api.act(links.resume), answers.LINK, places=_ONE, problems=("unknown-link", *_SAVES)),
        Operation(
            "POST", f"{one}/rotate", "links", "Give a link another URL, and close what it opened.",
            api.act(links.rotate, with_url=True), answers.LINK_WITH_URL, places=_ONE, problems=_CLOSES,
        ),
    )  # fmt: skip


class _Links:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._links = site.access.links

    async def all(self, call: Call) -> list[dict[str, Any]]:
        now = self._site.clock()
        return [link.as_json(now) for link in self._links.list(call.by)]

    async def one(self, call: Call) -> dict[str, Any]:
        return self._with_url(self._links.get(call.by, call.path["id"]))

    async def add(self, call: Call) -> dict[str, Any]:
        return self._with_url(await self._links.add(call.by, **call.body))

    def act(
        self, act: Callable[[Actor, str], Awaitable[Link]], *, with_url: bool = False
    ) -> Callable[[Call], Awaitable[dict[str, Any]]]:
        """What does `act` to the link and answers what it is then, or was."""

        async def done(call: Call) -> dict[str, Any]:
            link = await act(call.by, call.path["id"])
            return self._with_url(link) if with_url else link.as_json(self._site.clock())

        return done

    def _with_url(self, link: Link) -> dict[str, Any]:
        shown = link.as_json(self._site.clock())
        return {**shown, "url": self._site.link_url(self._links.token(link)), "wants_pin": list(self._links.wanting_pin(link))}
