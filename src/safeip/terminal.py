"""Questions to whoever sits at the terminal: one at a time, asked again until the answer can be taken."""

import contextlib
import getpass
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from safeip import output

_T = TypeVar("_T")


def is_there() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """For a `with` block, SIGTERM and a connection that breaks off are KeyboardInterrupt, as Ctrl-C is."""
    # without a terminal the next question has no answer: a signal of its own could come while that is being dealt with
    handlers = {signal.SIGHUP: lambda *_: None, signal.SIGTERM: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """For a `with` block that cleans up, nobody's impatience counts."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str = "") -> None:
    """One line, or an empty one. Raises KeyboardInterrupt where the terminal has gone."""
    try:
        print(text, flush=True)
    except OSError:
        raise KeyboardInterrupt from None


def ask(question: str, parse: Callable[[str], _T], *, default: str = "") -> _T:
    """What `parse` makes of the answer; an empty answer is the default.

    `parse` raises ValueError with a message that says what would be right. Raises KeyboardInterrupt for Ctrl-C, for Ctrl-D,
    which says as much, and where the terminal has gone.
    """
    prompt = f"{question} [{default}]: " if default else f"{question}: "
    while True:
        try:
            return parse(_line(prompt) or default)
        except ValueError as error:
            say(f"  {output.clean(error)}")


def yes(question: str, *, default: bool) -> bool:
    """Whether the answer is yes."""

    def parse(text: str) -> bool:
        if text.lower() in {"y", "yes", "n", "no"}:
            return text.lower().startswith("y")
        raise ValueError("Write yes or no.")

    return ask(f"{question} (yes or no)", parse, default="yes" if default else "no")


def new_password(question: str, check: Callable[[str], str]) -> str:
    """A password typed twice without being shown. `check` gives back the clean one, or raises ValueError with what is wrong."""
    while True:
        try:
            password = check(_hidden(f"{question}: "))
        except ValueError as error:
            say(f"  {output.clean(error)}")
            continue
        if _hidden("The same again: ") == password:
            return password
        say("  These were two different ones. Once more, please.")


def _line(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except (EOFError, OSError):
        raise KeyboardInterrupt from None


def _hidden(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except (EOFError, OSError):
        raise KeyboardInterrupt from None
