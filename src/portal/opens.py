"""What is or would be open, as pages show it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from access.gate import Grant
from access.link import Link
from access.services import Service
from portal.moments import Moment, Span, moment, span


def service_title(services: Mapping[str, Service], name: str) -> str:
    """What people call a service; its name where it is not configured any more."""
    service = services.get(name)
    return name if service is None else service.title


@dataclass(frozen=True, slots=True)
class Opens:
    """A service on a page: for how long it opens or still is open, and until when."""

    service: Service
    for_: Span
    until: Moment | None


def owner_name(link: Link) -> str | None:
    """Whose the link is, as a sentence says it; None for the house's."""
    return None if link.owner is None else link.owner[:1].upper() + link.owner[1:]


def opens_from(grants: Iterable[Grant], services: Mapping[str, Service], now: float) -> list[Opens]:
    """What `grants` hold open, without services that are not configured any more."""
    return [
        Opens(service, span(grant.remaining_ms // 1000), moment(now + grant.remaining_ms / 1000, now))
        for grant in grants
        if (service := services.get(grant.service)) is not None
    ]
