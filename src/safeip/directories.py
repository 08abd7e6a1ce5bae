"""Where state lies: a directory for the gate, one for the portal, and the lock that says that one daemon has both."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from safeip.config import Config
from safeip.privileges import Account, gate_account, own_account


class StartError(Exception):
    """The daemon cannot start. The message says what to do; what is closed stays closed."""


class DaemonRuns(StartError):
    """Another daemon has this state."""


def make_state_directory(config: Config, gate: Account, portal: Account) -> None:
    """Make the state directory, and the gate's and the portal's in it, where they are missing.

    Everybody may pass through the first; the others are closed to all but their owners: a portal that was taken over
    cannot change what is loaded at boot. Raises StartError where one of them is somebody else's, or more or less
    open than that.
    """
    with _told():
        _make(Path(config.state_dir), "the gate", own_account(), 0o755)
        _make(Path(config.gate_dir), "the gate", gate, 0o700)
        _make(Path(config.settings.state_dir), "the portal", portal, 0o700)


def make_teller_directory(config: Config, teller: Account) -> None:
    """Make the teller's directory where it is missing. Raises StartError as make_state_directory does."""
    with _told():
        _make(Path(config.teller_dir), "the teller", teller, 0o700)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the system refuses in a `with` block is a StartError."""
    try:
        yield
    except PermissionError as error:
        raise StartError(f"{error.filename} cannot be made ({error.strerror}): systemd-tmpfiles --create safeip.conf") from None
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from None


def _make(path: Path, who: str, owner: Account, mode: int) -> None:
    """Where it is missing, it has `mode` then, whatever the umask. Others may pass through one of root's too."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        _make_new(path, owner, mode)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise StartError(f"{path} is no directory: move it away, or name another state_dir")
    if found.st_uid != owner.uid and not (found.st_uid == 0 and mode & 0o001):
        if found.st_uid == gate_account().uid != os.geteuid():
            raise StartError(f"{path} belongs to the service's user: systemctl start safeip, or name another state_dir")
        as_whom = f"{who} runs as {owner.name} (user {owner.uid})"
        raise StartError(f"{path} belongs to user {found.st_uid}, and {as_whom}: chown {owner.uid}: {path}")
    if found.st_mode & 0o777 != mode:
        raise StartError(f"{path} has mode {found.st_mode & 0o777:o} and needs {mode:o}: chmod {mode:o} {path}")


def _make_new(path: Path, owner: Account, mode: int) -> None:
    path.mkdir(parents=True)
    try:
        path.chmod(mode)
        if owner.uid != os.geteuid():
            os.chown(path, owner.uid, owner.gid)
    except OSError:
        path.rmdir()
        raise


def make_runtime_directory(config: Config) -> None:
    """Make the directory of the command line's socket where it is missing. Raises StartError."""
    try:
        Path(config.runtime_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from None


@contextlib.contextmanager
def lock(config: Config) -> Iterator[None]:
    """One daemon for one state. The lock ends with the process, however that ends. Raises DaemonRuns, StartError."""
    try:
        number = os.open(config.gate_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise StartError(f"{config.gate_dir}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"a daemon runs already on {config.state_dir}: stop it first (systemctl stop safeip)"
            raise DaemonRuns(message) from None
        yield
    finally:
        os.close(number)
