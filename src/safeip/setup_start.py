"""The end of setup: the installed service is started, where systemd runs it."""

import contextlib
import time
from pathlib import Path

from safeip import directories, output, service, terminal
from safeip.config import DEFAULT_CONFIG, Config
from safeip.service import Service


def offered(config: Config) -> Service | None:
    """The unit that would run this configuration; None where there is none, or a daemon that was started by hand has the state."""
    if str(Path(config.path).absolute()) != DEFAULT_CONFIG or (found := service.found()) is None:
        return None
    if not found.runs:
        with contextlib.suppress(directories.StartError):
            try:
                with directories.lock(config):
                    pass
            except directories.DaemonRuns:
                return None
    return found


def offer(found: Service, *, changed: bool) -> bool:
    """Ask whether to start it, or to start it anew where it runs by what has `changed`, and do; whether it runs as configured.

    Raises StartFailedError where it was to start and does not run. Ctrl-C is a no.
    """
    if found.runs and not changed:
        return True
    terminal.say()
    question = "SafeIP runs. Restart it now, so that it does what you answered?" if found.runs else "Start SafeIP now?"
    try:
        wanted = terminal.yes(question, default=True)
    except KeyboardInterrupt:
        terminal.say()
        wanted = False
    if not wanted:
        return False
    begin = time.time()
    try:
        runs = service.start()
    except KeyboardInterrupt:
        terminal.say("\nIt goes on starting.")
        return False
    if runs:
        terminal.say("SafeIP runs.")
        return True
    raise StartFailedError(service.said(begin))


class StartFailedError(Exception):
    """The service does not run, and what it says of that."""

    def __init__(self, said: list[str]) -> None:
        super().__init__("SafeIP does not run" + (". It says:" if said else ": systemctl status safeip says why"))
        self.lines = [str(self), *(f"  {output.clean(line)}" for line in said)]
