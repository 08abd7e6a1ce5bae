"""The portal's cell: what it inherited, its own state, its program, and the certificate's files."""

import os
import sys
from pathlib import Path

from portal.settings import Files, Settings
from safeip import landlock, syscalls
from safeip.cell import directory, entering
from safeip.landlock import Access

_TREE = Path(__file__).parents[2]
_LATER = ("access.crack", "argon2", "mmap", "resource")  # the last two: portal.metrics_text's
# the time zone; cracklib's words
_READS = ("/etc/localtime", "/usr/share/zoneinfo", "/var/cache/cracklib")


def enter(settings: Settings) -> None:
    """Shut this process in. Raises PermissionError, with a sentence."""
    with entering("the portal", _LATER):
        allowed = dict.fromkeys((*_READS, *sys.path, str(_TREE / "templates")), Access.READ)
        if isinstance(settings.tls, Files):
            for path in (settings.tls.certificate, settings.tls.key):
                # a renewed one is another file in the directory, or in that of the file that a link stands for
                allowed |= dict.fromkeys((directory(path), directory(os.path.realpath(path))), Access.READ)
        allowed[settings.state_dir] = Access.READ | Access.REPLACE
        if landlock.version():  # else the gate tells
            landlock.restrict(allowed, signals=False)
        syscalls.filter_portal()
