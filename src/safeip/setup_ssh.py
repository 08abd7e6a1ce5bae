"""The SSH connection through which setup is run, which must go on."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from safeip.setup_found import Socket, inodes, program

_SERVERS = ("sshd", "dropbear")


@dataclass(frozen=True, slots=True)
class Ssh:
    """Where somebody signed in from, and the port of this host to which they speak."""

    client: IPv4Address | IPv6Address
    port: int


def own_connections(sockets: Iterable[Socket], environment: Mapping[str, str] = os.environ) -> set[Ssh]:
    """The SSH connections that this program may be run through; none at a console.

    What the environment says, where such a connection stands, and what the programs that started this one hold. Where
    neither tells (sudo in a terminal multiplexer), every SSH connection that stands.
    """
    standing = [one for one in sockets if one.established]
    known = {(Ssh(one.peer, one.port), one.peer_port) for one in standing}
    said = _said(environment.get("SSH_CONNECTION", ""))
    found = {said[0]} if said in known else set()
    above = set().union(*(inodes(pid) for pid in _ancestors()))
    listened = {one.port for one in sockets if one.listens and one.protocol == "tcp"}
    found |= {Ssh(one.peer, one.port) for one in standing if one.inode in above and one.port in listened}
    return found or {Ssh(one.peer, one.port) for one in standing if one.inode in _servers()}


def _said(text: str) -> tuple[Ssh, int] | None:
    """SSH_CONNECTION of ssh(1): client's address and port, server's address and port."""
    with contextlib.suppress(ValueError):
        client, client_port, _, port = text.split()
        host = ip_address(client.partition("%")[0])
        plain = host.ipv4_mapped if isinstance(host, IPv6Address) else None
        return Ssh(plain or host, int(port)), int(client_port)
    return None


def _ancestors() -> list[int]:
    """The processes above this one, but for the first."""
    found: list[int] = []
    pid = os.getppid()
    while pid > 1:
        found.append(pid)
        try:
            # the name in parentheses may hold anything
            pid = int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return found


def _servers() -> set[int]:
    """The sockets of every SSH server."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return set().union(*(inodes(pid) for pid in pids if program(pid).startswith(_SERVERS)))
