"""A gate in a process and a kernel of its own, an attacker at its wire, and what must hold all along.

Run as a program it is that process: `hostile_gate.py POLICY DESCRIPTOR RECORD`. Exit 0: the wire was closed, 3: its rules were
broken. Anything else is a crash.
"""

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile_requests import HOLDER, LONGEST_BAN_S, POLICIES, Oracle, Requests, broken, good_note, may_hold

from lab.kernel import Element, read_sets
from lab.net import Namespace
from nft.gate import Gate
from nft.policy import Policy
from nft.serve import PortalGone, Server
from nft.wire import LINE, ProtocolError

ROOT = Path(__file__).parents[2]
NOTHING = {"service": None, "address": None, "holder": None}
CODES = {"unknown-service", "bad-duration", "bad-address", "special-address", "trusted-address", "bad-holder", "bad-note", "too-many", "no-bans"}
PATIENCE_S = 60.0
OTHERS = """
table inet other {
    set country { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 203.0.113.0/26 }; }
    set cloud4 { type ipv4_addr; elements = { 203.0.113.7 }; }
    chain input { type filter hook input priority 0; policy accept; ip saddr @country counter drop; }
}
table ip nat {
    chain prerouting { type nat hook prerouting priority dstnat; tcp dport 8096 dnat to 10.9.0.10:80; }
}
table inet mine {
    set own { type ipv4_addr; flags timeout; elements = { 192.0.2.99 }; }
    chain input { type filter hook input priority 0; policy drop; ip saddr @own accept; }
}
"""


class Broken(AssertionError):
    """A promise was broken; the message says which."""


@dataclass
class Figures:
    """What came of it. Memory in KiB, of the gate's process."""

    asked: int = 0
    said: Counter[str] = field(default_factory=Counter)
    first_kib: int = 0
    most_kib: int = 0
    most_grants: int = 0
    most_bans: int = 0
    checks: int = 0


class Siege:
    """One policy's gate in a namespace, with tables of others beside it, under attack until `close`."""

    def __init__(self, name: str, directory: Path, seed: int) -> None:
        self.policy, self.figures = POLICIES[name], Figures()
        self._chance = random.Random(seed)
        self._requests = Requests(self.policy, self._chance)
        self._oracle = Oracle(self.policy)
        self._waiting: dict[int, dict[str, Any]] = {}
        self._kept: list[dict[str, Any]] = []
        self._number, self._rest, self._lazy, self._quiet = 0, b"", False, False
        self._stack = contextlib.ExitStack()
        self.network = self._stack.enter_context(Namespace("hostile", "siph"))
        self.network.run("nft", "-f", "-", input=OTHERS)
        theirs, self._wire = socket.socketpair()
        self._stack.callback(self._wire.close)
        self._wire.setblocking(False)
        with self.network.entered(), theirs:
            self._gate = subprocess.Popen(
                [sys.executable, __file__, name, str(theirs.fileno()), str(directory / f"{name}.jsonl")],
                pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        self._stack.callback(self._gate.kill)
        self._ask({"verb": "list", "of": "status", **NOTHING})
        self._settle()
        self._rules = self._text()

    def close(self) -> None:
        """Hang up; the gate must end as it should. Raises Broken."""
        self._wire.close()
        try:
            _out, errors = self._gate.communicate(timeout=PATIENCE_S)
            if self._gate.returncode != 0 or errors:
                raise Broken(f"the gate ended with {self._gate.returncode}: {errors}")
        finally:
            self._stack.close()

    def attack(self, number: int) -> None:
        """So many requests, in pieces, some floods among them; then everything is looked at. Raises Broken."""
        chance, sent = self._chance, 0
        while sent < number:
            size = min(number - sent, chance.choice((1, 1, 20, 200, 2000)))
            requests = [self._requests.one() for _ in range(size)]
            if chance.random() < 0.02:  # more lists at once than the gate makes
                requests = [{"verb": "list", "of": chance.choice(("grants", "banned")), **NOTHING}] * min(size, 100)
            data = b"".join(self._line(request) for request in requests)
            self._lazy = chance.random() < 0.2
            while data:
                length = chance.choice((len(data), len(data), chance.randint(1, len(data)), min(len(data), 7)))
                self._send(data[:length])
                data = data[length:]
            sent += len(requests)
        self._settle()
        self.look()

    def look(self) -> None:
        """Whether everything is as the policy has it. Raises Broken."""
        self.look_at_kernel()
        self._compare()
        pages = int(Path(f"/proc/{self._gate.pid}/statm").read_text(encoding="ascii").split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") // 1024
        self.figures.first_kib = self.figures.first_kib or resident
        self.figures.most_kib = max(self.figures.most_kib, resident)
        self.figures.checks += 1

    def look_at_kernel(self) -> None:
        """Whether the ruleset is what it was, and every element one that may be. Raises Broken."""
        if (text := self._text()) != self._rules:
            raise Broken(f"the ruleset changed, from\n{self._rules}\nto\n{text}")
        held = {name: self._check(name, found) for name, found in self._elements().items()}
        bans = sum(count for name, count in held.items() if name.startswith("banned"))
        grants, most = sum(held.values()) - bans, self.policy.max_grants
        if grants > most or bans > most:
            raise Broken(f"{grants} grants and {bans} bans, of at most {most}")
        self.figures.most_grants = max(self.figures.most_grants, grants)
        self.figures.most_bans = max(self.figures.most_bans, bans)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Without the gate doing anything."""
        self._gate.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._gate.send_signal(signal.SIGCONT)

    # the wire

    def _line(self, request: dict[str, Any]) -> bytes:
        number = self._number = (self._number + self._chance.choice((1, 1, 1, 2**20))) % (1 << 53)
        self._waiting[number] = request
        self.figures.asked += 1
        return self._requests.line({"id": number, **request})

    def _ask(self, request: dict[str, Any]) -> int:
        self._send(self._line(request))
        return self._number

    def _send(self, data: bytes) -> None:
        while data:
            reading = [] if self._lazy else [self._wire]
            readable, writable, _ = select.select(reading, [self._wire], [], 0.02 if self._lazy else PATIENCE_S)
            if writable:
                data = data[self._wire.send(data) :]
            elif self._lazy:
                self._lazy = False  # the gate waits for its answers to be taken
            elif not readable:
                raise Broken(f"the gate takes nothing for {PATIENCE_S} s")
            if readable:
                self._receive()

    def _settle(self) -> None:
        """Wait for every answer."""
        self._lazy = False
        while self._waiting:
            if not select.select([self._wire], [], [], PATIENCE_S)[0]:
                raise Broken(f"no answer to {next(iter(self._waiting.values()))} within {PATIENCE_S} s")
            self._receive()

    def _receive(self) -> None:
        data = self._wire.recv(1 << 18)
        if not data:
            _out, errors = self._gate.communicate(timeout=PATIENCE_S)
            raise Broken(f"the gate ended with {self._gate.returncode}: {errors}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if len(line) >= LINE:
                raise Broken(f"an answer of {len(line)} bytes")
            answer = json.loads(line)
            if "event" not in answer:
                self._judge(answer)

    def _judge(self, answer: dict[str, Any]) -> None:
        number = answer["id"]
        if "part" in answer:
            if self._waiting[number]["verb"] != "list":
                raise Broken(f"{answer} to {self._waiting[number]}")
            if self._quiet:
                self._kept += answer["part"]
            return
        request = self._waiting.pop(number, None)
        if request is None:
            raise Broken(f"{answer} to nothing that was asked")
        may = self._oracle.allows(request)
        code = answer.get("error", {}).get("code", "ok")
        self.figures.said[f"{request['verb']} {code}"] += 1
        if code == "ok":
            if not may:
                raise Broken(f"{answer} to {request}")
            for grant in answer["ok"].get("grants", ()):
                most = self.policy.services[grant["service"]].max_duration_s * 1000
                if grant["service"] not in request["services"] or grant["address"] != request["address"] or not 0 < grant["remaining_ms"] <= most:
                    raise Broken(f"{answer} to {request}")
        elif code not in CODES or (may and code != "too-many"):
            raise Broken(f"{answer} to {request}")

    # the kernel

    def _run(self, *words: str) -> str:
        return self.network.run("nft", *words).stdout

    def _text(self) -> str:
        """Rulesets without the elements of our sets, and without counts; others' with all of theirs."""
        table = f"inet {self.policy.table}"
        ours = [self._run("-s", "-t", *f"list table {table}".split())]
        if self.policy.mode == "table":
            ours.append(self._run("-s", *f"list map {table} ports".split()))
        others = [self._run("-s", *f"list {what}".split()) for what in ("table inet other", "table ip nat", "set inet mine own", "chain inet mine input")]
        return "\n".join([self._run("list", "tables"), *ours, *others])

    def _elements(self) -> dict[str, list[Element]]:
        sets = {f"{name}{family}" for name in self.policy.services for family in (4, 6)}
        sets |= {"banned4", "banned6"} if self.policy.mode == "table" else set()
        found = read_sets(self.network, self.policy.table)
        if missing := sets - found.keys():
            raise Broken(f"sets are missing: {missing}")
        return {name: found[name] for name in sets}

    def _check(self, name: str, elements: list[Element]) -> int:
        most = self.policy.services[name[:-1]].max_duration_s if name[:-1] in self.policy.services else LONGEST_BAN_S
        for element in elements:
            address = element.value if name.endswith("4") else f"{element.value}/{self.policy.ipv6_prefix}"
            holder, _, note = element.comment.partition(" ")
            timed = 0 <= element.expires_s <= element.timeout_s <= most and element.timeout_s > 0
            if not (timed and may_hold(self.policy, address) and HOLDER.fullmatch(holder) and good_note(note)):
                raise Broken(f"{name} holds {element}")
        return len(elements)

    def _compare(self) -> None:
        """The gate's own lists are what the kernel holds, but for what ends in these seconds."""
        self._kept, self._quiet = [], True
        self._ask({"verb": "list", "of": "grants", **NOTHING})
        self._ask({"verb": "list", "of": "banned", **NOTHING})
        self._settle()
        self._quiet = False
        told = {self._place(row): row["remaining_ms"] / 1000 for row in self._kept}
        held = {
            (name, element.value): float(element.expires_s) for name, elements in self._elements().items() for element in elements
        }
        for place in told.keys() ^ held.keys():
            if told.get(place, held.get(place, 0)) > 10:
                raise Broken(f"{place} is {'told but not held' if place in told else 'held but not told'}")

    def _place(self, row: dict[str, Any]) -> tuple[str, str]:
        host = row["address"].partition("/")[0]
        return row.get("service", "banned") + ("6" if ":" in host else "4"), host


def end_by(policy: Policy, number: int, chance: random.Random) -> None:
    """Lines that break the wire's rules, each to a server of its own over one gate, which must end it. In this thread's network."""
    gate = Gate(policy)
    with contextlib.closing(gate):
        gate.start()
        for _ in range(number):
            ours, theirs = socket.socketpair()
            line = broken(chance)
            with ours, contextlib.closing(Server(gate, theirs)) as server:
                ours.sendall(line)
                ours.shutdown(socket.SHUT_WR)
                try:
                    server.run()
                except ProtocolError:
                    continue
                except PortalGone:
                    pass
                raise Broken(f"taken: {line[:300]!r}")


def main(name: str, descriptor: str, record: str) -> int:
    """Serve the attacker."""
    gate = Gate(POLICIES[name], record=Path(record))
    gate.start()
    try:
        Server(gate, socket.socket(fileno=int(descriptor))).run()
    except PortalGone:
        return 0
    except ProtocolError as error:
        print(error, file=sys.stderr)
        return 3
    raise AssertionError("unreachable")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
