"""What systemd is told (sd_notify(3)), where it asked for it: ready, reloading, alive."""

import os
import signal
import time

_SEND_WITHIN_S = 1.0


class Systemd:
    """One daemon's word to systemd; without systemd nobody hears it. The socket is opened here and kept."""

    def __init__(self) -> None:
        self._notifier = None
        if "NOTIFY_SOCKET" in os.environ:
            from sdnotify import SystemdNotifier  # noqa: PLC0415 (nobody else needs it)

            self._notifier = SystemdNotifier()
            if self._notifier.socket is not None:
                self._notifier.socket.settimeout(_SEND_WITHIN_S)  # a systemd that hangs does not hang the gate

    def ready(self, status: str) -> None:
        """It serves, from now on or again; `status` is what `systemctl status` shows, one line."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends because it was asked to."""
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        """The loop goes round; see `beat`. `status` as for `ready`."""
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def _tell(self, state: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(state.encode("ascii", "replace").decode("ascii"))  # it takes no other characters


def beat() -> None:
    """Have the kernel send SIGALRM at half of what the unit's WatchdogSec allows between two signs of life, if it has one."""
    if "WATCHDOG_USEC" in os.environ and os.environ.get("WATCHDOG_PID") in (None, str(os.getpid())):
        half_s = int(os.environ["WATCHDOG_USEC"]) / 2_000_000
        signal.setitimer(signal.ITIMER_REAL, half_s, half_s)
