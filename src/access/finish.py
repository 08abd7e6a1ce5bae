"""Work that may not stop half-way because the one who asked went away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_running: set[asyncio.Task[Any]] = set()  # the loop itself keeps only weak references


async def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Await `work`. Cancelling the caller lets it run to its end all the same."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return await asyncio.shield(task)
