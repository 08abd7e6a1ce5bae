"""The cells: once each process has what it needs, it gives up the way to everything else, for good.

Three walls, from the outside in: no_new_privs and capabilities (safeip.privileges), files (safeip.landlock) and system calls
(safeip.syscalls). No code is mapped in a cell, so that what a process does later is imported before.
"""

import contextlib
import ctypes
import errno
import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def entering(who: str, needed: Iterable[str]) -> Iterator[None]:
    """For a `with` block in which `who` enters its cell; the `needed` modules are imported before.

    Raises PermissionError, with a sentence, for whatever goes wrong.
    """
    try:
        # capabilities and Landlock are a thread's own, and bind those that it starts
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 (names are counted)
            raise OSError(errno.EBUSY, "it has started a thread already")  # noqa: TRY301 (told as the others are)
        for name in needed:
            importlib.import_module(name)
        ctypes.CDLL("libgcc_s.so.1")  # what glibc loads when a thread ends by pthread_exit(3)
        yield
    except (ImportError, OSError, RuntimeError) as error:  # the last is libseccomp's
        raise PermissionError(f"{who} cannot be shut in: {error}") from None


def directory(path: str) -> str:
    """The directory of a file."""
    return str(Path(path).absolute().parent)
