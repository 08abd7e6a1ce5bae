"""How often tokens may change something, so that one that was stolen cannot push all else out of the history."""

import math
import time

from access.actor import Actor
from access.guard import Throttled
from access.moment import Clock
from access.throttle import Throttle

MOST = 1_000
"""Changes of one token within 15 minutes; then one every 10 seconds."""


class Pace:
    """Counts by token. People, the command line and tokens that administer the whole house are not counted."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._changes = Throttle(MOST, 900, 10, afresh=False, clock=clock)

    def need(self, by: Actor) -> None:
        """Raise Throttled where it is too much. Counts nothing."""
        if locked_s := self._changes.locked_s(by.holder):
            raise Throttled(math.ceil(locked_s))

    def count(self, by: Actor) -> None:
        """Something was changed."""
        if by.token is not None and not by.admin:
            self._changes.count(by.holder)
