import asyncio
import threading
from contextlib import suppress

import pytest

from access import pins
from access.pins import Busy, Pins


def test_hash_and_compare() -> None:
    async def main() -> None:
        checker = Pins()
        stored = await checker.hash("4711")
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert stored != await checker.hash("4711")
        assert await checker.matches(stored, "4711")
        assert not await checker.matches(stored, "4712")
        assert not await checker.matches(stored, "")
        assert not await checker.matches("no hash", "4711")
        assert not await checker.matches("$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA", "4711")

    asyncio.run(main())


@pytest.mark.parametrize("leave", [False, True])
def test_never_more_at_once_even_if_callers_leave(monkeypatch: pytest.MonkeyPatch, leave: bool) -> None:
    """A thread goes on when its caller is cancelled: its turn must stay taken."""
    running: list[int] = []
    most: list[int] = []
    go = threading.Event()

    def work(stored: str, pin: str) -> bool:
        running.append(1)
        most.append(len(running))
        go.wait(10)
        running.pop()
        return True

    monkeypatch.setattr(pins, "_matches", work)

    async def main() -> None:
        checker = Pins(at_once=2, waiting=3)
        tasks = [asyncio.create_task(checker.matches("", "")) for _ in range(5)]
        while len(running) < 2:  # noqa: ASYNC110  a thread sets it
            await asyncio.sleep(0.001)
        with pytest.raises(Busy):
            await checker.matches("", "")
        if leave:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.01)
            with pytest.raises(Busy):
                await checker.matches("", "")
        go.set()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(10):
            while checker._room < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert await checker.matches("", "")
        assert max(most) == 2

    asyncio.run(main())
