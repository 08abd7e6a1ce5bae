"""Who calls with a token: Authorization: Bearer (RFC 6750, 2.1), and nothing else."""

import re

from aiohttp import web

from access.actor import Actor, acting_token
from portal.api_problem import ApiProblem
from portal.client_address import Visitor
from portal.site import Site

_ASK = {"WWW-Authenticate": 'Bearer realm="SafeIP"'}
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def bearer(site: Site, request: web.Request) -> tuple[Actor, Visitor]:
    """Who shows a good token, and from where. Raises ApiProblem, BadClientAddress, BadToken and Throttled."""
    given = request.headers.getall("Authorization", [])
    if len(given) > 1:
        raise ApiProblem("bad-request", "there are several Authorization headers")
    found = _BEARER.fullmatch(given[0].strip()) if given else None
    if found is None:
        raise ApiProblem("no-token", headers=_ASK)
    visitor = site.visitor(request)
    token = site.access.tokens.check(found[1], visitor.address, trusted=visitor.trusted)
    return acting_token(token, visitor.address), visitor
