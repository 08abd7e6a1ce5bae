"""The history's entries as structured fields in systemd's journal, where there is one."""

import socket
from collections.abc import Mapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"

_INFO, _NOTICE = "6", "5"


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
        "PRIORITY": _NOTICE if refused else _INFO,
        "SYSLOG_IDENTIFIER": "safeip",
    } | {f"SAFEIP_{key.upper()}": text for key, text in texts.items()}


def _datagram(fields: Mapping[str, str]) -> bytes:
    # systemd.io/JOURNAL_NATIVE_PROTOCOL: a name, a length, and so no text that could pass for a field
    parts = []
    for name, text in fields.items():
        data = text.encode(errors="replace")
        parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
    return b"".join(parts)
