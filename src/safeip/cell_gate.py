"""The gate's cell: CAP_NET_ADMIN and netlink, the configuration for reading, the state for writing."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from nft import rules
from safeip import landlock, privileges, syscalls
from safeip.cell import directory, entering
from safeip.config import Config
from safeip.landlock import Access
from safeip.warnings import OWN_UNIT

# to tell what is wrong: with the configuration, with the program
_LATER = ("difflib", "traceback")
# what libnftables asks for where custom.nft has names in place of numbers
_NAMES = (
    "/etc/gai.conf",
    "/etc/group",
    "/etc/iproute2",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/usr/share/iproute2",
)


def enter(config: Config, portal: privileges.Account, log: Callable[[str], None]) -> None:
    """Shut this process in, which has started the portal as `portal`; the portal still ends when this process does.

    `log` takes a line where the kernel has no Landlock, and where custom.nft needs files that the gate no longer reaches.
    Raises PermissionError, with a sentence.
    """
    custom = Path(config.custom).exists() and not rules.check(config.policy, config.custom)
    with entering("the gate", _LATER):
        with contextlib.suppress(OSError):  # there may be no /etc/services
            socket.getservbyname("https")  # loads what nsswitch.conf names
        privileges.keep(privileges.CAP_NET_ADMIN, portal)
        for path in (directory(config.path), config.gate_dir):
            os.scandir(path).close()  # it has no capability any more that would open them
        allowed = dict.fromkeys((*_NAMES, OWN_UNIT, f"{OWN_UNIT}.d", directory(config.path)), Access.READ)
        # written, not read
        allowed[config.gate_dir] = allowed.get(config.gate_dir, Access(0)) | Access.REPLACE
        if landlock.version():
            # the portal is outside, and hears of the gate's end by a signal (PR_SET_PDEATHSIG)
            landlock.restrict(allowed, signals=True)
        else:
            log("this kernel has no Landlock, or it is switched off: files are closed to gate and portal by their owners alone")
        syscalls.filter_gate()
    for problem in rules.check(config.policy, config.custom) if custom else []:
        log(f"{config.custom} will be left out after a flush: what it includes must lie in its directory: {problem}")
