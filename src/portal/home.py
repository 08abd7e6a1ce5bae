"""The first page: what is open from here, the links that this browser remembers, and the way to sign in."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from access.link import Link
from portal.caller import Caller
from portal.door import Door, redirect
from portal.form import Form
from portal.needs import needs
from portal.opens import opens_from, owner_name
from portal.remembered import remembered
from portal.site import Site


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    pages = _Home(site)
    door.page("/", "anyone", pages.show)
    door.form("/forget", "anyone", pages.forget)


@dataclass(frozen=True, slots=True)
class _Way:
    """A remembered link, as a button."""

    path: str
    titles: list[str]
    link: Link
    owner: str | None


class _Home:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request, caller: Caller | None) -> web.Response:
        """What the visitor's address holds, whoever opened it, and not by whom; /me for who is signed in.

        Names only services that are open from here, and those of links that this very browser has opened: what else
        there is, is nobody's business.
        """
        if caller is not None:
            return redirect("/me")
        site, visitor = self._site, self._site.visitor(request)
        grants, ways = await site.gate.grants(address=visitor.address), self._ways(request)
        opens = opens_from(grants, site.settings.services, site.clock())
        shown: dict[str, Any] = {
            "opens": opens,
            "needs": needs(site, (open_.service for open_ in opens), visitor.address, "/"),
            "trusted": visitor.trusted,
            "address": str(visitor.address),
            "may_ask": site.settings.registration == "approval",
            "ways": ways,
        }
        if not ways:
            return site.pages.answer(request, "home.html", **shown)
        return site.open_page(request, "home.html", posts_to="/forget", **shown)

    def _ways(self, request: web.Request) -> list[_Way]:
        """The remembered links that open something by now. One that is paused comes back by itself."""
        links, now = self._site.access.links, self._site.clock()
        return [
            _Way(f"/l/{token}", [service.title for service in services], link, owner_name(link))
            for token, link in remembered(self._site, request).items()
            if link.state(now) == "open" and (services := links.opens(link))
        ]

    async def forget(self, _request: web.Request, _caller: Caller | None, _form: Form) -> web.Response:
        """Have the browser forget its links. They go on to work."""
        response = redirect("/", done="links-forgotten")
        self._site.links_cookie.take_back(response)
        return response
