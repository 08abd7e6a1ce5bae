"""Programs that the lab starts, and ends."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# how many times longer than on a quick machine everything may take; emulated ones need it
PATIENCE = float(os.environ.get("LAB_PATIENCE", "1"))


def often(times: int) -> int:
    """How many times to do again what one time alone takes seconds: `times`, or a fifth of it on a slow machine."""
    return times if PATIENCE == 1 else max(1, times // 5)


class LabError(Exception):
    """The lab could not do what it was asked to; the message says what."""


def wait_for(what: str, condition: Callable[[], bool], timeout: float = 10.0, every: float = 0.01) -> float:
    """Wait until `condition` is true; the seconds that it took. LabError naming `what` after `timeout` seconds.

    Here and elsewhere in the lab a `timeout` is for a quick machine: it is multiplied by PATIENCE.
    """
    timeout *= PATIENCE
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
    return time.monotonic() - begin


def ended(pid: int) -> bool:
    """Whether a process runs no more; one that nobody has waited for yet has ended too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between open and read
        return True
    return state == "Z"


class Process:
    """A program in a session of its own, with both outputs in `log`.

    It ends by `stop` or `kill`; if the thread that started it dies first, the kernel ends it.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end; the exit code. LabError after `timeout` seconds."""
        try:
            return self._popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"process {self.pid} still runs after {timeout * PATIENCE:g} s; its log:\n{self.tail()}") from error

    def signal(self, number: int) -> None:
        """Send a signal to the program itself, not to its children."""
        self._popen.send_signal(number)

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, then after `timeout` seconds SIGKILL; children that are left are killed too. The exit code."""
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout * PATIENCE)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to the program and every child of its session. The exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait(10 * PATIENCE)

    def tail(self, lines: int = 20) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
