"""An emulated machine: qemu with an image, its console in a file and a second serial line for whoever asks."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.debian import SetupError, qemu_tree
from e2e.image import Image

MEMORY_MIB = 1536
CPUS = 2


class MachineError(Exception):
    """The machine did not do what was expected of it in its time; the message says what."""


@dataclass(frozen=True)
class Qemu:
    """How to call qemu: this machine's own, or one out of a tree."""

    command: Sequence[str]
    environment: dict[str, str]


def qemu(image: Image) -> Qemu:
    """The qemu that runs an image's kernel well. SetupError."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise SetupError("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if image.release.qemu_from is None or int(version.split("version ")[1].split(".")[0]) >= 10:
        return Qemu((program,), {})
    root = qemu_tree(image.release.qemu_from)
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    command = (
        str(root / "lib64" / "ld-linux-x86-64.so.2"), "--library-path", str(libraries),
        str(root / "usr" / "bin" / "qemu-system-x86_64"),
        "-L", str(root / "usr" / "share" / "qemu"), "-L", str(root / "usr" / "share" / "seabios"),
    )  # fmt: skip
    return Qemu(command, {"QEMU_MODULE_DIR": str(libraries / "qemu")})


class Machine:
    """A machine that runs from its making until `wait` or `kill`.

    `disk` is the image's own unless another is given; what is written to it is lost with the machine unless
    `keep`. `archive` is the second disk, `words` are added to the kernel's command line, `rtc` is qemu's
    (`base=1970-01-01`). The console is appended to `log`. `line` becomes the second serial line: a file to
    write to, or with `talk` a Unix socket to connect to.
    """

    def __init__(
        self, image: Image, log: Path, line: Path, *, disk: Path | None = None, keep: bool = False, talk: bool = False,
        archive: Path | None = None, words: str = "", rtc: str = "base=utc",
    ) -> None:  # fmt: skip
        self.log = log
        program = qemu(image)
        self._line = line
        command = [
            *program.command, "-accel", "tcg,thread=multi",
            "-cpu", "max,la57=off",  # without 5-level paging, which costs time
            "-M", "q35", "-m", str(MEMORY_MIB), "-smp", str(CPUS), "-rtc", rtc,
            "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
            "-chardev", f"file,id=console,path={log},append=on", "-serial", "chardev:console",
            "-chardev", f"socket,id=line,path={line},server=on,wait=off" if talk else f"file,id=line,path={line}",
            "-serial", "chardev:line",
            "-kernel", str(image.path / "vmlinuz"), "-initrd", str(image.path / "initrd"),
            # no_timer_check: on a machine with more to do than it can, emulated timers come late, and a kernel gives up
            "-append", f"console=ttyS0 quiet panic=-1 no_timer_check mitigations=off {words}",
            "-drive", f"file={disk or image.path / 'disk'},format=raw,if=none,id=root,snapshot={'off' if keep else 'on'}",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
        ]  # fmt: skip
        if archive is not None:
            command += ["-drive", f"file={archive},format=raw,if=none,id=archive,readonly=on"]
            command += ["-device", "virtio-blk-pci,drive=archive"]
        self._complaints = log.with_suffix(".qemu")
        with self._complaints.open("w") as output:
            self._popen = subprocess.Popen(
                # whoever started the machine takes it along
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **program.environment},
            )  # fmt: skip

    def runs(self) -> bool:
        """Whether it has not been switched off yet."""
        return self._popen.poll() is None

    def wait(self, timeout: float, silence: float) -> None:
        """Wait until it is switched off. MachineError after `timeout` seconds, or `silence` on the console."""
        begin = heard = time.monotonic()
        size = 0
        try:
            while self.runs():
                now = time.monotonic()
                if self.log.exists() and self.log.stat().st_size != size:
                    size, heard = self.log.stat().st_size, now
                if now - begin > timeout:
                    raise MachineError(f"the machine still ran after {timeout:g} s")
                if now - heard > silence:
                    raise MachineError(f"the machine said nothing for {silence:g} s")
                time.sleep(0.2)
        finally:
            self.kill()
        if self._popen.returncode != 0:
            raise MachineError(f"qemu: {self._complaints.read_text('utf-8', 'replace').strip()}")

    def connect(self, timeout: float) -> socket.socket:
        """The second serial line, once qemu has opened it. MachineError."""
        begin = time.monotonic()
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._line))
            except (FileNotFoundError, ConnectionRefusedError) as error:
                connection.close()
                if not self.runs() or time.monotonic() - begin > timeout:
                    complaint = self._complaints.read_text("utf-8", "replace").strip()
                    raise MachineError(f"qemu: {complaint or error}") from None
                time.sleep(0.05)
            else:
                return connection

    def kill(self) -> None:
        """Pull its plug. A second call does nothing."""
        if self.runs():
            self._popen.send_signal(signal.SIGKILL)
        self._popen.wait()
