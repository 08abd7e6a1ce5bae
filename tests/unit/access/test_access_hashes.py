import asyncio
import os
import threading
from contextlib import suppress

import pytest

from access import hashes
from access.hashes import Busy, Hashes, Pool

TODAY = "$argon2id$v=19$m=19456,t=2,p=1$"


def test_hash_and_compare() -> None:
    async def main() -> None:
        checker = Hashes()
        stored = await checker.hash("4711")
        assert stored.startswith(TODAY)
        assert stored != await checker.hash("4711")
        assert await checker.matches(stored, "4711")
        assert not await checker.matches(stored, "4712")
        assert not await checker.matches(stored, "")
        assert not await checker.matches("no hash", "4711")
        assert not await checker.matches(TODAY + "AAAA$AAAA", "4711")

    asyncio.run(main())


def test_texts_as_keyboards_spell_them() -> None:
    async def main() -> None:
        checker = Hashes()
        stored = await checker.hash("caf\u00e9 \uff14\uff17")
        assert await checker.matches(stored, "cafe\u0301 47")
        assert not await checker.matches(stored, "cafe 47")
        nul = await checker.hash("ab\0cd")
        assert await checker.matches(nul, "ab\0cd")
        assert not await checker.matches(nul, "ab")
        assert not await checker.matches(nul, "ab\0ce")

    asyncio.run(main())


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\ufdfa" * 1024, "\u20ac" * 342, "half\ud800"])
def test_what_cannot_be_hashed_matches_nothing_for_the_price_of_a_short_one(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    work: list[bytes] = []
    real = hashes._matches
    monkeypatch.setattr(hashes, "_matches", lambda stored, data: work.append(data) or real(stored, data))

    async def main() -> None:
        checker = Hashes()
        with pytest.raises(ValueError, match="too long, or holds half a character"):
            await checker.hash(text)
        empty = await checker.hash("")
        assert not await checker.matches(empty, text)
        assert not await checker.matches(None, text)

    asyncio.run(main())
    assert work == [b"", b""]


def test_nothing_stored_is_the_same_work_and_never_right(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(hashes, "_matches", lambda stored, data: seen.append(stored) or True)

    async def main() -> None:
        checker = Hashes()
        assert not await checker.matches(None, "any")
        assert not await checker.matches("", "any")

    asyncio.run(main())
    assert len(seen) == 2
    assert all(stored.startswith(TODAY) for stored in seen)


def test_the_dummy_is_a_hash_that_argon2_works_through() -> None:
    import argon2

    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(Hashes()._dummy, "any")


def test_outdated() -> None:
    checker = Hashes()
    assert not checker.outdated(TODAY + "AAAA$AAAA")
    for other in ("m=65536,t=2,p=1", "m=19456,t=3,p=1", "m=19456,t=2,p=4"):
        assert checker.outdated(f"$argon2id$v=19${other}$AAAA$AAAA")
    assert checker.outdated("$argon2i$v=19$m=19456,t=2,p=1$AAAA$AAAA")


def test_threads_stand_behind_the_loop() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def main() -> None:
        before = niceness()
        assert await Pool(1, 0).run(niceness) == min(19, hashes._BEHIND)
        assert niceness() == before

    asyncio.run(main())


@pytest.mark.parametrize("leave", [False, True])
def test_never_more_at_once_even_if_callers_leave(monkeypatch: pytest.MonkeyPatch, leave: bool) -> None:
    """A thread goes on when its caller is cancelled: its turn must stay taken."""
    running: list[int] = []
    most: list[int] = []
    go = threading.Event()

    def work(stored: str, data: bytes) -> bool:
        running.append(1)
        most.append(len(running))
        go.wait(10)
        running.pop()
        return True

    monkeypatch.setattr(hashes, "_matches", work)

    async def main() -> None:
        checker = Hashes(at_once=2, waiting=3, kept=1)
        tasks = [asyncio.create_task(checker.matches("any", "")) for _ in range(5)]
        while len(running) < 2:  # noqa: ASYNC110  a thread sets it
            await asyncio.sleep(0.001)
        with pytest.raises(Busy):
            await checker.matches("any", "")
        tasks.append(asyncio.create_task(checker.matches("any", "", urgent=True)))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await checker.matches("any", "", urgent=True)
        if leave:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.01)
            with pytest.raises(Busy):
                await checker.matches("any", "")
        go.set()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(60):
            while checker._pool._room < 6:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert await checker.matches("any", "")
        assert max(most) == 2

    asyncio.run(main())
