"""The child that sends messages through apprise. Whatever apprise prints or logs goes nowhere: URLs hold passwords."""

import importlib
import json
import logging
import os
import sys
import threading
from typing import Any

WITHIN_S = 25.0
"""How long messages may take, in seconds; what was not sent by then was not sent."""


def main() -> None:
    """Send each message of the job to each URL that it is for.

    Says {"message": place, "to": mark, "sent": whether} for each; {"wrong": mark} for a URL that apprise does not know;
    {"missing": true} without apprise.
    """
    says = _Says()
    job = json.load(sys.stdin.buffer)
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        says.tell({"missing": True})
        return
    threads = []
    for mark, url in job["urls"].items():
        messages = [(place, message) for place, message in enumerate(job["messages"]) if mark in message["to"]]
        # of its own: one that hangs does not hold up the others
        threads.append(threading.Thread(target=_send, args=(apprise, says, mark, url, messages), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(WITHIN_S)
    os._exit(0)  # whatever still hangs


class _Says:
    """Standard output for the answers alone."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="ascii")
        self._lock = threading.Lock()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        logging.disable()

    def tell(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._out.write(json.dumps(answer) + "\n")
            self._out.flush()


def _send(apprise: Any, says: _Says, mark: str, url: str, messages: list[tuple[int, dict[str, Any]]]) -> None:  # noqa: ANN401 (apprise has no types)
    asset = apprise.AppriseAsset(app_id="SafeIP", app_desc="SafeIP", async_mode=False)
    sender = apprise.Apprise(asset=asset)
    try:
        known = sender.add(url) and len(sender) == 1
    except Exception:  # noqa: BLE001 (a hundred plugins' own)
        known = False
    if not known:
        says.tell({"wrong": mark})
        return
    for place, message in messages:
        kind = apprise.NotifyType.WARNING if message["warning"] else apprise.NotifyType.INFO
        try:
            sent = sender.notify(body=message["body"], title=message["title"], notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
        except Exception:  # noqa: BLE001 (the same)
            sent = False
        says.tell({"message": place, "to": mark, "sent": sent is True})
