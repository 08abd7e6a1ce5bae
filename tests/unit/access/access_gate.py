"""A gate in memory, so that decisions can be tested without a kernel."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from access.address import Address
from access.gate import Banned, Blocked, GateRefusal, Grant, Granted


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class MemoryGate:
    clock: Callable[[], float]
    trusted: set[str] = field(default_factory=set)
    fail: Exception | None = None
    wait: asyncio.Event | None = None  # grant() waits for it
    asked: asyncio.Event | None = None  # set once grant() waits
    wait_revoke: asyncio.Event | None = None  # revoke() waits for it
    calls: list[str] = field(default_factory=list)
    open: dict[tuple[str, str], tuple[Grant, float]] = field(default_factory=dict)
    seconds: list[Mapping[str, int]] = field(default_factory=list)
    bans: dict[str, float] = field(default_factory=dict)
    closed_packets: int = 0
    masks: dict[str, Any] = field(default_factory=lambda: {"count": 0, "latest": []})

    async def grant(
        self,
        services: Mapping[str, int],
        address: Address,
        *,
        holder: str,
        note: str,
        addresses: int | None = None,
    ) -> Granted:
        if self.asked is not None:
            self.asked.set()
        if self.wait is not None:
            await self.wait.wait()
        await asyncio.sleep(0)  # as over a wire, others get their turn
        self.calls.append("grant")
        if self.fail is not None:
            raise self.fail
        if str(address) in self.trusted:
            raise GateRefusal("trusted-address", "is always let through")
        self.seconds.append(dict(services))
        held = [self.open.get((name, str(address))) for name in services]
        renewed = all(one is not None and one[0].holder == holder for one in held)
        for name, seconds in services.items():
            grant = Grant(name, str(address), holder, note, 0, 0, 0)
            before, end = self.open.get((name, str(address))), self.clock() + seconds
            if before is None or before[1] < end:  # else it stays as it is, its holder too
                self.open[name, str(address)] = (grant, end)
        left = self._leave(holder, addresses) if addresses is not None else []
        rows = [g for g in await self._list() if g.address == str(address) and g.service in services]
        return Granted(rows, left, renewed)

    def _leave(self, holder: str, addresses: int) -> list[str]:
        mine = dict.fromkeys(
            address for (_, address), (grant, _) in self.open.items() if grant.holder == holder
        )
        left = list(mine)[: max(0, len(mine) - addresses)]
        self.open = {key: value for key, value in self.open.items() if key[1] not in left}
        return left

    async def _list(self) -> list[Grant]:
        now = self.clock()
        return [
            replace(grant, remaining_ms=int((end - now) * 1000))
            for grant, end in self.open.values()
            if end > now
        ]

    async def revoke(
        self,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
        everything: bool = False,
    ) -> int:
        if self.wait_revoke is not None:
            await self.wait_revoke.wait()
        await asyncio.sleep(0)
        self.calls.append("revoke")
        if self.fail is not None:
            raise self.fail
        before = len(self.open)
        gone = {
            (grant.service, grant.address)
            for grant, _ in self.open.values()
            if service in {None, grant.service}
            and (address is None or grant.address == str(address))
            and holder in {None, grant.holder}
        }
        self.open = {key: value for key, value in self.open.items() if key not in gone}
        return before - len(self.open)

    async def held(self, service: str, address: Address) -> bool:
        return bool(await self.grants(service=service, address=address))

    async def grants(
        self, *, service: str | None = None, address: Address | None = None, holder: str | None = None
    ) -> list[Grant]:
        await asyncio.sleep(0)
        if self.fail is not None and not isinstance(self.fail, GateRefusal):
            raise self.fail
        return [
            grant
            for grant in await self._list()
            if (address is None or grant.address == str(address))
            and holder in {None, grant.holder}
            and service in {None, grant.service}
        ]

    async def blocked(self) -> list[Blocked]:
        return []

    async def ban(self, address: Address, duration_s: int) -> None:
        await asyncio.sleep(0)
        self.calls.append("ban")
        if self.fail is not None:
            raise self.fail
        if str(address) in self.trusted:
            raise GateRefusal("trusted-address", "is always let through")
        self.bans.pop(str(address), None)
        if duration_s:
            self.bans[str(address)] = self.clock() + duration_s

    async def banned(self) -> list[Banned]:
        now = self.clock()
        return [Banned(a, int((end - now) * 1000), 0) for a, end in self.bans.items() if end > now]

    async def status(self) -> dict[str, Any]:
        return {"mode": "table", "closed_packets": self.closed_packets, "masks": self.masks}
