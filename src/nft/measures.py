"""What the gate measures of itself: how long its transactions take, and its memory."""

import os
from bisect import bisect_left
from typing import Any

BOUNDS_S = (0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 1.0)
"""Up to where each bucket counts, in seconds; one more is for what takes longer."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = "/proc/self/statm"


class Measures:
    """Since the start. Opened before the gate's cell, in which /proc cannot be reached any more."""

    def __init__(self) -> None:
        self._count, self._seconds = 0, 0.0
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        try:
            self._statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a /proc that hides it
            self._statm = -1

    def close(self) -> None:
        """Let go of the file."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def took(self, seconds: float) -> None:
        """One more transaction by which requests changed the kernel."""
        self._count += 1
        self._seconds += seconds
        self._buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def status(self) -> dict[str, Any]:
        """For the gate's status. `memory`: resident bytes, None where the kernel does not tell."""
        return {
            "transactions": {"count": self._count, "seconds": self._seconds, "bounds": BOUNDS_S, "buckets": self._buckets},
            "memory": None if self._statm < 0 else int(os.pread(self._statm, 128, 0).split()[1]) * _PAGE,
        }
