"""Network namespaces and the wires between them."""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from lab.process import PATIENCE, LabError, Process

P = ParamSpec("P")
T = TypeVar("T")

RUN_NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns came with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)
_counter = itertools.count(1)
_swept: set[str] = set()
_sweeping = threading.Lock()


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ip(*lines: str, namespace: str | None = None) -> None:
    """Run lines of `ip` in one process, all of them in `namespace` where given. LabError at the first that fails."""
    command = ["ip", *(("-n", namespace) if namespace else ()), "-batch", "-"]
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False, timeout=30 * PATIENCE
    )
    if done.returncode != 0:
        raise LabError(f"ip: {done.stderr.strip()}")


class Namespace:
    """A network namespace with `lo` up, deleted with everything that runs in it by `close` or by the end of `with`.

    Its name is prefix, maker's process id, a counter and the label, so that two runs never meet. What a run left
    behind because it was killed is removed when the next one begins.
    """

    def __init__(self, label: str = "ns", prefix: str = "sipl") -> None:
        _sweep_once(prefix)
        self.name = f"{prefix}{os.getpid()}-{next(_counter)}-{label}"
        self.path = RUN_NETNS / self.name
        self._processes: list[Process] = []
        try:
            ip(f"netns add {self.name}")
            ip("link set lo up", namespace=self.name)
        except BaseException:
            _delete(self.name)
            raise
        # a link-local address that is still being checked for duplicates loses the first second of IPv6
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace for a `with` block.

        Sockets opened and programs started inside stay in the namespace, threads started inside too. Other
        threads are not touched.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args, **kwargs)` in the calling thread, inside the namespace."""
        with self.entered():
            return function(*args, **kwargs)

    def connect(self, host: str, port: int, timeout: float = 5.0) -> socket.socket:
        """A TCP connection that leaves from the namespace; `host` is an address. OSError.

        `timeout` in seconds is meant: PATIENCE does not change it, since the kernel sends a lost SYN again after 1 s.
        """
        with self.entered():
            return socket.create_connection((host, port), timeout)

    def run(
        self, *command: str, input: str | None = None, check: bool = True, timeout: float = 30.0  # noqa: A002 (subprocess' name)
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace to its end. With `check`, another exit code than 0 is a LabError."""
        with self.entered():
            done = subprocess.run(
                command, input=input, capture_output=True, text=True, check=False,
                timeout=timeout * PATIENCE,
            )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def start(self, *command: str, log: Path, env: Mapping[str, str] | None = None) -> Process:
        """Start a program in the namespace. It ends with the namespace at the latest."""
        with self.entered():
            process = Process(command, log, env)
        self._processes.append(process)
        return process

    def sysctl(self, name: str, value: int) -> None:
        """Set a `net.` variable of the namespace, as in `net.ipv4.ip_forward`."""
        with self.entered():
            Path("/proc/sys", *name.split(".")).write_text(str(value), encoding="ascii")

    def configure(self, *lines: str) -> None:
        """Lines of `ip`, such as `addr add 192.0.2.1/24 dev wan`, run in the namespace in one process."""
        ip(*lines, namespace=self.name)

    def pids(self) -> list[int]:
        """The processes that are in the namespace, this one never among them."""
        return _pids(self.name)

    def close(self) -> None:
        """End what runs in the namespace and delete it. A second call does nothing."""
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        _delete(self.name)


def veth(
    left: Namespace, left_name: str, left_addresses: tuple[str, ...], *, right: Namespace, right_name: str,
    right_addresses: tuple[str, ...],
) -> None:
    """A wire between two namespaces, up on both sides, with addresses such as `192.0.2.1/24`, `2001:db8::1/64`."""
    left.configure(f"link add {left_name} type veth peer name {right_name} netns {right.name}")
    for end, name, addresses in ((left, left_name, left_addresses), (right, right_name, right_addresses)):
        end.configure(
            f"link set {name} up",
            *(f"addr add {address} dev {name}{' nodad' if ':' in address else ''}" for address in addresses),
        )


def sweep(prefix: str = "sipl") -> list[str]:
    """Delete the namespaces of that prefix whose maker is dead; their names."""
    swept = []
    for path in sorted(RUN_NETNS.glob(f"{prefix}*")):
        found = re.fullmatch(rf"{re.escape(prefix)}(\d+)-\d+-.*", path.name)
        if found and not Path("/proc", found[1]).exists():
            _delete(path.name)
            swept.append(path.name)
    return swept


def _sweep_once(prefix: str) -> None:
    with _sweeping:
        if prefix not in _swept:
            _swept.add(prefix)
            sweep(prefix)


def _pids(name: str) -> list[int]:
    done = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False, timeout=30 * PATIENCE
    )
    return [int(pid) for pid in done.stdout.split() if int(pid) != os.getpid()]


def _delete(name: str) -> None:
    if not (RUN_NETNS / name).exists():
        return
    for pid in _pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ip(f"netns delete {name}")
