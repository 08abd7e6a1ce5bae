"""state.json: links now, people and tokens to come. Changed in memory only once the disk has the change."""

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from access import files
from access.duration import format_duration
from access.finish import finish
from access.inputs import check_label, check_url
from access.link import Link
from access.moment import moment_text
from access.shape import Fields, parse_document

log = logging.getLogger(__name__)

VERSION = 1
FILE = "state.json"
MOST = 1_000_000_000
"""No count in the file is larger."""

LINK_ID = re.compile(r"[a-z2-7]{6}")
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,23}")

Edit = Callable[[dict[str, Link]], Link]


class UnknownLink(LookupError):
    """There is no link with this id."""

    def __init__(self, link_id: str) -> None:
        super().__init__(f"there is no link {link_id[:40]!a}")
        self.link_id = link_id


class State:
    """The state of one directory, which it holds locked until close().

    Used from one event loop. Durable changes go to the disk one after the other, in a thread; lazy ones
    (counts that may be lost in a power cut) follow within `lazy_s` seconds, or with the next durable one.
    A change goes on to its end when its caller is cancelled.
    """

    def __init__(self, directory: str, *, lazy_s: float = 10.0, wait_s: float = 3.0) -> None:
        """Read the state, or begin an empty one. Raises StateError.

        Blocks, and up to `wait_s` seconds for a portal before this one that is on its way out.
        """
        self.path = f"{directory}/{FILE}"
        self._lazy_s = lazy_s
        self._writing = asyncio.Lock()
        self._lazy_changes = 0  # made in memory
        self._lazy_saved = 0  # of these, on disk
        self._timer: asyncio.TimerHandle | None = None
        self._directory = files.lock_directory(directory, wait_s)
        try:
            self._links, self._people, self._tokens = _read(self.path)
        except BaseException:
            os.close(self._directory)
            raise

    @property
    def links(self) -> Mapping[str, Link]:
        """The links by id, as they are at any time."""
        return MappingProxyType(self._links)

    async def add(self, link: Link) -> Link:
        """Make a link with a new id last. Raises NotSaved."""
        return await finish(self._commit(lambda links: links.setdefault(link.id, link)))

    async def remove(self, link_id: str) -> Link:
        """Forget a link and give back what it was. Raises UnknownLink, NotSaved."""

        def edit(links: dict[str, Link]) -> Link:
            if link_id not in links:
                raise UnknownLink(link_id)
            return links.pop(link_id)

        return await finish(self._commit(edit))

    async def change(self, link_id: str, change: Callable[[Link], Link]) -> Link:
        """Make what `change` makes of a link last, then see it in memory. `change` may run twice, may raise.

        Raises UnknownLink, NotSaved, and what `change` raises; then nothing was changed.
        """

        def edit(links: dict[str, Link]) -> Link:
            if link_id not in links:
                raise UnknownLink(link_id)
            links[link_id] = changed = change(links[link_id])
            return changed

        return await finish(self._commit(edit))

    async def _commit(self, edit: Edit) -> Link:
        async with self._writing:
            links = dict(self._links)
            edit(links)
            await self._save(links)
            # The same edit again, because lazy changes may have come while the disk worked.
            return edit(self._links)

    def change_lazily(self, link_id: str, change: Callable[[Link], Link]) -> None:
        """Change counts of a link, if it is still there; the disk follows. Needs a running event loop."""
        link = self._links.get(link_id)
        if link is None:
            return
        self._links[link_id] = change(link)
        self._lazy_changes += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._lazy_s, lambda: loop.create_task(finish(self._flush_later())))

    async def _flush_later(self) -> None:
        self._timer = None
        try:
            await self._flush()
        except files.NotSaved as error:
            log.warning("%s", error)  # the next lazy change tries again

    async def _flush(self) -> None:
        async with self._writing:
            if self._lazy_saved != self._lazy_changes:
                await self._save(self._links)

    async def close(self) -> None:
        """Write what is left and let the directory go, even where that raises NotSaved."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            await finish(self._flush())
        finally:
            self.release()

    def release(self) -> None:
        """Let the directory go and write nothing."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    async def _save(self, links: Mapping[str, Link]) -> None:
        lazy_changes = self._lazy_changes
        await asyncio.to_thread(_write, self.path, dict(links), self._people, self._tokens)
        self._lazy_saved = lazy_changes


def _write(
    path: str, links: Mapping[str, Link], people: Mapping[str, Any], tokens: Mapping[str, Any]
) -> None:
    document = {
        "version": VERSION,
        "links": {link.id: _link_fields(link) for link in links.values()},
        "people": people,
        "tokens": tokens,
    }
    files.replace(path, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")


def _read(path: str) -> tuple[dict[str, Link], dict[str, Any], dict[str, Any]]:
    data = files.read(path)
    if data is None:
        return {}, {}, {}
    top = parse_document(path, data)
    version = top.number("version", 1, MOST)
    if version != VERSION:
        raise top.wrong(
            "version",
            f"is {version}, this SafeIP reads {VERSION}; "
            "install the version that wrote it, or bring back a backup",
        )
    links = {
        key: _link(Fields(path, f"links.{key[:80]}", value), key)
        for key, value in top.object("links").items()
    }
    people, tokens = top.object("people"), top.object("tokens")
    top.end()
    return links, people, tokens


def _link(fields: Fields, link_id: str) -> Link:
    if not LINK_ID.fullmatch(link_id):
        raise files.StateError(fields.file, fields.place, "is not a link's id: 6 characters of a-z and 2-7")
    link = Link(
        id=link_id,
        label=fields.checked("label", check_label),
        services=fields.names("services", _SERVICE),
        duration_s=fields.maybe("duration", fields.duration),
        expires_at=fields.maybe("expires_at", fields.moment),
        uses=fields.maybe("uses", lambda key: fields.number(key, 1, MOST)),
        used=fields.number("used", 0, MOST),
        addresses=fields.maybe("addresses", lambda key: fields.number(key, 1, MOST)),
        pin=fields.maybe("pin", fields.pin),
        paused=fields.flag("paused"),
        generation=fields.number("generation", 1, MOST),
        to=fields.maybe("to", lambda key: fields.checked(key, check_url)),
        created_at=fields.moment("created_at"),
        last_used_at=fields.maybe("last_used_at", fields.moment),
    )
    fields.end()
    return link


def _link_fields(link: Link) -> dict[str, Any]:
    return {
        "label": link.label,
        "services": link.services,
        "duration": None if link.duration_s is None else format_duration(link.duration_s),
        "expires_at": None if link.expires_at is None else moment_text(link.expires_at),
        "uses": link.uses,
        "used": link.used,
        "addresses": link.addresses,
        "pin": link.pin,
        "paused": link.paused,
        "generation": link.generation,
        "to": link.to,
        "created_at": moment_text(link.created_at),
        "last_used_at": None if link.last_used_at is None else moment_text(link.last_used_at),
    }
