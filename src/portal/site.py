"""What every handler works with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from access.gate import Gate
from access.start import Access
from portal.client_address import ClientAddress, Visitor
from portal.forms import Browsers
from portal.pages import Pages
from portal.settings import Settings


@dataclass(frozen=True, slots=True)
class Site:
    """One portal: its settings, what decides, the gate, and the pages. `clock` gives seconds since 1970."""

    settings: Settings
    access: Access
    gate: Gate
    pages: Pages
    browsers: Browsers
    clients: ClientAddress
    clock: Callable[[], float] = time.time

    def visitor(self, request: web.Request) -> Visitor:
        """Where a request comes from. Raises BadClientAddress."""
        return self.clients.visitor(request.remote, request.headers.getall(self.clients.header, ()))

    def link_url(self, link_token: str) -> str:
        """The URL of a link. A secret."""
        return f"{self.settings.url}/l/{link_token}"


def make_site(
    settings: Settings, access: Access, gate: Gate, pages: Pages, clock: Callable[[], float] = time.time
) -> Site:
    """Put the parts together as the settings say."""
    return Site(
        settings,
        access,
        gate,
        pages,
        Browsers(access.key, clock, secure=is_secure(settings)),
        ClientAddress(
            settings.trusted_proxies,
            settings.client_ip_header,
            settings.trusted_networks,
            settings.ipv6_prefix,
        ),
        clock,
    )


def is_secure(settings: Settings) -> bool:
    """Whether visitors come by https, here or at a proxy."""
    return urlsplit(settings.url).scheme == "https"
