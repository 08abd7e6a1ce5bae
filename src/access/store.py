"""A state file of tables: changed in memory only once the disk has the change."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from access import files
from access.finish import finish
from access.shape import Fields, parse_document

log = logging.getLogger(__name__)

VERSION = 1
MOST = 1_000_000_000
"""No count in a state file is larger."""

_R = TypeVar("_R")


class Tables(Protocol):
    """What a file holds: dictionaries of frozen rows by key."""

    @classmethod
    def read(cls, top: Fields) -> Self:
        """Take every table out of a document. Raises StateError."""

    def document(self) -> dict[str, Any]:
        """The tables as JSON objects."""

    def copy(self) -> Self:
        """New dictionaries with the same rows."""


_T = TypeVar("_T", bound=Tables)


class Store(Generic[_T]):
    """The tables of one file.

    Used from one event loop. Durable changes go to the disk one after the other, in a thread; lazy ones
    (counts that may be lost in a power cut) follow within `lazy_s` seconds, or with the next durable one.
    A change goes on to its end when its caller is cancelled.
    """

    def __init__(self, path: str, kind: type[_T], *, lazy_s: float = 10.0) -> None:
        """Read the file, or begin with empty tables where there is none. Blocks. Raises StateError."""
        self._path = path
        self._lazy_s = lazy_s
        self._writing = asyncio.Lock()
        self._lazy_changes = 0  # made in memory
        self._lazy_saved = 0  # of these, on disk
        self._timer: asyncio.TimerHandle | None = None
        self.tables: _T = _read(path, kind)

    async def commit(self, edit: Callable[[_T], _R]) -> _R:
        """Make what `edit` does to the tables last, then see it in memory. `edit` may run twice, may raise.

        Raises NotSaved, and what `edit` raises; then nothing was changed.
        """
        return await finish(self._commit(edit))

    async def _commit(self, edit: Callable[[_T], _R]) -> _R:
        async with self._writing:
            tables = self.tables.copy()
            edit(tables)
            await self._save(tables)
            # The same edit again, because lazy changes may have come while the disk worked.
            tables = self.tables.copy()
            done = edit(tables)
            self.tables = tables
            return done

    def change_lazily(self, edit: Callable[[_T], None], *, within_s: float | None = None) -> None:
        """Change the tables now; the disk follows, within `within_s` where it is given. Needs a running event loop."""
        edit(self.tables)
        self._lazy_changes += 1
        loop = asyncio.get_running_loop()
        due = loop.time() + (self._lazy_s if within_s is None else within_s)
        if self._timer is None or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(due, lambda: loop.create_task(finish(self._flush_later())))

    async def _flush_later(self) -> None:
        self._timer = None
        try:
            await self._flush()
        except files.NotSaved as error:
            log.warning("%s", error)  # the next lazy change tries again

    async def _flush(self) -> None:
        async with self._writing:
            if self._lazy_saved != self._lazy_changes:
                await self._save(self.tables.copy())

    async def close(self) -> None:
        """Write what is left. Raises NotSaved."""
        if self._timer is not None:
            self._timer.cancel()
        await finish(self._flush())

    async def _save(self, tables: _T) -> None:
        lazy_changes = self._lazy_changes
        await asyncio.to_thread(_write, self._path, tables)
        self._lazy_saved = lazy_changes


def _write(path: str, tables: Tables) -> None:
    document = {"version": VERSION, **tables.document()}
    files.replace(path, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")


def _read(path: str, kind: type[_T]) -> _T:
    data = files.read(path)
    return kind() if data is None else parse(path, data, kind)


def parse(path: str, data: bytes, kind: type[_T]) -> _T:
    """The tables of a file that holds `data`; `path` names it in messages. Raises StateError."""
    top = parse_document(path, data)
    version = top.number("version", 1, MOST)
    if version != VERSION:
        raise top.wrong(
            "version",
            f"is {version}, this SafeIP reads {VERSION}; "
            "install the version that wrote it, or bring back a backup",
        )
    tables = kind.read(top)
    top.end()
    return tables
