"""Where the Internet's bytes come in: connections with bounds, and aiohttp's own errors answered as ours.

What aiohttp cannot read it answers by itself, before any route or middleware: with its own name and Python's, the
parser's words, and a traceback in the log. It sets no bound to the number of headers, to what is sent while an
answer is made, nor to the time that somebody takes to fetch one.
"""

import asyncio
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NoReturn

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from portal.arrival import Arrivals
from portal.client_address import Peer
from portal.headers import NO_STORE
from portal.problems import where
from portal.quiet import http_logger

log = logging.getLogger(__name__)

BACKLOG = 512
KEEPALIVE_S = 30.0
FIELD = 8190  # bytes of one header
HEAD = 32 * 1024  # bytes of the request line and all headers; browsers send two or three thousand
AHEAD = 64 * 1024  # bytes that are read before what they asked for is answered
PIPELINED = 16  # requests that wait for the answer to another; browsers never let one wait
LINGER_S = 2.0  # for the rest of a body that nobody reads: whoever sends it hears why
TAKEN_WITHIN_S = 30.0
HANDSHAKE_WITHIN_S = 10.0
SHUTDOWN_WITHIN_S = 5.0
_PART = 4096
# asyncio's own buffer is 256 KiB for each TLS connection, and no record is larger than this.
SSLProtocol.max_size = 16 * 1024


class Connection(web.RequestHandler):
    """One connection of the public pages. `headers` are those that every answer carries.

    `peer` is who is at its other end, as `peer_of` tells of its socket once the connection is made.
    """

    # Of aiohttp's own names it reads _messages (requests that wait) and _current_request (the one that is
    # answered), which nothing public tells; they are the same in 3.8 and 3.11.

    def __init__(self, server: web.Server, headers: Mapping[str, str], peer_of: Callable[[TransportSocket], Peer]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            logger=http_logger(),
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            max_field_size=FIELD,
            lingering_time=LINGER_S,
            # 600 kB that come compressed would take 60 MB before their size is looked at
            auto_decompress=False,
        )
        self._peer_of = peer_of
        self.peer = Peer(None)
        self._always = headers
        self._ahead = 0
        self._body: StreamReader | None = None  # of the request that was answered last

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and keep who is there: once the connection is lost its socket tells nobody."""
        self.peer = self._peer_of(transport.get_extra_info("socket"))
        super().connection_made(transport)

    async def start(self) -> None:
        """Answer one request after the other. A target that is no URL may be noticed only here, and ends the connection."""
        try:
            await super().start()
        except ValueError:
            self._abort()

    def data_received(self, data: bytes) -> None:
        """Take what came, in parts that hold no more requests than can wait."""
        for start in range(0, len(data), _PART):
            part = data[start : start + _PART]
            self._ahead += len(part)
            try:
                super().data_received(part)
            except ValueError:  # a target that is no URL: the parser leaves that to us
                self._break_off(400)
            if len(self._messages) > PIPELINED:
                self._abort()
            elif self._ahead > HEAD and not self._busy():
                self._break_off(431)
            if self.transport is None:
                return
        if self._ahead > AHEAD:
            self.pause_reading()

    def _busy(self) -> bool:
        """Whether a request is answered, or the rest of its body let pass; else what comes is a request's head."""
        answering = bool(self._messages) or self._current_request is not None
        return answering or (self._body is not None and not self._body.is_eof())

    async def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, *more: Any) -> Any:  # noqa: ANN401 - differs between versions
        """Send an answer; who does not take it in time is cut off."""
        if isinstance(resp, web.HTTPException):  # aiohttp's own, from before the middleware: it quotes the request
            self._refuse(resp.status)
            raise ConnectionAbortedError
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                return await super().finish_response(request, resp, *more)
        except TimeoutError:
            self._abort()
            raise ConnectionAbortedError from None
        finally:
            self._ahead = 0
            self._body = request.content
            self.resume_reading()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> NoReturn:
        """Answer what is no request (nobody logs that), or what failed beyond the middleware (logged, by its place)."""
        del message
        if exc is not None and not isinstance(exc, HttpProcessingError | ConnectionError):
            log.error("a request failed: %s", where(exc))
        if request.writer.output_size > 0:
            self._abort()  # half an answer is sent
        self._refuse(status)
        raise ConnectionAbortedError  # there is nothing left to answer: aiohttp ends its part without a word

    def _refuse(self, status: int) -> None:
        """Answer and end the connection, beside aiohttp, whose answers name it and Python. A second call does nothing."""
        if self.transport is None:
            return
        reason = HTTPStatus(status).phrase
        text = f"{status} {reason}\n"
        headers = {
            **self._always,
            "Cache-Control": NO_STORE,
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(text)),
            "Date": formatdate(usegmt=True),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join([*lines, "", text]).encode("ascii"))
        self.force_close()

    def _break_off(self, status: int) -> None:
        if self._busy():
            self._abort()  # what comes first is another answer
        else:
            self._refuse(status)

    def _abort(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        self.force_close()


async def listen(
    runner: web.AppRunner, listener: socket.socket, headers: Mapping[str, str], tls: ssl.SSLContext | None, arrivals: Arrivals
) -> asyncio.Server:
    """Serve the application of `runner`, which is set up, on `listener`. Close what it gives before the runner's cleanup."""
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    # What was sent and is not acknowledged in this time, or meets a window that stays shut, ends the connection.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(TAKEN_WITHIN_S * 1000))
    arrivals.heed(listener)
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(server, headers, arrivals.peer),
        sock=listener,
        backlog=BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_WITHIN_S if tls else None,
        ssl_shutdown_timeout=SHUTDOWN_WITHIN_S if tls else None,
    )
