"""A portal in a thread, for tests that are no coroutines, and all that it complains about."""

import asyncio
import gc
import logging
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portal_house import House, house

from portal.quiet import unhandled

_QUIET_S = 0.05
# Ends what a spoilt request left open, and has the connection closed.
_LAST = b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: open.example.org\r\nConnection: close\r\n\r\n"
_HEAD = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)

_SECURITY = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Complaints(logging.Handler):
    """What is logged at error or above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


class Portal:
    """A running house, asked from outside its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, running: House, complaints: Complaints) -> None:
        self._loop = loop
        self.house = running
        self._complaints = complaints

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do `work` in the portal's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def send(self, data: bytes, *, control: bool = False) -> list[tuple[int, dict[str, str]]]:
        """Send bytes on a connection of their own; status and headers of every answer."""
        where = self.house.control if control else self.house.public
        with socket.socket(socket.AF_UNIX if control else socket.AF_INET) as sock:
            sock.settimeout(60)
            sock.connect(where)
            received = b""
            try:
                sock.sendall(data + _LAST)
                sock.settimeout(_QUIET_S)
                try:
                    received = self._take(sock, received)
                except TimeoutError:  # it waits for the rest of a body
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(60)
                    received = self._take(sock, received)
            except (ConnectionResetError, BrokenPipeError):
                pass  # it stopped listening to us
        return [(int(status), _headers(lines)) for status, lines in _HEAD.findall(received)]

    def _take(self, sock: socket.socket, received: bytes) -> bytes:
        self._received = received
        while data := sock.recv(65536):
            self._received += data
        return self._received

    def is_well(self) -> None:
        """Fail where anything was logged at error, or an exception was left in the loop."""
        self.call(_turns())  # what the connection's end brings about
        heard, self._complaints.heard = self._complaints.heard, []
        assert heard == []


async def _turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)
    gc.collect(0)  # an exception that no task was asked for is told when the task goes


def secure(headers: dict[str, str]) -> None:
    """Fail where an answer lacks what every answer carries."""
    for name, wanted in _SECURITY.items():
        assert wanted in headers.get(name, ""), (name, headers)
    assert "server" not in headers


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n"))
    return {name.lower(): value.strip() for name, _, value in pairs}


@contextmanager
def portal(
    directory: Path, prepare: Callable[[House], Coroutine[Any, Any, None]], **settings: Any
) -> Iterator[Portal]:
    """A portal until the block ends; `prepare` is done in it first."""
    complaints, ready, made = Complaints(), threading.Event(), []
    logging.getLogger().addHandler(complaints)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(unhandled)  # as serve() does
        over = asyncio.Event()
        async with house(directory, **settings) as running:
            await prepare(running)
            made.append((asyncio.get_running_loop(), running, over))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        while not ready.wait(0.1):
            assert thread.is_alive(), "the portal did not start"
        loop, running, over = made[0]
        try:
            yield Portal(loop, running, complaints)
        finally:
            loop.call_soon_threadsafe(over.set)
    finally:
        thread.join(20)
        logging.getLogger().removeHandler(complaints)
    assert complaints.heard == []
