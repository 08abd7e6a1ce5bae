"""One file that grows, and the thread that writes it: nobody else waits for the disk."""

import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GROUP = 1 << 20  # bytes of one write


@dataclass(frozen=True, slots=True)
class Append:
    """Append lines to the file. With `taken` it must not stay without them."""

    data: bytes
    taken: bool


@dataclass(frozen=True, slots=True)
class Over:
    """Write the first line over. A file that keeps the old one tells too early a time: then it must go."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a whole new file with its first line."""

    data: bytes


@dataclass(frozen=True, slots=True)
class More:
    """Lines of the whole new file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """The whole new file, with this first line, takes the place of the old. If it cannot, with `must` that one goes."""

    data: bytes
    must: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Forget what waits; the file must go, and the new one that was begun."""

    why: str
    data: bytes = b""


Job = Append | Over | Begin | More | Finish | GiveUp


class Disk:
    """Does in order what it is asked, in a thread of its own that starts with the first request.

    The file is a first line that is written over in place, and lines that are appended. A whole new one is
    written beside it, under the name with `.new`, and renamed: after a power cut there is the old or the
    new. Where the file can no longer be kept true it is removed, which needs no room. The one that is there
    at first is left alone until a whole new one takes its place, or must and cannot.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._beside = path, path.with_name(path.name + ".new")
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._working = self._closing = False
        self._in_hand = 0
        self.waiting = 0
        """Bytes that wait for the disk."""
        self.problem: str | None = None
        """Why the file could not be written, until a whole new one is in place."""
        self._behind = False  # the file lacks what was appended, or went
        self._file: int | None = None
        self._size = 0
        self._new: int | None = None
        self._new_size = 0
        self._must_go = False
        self._why = ""

    def ask(self, job: Job) -> None:
        """Have something done, after what was asked before. Never blocks."""
        with self._changed:
            if isinstance(job, GiveUp):
                self._jobs.clear()
                self.waiting = self._in_hand
                self.problem = f"{self._path}: {job.why}"
            self._jobs.append(job)
            self.waiting += len(job.data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
                self._thread.start()
            self._changed.notify()

    def busy(self) -> bool:
        """Whether something that was asked for is neither done nor has failed."""
        with self._changed:
            return bool(self._jobs) or self._working

    def close(self, patience_s: float) -> None:
        """Have what waits done and end the thread; one that the disk holds up for longer is left to itself."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience_s)

    def _run(self) -> None:
        while job := self._next():
            match job:
                case Append():
                    self._append(job.data, taken=job.taken)
                case Over():
                    self._over(job.data)
                case Begin():
                    self._begin(job.data)
                case More():
                    self._more(job.data)
                case Finish():
                    self._finish(job.data, must=job.must)
                case GiveUp():
                    self._drop_new()
                    self._why = job.why
                    self._remove()
        self._drop_new()
        self._let_go()

    def _next(self) -> Job | None:
        """The job at hand, with all that wait to be appended as one; None at the end."""
        with self._changed:
            self.waiting -= self._in_hand
            self._in_hand, self._working = 0, False
            while not self._jobs:
                if self._closing:
                    return None
                self._changed.wait()
            job = self._jobs.popleft()
            if isinstance(job, Append):
                parts, size, taken = [job.data], len(job.data), job.taken
                while self._jobs and size < _GROUP and isinstance(following := self._jobs[0], Append):
                    self._jobs.popleft()
                    parts.append(following.data)
                    size += len(following.data)
                    taken = taken or following.taken
                job = Append(b"".join(parts), taken)
            self._in_hand, self._working = len(job.data), True
            return job

    def _append(self, data: bytes, *, taken: bool) -> None:
        if self._file is None:
            return
        if not self._behind:
            try:
                _write(self._file, data, self._size)
                os.fdatasync(self._file)
            except OSError as error:
                self._behind = True
                self._trouble(error)
                with suppress(OSError):  # a half line at the end is left out by whoever reads
                    os.ftruncate(self._file, self._size)
            else:
                self._size += len(data)
                return
        if taken:
            self._remove()

    def _over(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            _write(self._file, line, 0)
            os.fdatasync(self._file)
        except OSError as error:
            self._trouble(error)
            self._remove()

    def _begin(self, line: bytes) -> None:
        self._drop_new()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with suppress(FileNotFoundError):
                self._beside.unlink()  # left by a power cut, or planted: a link goes, not its target
            self._new, self._new_size = os.open(self._beside, flags, 0o600), 0
        except OSError as error:
            self._trouble(error)
        self._more(line)

    def _more(self, data: bytes) -> None:
        if self._new is None:
            return
        try:
            _write(self._new, data, self._new_size)
            self._new_size += len(data)
        except OSError as error:
            self._trouble(error)
            self._drop_new()

    def _finish(self, line: bytes, *, must: bool) -> None:
        if self._new is not None:
            try:
                _write(self._new, line, 0)
                os.fsync(self._new)
                self._beside.rename(self._path)
            except OSError as error:
                self._trouble(error)
                self._drop_new()
            else:
                self._let_go()
                self._file, self._size, self._new = self._new, self._new_size, None
                try:
                    self._sync_directory()
                except OSError as error:  # after a power cut there may be the old one
                    self._trouble(error)
                    self._remove()
                else:
                    self.problem, self._behind, self._must_go = None, False, False
                    return
        if must or self._must_go:
            self._remove()

    def _remove(self) -> None:
        """Leave no file: what it tells is no longer so."""
        self._behind = True
        self._let_go()
        try:
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._sync_directory()
        except OSError as error:
            self._must_go = True
            self.problem = (
                f"{self._path} can neither be written nor removed ({_reason(error)}): "
                "after a reboot it may open what was closed since"
            )
        else:
            self._must_go = False
            self.problem = f"{self._path} cannot be written ({self._why}): a reboot closes what is open"

    def _trouble(self, error: OSError) -> None:
        self._why = _reason(error)
        self.problem = (
            f"{self._path} cannot be written ({self._why}): after a reboot some of what is open is closed"
        )

    def _sync_directory(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _drop_new(self) -> None:
        if self._new is not None:
            os.close(self._new)
            self._new = None
            with suppress(OSError):  # the next one removes it first
                self._beside.unlink()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write(fd: int, data: bytes, at: int) -> None:
    """All of it at a place; Linux writes at most 2 GB at once, and less where the disk fills up."""
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, at)
        left, at = left[written:], at + written


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
