"""`nft flush ruleset`: how long the host is without the table, and without its grants, many times each."""

import contextlib
import json
import os
import socket
import time
from statistics import median
from typing import BinaryIO

from bench._figures import shown, table
from lab.net import Namespace
from nft.bindings import Bindings
from nft.gate import Gate
from nft.netlink import Message
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.serve import PortalGone, Server
from nft.sets import Add, Element

HOUR = 3600
ROUNDS = {1: 100, 1_000: 100, 10_000: 50, 100_000: 10}
POLICY = Policy({"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)}, ())


def measure(grants: int) -> tuple[str, ...]:
    with contextlib.closing(Gate(POLICY)) as gate:
        gate.start()
        with contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
            elements = [
                Element("cloud4", (0x0B000000 + n).to_bytes(4, "big"), HOUR * 1000, HOUR * 1000, "link:k3v9aa Mamie")
                for n in range(grants)
            ]
            for start in range(0, grants, 5000):
                sets.commit([Add(element) for element in elements[start : start + 5000]])
        gate.start()  # adopts them
        ruleset = Bindings().run("list ruleset")
        theirs, ours = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()
            with contextlib.suppress(PortalGone):
                Server(gate, theirs).run()
            os._exit(0)
        theirs.close()
        try:
            with ours.makefile("rwb") as portal:
                portal.write(b'{"id":1,"verb":"watch"}\n')
                portal.flush()
                closed, whole = zip(*(flush(portal) for _ in range(ROUNDS[grants])), strict=True)
        finally:
            ours.close()
            os.waitpid(child, 0)
    by_hand = [load(ruleset) for _ in range(5)]
    Bindings().load("flush ruleset")
    return (
        f"{grants:,}", shown(median(closed)), shown(max(closed)), shown(median(whole)), shown(max(whole)),
        shown(median(by_hand)), f"{median(whole) / median(by_hand):.2f}",
    )  # fmt: skip


def flush(portal: BinaryIO) -> tuple[float, float]:
    """Microseconds without the table, and without some of its grants: until the gate says that all is back."""
    bindings = Bindings()
    with contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
        begin = time.perf_counter()
        bindings.load("flush ruleset")
        while "gate" not in sets.names(Message.GETCHAIN):
            pass
        closed = time.perf_counter()
    while json.loads(portal.readline()).get("event", {}).get("event") != "repaired":
        pass
    return (closed - begin) * 1e6, (time.perf_counter() - begin) * 1e6


def load(ruleset: str) -> float:
    bindings = Bindings()
    bindings.load("flush ruleset")
    begin = time.perf_counter()
    bindings.load(ruleset)
    return (time.perf_counter() - begin) * 1e6


def main() -> None:
    head = ("grants", "without table: median", "worst", "without grants: median", "worst", "libnftables, by hand", "ratio")
    with Namespace("bench", "sipb") as namespace, namespace.entered():
        table(head, [measure(grants) for grants in ROUNDS])


if __name__ == "__main__":
    main()
