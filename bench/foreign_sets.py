"""A grant, a renewal, a revocation, and the rules, beside a country list of 100,000 networks and on an empty host; and the list loaded."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import Self

from bench._figures import microseconds, shown, table
from lab.net import Namespace
from nft.bindings import Bindings, BindingsSets
from nft.gate import Gate
from nft.listener import Listener
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import Add, Element, Remove, Replace
from nft.wire import Grant, Revoke

HOUR = 3600
FOREIGN = 100_000
ROUNDS, SLOW_ROUNDS = 1000, 5
POLICY = Policy({"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)}, ())
MORE = replace(POLICY, services={**POLICY.services, "game": ServiceRule("game", (PortRange("udp", 25565, 25570),), HOUR)})


class Host:
    """A network namespace with the gate in it, and with a foreign table or without."""

    def __init__(self, stack: contextlib.ExitStack, foreign: str | None) -> None:
        with stack.enter_context(Namespace("bench", "sipb")).entered():
            if foreign:
                Bindings().load(foreign)
            self.gate = stack.enter_context(contextlib.closing(Gate(POLICY)))
            self.gate.start()
            self.libnftables = stack.enter_context(contextlib.closing(BindingsSets("inet", "safeip")))
        self.times: dict[tuple[str, str], list[float]] = {}

    def through_gate(self, number: int) -> None:
        address = str(ip_address(0xCB007100 + number % 250))
        requests: dict[str, Grant | Revoke] = {
            "grant": Grant(1, {"cloud": HOUR}, address, "link:k3v9aa", "Mamie", None),
            "renewal": Grant(1, {"cloud": 2 * HOUR}, address, "link:k3v9aa", "Mamie", None),
            "revocation": Revoke(1, None, address, None, everything=False),
        }
        for name, request in requests.items():
            self._time(("gate", name), lambda request=request: self._decide(request))

    def through_libnftables(self, number: int) -> None:
        key = (0xCB007200 + number).to_bytes(4, "big")
        element = Element("cloud4", key, HOUR * 1000, HOUR * 1000, "link:k3v9aa Mamie")
        changes = {"grant": Add(element), "renewal": Replace(element), "revocation": Remove("cloud4", key)}
        for name, change in changes.items():
            self._time(("libnftables", name), lambda change=change: self.libnftables.commit([change]))

    def rules(self, number: int) -> None:
        """The rules made what they were, as where somebody changed one; and a service more, or less."""
        self._time(("gate", "rules put right"), self.gate._repair.mend)  # noqa: SLF001 (without the listener's part)
        self._time(("gate", "reload"), lambda: self.gate.reload(POLICY if number % 2 else MORE))
        while self.gate.next_s() == 0.0:
            self.gate.work()

    def _decide(self, request: Grant | Revoke) -> None:
        [answer] = self.gate.decide([request])
        if "ok" not in answer:
            raise RuntimeError(answer)

    def _time(self, what: tuple[str, str], action: Callable[[], None]) -> None:
        self.times.setdefault(what, []).append(microseconds(action))


def foreign_list() -> str:
    networks = ",".join(f"{ip_address(0x0B000000 + 32 * number)}/28" for number in range(FOREIGN))
    return f"table inet foreign {{ set country {{ type ipv4_addr; flags interval; elements = {{ {networks} }}\n}}\n}}\n"


def free_kib() -> int:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemFree:"))


class Least:
    """The least memory that was free meanwhile."""

    def __init__(self) -> None:
        self.before = self.least = free_kib()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.003):
            self.least = min(self.least, free_kib())


def loads() -> list[tuple[str, ...]]:
    """What the kernel needs to take somebody else's list in one transaction, whether or not anybody is told of it."""
    rows, script = [], foreign_list()
    for who in ("nobody listens", "SafeIP listens"):
        with Namespace("bench", "sipb").entered(), contextlib.ExitStack() as stack:
            bindings = Bindings()
            if who.startswith("SafeIP"):
                stack.enter_context(contextlib.closing(Listener("inet", "safeip", 0)))
            took, memory = [], []
            for _ in range(SLOW_ROUNDS):
                with Least() as least:
                    took.append(microseconds(lambda: bindings.load(script)))  # noqa: B023 (at once)
                memory.append(least.before - least.least)
                bindings.load("delete table inet foreign")
            rows.append((who, shown(median(took)), f"{median(memory) / 1024:,.0f} MiB"))
    return rows


def main() -> None:
    table((f"{FOREIGN:,} networks loaded", "took", "memory meanwhile"), loads())
    print()
    with contextlib.ExitStack() as stack:
        hosts = empty, crowded = Host(stack, None), Host(stack, foreign_list())
        for number in range(ROUNDS):  # in turn, so that a noisy machine is noisy to both
            for host in hosts:
                host.through_gate(number)
        for number in range(SLOW_ROUNDS):
            for host in hosts:
                host.through_libnftables(number)
                host.rules(number)
        rows = []
        for name in ("grant", "renewal", "revocation", "rules put right", "reload"):
            row = [name]
            for way in ("gate", "libnftables"):
                if (way, name) not in empty.times:
                    row += [""] * 3
                    continue
                alone, beside = (median(host.times[way, name]) for host in (empty, crowded))
                row += [shown(alone), shown(beside), f"{beside / alone:,.2f}" if beside < 100 * alone else f"{beside / alone:,.0f}"]
            rows.append(row)
    head = ("", "gate: empty host", f"beside {FOREIGN:,}", "ratio", "libnftables: empty host", "beside", "ratio")
    table(head, rows)


if __name__ == "__main__":
    main()
