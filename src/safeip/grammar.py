"""What the command line's grammar is made of: verbs, options that several share, and the types of their values."""

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

from access.duration import parse_duration
from access.inputs import BadInput, check_name
from safeip.problem import nearest

_MOST = 1_000_000
_WIDTH = 79
_HOLDER = re.compile(r"cli|(person|link|token):[a-z0-9._-]{1,32}")

Verbs = Any
"""What argparse's add_subparsers gives; its class has no public name."""


class Parser(argparse.ArgumentParser):
    """argparse's, with sentences for who does not know what there is. Those of its verbs are made of it, too."""

    def error(self, message: str) -> NoReturn:
        """Usage, what is wrong and where to read more, on standard error; exits 2."""
        super().error(f"{message} ('{self.prog} --help' says more)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401 (argparse's own)
        if action.choices is not None and value not in action.choices:
            words = [str(word) for word in action.choices]
            meant = nearest(str(value), words)
            right = f"did you mean {meant!a}?" if meant else f"there are: {', '.join(words)}"
            raise argparse.ArgumentError(action, f"there is no {str(value)[:40]!a}; {right}")


def add(verbs: Verbs, name: str, does: str) -> argparse.ArgumentParser:
    """A verb, or an action of a verb, with what it does as its help."""
    description = f"{does[0].upper()}{does[1:]}."
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=does, description=description, allow_abbrev=False, formatter_class=formatter)
    return parser


def add_listing(verbs: Verbs, name: str, does: str) -> argparse.ArgumentParser:
    """A verb that shows something, to people or to programs."""
    parser = add(verbs, name, does)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def formatter(prog: str) -> argparse.HelpFormatter:
    """The layout of help."""
    # asked for the terminal's width, argparse loads compression libraries, which would stay in the gate's process
    return argparse.HelpFormatter(prog, width=_WIDTH)


def add_for(parser: argparse.ArgumentParser, does: str, default: str | None = None) -> None:
    """The option --for."""
    parser.add_argument("--for", dest="duration", metavar="DURATION", type=duration, default=default, help=does)


def add_qr(parser: argparse.ArgumentParser) -> None:
    """The option --qr."""
    parser.add_argument("--qr", action="store_true", help="print a QR code of the URL too, for a phone's camera")


def duration(text: str) -> str:
    """The text of a duration, which the API takes as it is."""
    _checked(parse_duration, text)
    return text


def count(text: str) -> int:
    """A number of things, at least one."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a number from 1 to {_MOST}")
    return int(text)


def link_id(text: str) -> str:
    """What may be a link's id, and is safe in a path."""
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a link's id; 'safeip link list' shows them")
    return text


def token_id(text: str) -> str:
    """What may be a token's id, and is safe in a path."""
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError("that is not a token's id; 'safeip token list' shows them")  # it may be the token's text
    return text


def person_name(text: str) -> str:
    """A person's name as it is compared, safe in a path."""
    try:
        return check_name(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} {error.message}") from None


def holder(text: str) -> str:
    """Who holds a grant."""
    if not _HOLDER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a holder; write link:ID, person:NAME, token:ID or cli")
    return text


def _checked(parse_text: Callable[[str], object], text: str) -> None:
    try:
        parse_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
