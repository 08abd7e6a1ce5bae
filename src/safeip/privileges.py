"""Who may do what: the capabilities of the gate, and how the portal comes to have none (capabilities(7))."""

import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN = 6, 7, 12

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x2008_0522  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Account:
    """A user that a process runs as."""

    name: str
    uid: int
    gid: int


def own_account() -> Account:
    """Who this process is."""
    return Account(str(os.geteuid()), os.geteuid(), os.getegid())


def gate_account() -> Account:
    """Whose the gate's state is: for root that of the unit's user `safeip`, where the package made it."""
    return (_user("safeip") if os.geteuid() == 0 else None) or own_account()


def portal_account() -> Account:
    """Who the portal runs as: `safeip-portal` where the package made it, else `nobody`.

    Who may not become another user starts a portal of their own. Raises PermissionError where there is neither.
    """
    if not has_capability(CAP_SETUID):
        return own_account()
    for name in ("safeip-portal", "nobody"):
        if account := _user(name):
            return account
    raise PermissionError("there is neither a user safeip-portal nor a user nobody for the portal to run as")


def teller_account() -> Account:
    """Who the teller runs as: for root `safeip-teller`, where the package made it."""
    return (_user("safeip-teller") if os.geteuid() == 0 else None) or own_account()


def become(account: Account) -> None:
    """For root: be `account` from now on, for good. Nothing for who is it already. Raises OSError."""
    if account.uid != os.geteuid():
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)


def reader_account() -> Account | None:
    """Who may read at the control socket beside root: `safeip-teller`, where the package made it."""
    return _user("safeip-teller")


def _user(name: str) -> Account | None:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, user.pw_uid, user.pw_gid) if user.pw_uid else None


def has_capability(number: int, process: str = "self") -> bool:
    """Whether a process holds a capability in its effective set."""
    return bool(_status(process)["CapEff"] >> number & 1)


def give_up(account: Account) -> None:
    """In the child, before exec: become `account` without any capability, for good, and die with the parent.

    Raises OSError where a step fails; the child must end then.
    """
    parent = os.getppid()
    if has_capability(CAP_SETUID):
        _bound(set())
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    _keep(0)
    # after the change of user, which would clear it
    _call(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError("the gate ended while the portal was started")


def keep(number: int, portal: Account) -> None:
    """In the gate: keep one capability and no way to another, for good. For a process with one thread. Raises OSError."""
    if has_capability(CAP_SETUID):
        _bound({number})
        # kill(2): who has no capability may signal whoever has their real user, so that the portal still ends when the
        # gate dies
        os.setresuid(portal.uid, -1, -1)
    _keep(1 << number)


def _bound(kept: set[int]) -> None:
    """Bar this process and its children from all other capabilities; without CAP_SETPCAP, no_new_privs alone does that."""
    libc = _libc()
    number = 0
    while number in kept or libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1  # ends with EINVAL beyond the kernel's last capability


def _keep(capabilities: int) -> None:
    libc = _libc()
    _call(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    effective = permitted = capabilities
    _call(libc.capset(header, (ctypes.c_uint32 * 6)(effective, permitted, 0)))
    _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """For a `with` block, files are opened and made as `account` would, in every thread. For who is root."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


def check_given_up() -> None:
    """In the portal: refuse to live with more rights than none. Raises PermissionError."""
    status = _status("self")
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if status[name]]
    if held or 0 in (os.getuid(), os.geteuid()) or not status["NoNewPrivs"]:
        raise PermissionError(f"the portal was started with rights that it must not have: {held or 'root'}")


def _status(process: str) -> dict[str, int]:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")
    return {name: int(fields[name], 16) for name in names}


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
