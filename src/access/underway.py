"""Openings that are underway: who withdraws a right waits for them before closing what they opened."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Underway:
    """Tasks by holder. Used from one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[Any]]] = {}

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

    async def ended(self, holder: str) -> None:
        """Wait until what is underway for `holder` now has ended."""
        if tasks := self._tasks.get(holder):
            await asyncio.wait(tasks)

    async def settle(self) -> None:
        """Wait for all that is underway."""
        for tasks in list(self._tasks.values()):
            await asyncio.wait(tasks)
