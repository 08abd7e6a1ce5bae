"""By which interface a connection came in: from some of them no source is trusted."""

import contextlib
import errno
import fcntl
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Iterable
from typing import Any

from portal.client_address import Peer

# linux/in.h, linux/in6.h, linux/sockios.h
_IP_PKTINFO, _IP_PKTOPTIONS = 8, 9
_IPV6_2292PKTOPTIONS, _IPV6_RECVPKTINFO = 6, 49
_PKTINFO = {socket.IPPROTO_IP: 8, socket.IPPROTO_IPV6: 50}
_SIOCGIFNAME = 0x8910
_MESSAGE = struct.Struct("@Nii")  # struct cmsghdr: length, level, type
_PKTINFO4 = struct.Struct("@i4s4s")  # interface, addresses
_PKTINFO6 = struct.Struct("@16sI")  # address, interface
_REQUEST = struct.Struct("@16si20x")  # struct ifreq: name, index


class Arrivals:
    """Tells the other end of TCP connections to listeners that were `heeded`.

    `wan` are the names of interfaces from which no source is trusted; one that ends with `*` stands for all that begin so. The
    kernel keeps by which interface a connection was made, and tells it of both families (ip(7), IP_PKTOPTIONS, tried on Linux
    6.1 to 6.18). What it does not tell, as of an interface that went at this moment, counts as outside.
    """

    def __init__(self, wan: Iterable[str] = ()) -> None:
        self._names = frozenset(name for name in wan if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in wan if name.endswith("*"))
        self._all = bool(self._names or self._beginnings)

    def heed(self, listener: socket.socket) -> None:
        """Have the kernel tell of connections to `listener`, which need not listen yet."""
        if self._all and listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        elif self._all:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def peer(self, connected: socket.socket | TransportSocket) -> Peer:
        """Who is at the other end; nobody where they have left already."""
        try:
            host = connected.getpeername()[0]
            # this host's own are told with the interface of the address that they go to, and come by none
            within = host == connected.getsockname()[0]
        except OSError:
            return Peer(None)
        return Peer(host, self._all and not within and self._is_outside(connected))

    def _is_outside(self, connected: socket.socket | TransportSocket) -> bool:
        try:
            name = _interface(connected)
        except (OSError, struct.error):
            return True
        return name != "lo" and (name in self._names or name.startswith(self._beginnings))


def _interface(connected: socket.socket | TransportSocket) -> str:
    """The name, as it is now. Raises OSError and struct.error where the kernel does not tell."""
    if connected.family == socket.AF_INET6:
        index = _told(connected, socket.IPPROTO_IPV6, _IPV6_2292PKTOPTIONS, _PKTINFO6)[1]
        with contextlib.suppress(OSError):  # else it keeps a copy of each packet's head
            connected.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 0)
    else:
        index = _told(connected, socket.IPPROTO_IP, _IP_PKTOPTIONS, _PKTINFO4)[0]
    request = _REQUEST.pack(b"", index)
    name: bytes = _REQUEST.unpack(fcntl.ioctl(connected.fileno(), _SIOCGIFNAME, request))[0]
    return name.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _told(connected: socket.socket | TransportSocket, level: int, option: int, layout: struct.Struct) -> tuple[Any, ...]:
    told = connected.getsockopt(level, option, 256)
    if _MESSAGE.unpack_from(told)[1:] != (level, _PKTINFO[level]):
        raise OSError(errno.ENOMSG, "the kernel tells something else")
    return layout.unpack_from(told, _MESSAGE.size)
