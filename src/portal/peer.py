"""Who is at the other end of the control socket, as the kernel knows it (unix(7), SO_PEERCRED)."""

import os
import socket
import struct

from aiohttp import web

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ControlPeers:
    """Allows root, the portal's own user, and `owner`: the user that the gate runs as. `reader` may read what is marked for it."""

    def __init__(self, owner: int | None, reader: int | None = None) -> None:
        self._allowed = {0, os.getuid()} | (set() if owner is None else {owner})
        self._readers = self._allowed | (set() if reader is None else {reader})

    def allows(self, request: web.Request, *, reading: bool = False) -> bool:
        """Whether the process that connected may ask; `reading`: for what a reader may. In doubt, not."""
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is None or sock.family != socket.AF_UNIX:
            return False
        _pid, uid, _gid = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        return uid in (self._readers if reading else self._allowed)
