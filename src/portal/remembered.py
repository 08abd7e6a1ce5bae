"""The links that a browser has opened: it keeps them itself, in a cookie, and nobody else is shown them."""

from aiohttp import web

from access.link import Link
from portal.site import REMEMBERED, Site


def remembered(site: Site, request: web.Request) -> dict[str, Link]:
    """The links behind the tokens that the browser sends, the one that was opened last first.

    What is no link's token any more is left out, and is no strike against the address: it was one when it was given.
    """
    kept = site.links_cookie.read(request)
    tokens = () if kept is None else kept.split(".")
    links = {token: site.access.links.find(token) for token in tokens}
    return {token: link for token, link in links.items() if link is not None}


def remember(site: Site, request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Have the browser keep the token of a link that was opened. At most 8: the oldest leave."""
    tokens = dict.fromkeys((token, *remembered(site, request)))
    site.links_cookie.give(response, ".".join([*tokens][:REMEMBERED]))
