"""Landlock (landlock(7)): this thread, and the threads and programs that it starts, reach the named files and nothing else."""

import ctypes
import os
from collections.abc import Mapping
from enum import IntFlag

# the same numbers on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446


class Access(IntFlag):
    """What may be done in a directory and all below it, or with a file; the bits of linux/landlock.h."""

    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_FILE = 1 << 5
    MAKE_REG = 1 << 8
    TRUNCATE = 1 << 14

    READ = READ_FILE | READ_DIR
    REPLACE = WRITE_FILE | READ_DIR | REMOVE_FILE | MAKE_REG | TRUNCATE
    """To put a file in the place of another, or to append to it, without reading it."""


_OF_FILES = Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE
# What each version of the interface knows (kernels 5.13, 5.19, 6.2, 6.7, 6.10, 6.12) and this denies unless allowed:
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_NET = 0x3  # since 4: binding and connecting TCP sockets
_ABSTRACT_SOCKETS, _SIGNALS = 0x1, 0x2  # since 6: to what lives outside


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of the kernel's interface; 0 where there is none, or where it is switched off."""
    return max(0, _syscall(_CREATE_RULESET, None, 0, 1))


def restrict(allowed: Mapping[str, Access], *, signals: bool) -> None:
    """Deny all files but those `allowed`, and executing any.

    Where the kernel knows how, TCP connections, new listeners and the abstract sockets of others are denied as well, and
    signals to those outside, unless `signals`. Paths that are not there, or to which this process has no way, are left
    out. Needs no_new_privs, and a kernel with a `version`. Raises OSError.
    """
    known = version()
    files = _FILES[min(known, max(_FILES))]
    scoped = _ABSTRACT_SOCKETS | (0 if signals else _SIGNALS)
    attributes = _Ruleset(files, _NET if known >= 4 else 0, scoped if known >= 6 else 0)
    ruleset = _checked(_syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0))
    try:
        for path, access in allowed.items():
            _allow(ruleset, path, access & files)
        _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{parent}"):  # noqa: PTH112 (a descriptor)
            access &= _OF_FILES
        rule = _PathBeneath(access, parent)
        _checked(_syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return int(libc.syscall(ctypes.c_long(number), *words))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
