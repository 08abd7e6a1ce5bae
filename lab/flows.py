"""Packets that flow all the time, and where each of them ended.

Senders in visitors' namespaces send numbered datagrams, over IPv4 to a single protected port and over IPv6 to one of a protected
range, both forwarded to the server in the LAN; a receiver there notes what came. So nothing that happens to the gateway's
ruleset touches the counting.
"""

import array
import mmap
import os
import socket
import struct
import sys
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.gateway import ROOT, Gateway
from lab.net import Namespace
from lab.process import wait_for

PORTS = (4433, 25567)  # IPv4, IPv6
SERVER = ("10.9.0.10", "fd00:9::10")
PERIOD_S = 0.001
MOST = 8_000_000  # ticks: two hours
_PACKET = struct.Struct("=BQ")
_BUFFER = 64 << 20  # bytes: the receiver may be kept waiting for some seconds
_SO_RCVBUFFORCE = 33
_SETTLED_S = 0.15  # so long everything must have been right
_UNDERWAY_S = 0.05  # what was sent so lately may still be on its way
_COUNT = """
table inet count {
    chain came { type filter hook prerouting priority -300; udp dport { 4433, 25567 } counter; }
}
"""

Span = tuple[float, float]


@dataclass(frozen=True)
class Fate:
    """A tick's packet of one flow: when it was sent (monotonic seconds), and whether it got through."""

    sent: float
    through: bool


class Flows:
    """Two packets every `period_s` seconds from each of some visitors, from now until `stop`."""

    def __init__(self, gateway: Gateway, sources: Mapping[str, Namespace], period_s: float = PERIOD_S) -> None:
        gateway.internet.configure("route add 10.9.0.0/24 via 198.51.100.1", "route add fd00:9::/64 via 2001:db8:100::1")
        self._names = list(sources)
        directory = gateway.directory
        self._sent = {name: _Table(directory / f"sent-{name}", MOST * 8) for name in sources}
        self._came = [_Table(directory / f"came-{flow}", MOST) for flow in range(2 * len(sources))]
        self._server = gateway.server
        self._server.run("nft", "-f", "-", input=_COUNT)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        python = (sys.executable, "-m", "lab.flows")
        log = directory / "flows.log"
        self._server.start(*python, "receive", *(str(table.path) for table in self._came), log=log, env=environment)
        wait_for("the receiver", lambda: "ready" in log.read_text("ascii"))
        self._processes = [
            namespace.start(*python, "send", str(self._sent[name].path), str(2 * index), str(period_s), log=log, env=environment)
            for index, (name, namespace) in enumerate(sources.items())
        ]
        wait_for("packets", lambda: all(self._ticks(name) > 100 for name in self._names))

    def fates(self, name: str, since: float, until: float) -> tuple[list[Fate], list[Fate]]:
        """The packets of a visitor's flows, IPv4 and IPv6, that were sent in a span of time."""
        times = self._sent[name].view.cast("d")
        count = self._ticks(name)
        first, last = bisect_left(times, since, 0, count), bisect_left(times, until, 0, count)
        flow = 2 * self._names.index(name)
        four, six = ([Fate(times[tick], self._came[flow + family].view[tick] == 1) for tick in range(first, last)] for family in (0, 1))
        return four, six

    def settled(self, wanted: Mapping[str, bool], after: float) -> bool:
        """Whether everybody's packets have lately, and later than `after`, fared as they should: through, or not."""
        until = time.monotonic() - _UNDERWAY_S
        since = until - _SETTLED_S
        if since < after:
            return False
        flows = [(fates, right) for name, right in wanted.items() for fates in self.fates(name, since, until)]
        return all(len(fates) > 10 and all(fate.through == right for fate in fates) for fates, right in flows)

    def unheard(self) -> int:
        """How many packets came to the server and never to the receiver's notes; after `stop`."""
        time.sleep(1)  # until the last of them is noted
        listed = self._server.run("nft", "list", "chain", "inet", "count", "came").stdout
        noted = sum(table.view[: self._most()].tobytes().count(1) for table in self._came)
        return int(listed.partition("packets ")[2].split()[0]) - noted

    def stop(self) -> None:
        """No more packets."""
        for process in self._processes:
            process.kill()

    def _ticks(self, name: str) -> int:
        """How many there have been; a tick's time is written before its packets are sent."""
        view = self._sent[name].view.cast("d")
        low, high = 0, MOST
        while low < high:
            middle = (low + high) // 2
            if view[middle] == 0.0:
                high = middle
            else:
                low = middle + 1
        return max(0, low - 1)

    def _most(self) -> int:
        return max(self._ticks(name) for name in self._names) + 1


class _Table:
    """A file of noughts that two processes share."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        with path.open("r+b" if path.exists() else "w+b") as file:
            if size:
                file.truncate(size)
            self.view = memoryview(mmap.mmap(file.fileno(), 0))


def send(path: str, flow: str, period: str) -> None:
    """Without end."""
    times, first, period_s = _Table(Path(path)).view.cast("d"), int(flow), float(period)
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
    for sender, host, port in zip(sockets, SERVER, PORTS, strict=True):
        sender.connect((host, port))
    tick, due = 0, time.monotonic()
    while True:
        times[tick] = time.monotonic()
        for family, sender in enumerate(sockets):
            try:
                sender.send(_PACKET.pack(first + family, tick))
            except OSError:  # told that the way is closed, by the answer to an earlier one
                sender.send(_PACKET.pack(first + family, tick))
        tick += 1
        due = max(due + period_s, time.monotonic() - period_s)
        time.sleep(max(0.0, due - time.monotonic()))


def receive(paths: Sequence[str]) -> None:
    """Without end."""
    came = [_Table(Path(path)).view for path in paths]
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock, host, port in ((other, SERVER[0], PORTS[0]), (receiver, SERVER[1], PORTS[1])):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.bind((host, port))
    print("ready", flush=True)
    if os.fork() == 0:
        receiver = other
    data = array.array("B", bytes(_PACKET.size))
    while True:
        receiver.recv_into(data)
        flow, tick = _PACKET.unpack(data)
        came[flow][tick] = 1


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(*sys.argv[2:])
    receive(sys.argv[2:])
