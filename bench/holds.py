"""How long a grant waits among 100,000 while the gate does its other work: worst, and in multiples of a grant in peace.

    python3 -m bench.holds [WORDS]      only rows that have one of the words in their name

A grant is asked every 3 ms, whether or not those before it were answered, over the wire of a gate with a record on disk
and 28 services. What is beside goes on, again and again, for ten seconds.
"""

import contextlib
import json
import os
import select
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from statistics import median, quantiles
from typing import NoReturn

from bench._figures import shown, table
from bench.foreign_sets import FOREIGN, foreign_list
from bench.long_run import SERVICE, SERVICES, SET, policy
from lab.net import Namespace
from nft.bindings import Bindings
from nft.gate import Gate
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy
from nft.serve import PortalGone, Server, leave_the_old
from nft.sets import Add, Element

HOUR = 3600
LIVE, SHARED, GONE = 100_000, 10_000, 1000
EVERY_S, FOR_S, PATIENCE_S = 0.003, 10.0, 120.0
STAY, ASKED, LEAVE, MANY = 0x0B000000, 0x0C000000, 0x0D000000, 1 << 16
BUILD = Path(__file__).parents[1] / "build"
OTHER, FIRST = 1 << 20, 2 << 20  # ids: of what goes on beside; of the grants that are timed


def services(number: int) -> Policy:
    """Each time with other ports, and the last service there or not."""
    return policy(1000 + number % 2 * SERVICES, SERVICES - number % 2, 2 * LIVE)


def serve(connection: socket.socket, orders: int, directory: Path) -> None:
    """The gate's process. A byte from `orders`: a reload, or the record written whole anew."""
    gate = Gate(services(0), record=directory / "grants.jsonl")
    gate.start()
    server = Server(gate, connection)
    leave_the_old()
    reloads = 0
    tried, done = os.pipe()

    def obey() -> None:
        nonlocal reloads
        if os.read(orders, 1) == b"r":
            reloads += 1
            threading.Thread(target=prepare).start()
        else:
            gate._ledger._record.rewrite()  # noqa: SLF001 (what comes by itself, each time as much again has changed)

    def prepare() -> None:
        """As safeip.reload does it."""
        gate.try_rules(services(reloads))
        os.write(done, b"r")

    def change() -> None:
        if not gate.settled:
            return
        os.read(tried, 1)
        gate.reload(services(reloads))

    server.when_readable(orders, obey)
    server.when_readable(tried, change)
    with contextlib.closing(gate), contextlib.suppress(PortalGone):
        server.run()


def leave(action: Callable[[], None]) -> NoReturn:
    """In a fork: do it and end, without what the parent would clear away."""
    try:
        action()
        os._exit(0)
    except BaseException:  # noqa: BLE001 (told, and nothing else)
        traceback.print_exc()
    finally:
        os._exit(1)


class Scene:
    """A gate in a process of its own, its wire, and the answers that come over it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.host = stack.enter_context(Namespace("gate", "sipb"))
        self.foreign = foreign_list()
        BUILD.mkdir(exist_ok=True)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD, prefix="holds-")))  # a disk; /tmp may be memory
        self.wire, theirs = socket.socketpair()
        told, self.orders = os.pipe()
        with self.host.entered():
            with contextlib.closing(Gate(services(0))) as gate:
                gate.start()
            with contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
                for start in range(0, LIVE, 5000):
                    sets.commit([Add(live(number)) for number in range(start, start + 5000)])
            self.child = os.fork()
            if self.child == 0:
                self.wire.close()
                os.close(self.orders)
                leave(lambda: serve(theirs, told, directory))
        theirs.close()
        os.close(told)
        stack.callback(self.close)
        self.sent: dict[int, float] = {}
        self.waits: list[float] = []
        self.answered: set[int] = set()
        self.events: list[bytes] = []
        self._rest = b""
        self._number = self._asked = 0
        self.wire.setblocking(False)
        self.whole("watch")

    def close(self) -> None:
        self.wire.close()
        os.close(self.orders)
        os.waitpid(self.child, 0)

    def ask(self, verb: str, **keys: object) -> int:
        """Ask for something that is not timed; gives back the id of its answer."""
        self._number += 1
        self._send({"id": OTHER + self._number, "verb": verb} | keys)
        return OTHER + self._number

    def whole(self, verb: str, **keys: object) -> None:
        """Ask, and wait for the answer."""
        self.wait(self.ask(verb, **keys))

    def wait(self, number: int) -> None:
        """For an answer."""
        until = time.monotonic() + PATIENCE_S
        while number not in self.answered:
            if time.monotonic() > until:
                raise RuntimeError("the gate does not answer")
            self.take(1)

    def granted(self, address: int, holder: str, seconds: int = HOUR) -> int:
        return self.ask("grant", **grant(address, holder, seconds))

    def take(self, patience_s: float) -> None:
        """What has come over the wire, or comes in time."""
        if not select.select([self.wire], [], [], patience_s)[0]:
            return
        if not (data := self.wire.recv(1 << 20)):
            raise RuntimeError("the gate's process has ended")
        *lines, self._rest = (self._rest + data).split(b"\n")
        now = time.monotonic()
        for line in lines:
            if line.startswith(b'{"event"'):
                self.events.append(line)
                continue
            head, rest = line[6:].split(b",", 1)
            number = int(head)
            if rest.startswith(b'"part"'):
                continue
            if rest.startswith(b'"error"'):
                raise RuntimeError(line)
            self.answered.add(number)
            if number in self.sent:
                self.waits.append(now - self.sent.pop(number))

    def timed(self, beside: Callable[["Scene"], Iterator[bool]] | None) -> list[float]:
        """The waits in microseconds of grants that are asked while `beside` goes on: it yields whether it has ended for now."""
        self.waits = []
        begin = due = time.monotonic()
        going = None if beside is None else beside(self)
        while time.monotonic() < begin + FOR_S:
            if going is not None and next(going, True):
                going = beside(self) if beside else None
            if (now := time.monotonic()) >= due:
                self._asked += 1
                self.sent[FIRST + self._asked] = due  # not when it was sent: who comes while all wait, waits too
                self._send({"id": FIRST + self._asked, "verb": "grant"} | grant(ASKED + self._asked % MANY, "link:k3v9aa"))
                due += EVERY_S
            self.take(max(0.0, due - time.monotonic()) if now < due else 0.0)
        until = time.monotonic() + PATIENCE_S
        while (self.sent or (going is not None and not next(going, True))) and time.monotonic() < until:
            self.take(0.01)
        if self.sent:
            raise RuntimeError("not every grant was answered")
        return [wait * 1e6 for wait in self.waits]

    def _send(self, request: dict[str, object]) -> None:
        line = json.dumps(request).encode() + b"\n"
        while line:
            try:
                line = line[self.wire.send(line) :]
            except BlockingIOError:
                self.take(0.001)


def live(number: int) -> Element:
    return Element(SET, (STAY + number).to_bytes(4, "big"), 2 * HOUR * 1000, 2 * HOUR * 1000, f"link:l{number // 10} Mamie")


def grant(address: int, holder: str, seconds: int = HOUR) -> dict[str, object]:
    return {"services": {SERVICE: seconds}, "address": str(ip_address(address)), "holder": holder, "note": "Mamie", "addresses": None}


def answered(scene: Scene, number: int) -> Iterator[bool]:
    while number not in scene.answered:
        yield False


def list_of_all(scene: Scene) -> Iterator[bool]:
    yield from answered(scene, scene.ask("list", of="grants", service=None, address=None, holder=None))


def page(scene: Scene) -> Iterator[bool]:
    """What a page that is looked at asks for: the counters of all, and what is open where something has just happened."""
    everything = scene.ask("list", of="grants", service=None, address=None, holder=None)
    looked = time.monotonic()
    while everything not in scene.answered:
        if time.monotonic() > looked + 0.2:
            looked = time.monotonic()
            for number in range(10):
                scene.ask("list", of="grants", service=None, address=str(ip_address(STAY + number)), holder=None)
        yield False


def rewriting(scene: Scene) -> Iterator[bool]:
    os.write(scene.orders, b"w")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        yield False


def reload(scene: Scene) -> Iterator[bool]:
    os.write(scene.orders, b"r")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        yield False


def beside(scene: Scene, script: str) -> int:
    """Another program that has libnftables run a script; its process."""
    child = os.fork()
    if child == 0:
        with scene.host.entered():
            leave(lambda: Bindings().load(script))
    return child


def ended(child: int) -> bool:
    pid, status = os.waitpid(child, os.WNOHANG)
    if status:
        raise RuntimeError("the other program failed")
    return pid != 0


def flush(scene: Scene) -> Iterator[bool]:
    scene.events.clear()
    child = beside(scene, "flush ruleset")
    while not ended(child):
        yield False
    while not any(b'"repaired"' in event for event in scene.events):
        yield False
    until = time.monotonic() + 1
    while time.monotonic() < until:
        yield False


def foreign(scene: Scene) -> Iterator[bool]:
    for script in (scene.foreign, "delete table inet foreign"):
        child = beside(scene, script)
        while not ended(child):
            yield False


def revocations(scene: Scene) -> Iterator[bool]:
    """In one go, of a holder who is also beside another at 10,000 addresses."""
    for number in range(GONE):
        last = scene.granted(LEAVE + number, "link:gone")
    yield from answered(scene, last)
    for number in range(GONE):
        address = str(ip_address(LEAVE + number))
        last = scene.ask("revoke", service=None, address=address, holder="link:gone", everything=False)
    yield from answered(scene, last)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        yield False


ROWS: dict[str, Callable[[Scene], Iterator[bool]] | None] = {
    "nothing": None,
    "a list of all": list_of_all,
    "watch, and a page that looks": page,
    "the record written anew": rewriting,
    f"{GONE:,} revocations of one holder": revocations,
    "a reload (rules of 18 KiB)": reload,
    f"a foreign set of {FOREIGN:,} loaded, deleted": foreign,
    "flush ruleset, and all put back": flush,
}


def main() -> None:
    with contextlib.ExitStack() as stack:
        scene, words = Scene(stack), sys.argv[1:]
        for number in range(SHARED):
            last = scene.granted(STAY + number, "link:gone")
        scene.wait(last)
        rows, usual = [], 0.0
        for name, action in ROWS.items():
            if words and action is not None and not any(word in name for word in words):
                continue
            waits = scene.timed(action)
            usual = usual or median(waits)
            figures = median(waits), quantiles(waits, n=1000)[998], max(waits)
            rows.append((name, f"{len(waits):,}", *map(shown, figures), *(f"{figure / usual:,.1f}" for figure in figures)))
    table(("meanwhile", "grants", "median", "99.9 %", "worst", "median, in grants in peace", "99.9 %", "worst"), rows)


if __name__ == "__main__":
    main()
