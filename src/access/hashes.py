"""Passwords, PINs and recovery codes as argon2id, off the event loop and bounded in number."""

import asyncio
import base64
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from access.finish import finish

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

LONGEST_BYTES = 1024
"""Of a text that is hashed, in UTF-8 after NFKC."""

# OWASP's smallest setting for argon2id: 19 MiB, two passes, one lane. 21 ms.
_MEMORY_KIB, _PASSES, _LANES = 19456, 2, 1
_FORM = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}$"
_BEHIND = 10  # of 19


class Busy(Exception):
    """Too much such work waits already. Nothing was tried."""


class Pool:
    """Blocking work in `at_once` threads that stand behind the event loop.

    At most `waiting` wait, and `kept` more of what is urgent.
    """

    def __init__(self, at_once: int, waiting: int, kept: int = 0) -> None:
        self._threads = ThreadPoolExecutor(at_once, "behind", _step_back)
        self._room = at_once + waiting + kept
        self._kept = kept

    async def run(self, work: Callable[[*_Ts], _T], *arguments: *_Ts, urgent: bool = False) -> _T:
        """What `work` gives back or raises; Busy."""
        if self._room <= (0 if urgent else self._kept):
            raise Busy("too many passwords and PINs are being checked")
        self._room -= 1
        # A thread cannot be stopped: finish() keeps its room taken until it has ended.
        return await finish(self._turn(work, *arguments))

    async def _turn(self, work: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._room += 1


class Hashes:
    """Hashes and compares, `at_once` in threads (19 MiB each) while at most `waiting` more wait.

    `kept` more places are for what is urgent: a crowd of strangers keeps nobody out who is trusted or has
    the right code. Texts are compared after NFKC, however a keyboard spelt them.
    """

    def __init__(self, at_once: int = 1, waiting: int = 32, kept: int = 8) -> None:
        self._pool = Pool(at_once, waiting, kept)
        # what no text is known to make
        self._dummy = _FORM + _base64(secrets.token_bytes(16)) + "$" + _base64(secrets.token_bytes(32))

    async def hash(self, text: str, *, urgent: bool = False) -> str:
        """The text to store. Raises Busy; ValueError where `text` cannot be hashed."""
        data = _data(text)
        if data is None:
            raise ValueError("the text is too long, or holds half a character")
        return await self._pool.run(_hash, data, urgent=urgent)

    async def matches(self, stored: str | None, text: str, *, urgent: bool = False) -> bool:
        """Whether `stored` was made of `text`. Raises Busy.

        Where nothing is stored, and where `text` could not have been hashed, it is not, after as much work.
        """
        data = _data(text)
        right = await self._pool.run(_matches, stored or self._dummy, data or b"", urgent=urgent)
        return right and bool(stored) and data is not None

    def outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return not stored.startswith(_FORM)


def _step_back() -> None:
    # Who cannot be made to wait is as quick as the loop: slower pages, nothing worse.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEHIND)


def normal(text: str) -> str | None:
    """`text` after NFKC, or None where it has more than LONGEST_BYTES or holds half a character."""
    # A normalised text may be shorter than it was typed, but nobody types that much.
    if len(text) > LONGEST_BYTES:
        return None
    text = unicodedata.normalize("NFKC", text)
    try:
        return text if len(text.encode()) <= LONGEST_BYTES else None
    except UnicodeEncodeError:
        return None


def _data(text: str) -> bytes | None:
    clean = normal(text)
    return None if clean is None else clean.encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _hash(data: bytes) -> str:
    # Imported in use: a portal that nobody signs in to needs none. Debian's argon2-cffi ships no types.
    import argon2  # type: ignore[import-untyped]  # noqa: PLC0415

    return str(argon2.PasswordHasher(_PASSES, _MEMORY_KIB, _LANES).hash(data))


def _matches(stored: str, data: bytes) -> bool:
    import argon2  # noqa: PLC0415  as above

    try:
        return bool(argon2.PasswordHasher().verify(stored, data))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
        return False
