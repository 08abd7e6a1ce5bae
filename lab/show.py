"""What the demo prints: a line for each step, in colour on a terminal."""

import sys
import textwrap
import time
from collections.abc import Callable
from http.client import HTTPException

from lab.process import LabError

WIDTH = 66


class Missed(Exception):
    """A step that did not hold; the message says what was seen instead."""


def hold(condition: object, otherwise: str) -> None:
    """Raise Missed with the message `otherwise` unless the condition is true."""
    if not condition:
        raise Missed(otherwise)


def milliseconds(seconds: float) -> str:
    """A time as a person reads it: `7.3 ms`, `210 ms`, `1.4 s`."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


class Show:
    """Prints steps as they happen and counts those that did not hold."""

    def __init__(self) -> None:
        self.steps = 0
        self.missed = 0
        self._colour = sys.stdout.isatty()
        self._good, self._bad = "✓", "✗"
        try:
            (self._good + self._bad).encode(sys.stdout.encoding)
        except UnicodeEncodeError:
            self._good, self._bad = "+", "!"
        self._notes: list[str] = []

    def say(self, text: str = "") -> None:
        """A line of its own."""
        print(text, flush=True)

    def paint(self, text: str, code: str) -> str:
        """The text in a colour of the terminal, or as it is where there is none."""
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def note(self, text: str) -> None:
        """A line below the step that runs."""
        self._notes.append(text)

    def step(self, text: str, action: Callable[[], str]) -> bool:
        """Do a step, then print its line with the figure that it returns. Whether it held."""
        self.steps += 1
        self._notes.clear()
        begin = time.monotonic()
        if self._colour:
            print(f"  {self.paint('…', '2')} {text}", end="\r", flush=True)
        try:
            figure = action()
        except (Missed, LabError, OSError, HTTPException) as error:
            self.missed += 1
            self.say(f"  {self.paint(self._bad, '1;31')} {text:<{WIDTH}} after {milliseconds(time.monotonic() - begin)}")
            self.say(textwrap.indent(f"{type(error).__name__}: {error}", "      "))
            return False
        self.say(f"  {self.paint(self._good, '1;32')} {text:<{WIDTH}} {self.paint(figure, '36')}")
        for note in self._notes:
            self.say("      " + self.paint(note, "2"))
        return True
