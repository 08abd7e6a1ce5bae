"""Memory of the gate over very many operations of each kind: resident, before, after a tenth of them, and at the end.

    python3 -m bench.long_run [OPERATIONS]      1,000,000 for the figures in bench/README.md

Each kind has a process of its own, with a gate that holds a thousand grants. What costs more than a change of elements is done
less often. It fails where the last nine tenths made a process grow by more than `BOUND_KIB`; what is in brackets SafeIP never does.
"""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from bench._figures import shown, table
from lab.net import Namespace
from nft import render, wire
from nft.bindings import Bindings
from nft.gate import Answer, Gate
from nft.listing import Items
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.serve import leave_the_old
from nft.sets import Add, Element, Remove

HOUR = 3600
OPERATIONS = 20_000
BOUND_KIB = 1024
HELD, SHORT = 1000, 2000  # grants that stay, and those of a second that are open at once
# 11.0.0.0 and on: those that stay; 12.0.0.0: those that come and go; 13.0.0.0: those who knock
STAY, COME_AND_GO, KNOCK = 0x0B000000, 0x0C000000, 0x0D000000
SERVICE, SET = "service00", "service004"
SERVICES = 28  # a ruleset of 18 KiB


def policy(first: int = 1000, services: int = SERVICES, max_grants: int = 100_000) -> Policy:
    ports = ((PortRange("tcp", first + n, first + n), PortRange("udp", 3000 + 10 * n, 3005 + 10 * n)) for n in range(services))
    rules = {f"service{n:02}": ServiceRule(f"service{n:02}", port, 12 * HOUR) for n, port in enumerate(ports)}
    return Policy(rules, (), max_grants=max_grants)


def text(first: int, number: int) -> str:
    return str(ip_address(first + number))


def as_sent(message: dict[str, object]) -> wire.Request:
    """A request as it comes over the wire."""
    [request] = wire.Reader().feed(wire.encode(message))
    return request


class Run:
    """A gate, and what is done to it: each method is one operation of its kind, the `number`th."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.gate = stack.enter_context(contextlib.closing(Gate(policy(), record=directory / "grants.jsonl")))
        self.gate.start()
        self.others = stack.enter_context(contextlib.closing(NetlinkSets("inet", "safeip")))
        self.bindings = Bindings()
        knocks = ",".join(f"{text(KNOCK, number)} . tcp . 1000 timeout 1d" for number in range(HELD))
        self.bindings.load(f"add element inet safeip blocked4 {{ {knocks} }}")
        for number in range(HELD):
            self._grant(text(STAY, number), 2 * HOUR)

    def grant_of_a_second(self, number: int) -> None:
        """A million addresses come and go."""
        self._grant(text(COME_AND_GO, number), 1)
        while number % 100 == 0 and self._list("status")[0]["grants"] > HELD + SHORT:
            time.sleep(0.01)
            self._tidy()

    def renewal(self, number: int) -> None:
        self._grant(text(STAY, number % HELD), 2 * HOUR + number // HELD)

    def grant_and_revocation(self, number: int) -> None:
        address = text(COME_AND_GO, number)
        self._grant(address, HOUR)
        self._ask("revoke", service=None, address=address, holder=None, everything=False)

    def ban_and_its_end(self, number: int) -> None:
        for duration_s in (HOUR, 0):
            self._ask("ban", address=text(COME_AND_GO, number), duration_s=duration_s)

    def refusal(self, number: int) -> None:
        """A name that never comes again."""
        answer = self._answer("grant", services={f"x{number}": 1}, address="12.0.0.0", holder="cli", note="", addresses=None)
        if "error" not in answer:
            raise RuntimeError(answer)

    def list_of_grants(self, _number: int) -> None:
        self._list("grants")

    def list_of_knocks(self, _number: int) -> None:
        self._list("blocked")

    def status(self, _number: int) -> None:
        self._list("status")

    def by_hand(self, number: int) -> None:
        """Somebody else puts an element in and takes it out, and the gate hears it."""
        key = (COME_AND_GO + number).to_bytes(4, "big")
        for change in (Add(Element(SET, key, HOUR * 1000, HOUR * 1000, "by hand")), Remove(SET, key)):
            self.others.commit([change])
            self._repair()

    def flush(self, _number: int) -> None:
        self.bindings.load("flush ruleset")
        self._repair()

    def reload(self, number: int) -> None:
        """Each time with other ports."""
        self.gate.reload(policy(1000 + number % 2 * SERVICES))
        self._repair()

    def rules_tried(self, _number: int) -> None:
        if problem := self.bindings.check(render.script(policy(), render.Present())):
            raise RuntimeError(problem)

    def ruleset_as_json(self, _number: int) -> None:
        """What libnftables' JSON would cost."""
        self.bindings.run("list ruleset", as_json=True)

    def _grant(self, address: str, seconds: int) -> None:
        self._ask("grant", services={SERVICE: seconds}, address=address, holder="link:k3v9aa", note="Mamie", addresses=None)

    def _ask(self, verb: str, **keys: object) -> None:
        answer = self._answer(verb, **keys)
        if "ok" not in answer:
            raise RuntimeError(answer)

    def _answer(self, verb: str, **keys: object) -> Answer:
        """One request, and its answer."""
        request = as_sent({"id": 1, "verb": verb, **keys})
        if isinstance(request, wire.List | wire.Watch):
            raise TypeError(verb)
        [answer] = self.gate.decide([request])
        wire.encode(answer)
        self._tidy()
        return answer

    def _list(self, of: str) -> Items:
        """The first part of a list that is told whole."""
        request = as_sent({"id": 1, "verb": "list", "of": of, "service": None, "address": None, "holder": None})
        if not isinstance(request, wire.List):
            raise TypeError(of)
        first, *others = self.gate.tell(request)
        for part in (first, *others):
            wire.encode({"id": 1, "part": part})
        return first

    def _repair(self) -> None:
        self.gate.repair()
        self._tidy()

    def _tidy(self) -> None:
        while self.gate.next_s() == 0.0:
            self.gate.work()
        self.gate.events()


FOR_COMPARISON = "(ruleset listed as JSON)"
KINDS: dict[str, tuple[Callable[[Run, int], None], int]] = {
    "grant of a second, and its end": (Run.grant_of_a_second, 1),
    "renewal": (Run.renewal, 1),
    "grant and revocation": (Run.grant_and_revocation, 1),
    "ban and its end": (Run.ban_and_its_end, 1),
    "refusal": (Run.refusal, 1),
    "element put in and out by hand": (Run.by_hand, 20),
    "status": (Run.status, 10),
    "list of 1,000 grants": (Run.list_of_grants, 200),
    "list of 1,000 who knocked": (Run.list_of_knocks, 200),
    "flush, and 1,000 grants put back": (Run.flush, 100),
    "reload (rules of 18 KiB)": (Run.reload, 50),
    "rules tried, not loaded": (Run.rules_tried, 50),
    FOR_COMPARISON: (Run.ruleset_as_json, 200),
}
"""Each kind of operation, and how many times less often than a change of elements it is done."""


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def measure(name: str, operations: int) -> tuple[list[str], int]:
    """A row of the table, and how many KiB the last nine tenths made the process grow."""
    operate, less = KINDS[name]
    count = max(operations // less, 20)
    leave_the_old()
    with Namespace("run", "sipb") as namespace, namespace.entered(), contextlib.ExitStack() as stack:
        run = Run(stack)
        before, begin = resident_kib(), time.monotonic()
        tenth = 0
        for number in range(count):
            if number == count // 10:
                tenth = resident_kib()
            operate(run, number)
        each, end = (time.monotonic() - begin) / count, resident_kib()
    growth = end - tenth
    row = [name, f"{count:,}", shown(each * 1e6), f"{before / 1024:.1f} MiB", f"{tenth / 1024:.1f} MiB", f"{end / 1024:.1f} MiB"]
    return [*row, f"{growth:+,} KiB", f"{growth * 1024 / (count * 0.9):+.1f} B"], growth


def apart(name: str, operations: int) -> tuple[list[str], int]:
    """`measure` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, operations))


def main() -> None:
    operations = int(sys.argv[1]) if len(sys.argv) > 1 else OPERATIONS
    rows, grown = [], []
    for name in KINDS:
        row, growth = apart(name, operations)
        rows.append(row)
        if growth > BOUND_KIB and name != FOR_COMPARISON:
            grown.append(name)
    table(("operation", "times", "each", "before", "after a tenth", "at the end", "growth since", "for each"), rows)
    if grown:
        sys.exit(f"more than {BOUND_KIB} KiB of growth: {', '.join(grown)}")


if __name__ == "__main__":
    main()
