"""The portal as the gate sees it: a child with a socket to ask through and no rights of its own."""

import os
import pickle
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from access import journal
from portal.settings import Settings
from safeip import privileges

READY, CERTIFICATE_OLD, CERTIFICATE_GOOD = b"rog"
"""What the portal tells: that it answers; that newer certificate files are not taken up; that they are."""

_PATIENCE_S = 5.0
_ENVIRONMENT = ("JOURNAL_STREAM", "LANG", "TZ")
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from safeip.child import main; sys.exit(main(sys.argv[1:]))"


class PortalProcess:
    """A started portal. `connection` is the gate's end of the wire; from `signs` come READY and the others, a byte each."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        control: socket.socket,
        account: privileges.Account,
        reader: privileges.Account | None = None,
    ) -> None:
        """Start it. The listening sockets are bound by the caller, and given by inheritance. `reader` may read at `control`."""
        self.connection, theirs = socket.socketpair()
        self.signs, signs = os.pipe()
        self._code: int | None = None
        # the tree by descriptor: it may lie in a directory that the portal's user cannot enter
        tree = os.open(Path(__file__).parents[2], os.O_PATH | os.O_DIRECTORY)
        chosen = os.memfd_create("settings")
        os.write(chosen, pickle.dumps(settings))
        theirs_only = [theirs.fileno(), signs, tree, chosen]
        numbers = [theirs.fileno(), control.fileno(), chosen, signs]
        listening = [listener.fileno() for listener in listeners]
        arguments = [*numbers, os.geteuid(), -1 if reader is None else reader.uid, *listening]
        self.pid = os.fork()
        if self.pid == 0:
            _become_portal(account, tree, [*numbers, *listening], [str(argument) for argument in arguments])
        theirs.detach()
        for number in theirs_only:
            os.close(number)

    def wait(self) -> int:
        """The exit code of a portal that has ended or is about to; killed by signal N it is 128 + N.

        One that takes longer than five seconds counts as killed, and is: by the kernel, when this process ends
        (PR_SET_PDEATHSIG). The gate itself may signal nobody.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
            elif time.monotonic() > deadline:
                self._code = 128 + signal.SIGKILL
            else:
                time.sleep(0.01)
        return self._code

    def end(self) -> None:
        """Close the wire, at which the portal ends in peace, and wait for that."""
        self.connection.close()
        self.wait()
        os.close(self.signs)


def _become_portal(account: privileges.Account, tree: int, inherited: list[int], arguments: list[str]) -> None:
    """In the child, for good."""
    try:
        os.setpgid(0, 0)  # Ctrl-C at a terminal is the gate's business, which ends the portal in its turn
        signal.set_wakeup_fd(-1)
        privileges.give_up(account)
        for number in (tree, *inherited):
            os.set_inheritable(number, True)
        python = os.path.realpath("/proc/self/exe")
        command = [python, "-IB", "-c", _START, f"/proc/self/fd/{tree}/src", *arguments]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        os.execve(python, command, environment)  # noqa: S606 (what drops the gate's memory and rights)
    except BaseException as error:  # noqa: BLE001 (nothing of the gate may run on in the child)
        journal.say(f"the portal does not start: {error}")
    os._exit(1)
