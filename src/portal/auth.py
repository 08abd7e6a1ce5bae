"""GET /auth: a reverse proxy asks whether a visitor may reach a service (nginx auth_request, Caddy forward_auth, Traefik forwardAuth)."""

import base64
import hashlib

from aiohttp import web

from access.gate import GateRefusal, GateUnavailable
from portal.client_address import BadClientAddress, Visitor
from portal.door import Door
from portal.headers import POLICY
from portal.site import Site

# The page stands on the service's host, where nothing of ours can be loaded.
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{max-width:32rem;margin:0 auto;padding:3rem 1rem;font:1.0625rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}"
    "h1{font-size:1.75rem;line-height:1.2}"
    "a{display:inline-block;padding:.75rem 1.25rem;border-radius:.75rem;background:#16594a;color:#fff;text-decoration:none}"
    "a:focus-visible{outline:3px solid CanvasText;outline-offset:2px}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.page("/auth", "anyone", _Auth(site).answer)


class _Auth:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._portal = f"{site.settings.url}/"
        self._closed = {
            POLICY: _POLICY,
            # nginx hands on this header of the answer by itself
            "WWW-Authenticate": f'SafeIP realm="{self._portal}"',
        }

    async def answer(self, request: web.Request, _caller: object) -> web.Response:
        """204: may pass. 401 with a page for people: may not, or is banned. Anything else: not to be told, so may not.

        Asked anew each time, so that a revocation counts from the next request on.
        """
        names = request.query.getall("service", ())
        if len(names) != 1 or names[0] not in self._site.settings.services:
            return _text(400, "service: name one that is configured")
        try:
            visitor = self._site.behind_proxy(request)
            if visitor.trusted or await self._holds(names[0], visitor):
                return web.Response(status=204)
        except BadClientAddress as error:
            return _text(400, str(error))
        except (GateRefusal, GateUnavailable):
            return _text(503, "the gate does not answer")
        return self._site.pages.answer(
            request, "closed.html", status=401, headers=self._closed, style=_STYLE, portal=self._portal, address=visitor.address
        )

    async def _holds(self, service: str, visitor: Visitor) -> bool:
        banned_s = self._site.access.guard.may_try_s(visitor.address, trusted=False)
        return not banned_s and await self._site.gate.held(service, visitor.address)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
