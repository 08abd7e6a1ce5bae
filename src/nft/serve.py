"""The gate's loop: the portal's requests, the kernel's notifications, the ends of grants. One thread, no asyncio."""

import gc
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from nft import wire
from nft.checks import Refusal
from nft.gate import Gate
from nft.ledger import Event
from nft.listing import Items
from nft.sets import KernelError
from nft.wire import Ban, Grant, List, Request, Revoke, Watch

_READ = 256 * 1024  # bytes taken from the wire at once: what they ask for shares a transaction
_LONGEST_S = 0.02  # for what they ask, before others have their turn
_UNSENT = 1 << 20  # bytes of answers that the portal has not taken, beyond which it is not read
_LISTS = 64  # lists at once


def leave_the_old() -> None:
    """Have Python look for cycles among the young alone: among 100,000 grants it takes 45 ms, in which nobody gets one."""
    gc.set_threshold(*gc.get_threshold()[:2], 1 << 30)


class PortalGone(Exception):
    """The portal has closed its end of the wire."""


class Server:
    """Serves one portal over `connection`, which is this object's from now on."""

    def __init__(self, gate: Gate, connection: socket.socket) -> None:
        self._gate = gate
        self._connection = connection
        self._reader = wire.Reader()
        self._asked: deque[Request] = deque()
        self._unsent = bytearray()
        self._lists: deque[tuple[int, Iterator[Items]]] = deque()
        self._told: list[Event] = []
        self._watched = self._stopped = False
        connection.setblocking(False)
        self._selector = selectors.DefaultSelector()
        # first what others broke: a table that is gone lets everybody in
        self._selector.register(gate, selectors.EVENT_READ, gate.repair)
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def when_readable(self, descriptor: int, action: Callable[[], None]) -> None:
        """Call `action` from the loop whenever `descriptor` has something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, action)

    def forget(self, descriptor: int) -> None:
        """Undo `when_readable`."""
        self._selector.unregister(descriptor)

    def stop(self) -> None:
        """End the loop, from one of its actions."""
        self._stopped = True

    def run(self) -> None:
        """Serve until `stop`. Raises PortalGone, wire.ProtocolError."""
        while not self._stopped:
            ready = self._selector.select(self._patience())
            if len(ready) > 1:
                ready.sort(key=lambda item: item[0].fileobj is not self._gate)
            for key, events in ready:
                if events & selectors.EVENT_READ:
                    key.data()
            self._serve()
            self._write()  # who asked need not wait for what follows
            self._gate.work()
            if self._lists and len(self._unsent) < wire.LINE:
                self._list_on()
            self._tell_on()
            if self._unsent:
                self._write()

    def tell(self, event: Event) -> None:
        """Tell the portal, once it watches, however much it has not yet taken."""
        self._told.append(event)

    def close(self) -> None:
        """Let go of the portal."""
        self._selector.close()
        self._connection.close()

    def _patience(self) -> float | None:
        """Seconds to wait at most; None: until something happens."""
        busy = (self._asked and not self._full()) or (self._lists and len(self._unsent) < wire.LINE)
        return 0 if busy else self._gate.next_s()

    def _full(self) -> bool:
        return len(self._unsent) > _UNSENT or len(self._lists) >= _LISTS

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise PortalGone
        self._asked.extend(self._reader.feed(data))

    def _serve(self) -> None:
        """What was asked, in its order; after a while others have their turn."""
        until_s = time.monotonic() + _LONGEST_S
        while self._asked and not self._full() and time.monotonic() < until_s:
            first = self._asked[0]
            if isinstance(first, List | Watch):
                self._asked.popleft()
                self._start(first)
            else:
                self._decide(until_s)

    def _decide(self, until_s: float) -> None:
        """All that goes into the kernel together."""
        together: list[Grant | Revoke | Ban] = []
        for request in self._asked:
            if isinstance(request, List | Watch):
                break
            together.append(request)
        for answer in self._gate.decide(together, until_s):
            self._asked.popleft()
            self._unsent += wire.encode(answer)

    def _start(self, request: List | Watch) -> None:
        if isinstance(request, Watch):
            self._watched = True
            self._unsent += wire.encode({"id": request.id, "ok": {}})
            return
        try:
            self._lists.append((request.id, self._gate.tell(request)))
        except Refusal as refusal:
            self._refuse(request.id, refusal.code, str(refusal))

    def _list_on(self) -> None:
        """One part of the list that has waited longest, so that a long one holds up nobody."""
        number, parts = self._lists.popleft()
        try:
            part = next(parts, None)
        except KernelError as error:
            self._refuse(number, "kernel", str(error))
            return
        if part is None:
            self._unsent += wire.encode({"id": number, "ok": {}})
        else:
            self._unsent += wire.encode({"id": number, "part": part})
            self._lists.append((number, parts))

    def _tell_on(self) -> None:
        """What the portal must hear, and what happened, as long as it takes it."""
        if not self._watched:
            return
        for event in self._told:
            self._unsent += wire.encode({"event": event})
        self._told.clear()
        for event in self._gate.events():
            if not self._full():
                self._unsent += wire.encode({"event": event})

    def _refuse(self, number: int, code: str, message: str) -> None:
        self._unsent += wire.encode({"id": number, "error": {"code": code, "message": message}})

    def _write(self) -> None:
        if self._unsent:
            try:
                sent = self._connection.send(self._unsent)
            except BlockingIOError:
                sent = 0
            except (BrokenPipeError, ConnectionResetError):
                raise PortalGone from None
            del self._unsent[:sent]
        interest = selectors.EVENT_WRITE if self._unsent or self._asked or self._full() else 0
        if not self._asked and not self._full():
            interest |= selectors.EVENT_READ
        if self._selector.get_key(self._connection).events != interest:
            self._selector.modify(self._connection, interest, self._read)
