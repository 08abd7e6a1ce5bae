"""Listeners whose connections begin with a PROXY header, before TLS: for proxies that pass on bytes, and nobody else."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address

from aiohttp import web

from portal.arrival import Arrivals
from portal.client_address import BadClientAddress, Peer
from portal.complaints import Complaints
from portal.edge import BACKLOG, HANDSHAKE_WITHIN_S, SHUTDOWN_WITHIN_S, TAKEN_WITHIN_S, Connection
from portal.proxy_protocol import BadHeader, missing, source

log = logging.getLogger(__name__)

HEADER_WITHIN_S = 3.0
WAITING = 256  # connections whose header is not there yet; who comes then is taken once one of them has left
AT_ONCE = 200  # connections of one address: what the kernel, which sees the proxy alone, lets one source have
_AGAIN_S = 1.0  # after no descriptor or memory was left, as asyncio's own servers do


class Proxied:
    """Serves the application of `runner`, which is set up, on `listener`. Close it before the runner's cleanup.

    `believed` says whether a peer may name whom it brings; everybody else is hung up on, unread. Each connection
    that is passed on has the peer that its header names, and TLS where `tls` is given.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        believed: Callable[[Peer], bool],
        arrivals: Arrivals,
    ) -> None:
        if runner.server is None:
            raise RuntimeError("the runner is not set up")
        self._server = runner.server
        self._headers = headers
        self._tls = tls
        self._believed = believed
        self._arrivals = arrivals
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(WAITING)
        self._held: Counter[bytes] = Counter()
        self._complaints = Complaints(log)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(TAKEN_WITHIN_S * 1000))
        arrivals.heed(listener)
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._tasks = {self._loop.create_task(self._accept())}

    def close(self) -> None:
        """Take nobody any more, and let go of who has not begun."""
        for task in self._tasks:
            task.cancel()
        self._listener.close()

    async def _accept(self) -> None:
        while True:
            await self._room.acquire()
            try:
                connected, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                self._room.release()
                await asyncio.sleep(0 if isinstance(error, ConnectionAbortedError) else _AGAIN_S)
                continue
            task = self._loop.create_task(self._serve(connected))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_believed(self, peer: Peer) -> bool:
        try:
            if self._believed(peer):
                return True
        except BadClientAddress:  # it has left already
            return False
        self._complaints.tell(f"{peer.host} came to portal.listen_proxy_protocol and is not in portal.trusted_proxies: hung up on")
        return False

    async def _serve(self, connected: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(connected.close)
            try:
                peer = self._arrivals.peer(connected)
                if not self._is_believed(peer):
                    return
                named = await self._named(connected, peer)
            except (BadHeader, TimeoutError, OSError) as error:
                why = error if isinstance(error, BadHeader) else "its PROXY header did not come"
                self._complaints.tell(f"{peer.host}, a trusted proxy, was hung up on: {why}")
                return
            finally:
                self._room.release()
            whose = _whose(named)
            if self._held[whose] >= AT_ONCE:
                self._complaints.tell(f"{peer.host}, a trusted proxy, brings more than {AT_ONCE} connections of one address at once")
                return
            stack.pop_all()  # from here on it is asyncio's to close
        gone = self._hold(whose)
        try:
            await self._loop.connect_accepted_socket(
                lambda: _Passed(self._server, self._headers, named, gone),
                connected,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S if self._tls else None,
                ssl_shutdown_timeout=SHUTDOWN_WITHIN_S if self._tls else None,
            )
        except OSError:  # no TLS, or not in time
            gone()

    def _hold(self, whose: bytes) -> Callable[[], None]:
        """Count one connection; what is given takes it back, once."""
        self._held[whose] += 1
        left = [whose]

        def gone() -> None:
            if left:
                self._held -= Counter(left)  # and forgets who has none
                left.clear()

        return gone

    async def _named(self, connected: socket.socket, peer: Peer) -> Peer:
        """Whom the header names, perhaps nobody; not one byte more is read. Raises BadHeader, OSError and TimeoutError."""
        header = b""
        async with asyncio.timeout(HEADER_WITHIN_S):
            while more := missing(header):
                part = await self._loop.sock_recv(connected, more)
                if not part:
                    raise BadHeader("it ended within its PROXY header")
                header += part
        # Who brings nobody in particular (LOCAL, UNKNOWN) is not a proxy whose other header counts: the bytes are a visitor's.
        return Peer(source(header), peer.outside)


class _Passed(Connection):
    """A connection that is counted until it is lost."""

    def __init__(self, server: web.Server, headers: Mapping[str, str], peer: Peer, gone: Callable[[], None]) -> None:
        super().__init__(server, headers, lambda _connected: peer)
        self._gone = gone

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room."""
        super().connection_lost(exc)
        self._gone()


def _whose(peer: Peer) -> bytes:
    """One IPv4 host, or one /64."""
    address = ip_address(peer.host or "::")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).packed[:8]
