"""Who fails too often: made to wait, then shut out. Survives a restart in throttle.json."""

import asyncio
import json
import logging
import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from access import files
from access.address import Address
from access.finish import finish
from access.gate import Gate, GateRefusal, GateUnavailable
from access.history import History
from access.moment import Clock
from access.secret import Key
from access.shape import parse_document
from access.throttle import Throttle

log = logging.getLogger(__name__)

FILE = "throttle.json"
DEVICE_S = 180 * 86400
"""How long a browser is known again, in seconds, from its last sign-in."""

Kind = Literal["sign-in", "pin", "link", "invitation", "ask", "token"]

_WINDOW_S = 15 * 60
_LAZY_S = 10.0
# Names share so many counts, by a keyed hash: nothing that is typed can push a name's count out of memory,
# what was typed is not on disk, and a name that nobody has waits like any other.
_SLOTS = 8192


class Throttled(Exception):
    """Too many failures from there. Nothing was looked at."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"try again in {retry_after_s} seconds")
        self.retry_after_s = retry_after_s


class Attempt:
    """A counted try whose outcome is not known yet. Left alone, it was wrong."""

    def __init__(self, counted: list[tuple[Throttle, str, str]]) -> None:
        self._counted = counted

    def right(self) -> None:
        """It was right: what was counted for the same thing is forgotten."""
        for throttle, key, tag in self._counted:
            throttle.forget(key, tag)

    def untried(self) -> None:
        """Nothing was tried, since the house was busy or could not save: this one count is taken back."""
        for throttle, key, tag in self._counted:
            throttle.forgive(key, tag)


class Guard:
    """Counts failures within 15 minutes and has the gate shut out who fails too often.

    - An address: `ban_after` strikes, and it is banned for `ban_duration_s`. Tries are refused here too
      meanwhile, for the kernel does not see who stands behind a proxy.
    - A visitor from a trusted network is never banned: 30 failures, then one try every 10 s.
    - A name: 20 failures lock it for 15 minutes, but neither for trusted visitors nor for a browser that
      signed in to it before (its device cookie), which has 10 failures of its own.

    Used from one event loop. Counts of the last ten seconds may be lost with the power.
    """

    def __init__(
        self,
        directory: str,
        key: Key,
        gate: Gate,
        history: History,
        *,
        ban_after: int = 10,
        ban_duration_s: int = 3600,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """Go on with the counts of before. Blocks. Raises StateError."""
        self._path = f"{directory}/{FILE}"
        self._key = key
        self._gate = gate
        self._history = history
        self._ban_duration_s = ban_duration_s
        self._clock = clock
        self._strikes = Throttle(ban_after, _WINDOW_S, ban_duration_s, clock=monotonic)
        self._trusted = Throttle(30, _WINDOW_S, 10, afresh=False, clock=monotonic)
        self._names = Throttle(20, _WINDOW_S, _WINDOW_S, clock=monotonic)
        self._devices = Throttle(10, _WINDOW_S, _WINDOW_S, clock=monotonic)
        self._guesses = Throttle(1, _WINDOW_S, _WINDOW_S, clock=monotonic)
        self._told = Throttle(100, _WINDOW_S, _WINDOW_S, clock=monotonic)
        self._kept = {
            "strikes": self._strikes,
            "trusted": self._trusted,
            "names": self._names,
            "devices": self._devices,
        }
        self._bans: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._unsaved = False
        self._timer: asyncio.TimerHandle | None = None
        self._read()

    def may_try_s(
        self, address: Address, *, trusted: bool, name: str | None = None, device: str | None = None
    ) -> int:
        """Seconds to wait before a try is looked at; 0 where it is now. `device`: the text of the cookie."""
        where = [self._where(address, trusted=trusted)]
        if name is not None:
            where += self._whom(name, device, trusted=trusted)
        return math.ceil(max(throttle.locked_s(key) for throttle, key in where))

    def count(self, kind: Kind, address: Address, *, trusted: bool, guess: str | None = None) -> bool:
        """Count what is already known to be wrong, and say whether it was counted.

        The same `guess` (a link's old token, opened again by a browser that kept the page) from the same
        address is the same strike.
        """
        if guess is not None:
            mark = self._key.mark(kind, str(address), guess).hex()
            if not self._guesses.count(mark):
                return False
        with self.attempt(kind, address, trusted=trusted):
            return True

    @contextmanager
    def attempt(
        self,
        kind: Kind,
        address: Address,
        *,
        trusted: bool,
        name: str | None = None,
        device: str | None = None,
    ) -> Iterator[Attempt]:
        """Count a try now, before its outcome is known, so that tries at once count like any others.

        Ask may_try_s first, without an await between. Who leaves without saying that it was right or
        untried was wrong, and if that was one too many, the address is banned.
        """
        slot = "" if name is None else self._slot(name)
        tag = f"{kind}:{slot}"
        throttle, place = self._where(address, trusted=trusted)
        counted = [(throttle, place, tag)]
        if name is not None:
            counted += [(throttle, key, "") for throttle, key in self._whom(name, device, trusted=trusted)]
        was_locked = self._strikes.locked_s(place) > 0
        for throttle, key, mark in counted:
            throttle.count(key, mark)
        one_too_many = not (trusted or was_locked) and self._strikes.locked_s(place) > 0
        self._changed()
        try:
            yield Attempt(counted)
        finally:
            if one_too_many and self._strikes.locked_s(place):
                task = asyncio.get_running_loop().create_task(self._ban(kind, address))
                self._bans.add(task)
                task.add_done_callback(self._bans.discard)

    def shut_out(self, address: Address, duration_s: int) -> None:
        """Refuse tries from an address, as a ban of the admin's does in the kernel."""
        self._strikes.lock(str(address), duration_s)
        self._changed()

    def forget(self, address: Address) -> None:
        """Let an address start anew, as when its ban is lifted."""
        self._strikes.forget(str(address))
        self._changed()

    def device(self, name: str, device: str | None) -> str:
        """The cookie for a browser that signed in as `name`: the one that it sent renewed, or a new one."""
        now = int(self._clock())
        known = self._key.device(device, name, now) if device else None
        return self._key.device_token(name, known or secrets.token_hex(8), now + DEVICE_S)

    def _where(self, address: Address, *, trusted: bool) -> tuple[Throttle, str]:
        return (self._trusted if trusted else self._strikes), str(address)

    def _whom(self, name: str, device: str | None, *, trusted: bool) -> list[tuple[Throttle, str]]:
        if trusted:
            return []
        known = self._key.device(device, name, self._clock()) if device else None
        return [(self._names, self._slot(name)) if known is None else (self._devices, f"{name}:{known}")]

    def _slot(self, name: str) -> str:
        return str(int.from_bytes(self._key.mark("name", name)[:4]) % _SLOTS)

    async def _ban(self, kind: Kind, address: Address) -> None:
        refusal = None
        try:
            await self._gate.ban(address, self._ban_duration_s)
        except GateRefusal as error:
            refusal = error.code
        except GateUnavailable as error:
            log.warning("%s is shut out by the portal alone: %s", address, error)
            return
        if refusal is None:
            self._history.tally["banned", kind] += 1
        if self._told.count(""):
            self._history.record(
                "banned",
                outcome="allowed" if refusal is None else "refused",
                reason=kind if refusal is None else refusal,
                by="safeip",
                address=str(address),
            )

    def _changed(self) -> None:
        self._unsaved = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LAZY_S, lambda: loop.create_task(finish(self._save_later())))

    async def _save_later(self) -> None:
        self._timer = None
        try:
            await self._save()
        except files.NotSaved as error:
            log.warning("%s", error)  # the next count tries again

    async def _save(self) -> None:
        async with self._writing:
            if not self._unsaved:
                return
            self._unsaved = False
            document: dict[str, Any] = {"version": 1}
            document |= {name: throttle.dump() for name, throttle in self._kept.items()}
            try:
                await asyncio.to_thread(_write, self._path, document)
            except files.NotSaved:
                self._unsaved = True
                raise

    def _read(self) -> None:
        data = files.read(self._path)
        if data is None:
            return
        top = parse_document(self._path, data)
        top.number("version", 1, 1)
        for name, throttle in self._kept.items():
            throttle.load(self._path, name, top.object(name))
        top.end()

    async def close(self) -> None:
        """Let bans that are underway end, and write what is left. Raises NotSaved."""
        if self._timer is not None:
            self._timer.cancel()
        if self._bans:
            await asyncio.wait(self._bans)
        await finish(self._save())


def _write(path: str, document: dict[str, Any]) -> None:
    files.replace(path, json.dumps(document, separators=(",", ":")).encode() + b"\n")
