"""What the teller asks the daemon."""

from collections.abc import Iterator
from typing import Any, Protocol

Json = dict[str, Any]


class Silent(Exception):
    """The daemon could not be asked, or refused. The message is one line."""


class Source(Protocol):
    """The daemon's answers. Everything raises Silent."""

    def history(self, last: int) -> list[Json]:
        """The last entries, the oldest first."""

    def follow(self) -> Iterator[Json]:
        """The last entry, then each as it comes; ends when the daemon does."""

    def grants(self) -> list[Json]:
        """What is open."""

    def blocked(self) -> list[Json]:
        """Who knocked in the last day, at which port, and when last."""
