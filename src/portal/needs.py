"""What a visitor's family does not reach, as pages say it: the portal may be reached by a way that a service is not."""

from collections.abc import Iterable
from dataclasses import dataclass

from access.address import Address
from access.services import Service
from portal.site import Site


@dataclass(frozen=True, slots=True)
class Needs:
    """`services` are reached by the family `needed` alone, and the visitor was seen by `seen` ("IPv4", "IPv6").

    `every`: there is no other service on the page. `url`: the page's own under the name of the portal that only the
    family needed reaches; None where there is no such name.
    """

    services: list[Service]
    seen: str
    needed: str
    every: bool
    url: str | None


def needs(site: Site, services: Iterable[Service], address: Address, path: str) -> Needs | None:
    """What there is to say on the page at `path` of these services; None where each is reached from `address`."""
    asked = list(services)
    missed = [service for service in asked if not service.is_reached(address)]
    if not missed:
        return None
    other = site.other_url(address)
    seen, needed = ("IPv4", "IPv6") if address.version == 4 else ("IPv6", "IPv4")
    return Needs(missed, seen, needed, len(missed) == len(asked), other and other + path)
