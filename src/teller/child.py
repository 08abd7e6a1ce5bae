"""A child that does one job and ends: its memory goes with it, and whatever hangs is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOOK_S = 0.2
_MOST_SAID = 1 << 20
_ENVIRONMENT = ("LANG", "TZ", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_START = "import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module(sys.argv[2]).main()"


def run(module: str, job: object, within_s: float, stopped: Callable[[], bool]) -> list[dict[str, Any]]:
    """Have `module`.main() do the job, which it reads as JSON from standard input: no argument shows a secret.

    The objects that it said by then, one a line. It and all its children are gone at the end; they are killed after
    `within_s` seconds, or once `stopped` says so.
    """
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    command = [sys.executable, "-IB", "-c", _START, str(Path(__file__).parents[1]), module]
    deadline = time.monotonic() + within_s
    given: bytes | None = json.dumps(job).encode()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as child:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    said, _ = child.communicate(given, timeout=_LOOK_S)
                    break
                if stopped() or time.monotonic() > deadline:
                    _kill(child)
                given = None
        finally:
            _kill(child)
    return list(_objects(said[:_MOST_SAID]))


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # its process group is its own, and may be there without it
        os.killpg(child.pid, signal.SIGKILL)


def _objects(said: bytes) -> list[dict[str, Any]]:
    found = []
    for line in said.splitlines():
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found
