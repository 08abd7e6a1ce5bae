"""The portal's process, from its first line on: started by the gate with its sockets and without rights."""

import asyncio
import contextlib
import logging
import os
import pickle
import resource
import socket
from pathlib import Path

from access import journal
from portal.serve import serve
from safeip import cell_portal, privileges
from safeip.portal_process import CERTIFICATE_GOOD, CERTIFICATE_OLD, READY

_CONNECTIONS = 4096  # at 39 KiB each


def main(arguments: list[str]) -> int:
    """Run the portal on inherited descriptors: gate, control, settings, signs, the uids of gate and reader, listeners (Settings.listens)."""
    _log_as_the_gate_does()
    privileges.check_given_up()
    _allow_connections()
    _keep_descriptors()
    gate, control, settings, signs, owner, reader, *listeners = (int(argument) for argument in arguments)
    with os.fdopen(settings, "rb") as file:
        file.seek(0)
        # written by the gate into a file that has no name: nobody else had a hand in it
        chosen = pickle.load(file)  # noqa: S301

    def tell(sign: int) -> None:
        os.write(signs, bytes([sign]))

    def tell_certificate(trouble: str | None) -> None:
        tell(CERTIFICATE_GOOD if trouble is None else CERTIFICATE_OLD)

    bound = [socket.socket(fileno=number) for number in listeners]
    return asyncio.run(
        serve(
            chosen,
            socket.socket(fileno=gate),
            bound[: len(chosen.listen)],
            socket.socket(fileno=control),
            lambda: tell(READY),
            proxied=bound[len(chosen.listen) :],
            owner=owner,
            reader=None if reader < 0 else reader,
            enter_cell=lambda: cell_portal.enter(chosen),
            tell_certificate=tell_certificate,
        )
    )


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = journal.ERROR if record.levelno >= logging.ERROR else journal.WARNING
        return journal.marked(f"safeip: {super().format(record)}", level)


def _log_as_the_gate_does() -> None:
    """Warnings and errors, of the libraries too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler])


def _allow_connections() -> None:
    """Room for the sources that the kernel lets in, 200 connections each; the usual 1,024 would be five of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS if most == resource.RLIM_INFINITY else min(_CONNECTIONS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _keep_descriptors() -> None:
    """Programs that the portal starts, such as openssl, are to inherit the wire as little as anything else."""
    for number in [int(link.name) for link in Path("/proc/self/fd").iterdir()]:
        if number > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                os.set_inheritable(number, False)
