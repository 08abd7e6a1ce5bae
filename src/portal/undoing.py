"""What an admin did, told on the page on which they did it: with its search, and how to take it back."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from access.undo import Step
from portal.caller import Caller
from portal.site import Site

_PLACES = {"in": "/admin", "banned": "/admin/banned", "blocked": "/admin/blocked"}
_SEARCH = ("q", "service", "family", "kind", "page")
_LONGEST = 512


def back_to(to: str, said: str, step: Step | None = None, *, back: str = "") -> web.Response:
    """303 to a page of ours. `said` is the code of what was done, `step` what takes it back.

    `to` and `back`, the page's name and its search, come from a form: anything else than ours is left out.
    """
    search = [(name, value) for name, value in parse_qsl(back[:_LONGEST]) if name in _SEARCH]
    query = [*search, ("done", said), *([] if step is None else [("undo", step.id)])]
    return web.Response(status=303, headers={"Location": f"{_PLACES.get(to, '/admin')}?{urlencode(query)}"})


def what_was_done(site: Site, request: web.Request, caller: Caller, said: str | None = None) -> dict[str, Any]:
    """What admin_said.html is given: what the page's address says after `back_to`, or `said` in its place."""
    query = request.query
    step = site.access.undo.find(caller.actor, query.get("undo", "")[:64])
    return {"done": None, "said": query.get("done", "") if said is None else said, "undo": step_id(step)}


def step_id(step: Step | None) -> str | None:
    """By which a form names what it takes back."""
    return None if step is None else step.id
