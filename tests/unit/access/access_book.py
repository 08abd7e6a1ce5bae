"""A gate without a kernel that decides as the real one does: its plan, its book."""

import asyncio
from collections.abc import Callable, Mapping

from access_gate import MemoryGate

from access.address import Address
from access.gate import GateRefusal, Grant, Granted
from nft import checks, plan, wire
from nft.book import Book, Entry
from nft.policy import Policy, PortRange, ServiceRule

_DAY_S = 86_400
POLICY = Policy(
    {
        name: ServiceRule(name, (PortRange("tcp", port, port),), 30 * _DAY_S)
        for name, port in (("cloud", 443), ("vault", 444), ("game", 25565))
    },
    (),
)


class BookGate(MemoryGate):
    """With MemoryGate's switches. Services cloud, vault and game, for 30 days at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.book = Book()

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
        if self.fail is not None:
            raise self.fail
        now_plan = self._plan()
        request = wire.Grant(1, dict(services), str(address), holder, note, addresses)
        try:
            granted, left, renewed = now_plan.grant(request)
        except checks.Refusal as refusal:
            raise GateRefusal(refusal.code, str(refusal)) from None
        self.seconds.append(dict(services))
        return Granted([self._row(entry) for entry in granted], left, renewed)

    async def revoke(
        self,
        *,
        service: str | None = None,
        address: Address | None = None,
        holder: str | None = None,
        everything: bool = False,
    ) -> int:
        await asyncio.sleep(0)
        where = None if address is None else str(address)
        return self._plan().revoke(wire.Revoke(1, service, where, holder, everything))

    async def grants(
        self, *, service: str | None = None, address: Address | None = None, holder: str | None = None
    ) -> list[Grant]:
        await asyncio.sleep(0)
        if self.fail is not None and not isinstance(self.fail, GateRefusal):
            raise self.fail
        self._plan()
        key = None if address is None else checks.key(POLICY, str(address))
        found = plan.grants(POLICY, self.book, service, key, holder)
        if key is not None and holder is not None:
            found += plan.beside(POLICY, self.book, service, key, holder, self._now_ms)
        return [self._row(entry) for entry in found]

    @property
    def _now_ms(self) -> int:
        return int(self.clock() * 1000)

    def _plan(self) -> plan.Plan:
        self.book.expire(self._now_ms)
        return plan.Plan(POLICY, self.book, self._now_ms)

    def _row(self, entry: Entry) -> Grant:
        left_ms, address = entry.end_ms - self._now_ms, checks.address(POLICY, entry.key)
        others = self.book.others(entry, self._now_ms)
        return Grant(entry.set[:-1], address, entry.holder, entry.note, left_ms, 0, 0, others)
