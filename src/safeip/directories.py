"""Where state lies: the gate's own directory, in it the portal's, and the lock that says that one daemon has both."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from safeip.config import Config
from safeip.privileges import Account


class StartError(Exception):
    """The daemon cannot start. The message says what to do; what is closed stays closed."""


class DaemonRuns(StartError):
    """Another daemon has this state."""


def make_state_directory(config: Config, portal: Account) -> None:
    """Make the gate's directory, and the portal's in it, where they are missing.

    The first belongs to this process's user and everybody may pass through it, the second is closed to all but the
    portal's account: a portal that was taken over cannot change what is loaded at boot. Raises StartError where one of
    them is somebody else's, or more or less open than that.
    """
    try:
        _make(Path(config.state_dir), os.geteuid(), "the gate", 0o755)
        theirs = Path(config.settings.state_dir)
        if _make(theirs, portal.uid, f"the portal as {portal.name}", 0o700):
            os.chown(theirs, portal.uid, portal.gid)
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from None


def _make(path: Path, uid: int, who: str, mode: int) -> bool:
    """Whether the directory was missing. It has `mode` then, whatever the umask."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        path.mkdir(parents=True)
        path.chmod(mode)
        return True
    if not stat.S_ISDIR(found.st_mode):
        raise StartError(f"{path} is no directory: move it away, or name another state_dir")
    if found.st_uid != uid:
        raise StartError(f"{path} belongs to user {found.st_uid}, and {who} runs as user {uid}: chown {uid}: {path}")
    if found.st_mode & 0o777 != mode:
        raise StartError(f"{path} has mode {found.st_mode & 0o777:o} and needs {mode:o}: chmod {mode:o} {path}")
    return False


def make_runtime_directory(config: Config) -> None:
    """Make the directory of the command line's socket where it is missing. Raises StartError."""
    try:
        Path(config.runtime_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from None


@contextlib.contextmanager
def lock(config: Config) -> Iterator[None]:
    """One daemon for one state. The lock ends with the process, however that ends. Raises DaemonRuns, StartError."""
    path = Path(config.state_dir, "lock")
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"a daemon runs already on {config.state_dir}: stop it first (systemctl stop safeip)"
            raise DaemonRuns(message) from None
        yield
    finally:
        os.close(number)
