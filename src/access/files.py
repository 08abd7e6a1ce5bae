"""State files: read with suspicion, replaced whole or not at all."""

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress

LARGEST = 64 * 1024 * 1024
"""Bytes of a state file. Ten thousand links take 4 MB."""


class StateError(Exception):
    """State that cannot be taken.

    `file`, the `place` in it ("line 3, column 7", a key's path, or ""), and what is wrong.
    """

    def __init__(self, file: str, place: str, message: str) -> None:
        super().__init__(": ".join(part for part in (file, place, message) if part))
        self.file = file
        self.place = place
        self.message = message


class InUse(StateError):
    """State that another process has, which may end."""


class NotSaved(Exception):
    """A change that could not be written and was not made: the old state stands, on disk and in memory."""

    def __init__(self, file: str, error: OSError) -> None:
        super().__init__(f"{file}: could not be written ({reason(error)}); nothing was changed")
        self.file = file
        self.errno = error.errno


def reason(error: OSError) -> str:
    """The system's words for an error, without the file's name."""
    return error.strerror or str(error)


def read(path: str, *, private: bool = False, largest: int = LARGEST) -> bytes | None:
    """The whole file, or None where there is none. Raises StateError.

    A symbolic link, anything but a regular file, and a file of somebody else's (neither root's nor
    this process's user's) are refused. With `private`, so is one that others may read or write.
    """
    try:
        # O_NONBLOCK: a planted fifo must not hang the start.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened ({reason(error)})"
        raise StateError(path, "", why) from None
    try:
        _check(path, os.fstat(fd), private=private)
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise StateError(path, "", f"cannot be read ({reason(error)})") from None
    finally:
        os.close(fd)
    if len(data) > largest:
        raise StateError(path, "", f"is larger than {largest} bytes")
    return data


def _check(path: str, found: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StateError(path, "", "is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise StateError(
            path, "", f"belongs to user {found.st_uid}; it must be user {os.geteuid()}'s or root's"
        )
    if private and found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise StateError(
            path, "", f"is open to others (mode {mode:04o}); what it holds may be known: chmod 600 it"
        )


def replace(path: str, data: bytes) -> None:
    """Put `data` in the place of the file, mode 0600. After a power cut there is the old or the new, whole.

    Raises NotSaved, and then the old file stands (unless the disk failed at the very last step, when
    either may). Blocks until the disk has it. One writer at a time.
    """
    folder, _, name = path.rpartition("/")
    new = name + ".new"
    try:
        directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                os.unlink(
                    new, dir_fd=directory
                )  # left by a power cut, or planted: a link goes, not its target
            try:
                _write(new, data, directory)
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                with suppress(OSError):
                    os.unlink(new, dir_fd=directory)
                raise
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise NotSaved(path, error) from None


def _write(name: str, data: bytes, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def lock_directory(path: str, wait_s: float = 0.0) -> int:
    """Claim a state directory for this process, until the descriptor that is given back is closed.

    Waits up to `wait_s` seconds for the one before, which may be on its way out. Raises InUse, StateError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(path, "", f"cannot be opened ({reason(error)})") from None
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(fd)
                raise InUse(path, "", "is in use by another SafeIP; stop that one first") from None
            time.sleep(0.02)  # flock cannot wait for a bounded time
        except OSError as error:
            os.close(fd)
            raise StateError(path, "", f"cannot be locked ({reason(error)})") from None
        else:
            return fd
