"""The portal's life: load, build, start, ready, run, end."""

import socket
from collections.abc import Callable, Sequence

from portal.settings import Settings


async def serve(
    settings: Settings,
    gate_socket: socket.socket,
    listeners: Sequence[socket.socket],
    control: socket.socket,
    ready: Callable[[], None],
    *,
    owner: int | None = None,
) -> int:
    """Serve the public pages on `listeners` and the API on `control` until SIGTERM, SIGINT or the gate's end.

    The sockets are bound by the caller and belong to this function from now on. `ready` is called once
    everything answers. `owner` is the uid of the gate, which may use the control socket beside root and
    the portal's own uid.

    Returns the exit code: 0 after a signal, 1 where state could not be read or the gate went away, with
    one line on standard error.
    """
    raise NotImplementedError
