"""The first page: what is open from here."""

from aiohttp import web

from access.gate import GateUnavailable
from portal.link_page import Opens
from portal.moments import moment, span
from portal.problems import Problem
from portal.site import Site


class Home:
    """GET /. Names only services that are open from here: what else there is, is nobody's business."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: web.Request) -> web.Response:
        """What the visitor's address holds, whoever opened it, and not by whom."""
        visitor, now = self._site.visitor(request), self._site.clock()
        try:
            grants = await self._site.gate.grants(address=visitor.address)
        except GateUnavailable:
            raise Problem("gate-unavailable", 503) from None
        opens = [
            Opens(service, span(grant.remaining_ms // 1000), moment(now + grant.remaining_ms / 1000, now))
            for grant in grants  # one for each service
            if (service := self._site.settings.services.get(grant.service)) is not None
        ]
        return self._site.pages.answer(
            request, "home.html", opens=opens, trusted=visitor.trusted, address=str(visitor.address)
        )
