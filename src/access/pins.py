"""PINs as argon2id, off the event loop and bounded in number."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from access.finish import finish

_T = TypeVar("_T")

# OWASP's smallest setting for argon2id: 19 MiB, two passes, one lane. 21 ms.
_MEMORY_KIB, _PASSES, _LANES = 19456, 2, 1


class Busy(Exception):
    """Too many hashes wait already. Nothing was tried."""


class Pins:
    """Hashes and compares, `at_once` in threads (19 MiB each) while at most `waiting` more wait."""

    def __init__(self, at_once: int = 2, waiting: int = 32) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._room = at_once + waiting

    async def hash(self, pin: str) -> str:
        """The text to store for a PIN. Raises Busy."""
        return await self._run(_hash, pin)

    async def matches(self, stored: str, pin: str) -> bool:
        """Whether `stored` was made of `pin`; also False where `stored` is no hash. Raises Busy."""
        return await self._run(_matches, stored, pin)

    async def _run(self, work: Callable[..., _T], *texts: str) -> _T:
        if self._room == 0:
            raise Busy("too many PINs are being checked")
        self._room -= 1
        # A thread cannot be stopped: finish() keeps its turn taken until it has ended.
        return await finish(self._turn(work, *texts))

    async def _turn(self, work: Callable[..., _T], *texts: str) -> _T:
        try:
            async with self._turns:
                return await asyncio.to_thread(work, *texts)
        finally:
            self._room += 1


def _hash(pin: str) -> str:
    # Imported in use: most gateways never check a PIN. Debian's argon2-cffi ships no types.
    import argon2  # type: ignore[import-untyped]  # noqa: PLC0415

    return str(argon2.PasswordHasher(_PASSES, _MEMORY_KIB, _LANES).hash(pin))


def _matches(stored: str, pin: str) -> bool:
    import argon2  # noqa: PLC0415  as above

    try:
        return bool(argon2.PasswordHasher().verify(stored, pin))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
        return False
