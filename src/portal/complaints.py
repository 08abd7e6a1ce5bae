"""What strangers and proxies bring about, told in the log, and never a line for each of them."""

import logging
import time

from access.moment import Clock

WITHIN_S = 600.0
MOST = 20  # lines in that time


class Complaints:
    """Warns of a thing once in WITHIN_S seconds of `monotonic`, and of MOST things; the line after says how many were left out."""

    def __init__(self, log: logging.Logger, monotonic: Clock = time.monotonic) -> None:
        self._log = log
        self._monotonic = monotonic
        self._since = float("-inf")
        self._told: set[str] = set()
        self._left = 0

    def tell(self, line: str) -> None:
        """One thing, which is to hold nothing that a stranger chose."""
        now = self._monotonic()
        if now - self._since >= WITHIN_S:
            if self._left:
                self._log.warning("%d more complaints like those before were left out of the log", self._left)
            self._since, self._left = now, 0
            self._told.clear()
        if line in self._told or len(self._told) >= MOST:
            self._left += 1
            return
        self._told.add(line)
        self._log.warning("%s", line)
