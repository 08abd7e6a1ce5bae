"""GET /nic/update: a router's own DynDNS client keeps its address granted (DynDNS2, "Remote Access API", as its clients speak it).

It acts though it is a GET, because routers know nothing else; Door.program keeps browsers out. One address of each
family belongs to a token: the one before leaves when the next comes.
"""

import base64
import logging
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from aiohttp import web

from access.actor import NotAllowed, acting_token
from access.address import Address
from access.gate import GateRefusal, GateUnavailable
from access.guard import Throttled
from access.inputs import BadInput
from access.moment import Clock
from access.shared import is_carrier
from access.throttle import Throttle
from access.token import Token
from access.tokens import BadToken
from portal.api_problem import ApiProblem, as_problem, denied
from portal.client_address import BadClientAddress, Host, Peer, Visitor
from portal.door import Door
from portal.site import Site

log = logging.getLogger(__name__)

_CALLS, _CALLS_S = 20, 600
_HOSTS = 20
_AT_ONCE = 64  # services in one request to the gate


class _Answer(Exception):
    """What the client is told instead of what it asked for, in the protocol's words. `problem`: what it is to the API."""

    def __init__(self, word: str, status: int = 200, problem: str = "bad-input") -> None:
        super().__init__(word)
        self.word = word
        self.status = status
        self.problem = ApiProblem(problem)


def add_routes(door: Door, site: Site) -> None:
    """Add what this module answers."""
    door.program("/nic/update", NicUpdate(site).answer)


class NicUpdate:
    """Counts each token's calls, in memory."""

    def __init__(self, site: Site, monotonic: Clock = time.monotonic) -> None:
        self._site = site
        self._calls = Throttle(_CALLS, _CALLS_S, _CALLS_S, clock=monotonic)
        settings = site.settings
        self._own = {urlsplit(url).hostname for url in (settings.url, settings.url_ipv4, settings.url_ipv6) if url}

    async def answer(self, request: web.Request) -> web.Response:
        """A line for each hostname. 200 but for badauth: clients look at the word."""
        try:
            text, status = await self._update(request), 200
        except _Answer as answer:
            text, status = answer.word, answer.status
        headers = {"WWW-Authenticate": 'Basic realm="SafeIP", charset="UTF-8"'} if status == 401 else {}
        return web.Response(text=f"{text}\n", status=status, headers=headers)

    async def _update(self, request: web.Request) -> str:
        try:
            visitor = self._site.visitor(request)
            seen = self._site.host(request)
        except BadClientAddress:
            raise _Answer("911") from None
        token = self._token(request, visitor)
        try:
            return await self._serve(request, token, visitor, seen)
        except _Answer as answer:
            self._deny(token, visitor, answer.problem)
            raise

    async def _serve(self, request: web.Request, token: Token, visitor: Visitor, seen: Host) -> str:
        self._check(request, token)
        hosts = [name.strip().rstrip(".").lower() for name in ",".join(request.query.getall("hostname", [])).split(",")]
        if not all(hosts):
            raise _Answer("notfqdn")
        if len(hosts) > _HOSTS:
            raise _Answer("numhost")
        asked = [self._services(token, host) for host in hosts]
        if not all(asked):
            self._deny(token, visitor, ApiProblem("unknown-service"))
        services = tuple(dict.fromkeys(name for names in asked for name in names))
        if not services:
            return "\n".join("nohost" for _ in hosts)
        line = await self._open(token, visitor, services, self._addresses(request, token, visitor, seen))
        return "\n".join(line if names else "nohost" for names in asked)

    def _token(self, request: web.Request, visitor: Visitor) -> Token:
        user, secret = _credentials(request)
        try:
            return self._site.access.tokens.check(f"safeip_{user}_{secret}", visitor.address, trusted=visitor.trusted)
        except BadToken:
            raise _Answer("badauth", 401) from None
        except Throttled:
            raise _Answer("abuse") from None

    def _check(self, request: web.Request, token: Token) -> None:
        if not token.may("grant:self"):
            raise _Answer("badauth", 401, "not-allowed")
        if not request.headers.get("User-Agent", "").strip():
            raise _Answer("badagent", problem="bad-request")
        if not self._calls.count(token.id):
            raise _Answer("abuse", problem="too-many-tries")

    def _deny(self, token: Token, visitor: Visitor, problem: ApiProblem) -> None:
        denied(self._site.access.tokens, acting_token(token, visitor.address), problem)

    def _services(self, token: Token, host: str) -> Sequence[str]:
        """What a hostname stands for: the portal's own for all that the token reaches; a service's name, or the host of its url."""
        reached = token.reaches(self._site.settings.services)
        if host in self._own:
            return tuple(reached)
        if host in reached:
            return (host,)
        return [name for name, service in reached.items() if service.url and urlsplit(service.url).hostname == host]

    def _addresses(self, request: web.Request, token: Token, visitor: Visitor, seen: Host) -> Mapping[str, Address]:
        """What to open, by what the client is told of it: what it sent, where the token allows that, else where it comes from.

        Empty where nothing needs opening: it comes from a network that is never closed.
        """
        sent: dict[int, tuple[str, Address]] = {}
        if token.may("grant:any"):
            # The prefix of the router's own network says more of its devices than the router's own address.
            for key in ("myip", "myipv6", "ip6lanprefix"):
                for text in ",".join(request.query.getall(key, [])).split(","):
                    if (found := self._sent(text.strip())) is not None:
                        sent[found[1].version] = found
        if sent:
            return dict(sent.values())
        return {} if visitor.trusted else {str(seen): visitor.address}

    def _sent(self, text: str) -> tuple[str, Address] | None:
        """An address or a prefix that a router believes to be its own; None where it cannot be: private, none yet, or no address.

        Of a prefix that is wider than what may be granted, the first part, which is where routers put the home.
        """
        host, slash, _ = text.partition("/")
        if slash and ":" not in host:
            return None
        try:
            router, found = self._site.clients.host(Peer(host), ()), self._site.clients.visitor(Peer(host), ())
        except BadClientAddress:
            return None
        special = router.is_unspecified or router.is_multicast or router.is_loopback or router.is_link_local
        if found.trusted or special or (router.version == 4 and router.is_reserved) or is_carrier(found.address):
            return None
        return str(found.address) if slash else str(router), found.address

    async def _open(
        self, token: Token, visitor: Visitor, services: Sequence[str], addresses: Mapping[str, Address]
    ) -> str:
        """`good` where something was not open, or the address is another than before; `nochg` where time began anew."""
        by, grants = acting_token(token, visitor.address), self._site.access.grants
        word, opened = "nochg", []
        try:
            for text, address in addresses.items():
                for start in range(0, len(services), _AT_ONCE):
                    granted = await grants.open(by, services[start : start + _AT_ONCE], address, addresses=1)
                    if granted.left or not granted.renewed:
                        word = "good"
                opened.append(text)
        except NotAllowed:
            raise _Answer("badauth", 401, "not-allowed") from None
        except BadInput:  # a service went meanwhile
            raise _Answer("nohost", problem="unknown-service") from None
        except Throttled:
            raise _Answer("abuse", problem="too-many-tries") from None
        except (GateRefusal, GateUnavailable) as error:
            log.warning("a DynDNS client's address was not opened: %s", error)
            raise _Answer("911", problem=as_problem(error).name) from None
        return f"{word} {','.join(opened) or visitor.address}"


def _credentials(request: web.Request) -> tuple[str, str]:
    """The token's id and its secret, of which some routers take no more than 32 characters. Raises _Answer."""
    given = request.headers.getall("Authorization", [])
    scheme, _, encoded = (given[0] if len(given) == 1 else "").strip().partition(" ")
    try:
        plain = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        plain = ""
    user, colon, password = plain.partition(":")
    if not colon:
        raise _Answer("badauth", 401)
    return user, password.removeprefix(f"safeip_{user}_")
