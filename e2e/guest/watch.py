"""A service on a protected port, and those who send to it from outside: a packet each, every 20 ms.

A line of /var/lib/e2e/now/ticks is one such moment: milliseconds of the monotonic clock, then for each source `1` (the service
got the packet), `0` (it did not) or `-` (there was no way to send it).
"""

import collections
import contextlib
import ctypes
import os
import select
import socket
import time
from pathlib import Path

PORT = 4433
GATEWAY = {4: "198.51.100.1", 6: "2001:db8:100::1"}
SOURCES = ("203.0.113.66", "2001:db8:66::66", "192.0.2.10", "2001:db8:1::10", "192.0.2.20")
EVERY_S = 0.02
LATE = 25  # moments after which a packet that has not come is lost
CLONE_NEWNET = 0x40000000


def family(address: str) -> int:
    return 6 if ":" in address else 4


def receiver(version: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("::" if version == 6 else "0.0.0.0", PORT))
    return made


def sender(address: str) -> socket.socket:
    made = socket.socket(
        socket.AF_INET6 if family(address) == 6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    )
    made.bind((address, 0))
    return made


def notify() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


def main() -> None:
    receivers = [receiver(4), receiver(6)]
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns/outside").open("rb") as outside:
        if libc.setns(outside.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    senders = [sender(address) for address in SOURCES]
    waiting: collections.deque[tuple[int, list[str]]] = collections.deque()
    number = 0  # of the oldest moment in `waiting`
    notify()
    with Path("/var/lib/e2e/now/ticks").open("w", buffering=1) as ticks:
        due = time.monotonic()
        while True:
            marks = ["-"] * len(SOURCES)
            waiting.append((time.monotonic_ns() // 1_000_000, marks))
            for index, made in enumerate(senders):
                with contextlib.suppress(OSError):
                    made.sendto(f"{index} {number + len(waiting) - 1}".encode(), (GATEWAY[family(SOURCES[index])], PORT))
                    marks[index] = "0"
            due = max(due + EVERY_S, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                for readable in select.select(receivers, [], [], left)[0]:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            index, moment = map(int, readable.recv(64).split())
                            if moment >= number:
                                waiting[moment - number][1][index] = "1"
            if len(waiting) > LATE:
                at, marks = waiting.popleft()
                number += 1
                ticks.write(f"{at} {''.join(marks)}\n")


if __name__ == "__main__":
    main()
