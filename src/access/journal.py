"""What systemd's journal hears, where there is one: the history's entries as structured fields, and standard error by level."""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any, Protocol

SOCKET = "/run/systemd/journal/socket"

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Levels, as syslog(3) and `journalctl --priority` have them."""


class Log(Protocol):
    """What takes texts as `say` does."""

    def __call__(self, text: str, level: int = ERROR, /) -> None:
        """Take a text: an error, unless its level says otherwise."""


def _is_standard_error() -> bool:
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


_LEADS_THERE = _is_standard_error()  # found out before any cell


def say(text: str, level: int = ERROR) -> None:
    """Print a text of ours to standard error; a journal that has gone, or a closed terminal, is no reason to stop."""
    with contextlib.suppress(OSError):
        print(marked(f"safeip: {text}", level), file=sys.stderr, flush=True)


def marked(text: str, level: int) -> str:
    """The text for standard error: where that is the journal (systemd.exec(5)), each line tells its level (sd-daemon(3))."""
    return "\n".join(f"<{level}>{line}" for line in text.split("\n")) if _LEADS_THERE else text


def tell(entry: Mapping[str, Any]) -> None:
    """Give an entry to the journal: SAFEIP_EVENT, SAFEIP_ADDRESS and so on, beside a sentence in MESSAGE.

    Never waits and never fails: the history's file is the record, and what the journal does not take
    (there is none, or it is busy) is in the file alone.
    """
    # libsystemd's own sender would wait for a journal that stands still, and the event loop with it.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(_datagram(_fields(entry)), SOCKET)
        except OSError:
            return


def _fields(entry: Mapping[str, Any]) -> dict[str, str]:
    texts = {
        key: " ".join(value) if isinstance(value, list) else str(value)
        for key, value in entry.items()
        if key != "at"
    }
    refused = texts.get("outcome") == "refused" or texts.get("event") == "banned"
    parts = [texts.get("event", "")]
    parts += [f"{key}={text}" for key, text in texts.items() if key != "event"]
    return {
        "MESSAGE": " ".join(parts),
        "PRIORITY": str(NOTICE if refused else INFO),
        "SYSLOG_IDENTIFIER": "safeip",
    } | {f"SAFEIP_{key.upper()}": text for key, text in texts.items()}


def _datagram(fields: Mapping[str, str]) -> bytes:
    # systemd.io/JOURNAL_NATIVE_PROTOCOL: a name, a length, and so no text that could pass for a field
    parts = []
    for name, text in fields.items():
        data = text.encode(errors="replace")
        parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
    return b"".join(parts)
