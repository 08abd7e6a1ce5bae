"""What a packet costs in the gate's chain: with few grants and a million, against no chain and interval sets.

Packets go through a pair of veth devices, and the kernel takes them from the far end within the sender's own system call: so the
sender's CPU time for each is what it costs to send, to go through the chains of prerouting and to be dropped at their end.
"""

import contextlib
import ctypes
import os
import socket
import time
from array import array
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from statistics import median

from bench._figures import table
from lab.net import Namespace
from nft import render
from nft.bindings import Bindings
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import Add, Element

HOUR = 3600
ROUNDS = 101
PACKETS = 8192  # in a slice of a round
FEWER, MANY = 100_000, 1_000_000
POLICY = Policy({"cloud": ServiceRule("cloud", (PortRange("udp", 443, 443),), 12 * HOUR)}, ())
FIRST, APART = 0x0B000000, 2  # 11.0.0.0, the first address of each set; intervals must not touch
SINK = "table ip sink { counter arrived { }\n chain sink { type filter hook prerouting priority 300; counter name arrived drop; }\n}\n"
TRACKED = "table ip tracked { chain nobody { ct direction reply accept; }\n}\n"
MAC = "02:00:00:00:00:01"
SLOT = 64  # bytes for each packet
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_libc = ctypes.CDLL(None, use_errno=True)


class Packets:
    """Ready-made UDP packets, one from each source, which `send` takes in turn."""

    def __init__(self, sources: Sequence[int], port: int = 443) -> None:
        self._count, self._next = len(sources), 0
        # two bytes before each, so that addresses are aligned; checksum and source are filled in
        header = bytes((0x45, 0)) + (46).to_bytes(2, "big") + bytes((0, 0, 0, 0, 64, 17, 0, 0)) + bytes(4) + bytes((192, 0, 2, 1))
        datagram = bytes.fromhex(MAC.replace(":", "")) + bytes((2, 0, 0, 0, 0, 2, 8, 0)) + header
        datagram += (4000).to_bytes(2, "big") + port.to_bytes(2, "big") + (26).to_bytes(2, "big") + bytes(2 + 18)
        self._bytes = array("B", (bytes(2) + datagram).ljust(SLOT, b"\0") * self._count)
        words = memoryview(self._bytes).cast("H")
        fixed = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
        for number, source in enumerate(sources):
            total = fixed + (source >> 16) + (source & 0xFFFF)
            total = (total & 0xFFFF) + (total >> 16)
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            at = number * SLOT // 2
            words[at + 13] = socket.htons(checksum)
            words[at + 14], words[at + 15] = socket.htons(source >> 16), socket.htons(source & 0xFFFF)
        base = self._bytes.buffer_info()[0] + 2
        self._vectors = array("Q", bytes(16 * self._count))  # struct iovec
        self._vectors[0::2] = array("Q", range(base, base + SLOT * self._count, SLOT))
        self._vectors[1::2] = array("Q", [len(datagram)]) * self._count
        first = self._vectors.buffer_info()[0]
        self._messages = array("Q", bytes(64 * self._count))  # struct mmsghdr
        self._messages[2::8] = array("Q", range(first, first + 16 * self._count, 16))
        self._messages[3::8] = array("Q", [1]) * self._count

    def send(self, descriptor: int, count: int) -> None:
        while count:
            some = min(count, self._count - self._next, 1024)  # UIO_MAXIOV
            place = self._messages.buffer_info()[0] + 64 * self._next
            sent = _libc.sendmmsg(descriptor, ctypes.c_void_p(place), some, 0)
            if sent <= 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            count -= sent
            self._next = (self._next + sent) % self._count


class Road:
    """A wire into a namespace with a ruleset of its own, at whose end packets are counted and dropped."""

    def __init__(self, stack: contextlib.ExitStack, sender: Namespace, rules: Callable[[], None]) -> None:
        far = stack.enter_context(Namespace("far", "sipb"))
        device = f"v{far.name.split('-')[1]}"
        sender.configure(f"link add {device} type veth peer name in netns {far.name}", f"link set {device} up")
        far.configure(f"link set in address {MAC}", "link set in up")
        with far.entered():
            rules()
            Bindings().load(SINK)
            self._sink = stack.enter_context(contextlib.closing(NetlinkSets("ip", "sink")))
            self._gate = stack.enter_context(contextlib.closing(NetlinkSets("inet", "safeip")))
        with sender.entered():
            self._socket = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            self._socket.bind((device, 0))

    def go(self, packets: Packets) -> float:
        """Send a slice; the nanoseconds of CPU time that each packet took."""
        before, begin = self._arrived(), time.thread_time_ns()
        packets.send(self._socket.fileno(), PACKETS)
        took = time.thread_time_ns() - begin
        if self._arrived() - before != PACKETS:
            raise RuntimeError("not every packet arrived within the call that sent it")
        return took / PACKETS

    def _arrived(self) -> int:
        return self._sink.counter("arrived")[0] + self._gate.counter("closed")[0]


def nothing() -> None:
    """No chain but the sink."""


def tracked() -> None:
    """Connections are tracked, and nothing else is done."""
    Bindings().load(TRACKED)


def gate(elements: int) -> Callable[[], None]:
    """The gate's table with that many grants."""

    def load() -> None:
        Bindings().load(render.script(POLICY, render.Present()))
        with contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
            for start in range(0, elements, 5000):
                numbers = range(start, min(start + 5000, elements))
                sets.commit([Add(Element("cloud4", (FIRST + APART * n).to_bytes(4, "big"), HOUR * 1000, HOUR * 1000)) for n in numbers])

    return load


def interval(elements: int) -> Callable[[], None]:
    """The gate's table with an interval set of as many single networks in the place of a service's own."""

    def load() -> None:
        networks = ",".join(str(ip_address(FIRST + APART * n)) for n in range(elements))
        text = render.script(POLICY, render.Present())
        old = "\tset cloud4 { type ipv4_addr; flags timeout; counter; gc-interval 30s; }\n"
        if old not in text:
            raise RuntimeError("the rendered set is another")
        Bindings().load(text.replace(old, f"\tset cloud4 {{ type ipv4_addr; flags interval; elements = {{ {networks} }}\n\t}}\n"))

    return load


def scattered(count: int) -> list[int]:
    """The first addresses of a set, each once, in an order that no cache foresees."""
    return [FIRST + APART * (number * 611_953 % count) for number in range(count)]


def measure(title: str, runs: Sequence[tuple[str, Road, Packets]], against: str) -> None:
    """All of them in turn, `ROUNDS` times; each is compared with what came of `against` in the same round."""
    times: dict[str, list[float]] = {name: [] for name, _, _ in runs}
    for _ in range(ROUNDS):
        for name, road, packets in runs:
            times[name].append(road.go(packets))
    rows = []
    for name, took in times.items():
        more = sorted(one - base for one, base in zip(took, times[against], strict=True))
        quarter = len(more) // 4
        spread = f"{more[quarter]:+.0f} to {more[-quarter - 1]:+.0f}"
        compared = ("", "") if name == against else (f"{median(more):+.0f} ns", spread)
        rows.append((name, f"{median(took):.0f} ns", *compared))
    table((title, "a packet", f"more than {against}", "middle half of rounds"), rows)


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(Namespace("sender", "sipb"))
        untracked, plain, few, fewer, many = (
            Road(stack, sender, rules) for rules in (nothing, tracked, gate(10), gate(FEWER), gate(MANY))
        )
        lists = {count: Road(stack, sender, interval(count)) for count in (10, 10_000, FEWER, MANY)}
        one, stranger, elsewhere = (Packets([FIRST + off] * 1024, port) for off, port in ((4, 443), (1, 443), (4, 8080)))
        measure(
            "one source",
            [
                ("no chain", plain, one),
                ("no chain, nothing tracked", untracked, one),
                ("gate, 10 elements", few, one),
                (f"gate, {MANY:,} elements", many, one),
                *((f"interval set, {count:,} elements", road, one) for count, road in lists.items()),
                ("gate: a stranger, recorded and dropped", many, stranger),
                ("gate: a port that is not protected", many, elsewhere),
            ],
            "no chain",
        )
        others, all_others = Packets(scattered(FEWER)), Packets(scattered(MANY))
        measure(
            "as many sources as elements",
            [
                ("no chain", plain, all_others),
                (f"gate, {MANY:,} elements", many, all_others),
                (f"gate, {FEWER:,} elements", fewer, others),
                (f"interval set, {MANY:,} elements", lists[MANY], all_others),
                (f"interval set, {FEWER:,} elements", lists[FEWER], others),
            ],
            "no chain",
        )


if __name__ == "__main__":
    main()
