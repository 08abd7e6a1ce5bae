"""What the portal listens on, bound by the gate before it gives up the right to."""

import errno
import os
import socket
from pathlib import Path

from portal.settings import Listen
from safeip.directories import StartError
from safeip.privileges import CAP_SETGID, Account, has_capability


def listener(listen: Listen) -> socket.socket:
    """A bound socket for the portal, which starts to listen. Raises StartError."""
    bound = socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((listen.host, listen.port))
    except OSError as error:
        bound.close()
        advice = {
            errno.EADDRINUSE: "another program has this port: stop it, or let the portal listen elsewhere",
            errno.EADDRNOTAVAIL: "this host has no such address: let the portal listen elsewhere",
            errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
        }.get(error.errno or 0, error.strerror)
        raise StartError(f"cannot listen on {listen}: {advice}") from None
    return bound


def control(path: str, reader: Account | None = None) -> socket.socket:
    """The command line's door, for the gate's own user, for root and for `reader`'s group. Raises StartError.

    Who may not give it to that group keeps it closed to the reader.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    shared = reader is not None and has_capability(CAP_SETGID)
    try:
        Path(path).unlink(missing_ok=True)  # a leftover: the lock says that no other daemon lives
        mask, group = os.umask(0o117 if shared else 0o177), os.getegid()
        try:
            if reader is not None and shared:
                os.setegid(reader.gid)  # CAP_CHOWN, which would do too, is nobody's
            bound.bind(path)
        finally:
            os.setegid(group)
            os.umask(mask)
    except OSError as error:
        bound.close()
        raise StartError(f"cannot listen on {path}: {error.strerror}") from None
    return bound
