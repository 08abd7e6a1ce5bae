"""The daemon: starts as the gate, binds the portal's sockets, starts the portal without rights, serves."""

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from nft import rules
from nft.gate import Gate
from nft.serve import PortalGone, Server
from nft.sets import KernelError
from nft.wire import ProtocolError
from portal.settings import Listen
from safeip import privileges
from safeip.config import Config
from safeip.directories import StartError, lock, make_runtime_directory, make_state_directory
from safeip.portal_process import PortalProcess


def run(config: Config) -> int:
    """Run in the foreground until SIGTERM or SIGINT; the exit code. Whatever happens, the table stays."""
    try:
        with contextlib.ExitStack() as stack:
            account = privileges.portal_account()
            _require_capability()
            make_state_directory(config, account)
            make_runtime_directory(config)
            stack.enter_context(lock(config))
            gate = stack.enter_context(contextlib.closing(Gate(config.policy, config.custom, log)))
            gate.start()
            signals = stack.enter_context(_signals())
            with contextlib.ExitStack() as bound:  # the gate itself keeps no listening socket
                listeners = [bound.enter_context(_listener(listen)) for listen in config.settings.listen]
                control = bound.enter_context(_control_socket(config.control_socket))
                portal = PortalProcess(config.settings, listeners, control, account)
            server = stack.enter_context(contextlib.closing(Server(gate, portal.connection)))
            stack.callback(portal.end)
            server.when_readable(signals.fileno(), server.stop)
            return _serve(server, portal)
    except (StartError, PermissionError, KernelError) as error:
        log(str(error))
        return 1


def down(config: Config) -> int:
    """Take the table away; the exit code. Refused while a daemon runs, which would put it back."""
    try:
        _require_capability()
        with lock(config) if Path(config.state_dir).is_dir() else contextlib.nullcontext():
            rules.down(config.policy)
    except (StartError, KernelError) as error:
        log(str(error))
        return 1
    return 0


def log(line: str) -> None:
    """One line to standard error, which under systemd is the journal."""
    print(f"safeip: {line}", file=sys.stderr, flush=True)


def _serve(server: Server, portal: PortalProcess) -> int:
    def ready() -> None:
        server.forget(portal.ready)
        if os.read(portal.ready, 1):
            log("ready")
            _notify("READY=1")

    server.when_readable(portal.ready, ready)
    try:
        server.run()
    except PortalGone:
        code = portal.wait()
        if code != 1:  # with 1 it has said why
            log(f"the portal ended with status {code}")
        return 1
    except ProtocolError as error:
        log(f"the portal broke the wire's rules, so everything ends: {error}")
        return 1
    _notify("STOPPING=1")
    return 0


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it asked for it."""
    if "NOTIFY_SOCKET" in os.environ:
        from sdnotify import SystemdNotifier  # noqa: PLC0415 (nobody else needs it)

        SystemdNotifier().notify(state)


def _require_capability() -> None:
    if not privileges.has_capability(privileges.CAP_NET_ADMIN):
        raise StartError("CAP_NET_ADMIN is missing: start it as root, or with systemctl start safeip")


def _listener(listen: Listen) -> socket.socket:
    """A bound socket for the portal, which starts to listen."""
    bound = socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((listen.host, listen.port))
    except OSError as error:
        bound.close()
        advice = {
            errno.EADDRINUSE: "another program has this port: stop it, or change portal.listen",
            errno.EADDRNOTAVAIL: "this host has no such address: change portal.listen",
            errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
        }.get(error.errno or 0, error.strerror)
        raise StartError(f"cannot listen on {listen}: {advice}") from None
    return bound


def _control_socket(path: str) -> socket.socket:
    """The command line's door, for the gate's own user and for root."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(path).unlink(missing_ok=True)  # a leftover: the lock says that no other daemon lives
        mask = os.umask(0o177)
        try:
            bound.bind(path)
        finally:
            os.umask(mask)
    except OSError as error:
        bound.close()
        raise StartError(f"cannot listen on {path}: {error.strerror}") from None
    return bound


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable on SIGTERM and SIGINT."""
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(-1)
        told.close()
        tell.close()
