"""Files that hold a secret and belong to root or to the teller alone."""

import errno
import os
import stat

from access.files import reason

_LONGEST = 64 * 1024
_MOST = 32


class BadSecret(Exception):
    """A file that cannot be taken; the message names it and says what would be right, and holds nothing of it."""


def read_secret(path: str) -> str:
    """The file's text. Raises BadSecret where others than root and this process's user or group can read it, too."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "is a symbolic link: name the file itself" if error.errno == errno.ELOOP else f"cannot be read ({reason(error)})"
        raise BadSecret(f"{path} {why}{_right(path) if error.errno == errno.EACCES else ''}") from None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadSecret(f"{path} is not a file")
        group = 0o020 if found.st_gid in {0, os.getegid()} else 0o070
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & (group | 0o007):
            raise BadSecret(f"{path} is open to others{_right(path)}")
        data = file.read(_LONGEST + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSecret(f"{path} is not UTF-8 text") from None
    if len(data) > _LONGEST:
        raise BadSecret(f"{path} is larger than {_LONGEST} bytes")
    return text


def lines_of(path: str) -> list[str]:
    """What stands on the file's lines, without comments (#) and without what stands there twice. Raises BadSecret."""
    lines = [line.strip() for line in read_secret(path).splitlines()]
    found = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not found:
        raise BadSecret(f"{path} names nothing: write one thing on a line")
    if len(found) > _MOST:
        raise BadSecret(f"{path} has more than {_MOST} lines")
    return found


def _right(path: str) -> str:
    return f": chown root:safeip-teller {path}; chmod 640 {path}"
