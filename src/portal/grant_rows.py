"""The rows of who is in: those that are wanted, in their order, a page at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode

from access.actor import Actor
from access.gate import Grant
from access.services import Service
from portal.holders import Holder, Holders
from portal.moments import Moment, moment
from portal.opens import service_title
from portal.paging import page_number, paged
from portal.site import Site
from portal.sizes import Size, size
from portal.traffic import Traffic

KINDS = ("link", "person", "token", "cli")

Chosen = list[tuple[Holder, Grant]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which grants: `text` somewhere in the row, of a service, of a family ("4" or "6"), of a kind of holder.

    "" is any. `page` counts from 1.
    """

    text: str = ""
    service: str = ""
    family: str = ""
    kind: str = ""
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self:
        """From a page's address, which anybody may have written: what is no filter is left out."""
        family, kind = query.get("family", ""), query.get("kind", "")
        return cls(
            query.get("q", "")[:64].strip(),
            query.get("service", "")[:64],
            family if family in {"4", "6"} else "",
            kind if kind in KINDS else "",
            page_number(query.get("page", "")),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what `query` gave to a form."""
        return cls.read(dict(parse_qsl(text[:512])))

    @property
    def narrowed(self) -> bool:
        """Whether it leaves grants out."""
        return replace(self, page=1) != Wanted()

    def query(self, page: int | None = None) -> str:
        """The part of an address that says this; for another page where one is given."""
        shown = self.page if page is None else page
        values = {"q": self.text, "service": self.service, "family": self.family, "kind": self.kind}
        values["page"] = str(shown) if shown > 1 else ""
        return urlencode({name: value for name, value in values.items() if value})

    def place(self, page: int | None = None) -> str:
        """The address of the page that shows this."""
        query = self.query(page)
        return f"/admin?{query}" if query else "/admin"


@dataclass(frozen=True, slots=True)
class Row:
    """A grant. `service` None: no longer configured, so nothing can be done to it.

    `key` names it on the page, `sort` is its place in the order. `seen`: when its last packet had come, and
    `sharp` whether that is told to the minute; None: none came. `reached`: by the family of its address.
    """

    key: str
    sort: str
    grant: Grant
    title: str
    service: Service | None
    holder: Holder
    note: str
    until: Moment
    traffic: Size | None
    seen: Moment | None
    sharp: bool
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A page of rows. `all` and `pages` are the numbers of rows and pages that there are."""

    rows: list[Row]
    all: int
    pages: int
    wanted: Wanted


class GrantRows:
    """Makes rows of grants, in the words that one admin's pages use."""

    def __init__(self, site: Site, traffic: Traffic) -> None:
        self._site = site
        self._traffic = traffic
        self._services = site.settings.services

    def chosen(self, by: Actor, grants: Iterable[Grant], wanted: Wanted) -> Chosen:
        """Those that are wanted, in the order of the pages."""
        holders, text = Holders(self._site.access, by), wanted.text.lower()
        found: list[tuple[str, Holder, Grant]] = []
        for grant in grants:
            if wanted.service and grant.service != wanted.service:
                continue
            if wanted.family and (":" in grant.address) != (wanted.family == "6"):
                continue
            holder = holders.holder(grant.holder, grant.note)
            if wanted.kind and holder.kind != wanted.kind:
                continue
            if text and text not in self._text(holder, grant):
                continue
            found.append((_sort(holder, grant), holder, grant))
        found.sort(key=lambda one: one[0])
        return [(holder, grant) for _, holder, grant in found]

    def part(self, chosen: Chosen, wanted: Wanted) -> Part:
        """The page of `chosen` that is wanted, or the last where there are not so many."""
        there = paged(chosen, wanted.page)
        rows = [self.row(holder, grant) for holder, grant in there.rows]
        return Part(rows, there.all, there.pages, replace(wanted, page=there.page))

    def row(self, holder: Holder, grant: Grant) -> Row:
        """One row."""
        now, seen, service = self._site.clock(), self._traffic.of(grant), self._services.get(grant.service)
        return Row(
            f"{grant.service} {grant.address}",
            _sort(holder, grant),
            grant,
            service_title(self._services, grant.service),
            service,
            holder,
            "" if grant.note == holder.name else grant.note,
            moment(now + grant.remaining_ms / 1000, now),
            size(grant.bytes) if grant.packets else None,
            None if seen is None else moment(seen.at, now),
            seen is not None and seen.sharp,
            service is None or service.is_reached(grant.address),
        )

    def _text(self, holder: Holder, grant: Grant) -> str:
        """What a search looks at."""
        parts = (holder.name, holder.owner or "", grant.note, grant.address, service_title(self._services, grant.service))
        return "\n".join(parts).lower()


def _sort(holder: Holder, grant: Grant) -> str:
    return f"{holder.name.lower()}\n{grant.address}\n{grant.service}"
