"""A gateway with systemd in an emulated machine, its disk kept from boot to boot, and a root shell in it."""

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from e2e.image import Image
from e2e.machine import Machine, MachineError

BOOT_S = 300  # some 30 s on a machine with nothing else to do
STRANGERS = ("203.0.113.66", "2001:db8:66::66", "192.0.2.20")  # the last had a grant, which was revoked
VISITORS = ("192.0.2.10", "2001:db8:1::10")


@dataclass(frozen=True)
class Run:
    """Packets of one source, sent one after the other, that fared alike; `at` is the first one's time."""

    mark: str  # "1" accepted, "0" dropped, "-" without a network
    at: int  # milliseconds of the machine's monotonic clock
    count: int


@dataclass(frozen=True)
class Seen:
    """What became of everybody's packets. Times are milliseconds of the machine's monotonic clock."""

    now: int
    network: bool  # whether there is one
    runs: Mapping[str, tuple[Run, ...]]

    def accepted(self, *sources: str) -> int:
        """How many packets of these sources reached the service."""
        return sum(run.count for source in sources for run in self.runs[source] if run.mark == "1")

    def dropped(self, *sources: str) -> int:
        """How many packets of these sources did not, once there was a network."""
        return sum(run.count for source in sources for run in self.runs[source] if run.mark == "0")

    def wrong_ms(self) -> int:
        """From the first packet that fared as it must not to the end of the last one, milliseconds; 0 without one."""
        wrong = []
        for source, mark in [*((one, "1") for one in STRANGERS), *((one, "0") for one in VISITORS)]:
            runs = self.runs[source]
            ends = [run.at for run in runs[1:]] + [self.now]
            wrong += [(run.at, end) for run, end in zip(runs, ends, strict=True) if run.mark == mark]
        return max(end for _, end in wrong) - min(at for at, _ in wrong) if wrong else 0

    def well(self) -> bool:
        """Whether all were treated as they should, and there were packets of everybody."""
        return all(
            runs and {run.mark for run in runs} == {"1" if source in VISITORS else "0"}
            for source, runs in self.runs.items()
        )


class Gateway:
    """A disk with SafeIP installed on it, and the machine that runs from it after `boot`."""

    def __init__(self, image: Image, directory: Path, archive: Path, log: Path) -> None:
        self._image, self._directory, self._log = image, directory, log
        self._disk = directory / "disk"
        self._numbers = itertools.count(1)
        self._machine: Machine | None = None
        log.unlink(missing_ok=True)
        subprocess.run(["cp", "--sparse=always", str(image.path / "disk"), str(self._disk)], check=True)
        installer = Machine(
            image, log, directory / "install.line", disk=self._disk, keep=True, archive=archive, words="e2e=boot"
        )
        installer.wait(BOOT_S, BOOT_S)

    def boot(self, ahead_s: float | None = 0) -> None:
        """Switch it on. Its clock is so far ahead of the truth, or at 1970 where that is None. MachineError."""
        if ahead_s is None:
            rtc = "base=1970-01-01"
        else:
            rtc = f"base={datetime.fromtimestamp(time.time() + ahead_s, UTC):%Y-%m-%dT%H:%M:%S}"
        line = self._directory / "line"
        line.unlink(missing_ok=True)
        self._machine = Machine(self._image, self._log, line, disk=self._disk, keep=True, talk=True, rtc=rtc)
        self._connection = self._machine.connect(BOOT_S)
        self._connection.settimeout(1)
        self._held = b""
        begin = time.monotonic()
        while True:  # what is sent before somebody listens may be lost
            try:
                self._ask({"since": 1 << 62, "life": "now"}, 2)
            except TimeoutError:
                if time.monotonic() - begin > BOOT_S:
                    raise MachineError(f"nobody answers in the machine after {BOOT_S} s") from None
            else:
                return

    def reboot(self, ahead_s: float | None = 0) -> None:
        """`systemctl reboot`, and wait for the machine's next life."""
        self.run("systemctl --no-block reboot")
        if self._machine is not None:
            self._machine.wait(BOOT_S, BOOT_S)
        self.kill()
        self.boot(ahead_s)

    def cut_power(self, ahead_s: float | None = 0) -> None:
        """Pull the plug and put it in again."""
        self.kill()
        self.boot(ahead_s)

    def kill(self) -> None:
        """Pull the plug."""
        if self._machine is not None:
            self._machine.kill()
            self._connection.close()

    def run(self, command: str, *, timeout: float = 120, check: bool = True) -> str:
        """Words for root's shell; what they print. With `check` another exit code than 0 is a MachineError."""
        answer = self._ask({"run": command, "timeout": timeout}, timeout + 60)
        if check and answer["code"] != 0:
            raise MachineError(f"{command}: exit {answer['code']}: {answer['out'].strip()}")
        return str(answer["out"])

    def seen(self, since: int = 0, life: str = "now") -> Seen:
        """What became of everybody's packets since a moment of this boot (`now`) or of the one before (`last`)."""
        answer = self._ask({"since": since, "life": life}, 120)
        runs = {source: tuple(Run(*run) for run in found) for source, found in answer["runs"].items()}
        return Seen(answer["now"], answer["network"], runs)

    def now(self) -> int:
        """The machine's monotonic clock, in milliseconds."""
        return int(self._ask({"since": 1 << 62, "life": "now"}, 120)["now"])

    def wait_for(self, what: str, condition: Callable[[], bool], timeout: float = 180) -> None:
        """MachineError after `timeout` seconds."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > timeout:
                raise MachineError(f"{what}: not within {timeout:g} s")
            time.sleep(0.5)

    def _ask(self, request: dict[str, object], timeout: float) -> dict[str, Any]:
        """Send a request and wait for its answer. TimeoutError, MachineError."""
        number = next(self._numbers)
        asked = b"\n" + json.dumps({"id": number, **request}).encode() + b"\n"
        begin = time.monotonic()
        self._connection.sendall(asked)
        while time.monotonic() - begin < timeout:
            try:
                got = self._connection.recv(65536)
            except TimeoutError:
                continue
            if not got:
                raise MachineError("the machine went off")
            *lines, self._held = (self._held + got).split(b"\n")
            for line in lines:
                if line.startswith(b'{"id": %d,' % number) and (answer := json.loads(line)).keys() & {"code", "now"}:
                    return dict(answer)
        raise TimeoutError(f"no answer within {timeout:g} s to {request}")
