"""Openings that are underway: who withdraws a right waits for them before closing what they opened."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any


class Underway:
    """Tasks by holder. Used from one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[Any]]] = {}
        self._closing: list[str] = []
        self._heard: list[Callable[[str], None]] = []

    def on_closing(self, hear: Callable[[str], None]) -> None:
        """Call `hear` with each holder who may not any more, before what they have open is closed."""
        self._heard.append(hear)

    @contextmanager
    def opening(self, holder: str) -> Iterator[None]:
        """Around an opening, in a task of its own. Check the holder's right inside."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an opening runs in a task")
        tasks = self._tasks.setdefault(holder, set())
        tasks.add(task)
        try:
            yield
        finally:
            tasks.discard(task)
            if not tasks:
                self._tasks.pop(holder, None)

    @asynccontextmanager
    async def closing(self, holder: str) -> AsyncIterator[None]:
        """Around closing what `holder` has open, once the state says that they may not; waits for openings first."""
        self._closing.append(holder)
        for hear in self._heard:
            hear(holder)
        try:
            if tasks := self._tasks.get(holder):
                await asyncio.wait(tasks)
            yield
        finally:
            self._closing.remove(holder)

    def closes(self, holder: str | None = None) -> bool:
        """Whether what `holder` has open is being closed, so that nobody may count on it; None: what anybody has."""
        return bool(self._closing) if holder is None else holder in self._closing

    async def settle(self) -> None:
        """Wait for all that is underway."""
        for tasks in list(self._tasks.values()):
            await asyncio.wait(tasks)
