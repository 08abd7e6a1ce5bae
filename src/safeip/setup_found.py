"""What listens on this host, as /proc tells it (proc(5)), and with whom it speaks."""

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

Protocol = Literal["tcp", "udp"]

_TABLES: tuple[tuple[str, Protocol], ...] = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
_ESTABLISHED, _UNCONNECTED, _LISTENING = 0x01, 0x07, 0x0A  # the kernel's TCP_ESTABLISHED, TCP_CLOSE, TCP_LISTEN
_SOCKET = re.compile(r"socket:\[(\d+)\]")
# names and addresses for the hosts of a network: closed, they would be of no use to anybody
_INFRASTRUCTURE = {53: "DNS", 67: "DHCP", 68: "DHCP", 546: "DHCP", 547: "DHCP", 5353: "DNS", 5355: "DNS"}
_REMOTE_SHELLS = ("sshd", "dropbear")


@dataclass(frozen=True, slots=True)
class Socket:
    """A line of /proc/net/tcp and its like. An IPv4 address is never written as an IPv6 one."""

    protocol: Protocol
    host: IPv4Address | IPv6Address
    port: int
    peer: IPv4Address | IPv6Address
    peer_port: int
    state: int
    inode: int

    @property
    def established(self) -> bool:
        """Whether it is a TCP connection that stands."""
        return self.protocol == "tcp" and self.state == _ESTABLISHED

    @property
    def listens(self) -> bool:
        """Whether it waits for whoever comes, from other hosts too."""
        waits = self.state == _LISTENING if self.protocol == "tcp" else self.state == _UNCONNECTED and self.peer_port == 0
        return waits and not self.host.is_loopback


@dataclass(frozen=True, slots=True)
class Found:
    """A port on which a program listens, over one protocol or both; `program` is empty where /proc does not tell."""

    port: int
    protocols: tuple[Protocol, ...]
    program: str

    @property
    def ports(self) -> tuple[str, ...]:
        """As the configuration writes them: "tcp/443"."""
        return tuple(f"{protocol}/{self.port}" for protocol in self.protocols)

    @property
    def why_not(self) -> str:
        """Why it should rather stay open, or nothing."""
        if "tcp" in self.protocols and self.program.startswith(_REMOTE_SHELLS):
            return "remote shell"
        if self.port in _INFRASTRUCTURE:
            return _INFRASTRUCTURE[self.port]
        if self.protocols == ("udp",) and self.port in _short_lived():
            return "perhaps a program's own question"
        return ""


def read_sockets() -> list[Socket]:
    """Every TCP and UDP socket of this network namespace."""
    found = []
    for table, protocol in _TABLES:
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            lines = Path("/proc/net", table).read_text("ascii").splitlines()
            found += [_socket(protocol, line.split()) for line in lines[1:]]
    return found


def holders(sockets: Iterable[Socket]) -> Mapping[int, list[int]]:
    """The processes that hold each of the sockets, by inode. Who is not root sees only their own."""
    wanted = {socket.inode for socket in sockets} - {0}
    found: dict[int, list[int]] = {}
    for process in sorted((path for path in Path("/proc").iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        for inode in wanted & inodes(int(process.name)):
            found.setdefault(inode, []).append(int(process.name))
    return found


def inodes(pid: int) -> set[int]:
    """The sockets that a process holds; none where it has ended or may not be looked at."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := _SOCKET.fullmatch(str(link.readlink())):
                    found.add(int(match[1]))
    return found


def program(pid: int) -> str:
    """The name of a process; empty where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    return ""


def listening(sockets: Iterable[Socket]) -> list[Found]:
    """What other hosts can speak to, by port."""
    waiting = [one for one in sockets if one.listens]
    held = holders(waiting)
    found: dict[tuple[int, str], set[Protocol]] = {}
    for one in waiting:
        found.setdefault((one.port, _name(held.get(one.inode, []))), set()).add(one.protocol)
    return [Found(port, tuple(sorted(protocols)), name) for (port, name), protocols in sorted(found.items())]


def _name(pids: list[int]) -> str:
    # systemd may have opened the socket and still hold it
    return next((name for pid in sorted(pids, key=lambda pid: pid == 1) if (name := program(pid))), "")


def _socket(protocol: Protocol, words: list[str]) -> Socket:
    host, port = _end(words[1])
    peer, peer_port = _end(words[2])
    return Socket(protocol, host, port, peer, peer_port, int(words[3], 16), int(words[9]))


def _end(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """What "0100007F:1F90" says, each 32 bits as this machine's number."""
    digits, port = text.split(":")
    octets = b"".join(int(digits[place : place + 8], 16).to_bytes(4, sys.byteorder) for place in range(0, len(digits), 8))
    if len(octets) == 4:
        return IPv4Address(octets), int(port, 16)
    host = IPv6Address(octets)
    return host.ipv4_mapped or host, int(port, 16)


def _short_lived() -> range:
    """Ports that the kernel gives to whoever asks something."""
    with contextlib.suppress(OSError, ValueError):
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
        return range(int(first), int(last) + 1)
    return range(32768, 61000)
