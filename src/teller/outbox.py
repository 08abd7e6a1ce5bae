"""Messages that wait to be sent, each to every notification URL once."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

_MOST = 200
_OLDEST_S = 86_400
_FIRST_WAIT_S = 60
_LONGEST_WAIT_S = 3600


@dataclass(slots=True)
class Message:
    """A message made at a moment in seconds since 1970.

    `to`: the marks of the URLs that have not taken it; None: of all. `sending`: whether a try began that nothing is known of.
    """

    title: str
    body: str
    warning: bool
    at: int
    to: list[str] | None = None
    sending: bool = False


def mark(url: str) -> str:
    """What stands for a URL in the state, which holds no secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Outbox:
    """In order of their making. A URL that fails is left alone for a minute, then twice as long each time, up to an hour."""

    messages: list[Message] = field(default_factory=list)
    _failed: dict[str, int] = field(default_factory=dict)  # by mark: how often in a row
    _not_before: dict[str, int] = field(default_factory=dict)

    def begin(self) -> int:
        """At the start: messages of which nobody knows whether they were sent go, since nothing is told twice. How many."""
        unsure = sum(message.sending for message in self.messages)
        self.messages = [message for message in self.messages if not message.sending]
        return unsure

    def add(self, message: Message) -> None:
        """One more."""
        self.messages.append(message)

    def tidy(self, now: int) -> int:
        """Give up what is older than a day, and the oldest where they are too many. How many those are."""
        before = len(self.messages)
        self.messages = [message for message in self.messages if abs(now - message.at) < _OLDEST_S][-_MOST:]
        return before - len(self.messages)

    def due(self, urls: Iterable[str], now: int) -> list[tuple[Message, list[str]]]:
        """What may be sent now, and to which of the URLs; what no URL waits for any more is forgotten."""
        marks = [mark(url) for url in urls]
        for message in self.messages:
            message.to = [one for one in marks if message.to is None or one in message.to]
        self.messages = [message for message in self.messages if message.to]
        ready = [one for one in marks if self._not_before.get(one, 0) <= now]
        found = [(message, [one for one in message.to or () if one in ready]) for message in self.messages]
        return [(message, to) for message, to in found if to]

    def due_at(self) -> int | None:
        """When due() has something, in seconds since 1970; None: nothing waits."""
        waiting = {one for message in self.messages for one in message.to or ()}
        if any(message.to is None for message in self.messages):
            return 0
        return min((self._not_before.get(one, 0) for one in waiting), default=None)

    def settle(self, tried: Iterable[tuple[Message, list[str]]], taken: set[tuple[int, str]], now: int) -> None:
        """What came of a try: `taken` holds (place in `tried`, mark) of what was sent."""
        good, bad = set[str](), set[str]()
        for place, (message, to) in enumerate(tried):
            message.sending = False
            for one in to:
                sent = (place, one) in taken
                (good if sent else bad).add(one)
                if sent and message.to:
                    message.to.remove(one)
        for one in good - bad:
            self._failed.pop(one, None)
            self._not_before.pop(one, None)
        for one in bad:
            self._failed[one] = self._failed.get(one, 0) + 1
            self._not_before[one] = now + min(_FIRST_WAIT_S << (self._failed[one] - 1), _LONGEST_WAIT_S)
        self.messages = [message for message in self.messages if message.to is None or message.to]
