"""A container: layers of files that stay as they are, what it writes above them, and systemd booted in a lab's namespace."""

import itertools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from lab.net import Namespace
from lab.process import PATIENCE, LabError, Process, ended, wait_for
from lab.terminal import Terminal

BOOT_S = 120.0
_GROUP = "safeip-e2e-"
_numbers = itertools.count(1)
_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=linux",
)  # fmt: skip

# A mount namespace of its own, so that nothing stays mounted however this ends. cgroup v2 alone, whatever the host has, in
# a group of its own: systemd does not start in another's. systemd-nspawn cleans up in /run/systemd/nspawn only where
# that is a tmpfs.
_BOOT = """
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$GROUP"
echo 0 >"/sys/fs/cgroup/$GROUP/cgroup.procs"
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=$UPPER,workdir=$WORK" "$ROOT"
exec systemd-nspawn "$@"
"""
_REMOVE_GROUPS = """
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for group in /sys/fs/cgroup/"$PREFIX"*; do
    name=${group##*/} maker=${group#*"$PREFIX"} maker=${maker%%-*}
    if [ "$name" = "$GROUP" ] || { [ -d "$group" ] && [ ! -d "/proc/$maker" ]; }; then
        find "$group" -depth -type d -exec rmdir {} +
    fi
done
"""


class Container:
    """It ends with `close`, with the `with` block, or when this program dies. Commands in it are root's.

    `layers`: the first lies above the second. What is written stays from boot to boot, in `directory`, until `close`.
    """

    def __init__(self, layers: Sequence[Path], directory: Path, network: Namespace, hostname: str = "gateway") -> None:
        self.layers = tuple(layers)
        self.network = network
        self._hostname = hostname
        self._files = tempfile.TemporaryDirectory(prefix="container-", dir=directory)
        top = Path(self._files.name)
        self.upper, self._work, self._root = (top / name for name in ("upper", "work", "root"))
        for path in (self.upper, self._work, self._root):
            path.mkdir(mode=0o755)
        self.log = directory / f"{top.name}.console"
        self._group = f"{_GROUP}{os.getpid()}-{next(_numbers)}"
        self._process: Process | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def boot(self, wait: bool = True) -> float:
        """Switch it on; the seconds until systemd says that all is up, which may be `degraded`. LabError.

        Without `wait` it returns as soon as there is a process 1 to ask.
        """
        if self._process is not None:
            raise LabError("the container runs")
        begin = time.monotonic()
        environment = {
            **os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "GROUP": self._group,
            "LAYERS": ":".join(map(str, self.layers)), "UPPER": str(self.upper), "WORK": str(self._work), "ROOT": str(self._root),
        }  # fmt: skip
        self._process = Process(
            [
                # a namespace for its processes too: they end with its first one, and that one with this program
                "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-euc", _BOOT, "boot",
                "--quiet", "--boot", f"--directory={self._root}", f"--machine={self._group}", f"--hostname={self._hostname}",
                "--register=no", "--keep-unit", "--console=read-only", "--resolv-conf=off", "--timezone=off",
                "--link-journal=no", "--suppress-sync=yes", "--capability=CAP_NET_ADMIN",
                # which Debian 12's systemd-nspawn denies, and both processes shut themselves in with
                "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
                f"--network-namespace-path={self.network.path}",
            ],
            self.log, environment,
        )  # fmt: skip
        wait_for("process 1 of the container", self._began, BOOT_S)
        if wait:
            wait_for("the container's boot", self._is_up, BOOT_S, 0.05)
        return time.monotonic() - begin

    @property
    def is_on(self) -> bool:
        """Whether it was booted and not switched off since."""
        return self._process is not None

    def _began(self) -> bool:
        self._alive()
        for pid in _descendants(self._running().pid, 2):
            try:
                name = Path(f"/proc/{pid}/comm").read_text("ascii").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if name == "systemd":
                self._leader = pid
                return True
        return False

    def _is_up(self) -> bool:
        self._alive()
        said = self.run("systemctl", "is-system-running", "--wait", check=False, timeout=BOOT_S).stdout.strip()
        return said in {"running", "degraded"}

    def _alive(self) -> None:
        if (code := self._running().poll()) is not None:
            raise LabError(f"systemd-nspawn ended with {code}: {self._running().tail()}")

    def _running(self) -> Process:
        if self._process is None:
            raise LabError("the container is off")
        return self._process

    def command(self, *words: str) -> list[str]:
        """What the host runs so that `words` run in the container."""
        self._alive()
        # its root by name: where the host itself is a chroot, that of the mount namespace is another
        return ["nsenter", f"--target={self._leader}", "--all", "--root", "--", "env", "-i", "--chdir=/root", *_ENVIRONMENT, *words]

    def run(
        self, *words: str, input: str | None = None, check: bool = True, timeout: float = 60.0  # noqa: A002 (subprocess' name)
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. With `check`, another exit code than 0 is a LabError."""
        try:
            done = subprocess.run(
                self.command(*words), input=input, capture_output=True, text=True, check=False, timeout=timeout * PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(words)}: still running after {timeout * PATIENCE:g} s") from None
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done

    def shell(self, words: str, *, check: bool = True, timeout: float = 60.0) -> str:
        """Words for root's shell; what they print, on either output."""
        return self.run("bash", "-c", f"exec 2>&1; {words}", check=check, timeout=timeout).stdout

    def terminal(self, *words: str) -> Terminal:
        """Run a program at a terminal of its own."""
        return Terminal(self.network, *self.command(*words))

    def path(self, name: str) -> Path:
        """A file of the running container, as the host sees it; no link may lead there."""
        self._alive()
        return Path(f"/proc/{self._leader}/root", name.lstrip("/"))

    def host_pid(self, pid: int) -> int:
        """What the host calls a process of the container."""
        self._alive()
        for other in (self._leader, *_descendants(self._leader, 100)):
            try:
                status = Path(f"/proc/{other}/status").read_text("utf-8")
            except (FileNotFoundError, ProcessLookupError):
                continue
            found = re.search(r"(?m)^NSpid:.*\t(\d+)$", status)
            if found and int(found[1]) == pid:
                return other
        raise LabError(f"no process {pid} in the container")

    # off

    def power_off(self, verb: str = "poweroff", timeout: float = 120.0) -> None:
        """`systemctl poweroff` or `systemctl reboot`, and wait for the end: nothing boots again by itself. LabError."""
        process = self._running()
        self.run("systemctl", "--no-block", verb, check=False)
        wait_for(f"the end of {verb}", lambda: process.poll() is not None, timeout)
        self._off()

    def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            wait_for("the end of process 1", lambda: self._leader == 0 or ended(self._leader), 30)
            self._off()

    def _off(self) -> None:
        self._process, self._leader = None, 0
        subprocess.run(
            ["unshare", "--mount", "sh", "-euc", _REMOVE_GROUPS], env={**os.environ, "GROUP": self._group, "PREFIX": _GROUP},
            check=False, capture_output=True, timeout=30 * PATIENCE,
        )  # fmt: skip

    def close(self) -> None:
        """Pull the plug, remove what it wrote. A second call does nothing."""
        self.kill()
        self._files.cleanup()


def _descendants(pid: int, depth: int) -> list[int]:
    """Processes below one, nearest first."""
    found: list[int] = []
    level = [pid]
    for _ in range(depth):
        below: list[int] = []
        for one in level:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                try:
                    below += map(int, children.read_text("ascii").split())
                except (FileNotFoundError, ProcessLookupError):
                    continue
        if not below:
            break
        found += below
        level = below
    return found
