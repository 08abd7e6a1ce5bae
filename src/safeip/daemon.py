"""The daemon: starts as the gate, binds the portal's sockets, starts the portal without rights, serves."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from access import journal
from access.files import NotSaved
from nft import rules
from nft.gate import Gate
from nft.record import RecordError
from nft.serve import PortalGone, Server, leave_the_old
from nft.sets import KernelError
from nft.wire import ProtocolError
from safeip import cell_gate, privileges, sockets, started
from safeip.closed import Closed
from safeip.config import Config
from safeip.directories import StartError, lock, make_runtime_directory, make_state_directory
from safeip.portal_process import CERTIFICATE_GOOD, CERTIFICATE_OLD, READY, PortalProcess
from safeip.reload import Reload
from safeip.systemd import Systemd, beat
from safeip.warnings import warnings

_FOR_GOOD = (os.EX_DATAERR, os.EX_CONFIG)  # how a portal ends that does not start until somebody mends something


def run(config: Config) -> int:
    """Run in the foreground until SIGTERM or SIGINT; the exit code. Whatever happens, the table stays.

    EX_DATAERR and EX_CONFIG (65, 78; sysexits.h, systemd.exec(5)) where state or certificate files will not do until
    somebody mends them: trying again would fill the log. 1 for everything else that goes wrong.
    """
    try:
        with contextlib.ExitStack() as stack:
            account = privileges.portal_account()
            _require_capability()
            make_state_directory(config, privileges.own_account(), account)
            make_runtime_directory(config)
            stack.enter_context(lock(config))
            signals = stack.enter_context(_signals())
            systemd = Systemd()
            record = Path(config.gate_dir, "grants.jsonl")
            over = partial(journal.say, level=journal.WARNING)
            gate = stack.enter_context(contextlib.closing(Gate(config.policy, config.custom, journal.say, over, record)))
            gate.start()
            closed = Closed(config.gate_dir)
            _write(closed, config)
            started.write(config)
            told = warnings(config)
            for warning in told:
                journal.say(f"warning: {warning}", journal.WARNING)
            with contextlib.ExitStack() as bound:  # the gate itself keeps no listening socket
                listeners = [bound.enter_context(sockets.listener(listen)) for listen in config.settings.listens]
                reader = privileges.reader_account()
                control = bound.enter_context(sockets.control(config.control_socket, reader))
                portal = PortalProcess(replace(config.settings, warnings=told), listeners, control, account, reader)
            server = stack.enter_context(contextlib.closing(Server(gate, portal.connection)))
            stack.callback(portal.end)
            reload = stack.enter_context(contextlib.closing(Reload(config, gate, server, closed, systemd)))
            beat()
            leave_the_old()
            cell_gate.enter(config, account, journal.say)
            return _serve(server, portal, signals, reload, systemd)
    except (StartError, PermissionError, KernelError, RecordError) as error:
        journal.say(str(error))
        return os.EX_DATAERR if isinstance(error, RecordError) else 1


def down(config: Config) -> int:
    """Take away the table, and closed.nft, which would bring it back at boot; the exit code.

    Refused while a daemon runs, which would put them back.
    """
    try:
        _require_capability()
        with lock(config) if Path(config.gate_dir).is_dir() else contextlib.nullcontext():
            rules.down(config.policy)
            Closed(config.gate_dir).remove()
    except (StartError, KernelError, NotSaved) as error:
        journal.say(str(error))
        return 1
    return 0


def _serve(server: Server, portal: PortalProcess, signals: socket.socket, reload: Reload, systemd: Systemd) -> int:
    def told() -> None:
        if signs := os.read(portal.signs, 4096):
            _heed(signs, reload)
        else:
            server.forget(portal.signs)

    def heard() -> None:
        numbers = set(signals.recv(4096))
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            server.stop()
        if signal.SIGHUP in numbers:
            reload.ask()
        if signal.SIGALRM in numbers:
            systemd.alive(reload.status())

    server.when_readable(portal.signs, told)
    server.when_readable(signals.fileno(), heard)
    server.when_readable(reload.fileno(), reload.go_on)
    try:
        server.run()
    except PortalGone:
        return _end_of(portal, reload)
    except ProtocolError as error:
        journal.say(f"the portal broke the wire's rules, so everything ends: {error}")
        return 1
    systemd.stopping()
    return 0


def _heed(signs: bytes, reload: Reload) -> None:
    for sign in signs:
        if sign == READY and not reload.is_open:
            journal.say("ready", journal.INFO)
            reload.open()
        elif sign in {CERTIFICATE_OLD, CERTIFICATE_GOOD}:
            reload.certificate_is_old = sign == CERTIFICATE_OLD


def _end_of(portal: PortalProcess, reload: Reload) -> int:
    """The exit code that the portal's end comes to."""
    code = portal.wait()
    if code in _FOR_GOOD and not reload.is_open:
        return code
    if code != 1:  # with these it has said why
        journal.say(f"the portal ended with status {code}")
    return 1


def _write(closed: Closed, config: Config) -> None:
    """After the kernel has taken the rules. With the disk full the old file closes what it closed before."""
    try:
        closed.write(config.policy)
    except NotSaved as error:
        journal.say(f"{error}; at the next boot it may close less than {config.path} says, until the daemon runs")


def _require_capability() -> None:
    if not privileges.has_capability(privileges.CAP_NET_ADMIN):
        raise StartError("CAP_NET_ADMIN is missing: run it as root (sudo safeip …); the service is started by systemctl start safeip")


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket with a byte for each signal that the daemon hears, which is its number."""
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)  # nft's calls do not try again what was interrupted
    try:
        yield told
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # Python forgets its handlers as it ends: one beat more would kill it then
        signal.set_wakeup_fd(-1)
        told.close()
        tell.close()
