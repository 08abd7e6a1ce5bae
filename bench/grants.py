"""Grants a second through the gate, with one caller and with many, against other ways into the kernel."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from statistics import median

from bench._figures import table
from lab.net import Namespace
from nft.bindings import Bindings
from nft.gate import Gate
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.serve import PortalGone, Server, leave_the_old
from nft.sets import Add, Element, Remove

HOUR = 3600
LIVE = (10, 100_000)
CALLERS = (1, 10, 100)
ROUNDS = 21
GRANTS, SLOW_GRANTS = 1000, 25  # in one slice of a round; the second: with a process for each
PROCESSORS = os.sched_getaffinity(0)
AIMS = {1: 0.5, 100: 2.0}
TRUSTED = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
POLICY = Policy(
    {"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)},
    tuple(ip_network(text) for text in TRUSTED),
    max_grants=200_000,
)
SET = "table inet safeip { set cloud4 { type ipv4_addr; flags timeout; counter; gc-interval 30s; }\n}\n"
ADD = 'add element inet safeip cloud4 {{ {} timeout 1h comment "link:k3v9aa Mamie" }}'
NEW = [str(ip_address(0xC6336400 + number)) for number in range(GRANTS)]
"""What is granted in a slice, and taken back after it."""


def live_elements(count: int) -> list[Element]:
    return [
        Element("cloud4", (0x0B000000 + n).to_bytes(4, "big"), HOUR * 1000, HOUR * 1000, f"link:l{n // 10} Mamie")
        for n in range(count)
    ]


def fill(sets: NetlinkSets, count: int) -> None:
    elements = live_elements(count)
    for start in range(0, count, 5000):
        sets.commit([Add(element) for element in elements[start : start + 5000]])


def serve(connection: socket.socket, directory: Path) -> None:
    leave_the_old()
    gate = Gate(POLICY, record=directory / "grants.jsonl")
    gate.start()
    with contextlib.closing(gate), contextlib.suppress(PortalGone):
        Server(gate, connection).run()


class Served:
    """A gate with its server in a process of its own, and the callers' end of its wire."""

    def __init__(self, stack: contextlib.ExitStack, live: int) -> None:
        with stack.enter_context(Namespace("gate", "sipb")).entered():
            Bindings().load(SET)
            with contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
                fill(sets, live)
            self.wire, theirs = socket.socketpair()
            self.child = os.fork()
            if self.child == 0:
                self.wire.close()
                with tempfile.TemporaryDirectory() as directory:
                    serve(theirs, Path(directory))
                os._exit(0)
            theirs.close()
        stack.callback(self.close)
        request = {"verb": "grant", "services": {"cloud": HOUR}, "holder": "link:k3v9aa", "note": "Mamie", "addresses": None}
        self.lines = [json.dumps({"id": n, "address": address} | request).encode() + b"\n" for n, address in enumerate(NEW)]
        if self.revoke("token:nobody"):
            raise RuntimeError("the gate is not as it was filled")

    def grant(self, callers: int) -> float:
        """Grants a second: each caller asks, waits for its answer and asks again.

        One caller and the gate never do anything at once, and share a processor: waking another one is the machine's
        business, and takes a virtual one longer than the grant.
        """
        for process in (0, self.child):
            os.sched_setaffinity(process, {max(PROCESSORS)} if callers == 1 else PROCESSORS)
        begin, sent, answers = time.perf_counter(), callers, bytearray()
        self.wire.send(b"".join(self.lines[:callers]))
        answered = 0
        while answered < GRANTS:
            some = self.wire.recv(1 << 18)
            answers += some
            free = some.count(b"\n")
            answered += free
            if sent < GRANTS and free:
                self.wire.send(b"".join(self.lines[sent : sent + free]))
                sent += free
        took = time.perf_counter() - begin
        told = [json.loads(line) for line in answers.splitlines()]
        if [answer["ok"]["grants"][0]["address"] for answer in told] != NEW:
            raise RuntimeError("not every caller got its grant")
        if self.revoke("link:k3v9aa") != GRANTS:
            raise RuntimeError("not every grant was there")
        return GRANTS / took

    def revoke(self, holder: str) -> int:
        request = {"id": 1, "verb": "revoke", "service": None, "address": None, "holder": holder, "everything": False}
        self.wire.send(json.dumps(request).encode() + b"\n")
        return int(json.loads(self.wire.recv(1 << 16))["ok"]["revoked"])

    def close(self) -> None:
        self.wire.close()
        os.waitpid(self.child, 0)


class Alone:
    """A set of nf_tables and one of ipset, for what other programs do alone."""

    def __init__(self, stack: contextlib.ExitStack, live: int) -> None:
        self.namespace = stack.enter_context(Namespace("alone", "sipb"))
        with self.namespace.entered():
            self.bindings = Bindings()
            self.bindings.load(SET)
            self.sets = stack.enter_context(contextlib.closing(NetlinkSets("inet", "safeip")))
            fill(self.sets, live)
            create = "create cloud4 hash:ip timeout 3600 maxelem 200000 counters comment\n"
            lines = [f'add cloud4 {ip_address(e.key)} timeout 3600 comment "{e.comment}"\n' for e in live_elements(live)]
            self.ipset_missing = self._ipset(create + "".join(lines))

    def libnftables(self) -> float:
        """One text, one transaction for each, in one process."""
        return self._rate(lambda address: self.bindings.run(ADD.format(address)), GRANTS)

    def nft(self) -> float:
        return self._rate(lambda address: run("nft", ADD.format(address)), SLOW_GRANTS)

    def ipset(self) -> float:
        add = ("timeout", "3600", "comment", "link:k3v9aa Mamie")
        rate = self._rate(lambda address: run("ipset", "add", "cloud4", address, *add), SLOW_GRANTS)
        missing = self._ipset("".join(f"del cloud4 {address}\n" for address in NEW[:SLOW_GRANTS]))
        if missing:
            raise RuntimeError(missing)
        return rate

    def _rate(self, grant: Callable[[str], object], count: int) -> float:
        with self.namespace.entered():
            begin = time.perf_counter()
            for address in NEW[:count]:
                grant(address)
            took = time.perf_counter() - begin
            self.sets.commit([Remove("cloud4", ip_address(address).packed) for address in NEW[:count]])
        return count / took

    def _ipset(self, script: str) -> str | None:
        """Why ipset cannot do it here; None: it did."""
        try:
            with self.namespace.entered():
                done = subprocess.run(["ipset", "restore"], input=script, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "ipset is not installed"
        return done.stderr.strip().splitlines()[0] if done.returncode else None


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def rounds(live: int) -> Iterator[dict[str, float]]:
    """Grants a second of each contestant, one after the other in each round."""
    with contextlib.ExitStack() as stack:
        served, alone = Served(stack, live), Alone(stack, live)
        for _ in range(ROUNDS):
            rates = {"libnftables alone": alone.libnftables()}
            for callers in CALLERS:
                rates[f"gate, {callers} at once"] = served.grant(callers)
            rates["nft, a process each"] = alone.nft()
            if not alone.ipset_missing:
                rates["ipset, a process each"] = alone.ipset()
            yield rates
        if alone.ipset_missing:
            print(f"ipset is missing: {alone.ipset_missing}\n")


def main() -> None:
    rows, missed = [], []
    for live in LIVE:
        measured = list(rounds(live))
        base = median(rates["libnftables alone"] for rates in measured)
        for name in measured[0]:
            rates = sorted(rates[name] for rates in measured)
            ratio = median(rates) / base
            spread = f"{rates[len(rates) // 4]:,.0f} to {rates[-len(rates) // 4]:,.0f}"
            rows.append((f"{live:,}", name, f"{median(rates):,.0f}/s", spread, f"{ratio:.2f}"))
            missed += [name for callers, aim in AIMS.items() if name == f"gate, {callers} at once" and ratio < aim]
    table(("live grants", "", "median", "middle half", "of libnftables alone"), rows)
    if missed:
        sys.exit(f"aims missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
