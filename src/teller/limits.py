"""No more messages than somebody wants to read."""

from teller.settings import Event

_HOUR_S = 3600


class Limits:
    """At most `at_most` messages in any hour; what is beyond is counted, and told in one that is among them.

    `told` are the moments of the messages of the last hour, `beyond` how many of each kind wait to be summed up.
    """

    def __init__(self, at_most: int, told: list[int], beyond: dict[Event, int]) -> None:
        self._at_most = at_most
        self.told = told
        self.beyond = beyond

    def takes(self, kind: Event, now: int) -> bool:
        """Whether one more may be told; else it is counted. Nothing overtakes a summary."""
        if not self.beyond and self._room(now):
            self.told.append(now)
            return True
        self.beyond[kind] = self.beyond.get(kind, 0) + 1
        return False

    def summary(self, now: int) -> dict[Event, int] | None:
        """What is to be summed up now, if anything; it counts as told."""
        if not self.beyond or not self._room(now):
            return None
        found = dict(self.beyond)
        self.beyond.clear()
        self.told.append(now)
        return found

    def due_at(self) -> int | None:
        """When summary() has something to say, in seconds since 1970; None: nothing waits."""
        return (self.told[-self._at_most] + _HOUR_S if len(self.told) >= self._at_most else 0) if self.beyond else None

    def _room(self, now: int) -> bool:
        # a moment to come is one before the clock was set back
        self.told[:] = [at for at in self.told if now - _HOUR_S < at <= now]
        return len(self.told) < self._at_most
