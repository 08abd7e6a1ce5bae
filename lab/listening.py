"""What programs that listen in a namespace have in common: they are waited for, and end with the `with` block."""

from collections.abc import Callable
from typing import Self

from lab.process import LabError, Process, wait_for

WITHIN_S = 30.0


class Listening:
    """A started program. It ends with `stop`, with the `with` block, or with its namespace."""

    process: Process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it. A second call does nothing."""
        self.process.stop()

    def wait_until(self, listens: Callable[[], bool], name: str) -> None:
        """Wait for that; where the program ends, or it takes too long, LabError, and it is stopped."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise LabError(f"{name} ended: {self.process.tail()}")
            return listens()

        try:
            wait_for(name, ready, WITHIN_S)
        except BaseException:
            self.stop()
            raise
