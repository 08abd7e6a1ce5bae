"""A program at a terminal of its own, and somebody who reads what it shows and types answers."""

import contextlib
import os
import select
import subprocess
import termios
import threading
from collections.abc import Mapping
from typing import Self

from lab.net import Namespace
from lab.process import LabError, wait_for

_INTERRUPT = "\x03"
END = "\x04"


class Terminal:
    """Runs `command` in a namespace, at a new terminal that it is controlled by, as after a login.

    What was shown before the last `read` counts as read. It ends by `close` or by the end of `with`.
    """

    def __init__(self, namespace: Namespace, *command: str, env: Mapping[str, str] | None = None) -> None:
        self._shown = bytearray()
        self._read = 0
        self._ours, theirs = os.openpty()
        self._stop, self._stopped = os.pipe()
        try:
            termios.tcsetwinsize(theirs, (50, 200))
            with namespace.entered():
                self._popen = subprocess.Popen(
                    # as a login does: a background job of a shell ignores Ctrl-C, and so would what it starts
                    ["env", "--default-signal=INT,QUIT", "setpriv", "--pdeathsig", "KILL", "--", "setsid", "--ctty", *command],
                    stdin=theirs, stdout=theirs, stderr=theirs, env=env,
                )  # fmt: skip
        except BaseException:
            for number in (self._ours, self._stop, self._stopped):
                os.close(number)
            raise
        finally:
            os.close(theirs)
        self._thread = threading.Thread(target=self._collect, name="terminal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collect(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while self._stop not in select.select([self._ours, self._stop], [], [])[0]:
                self._shown += os.read(self._ours, 65536)

    @property
    def shown(self) -> str:
        """All that was shown so far."""
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    def read(self, text: str, timeout: float = 60.0) -> str:
        """Wait until `text` is shown; what was shown since the last read, up to its end. LabError."""
        wanted = text.encode()
        try:
            wait_for(repr(text), lambda: self._shown.find(wanted, self._read) >= 0, timeout)
        except LabError as error:
            raise LabError(f"{error}; shown since then: {self._shown[self._read :].decode('utf-8', 'replace')}") from None
        begin = self._read
        self._read = self._shown.index(wanted, begin) + len(wanted)
        return self._shown[begin : self._read].decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, text: str, *, enter: bool = True) -> None:
        """Type a line, or with `enter` off the keys alone."""
        os.write(self._ours, (text + ("\r" if enter else "")).encode())

    def interrupt(self) -> None:
        """Type Ctrl-C, and again where nothing comes of it: Python that begins to read in the same instant is not woken."""
        for _ in range(3):
            before = len(self._shown)
            self.type(_INTERRUPT, enter=False)
            with contextlib.suppress(LabError):
                wait_for("its end", lambda: self.poll() is not None or len(self._shown) > before + len("^C"), 5)  # noqa: B023 (at once)
                return

    def answer(self, question: str, text: str, timeout: float = 60.0) -> str:
        """Wait for the question and type the answer; what was shown before."""
        before = self.read(question, timeout)
        self.type(text)
        return before

    def hang_up(self) -> None:
        """Take the terminal away, as when a connection breaks off."""
        os.close(self._stopped)  # a terminal that is being read would stay
        self._thread.join(10)
        os.close(self._stop)
        os.close(self._ours)
        self._ours = -1

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the program's end; its exit code (negative: the signal that ended it). LabError."""
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"the program still runs; shown: {self.shown[-2000:]}") from None
        self._thread.join(5)
        return code

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._popen.poll()

    def close(self) -> None:
        """End it."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(10)
        if self._ours >= 0:
            self.hang_up()
