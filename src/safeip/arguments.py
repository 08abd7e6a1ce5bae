"""The command line's grammar: verbs, options and their help."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from access.duration import parse_duration

_MOST = 1_000_000
_WIDTH = 79
_HOLDER = re.compile(r"cli|(person|link|token):[a-z0-9._-]{1,32}")
_DEFAULT_CONFIG = "/etc/safeip/safeip.toml"

Verbs = Any
"""What argparse's add_subparsers gives; its class has no public name."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, with `verb` and for links `action`. Wrong usage exits 2 and says why."""
    parser = argparse.ArgumentParser(
        prog="safeip",
        description="Keeps a home's services closed to the Internet and opens them to the right people.",
        epilog="Durations are written 90s, 15m, 12h, 7d. 'safeip VERB --help' says more about a verb.",
        allow_abbrev=False,
        formatter_class=_help,
    )
    parser.add_argument("--config", metavar="FILE", default=_DEFAULT_CONFIG, help="the configuration (%(default)s)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add(verbs, "run", "run the daemon in the foreground")
    _add(verbs, "check", "say everything that is wrong with the configuration and the ruleset; change nothing")
    _listing(verbs, "status", "show what runs, what is protected, how many are in and what was closed")
    _grants(verbs)
    _links(verbs)
    _bans(verbs)
    history = _listing(verbs, "history", "show what happened, the newest last")
    history.add_argument("--last", metavar="N", type=_count, default=100, help="so many entries (%(default)s)")
    history.add_argument("--follow", action="store_true", help="go on with what happens from now on; with --json one object a line")
    _add(verbs, "down", "take SafeIP's table away: every protected port is as open as without SafeIP")
    options = parser.parse_args(arguments)
    if options.verb == "revoke" and options.service and not options.address:
        parser.error("revoke: --service goes with an ADDRESS")
    return options


def _grants(verbs: Verbs) -> None:
    grant = _add(verbs, "grant", "open a service for an address")
    grant.add_argument("service", metavar="SERVICE", help="a service of the configuration")
    grant.add_argument("address", metavar="ADDRESS", help="an IPv4 address, or an IPv6 address, which stands for its /64")
    _for(grant, "how long (the service's default_duration)")
    grant.add_argument("--note", metavar="TEXT", help="who or what it is for")
    _listing(verbs, "grants", "show who is in, until when")
    revoke = _add(verbs, "revoke", "close what was opened; live connections end at once")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("address", metavar="ADDRESS", nargs="?", help="all grants of this address")
    which.add_argument("--holder", metavar="HOLDER", type=_holder, help="all grants of a holder, such as link:k3v9aa")
    which.add_argument("--all", action="store_true", help="all grants there are")
    revoke.add_argument("--service", metavar="SERVICE", help="of the address, this service only")


def _links(verbs: Verbs) -> None:
    link = _add(verbs, "link", "make and look after links, which let in whoever opens them")
    actions = link.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _add(actions, "add", "make a link and print its URL")
    add.add_argument("label", metavar="LABEL", help="whose it is; visitors read it")
    add.add_argument("--service", metavar="SERVICE", action="append", required=True, help="what it opens; repeat it for more")
    _for(add, "how long it opens (the services' default_duration)")
    add.add_argument("--expires", metavar="DURATION", type=_duration, help="end of the link itself (never)")
    add.add_argument("--uses", metavar="N", type=_count, help="how often it opens (any number of times)")
    add.add_argument("--addresses", metavar="N", type=_count, help="addresses let in at once, the oldest leave (any number)")
    add.add_argument("--pin", metavar="PIN", help="what the visitor has to type as well; - asks for it, so that no process list shows it")
    add.add_argument("--to", metavar="URL", help="where the visitor goes next (the first service with a url)")
    _qr(add)
    _listing(actions, "list", "show all links")
    show = _listing(actions, "show", "show a link and its URL")
    _id(show)
    _qr(show)
    _id(_add(actions, "pause", "open nothing through a link until it is resumed, and close what it opened"))
    _id(_add(actions, "resume", "let a paused link open again"))
    rotate = _add(actions, "rotate", "give a link a new URL and print it; the old one is unknown from then on")
    _id(rotate)
    _qr(rotate)
    _id(_add(actions, "remove", "forget a link, and close what it opened"))


def _bans(verbs: Verbs) -> None:
    _listing(verbs, "blocked", "show who knocked at a protected port without being in, in the last day")
    ban = _add(verbs, "ban", "keep an address away from the portal too")
    ban.add_argument("address", metavar="ADDRESS")
    _for(ban, "how long (1d)", default="1d")
    unban = _add(verbs, "unban", "end a ban")
    unban.add_argument("address", metavar="ADDRESS")
    _listing(verbs, "bans", "show who is banned, until when")


def _add(verbs: Verbs, name: str, does: str) -> argparse.ArgumentParser:
    description = f"{does[0].upper()}{does[1:]}."
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=does, description=description, allow_abbrev=False, formatter_class=_help)
    return parser


def _help(prog: str) -> argparse.HelpFormatter:
    # asked for the terminal's width, argparse loads compression libraries, which would stay in the gate's process
    return argparse.HelpFormatter(prog, width=_WIDTH)


def _listing(verbs: Verbs, name: str, does: str) -> argparse.ArgumentParser:
    parser = _add(verbs, name, does)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _for(parser: argparse.ArgumentParser, does: str, default: str | None = None) -> None:
    parser.add_argument("--for", dest="duration", metavar="DURATION", type=_duration, default=default, help=does)


def _id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=_link_id, help="a link's id, which 'safeip link list' shows")


def _qr(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--qr", action="store_true", help="print a QR code of the URL too, for a phone's camera")


def _checked(parse_text: Callable[[str], object], text: str) -> None:
    try:
        parse_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _duration(text: str) -> str:
    """The text of a duration, which the API takes as it is."""
    _checked(parse_duration, text)
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a number from 1 to {_MOST}")
    return int(text)


def _link_id(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a link's id; 'safeip link list' shows them")
    return text


def _holder(text: str) -> str:
    if not _HOLDER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not a holder; write link:ID, person:NAME, token:ID or cli")
    return text
