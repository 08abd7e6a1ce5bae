"""Back to the page on which an admin did something: with its search, what was done, and how to take it back."""

from urllib.parse import parse_qsl, urlencode

from aiohttp import web

_PLACES = {"in": "/admin", "banned": "/admin/banned", "blocked": "/admin/blocked"}
_SEARCH = ("q", "service", "family", "kind", "page")
_LONGEST = 512


def back_to(to: str, said: str, *, undo: str | None = None, back: str = "") -> web.Response:
    """303 to a page of ours. `said` is the code of what was done, `undo` the id of its step.

    `to` and `back`, the page's name and its search, come from a form: anything else than ours is left out.
    """
    search = [(name, value) for name, value in parse_qsl(back[:_LONGEST]) if name in _SEARCH]
    query = [*search, ("done", said), *([] if undo is None else [("undo", undo)])]
    return web.Response(status=303, headers={"Location": f"{_PLACES.get(to, '/admin')}?{urlencode(query)}"})
