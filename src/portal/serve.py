"""The portal's life: load, build, start, ready, run, end."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from access import journal
from access.files import InUse, NotSaved, StateError
from access.gate import GateUnavailable
from access.services import Services
from access.start import start
from portal import edge
from portal.app import control_app, every_answer, public_door
from portal.arrival import Arrivals
from portal.catalogue import BadCatalogue
from portal.events import EventKeeper
from portal.gate import EventListener, GateClient
from portal.idle import Idle
from portal.live import Live
from portal.pages import Pages
from portal.peer import ControlPeers
from portal.proxied import Proxied
from portal.quiet import http_logger, unhandled
from portal.settings import Settings
from portal.site import Site, is_secure, make_site
from portal.tls import FilesError, TlsError, server_certificate

_END_WITHIN_S = 5.0
# Not resolved: the tree may be seen through a descriptor (/proc/self/fd/N) whose real path is closed to us.
_ROOT = Path(__file__).parents[2]

_START_ERRORS = (StateError, NotSaved, TlsError, BadCatalogue, jinja2.TemplateError, GateUnavailable, OSError)


async def serve(
    settings: Settings,
    gate_socket: socket.socket,
    listeners: Sequence[socket.socket],
    control: socket.socket,
    ready: Callable[[], None],
    *,
    proxied: Sequence[socket.socket] = (),
    owner: int | None = None,
    reader: int | None = None,
    enter_cell: Callable[[], None] | None = None,
    tell_certificate: Callable[[str | None], None] | None = None,
) -> int:
    """Serve the public pages on `listeners`, and to proxies on `proxied` (portal.proxied), and the API on `control` until SIGTERM, SIGINT or the gate's end.

    The sockets are bound by the caller and belong to this function from now on. `ready` is called once
    everything answers. `owner` is the uid of the gate, which may use the control socket beside root and
    the portal's own uid, and `reader` that of who may read there. `enter_cell` is called once no program needs to be run
    any more, before anything is
    heard from outside and before the first thread. `tell_certificate` hears why newer certificate files are not taken
    up, and None once they are.

    Returns the exit code: 0 after a signal, and after the gate has closed the wire, by which it ends the portal;
    with one line on standard error EX_CONFIG (78) and EX_DATAERR (65) of sysexits.h where certificate files or state
    will not do until somebody mends them, and 1 where something else at start could not be taken, where what was left
    could not be written, or where the gate talked garbage.
    """
    asyncio.get_running_loop().set_exception_handler(unhandled)
    stop = _stop_signals()
    try:
        async with contextlib.AsyncExitStack() as stack:
            gate = await GateClient.connect(gate_socket)
            stack.callback(gate.close)
            services = Services(settings.services)
            warnings = list(settings.warnings)
            settings = replace(settings, services=services, warnings=warnings)
            access = start(settings.state_dir, services, gate, settings.limits)
            stack.push_async_callback(access.close)
            pages = Pages(_ROOT, secure=is_secure(settings))
            certificate = server_certificate(settings, tell_certificate)
            site = make_site(settings, access, gate, pages, certificate=certificate)
            if enter_cell is not None:
                enter_cell()
            await gate.watch(_listener(EventKeeper(access.history), Live(services, site.clients, warnings)))
            await stack.enter_async_context(_listening(site, certificate.context if certificate else None, listeners, proxied, control, ControlPeers(owner, reader)))
            ready()
            gate.closed.add_done_callback(lambda closed: _end(stop, closed.result()))
            if wrong := await stop:
                return _fail(f"{wrong}: the portal ends")
    except _START_ERRORS as error:
        return _fail(str(error), _code(error))
    return 0


def _code(error: Exception) -> int:
    if isinstance(error, FilesError):
        return os.EX_CONFIG
    return os.EX_DATAERR if isinstance(error, StateError) and not isinstance(error, InUse) else 1


def _listener(keeper: EventKeeper, live: Live) -> EventListener:
    def hear(event: dict[str, Any]) -> None:
        (live.take if event["event"] == "services" else keeper)(event)

    return hear


def _stop_signals() -> asyncio.Future[str]:
    """Done, with an empty text, once a signal asks the portal to end."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, stop, "")
    return stop


def _end(stop: asyncio.Future[str], why: str) -> None:
    if not stop.done():
        stop.set_result(why)


@contextlib.asynccontextmanager
async def _listening(
    site: Site,
    tls: ssl.SSLContext | None,
    listeners: Sequence[socket.socket],
    proxied: Sequence[socket.socket],
    control: socket.socket,
    peers: ControlPeers,
) -> AsyncIterator[None]:
    """Both applications, answering; on the way out they finish what they answer, within _END_WITHIN_S."""
    public = web.AppRunner(public_door(site).app)
    private = web.AppRunner(
        control_app(site, peers), access_log=None, logger=http_logger(), auto_decompress=False
    )
    runners = (public, private)
    doors: list[asyncio.Server | Proxied] = []
    arrivals = Arrivals(site.settings.wan)
    idle = Idle(public, time.monotonic)
    watching = [asyncio.create_task(idle.watch()), asyncio.create_task(site.access.knocks.watch())]
    try:
        for runner in runners:
            await runner.setup()
        doors += [await edge.listen(public, listener, every_answer(site), tls, arrivals) for listener in listeners]
        doors += [Proxied(public, listener, every_answer(site), tls, site.clients.is_proxy, arrivals) for listener in proxied]
        await web.SockSite(private, control, backlog=edge.BACKLOG).start()
        yield
    finally:
        for task in watching:
            task.cancel()
        for door in doors:
            door.close()
        # aiohttp's own limit is 60 s, and is set in another place in each version.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_WITHIN_S):
                await asyncio.gather(*(runner.cleanup() for runner in runners))


def _fail(message: str, code: int = 1) -> int:
    journal.say(message)
    return code
