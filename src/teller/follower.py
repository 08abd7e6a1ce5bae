"""Rings when something happened."""

import threading

from access import journal
from teller.source import Silent, Source

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


class Follower(threading.Thread):
    """Follows the history, and begins anew when the daemon went: sooner at first, then every 30 s.

    The entries themselves are read where they are kept, so that none is missed; here each only sets `bell`.
    """

    def __init__(self, source: Source, bell: threading.Event, log: journal.Log) -> None:
        super().__init__(daemon=True, name="follower")
        self._source = source
        self._bell = bell
        self._log = log
        self._ended = threading.Event()

    def end(self) -> None:
        """Begin no more."""
        self._ended.set()

    def run(self) -> None:
        """Until the process ends."""
        wait_s, silent = _FIRST_WAIT_S, False
        while not self._ended.wait(0 if wait_s == _FIRST_WAIT_S and not silent else wait_s):
            try:
                for _entry in self._source.follow():
                    if silent:
                        self._log("the daemon answers again", journal.INFO)
                    wait_s, silent = _FIRST_WAIT_S, False
                    self._bell.set()
                message = "the daemon has ended"
            except Silent as error:
                message = str(error)
            if not silent:
                self._log(f"{message}; tried again until it answers")
            else:
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            silent = True
