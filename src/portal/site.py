"""What every handler works with."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from access.address import Address
from access.guard import DEVICE_S
from access.start import Access
from portal.browsers import Browsers
from portal.client_address import BadClientAddress, ClientAddress, Host, Peer, Visitor
from portal.complaints import Complaints
from portal.cookies import Cookie
from portal.edge import Connection
from portal.gate import GateClient
from portal.measures import Measures
from portal.pages import Pages
from portal.settings import Settings
from portal.tls import Certificate

log = logging.getLogger(__name__)
_Told = TypeVar("_Told", Visitor, Host)

REMEMBERED = 8
"""Links that a browser keeps."""
_TOKEN = "[a-z2-7]{6}-[a-z2-7]{32}"  # noqa: S105 - a link token's form
LINK_TOKENS = rf"{_TOKEN}(?:\.{_TOKEN}){{0,{REMEMBERED - 1}}}"
# As long as browsers keep one (RFC 6265bis, 5.5)
_REMEMBERED_S = 400 * 86400


@dataclass(frozen=True, slots=True)
class Site:
    """One portal: its settings, what decides, the gate, and the pages. `clock` gives seconds since 1970; no `certificate`: plain HTTP."""

    settings: Settings
    access: Access
    gate: GateClient
    pages: Pages
    browsers: Browsers
    session_cookie: Cookie
    device_cookie: Cookie
    links_cookie: Cookie
    clients: ClientAddress
    clock: Callable[[], float] = time.time
    certificate: Certificate | None = None
    measures: Measures = field(default_factory=Measures)
    complaints: Complaints = field(default_factory=lambda: Complaints(log))

    def visitor(self, request: web.Request) -> Visitor:
        """Where a request comes from. Raises BadClientAddress."""
        visitor = self._asked(request, self.clients.visitor)
        if visitor.trusted and self.forwarded(request) and not self.clients.is_proxy(peer := self.peer(request)):
            self.complaints.tell(
                f"{peer.host} is in gate.trusted_networks and sends {self.clients.header}: if it is a proxy, it makes everybody a trusted "
                "visitor; name it in portal.trusted_proxies"
            )
        return visitor

    def host(self, request: web.Request) -> Host:
        """The same before it becomes what is granted. Raises BadClientAddress."""
        return self._asked(request, self.clients.host)

    def behind_proxy(self, request: web.Request) -> Visitor:
        """For whom a proxy asks. Raises BadClientAddress."""
        return self._asked(request, self.clients.behind_proxy)

    def _asked(self, request: web.Request, tell: Callable[[Peer, Sequence[str]], _Told]) -> _Told:
        """What is told of who asks; what cannot be told is logged, without a word of the request."""
        peer = self.peer(request)
        try:
            return tell(peer, self.forwarded(request))
        except BadClientAddress as error:
            if "client_address" not in request:  # several ask about one request
                request["client_address"] = ""
                self.complaints.tell(f"whoever asks by way of {peer.host or 'a proxy that names nobody'} is granted nothing: {error}")
            raise

    def peer(self, request: web.Request) -> Peer:
        """The other end of the request's connection, by which alone its headers are believed."""
        connection = request.protocol
        return connection.peer if isinstance(connection, Connection) else Peer(request.remote)

    def forwarded(self, request: web.Request) -> Sequence[str]:
        """Every line of the header in which proxies name the visitor."""
        return request.headers.getall(self.clients.header, ())

    def open_page(
        self,
        request: web.Request,
        name: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        posts_to: str | None = None,
        **values: object,
    ) -> web.Response:
        """A page whose form anybody may post: `form_token` is this browser's, for `posts_to` or the page's own path."""
        token, nonce = self.browsers.token(request, posts_to or request.path)
        response = self.pages.answer(
            request, name, status=status, headers=headers, form_token=token, **values
        )
        if nonce is not None:
            self.browsers.give(response, nonce)
        return response

    def also_url(self, address: Address, ticket: str | None) -> str | None:
        """Where the browser at `address` opens its other family; None without a ticket, or a name for that family."""
        other = self.other_url(address)
        return None if ticket is None or other is None else f"{other}/also/{ticket}"

    def other_url(self, address: Address) -> str | None:
        """The name of the portal that only the family reaches which `address` is not of; None where there is none."""
        return self.settings.url_ipv6 if address.version == 4 else self.settings.url_ipv4

    def link_url(self, link_token: str) -> str:
        """The URL of a link. A secret."""
        return f"{self.settings.url}/l/{link_token}"


def make_site(
    settings: Settings,
    access: Access,
    gate: GateClient,
    pages: Pages,
    clock: Callable[[], float] = time.time,
    *,
    certificate: Certificate | None = None,
) -> Site:
    """Put the parts together as the settings say."""
    secure = is_secure(settings)
    return Site(
        settings,
        access,
        gate,
        pages,
        Browsers(access.key, clock, secure=secure),
        Cookie("safeip-session", "[A-Za-z0-9_-]{43}", secure=secure, lives_s=settings.session_lifetime_s),
        Cookie("safeip-device", "[A-Za-z0-9._-]{1,256}", secure=secure, lives_s=DEVICE_S),
        Cookie("safeip-links", LINK_TOKENS, secure=secure, lives_s=_REMEMBERED_S),
        ClientAddress(
            settings.trusted_proxies,
            settings.client_ip_header,
            settings.trusted_networks,
            settings.ipv6_prefix,
        ),
        clock,
        certificate,
    )


def is_secure(settings: Settings) -> bool:
    """Whether visitors come by https, here or at a proxy."""
    return urlsplit(settings.url).scheme == "https"
