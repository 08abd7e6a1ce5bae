"""The command line's grammar: verbs, options and their help."""

import argparse

from safeip.arguments_links import add_links
from safeip.arguments_people import add_people, person_usage
from safeip.arguments_tokens import add_tokens
from safeip.config import DEFAULT_CONFIG
from safeip.grammar import Parser, Verbs, add, add_for, add_listing, count, formatter, holder

_ADDRESS = "an IPv4 address, or an IPv6 address, which stands for its /64"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, with `verb` and for links, people and tokens `action`. Wrong usage exits 2 and says why."""
    parser = grammar()
    options = parser.parse_args(arguments)
    if wrong := _usage(options):
        parser.error(wrong)
    return options


def grammar() -> argparse.ArgumentParser:
    """All verbs with their actions and options: what the man page and the shells' completion follow too."""
    parser = Parser(
        prog="safeip",
        description="Keeps a home's services closed to the Internet and opens them to the right people.",
        epilog="Begin with 'safeip setup'. Verbs that show or change what is open ask the daemon and need root. Durations are "
        "written 90s, 15m, 12h, 7d. 'safeip VERB --help' says more about a verb, safeip(8) about all of them.",
        allow_abbrev=False,
        formatter_class=formatter,
    )
    parser.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="the configuration (%(default)s)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_setup(verbs)
    add(verbs, "run", "run the daemon in the foreground, as safeip.service does")
    check = add(verbs, "check", "say everything that is wrong with the configuration and the ruleset; change nothing")
    check.add_argument("--reload", action="store_true", help="say as well what the daemon that runs takes up at a restart alone")
    add_listing(verbs, "status", "show what runs, what is protected, how many are in and what was blocked")
    _add_grants(verbs)
    add_links(verbs)
    add_people(verbs)
    add_tokens(verbs)
    _add_bans(verbs)
    _add_history(verbs)
    _add_tell(verbs)
    _add_keep(verbs)
    add(verbs, "down", "take SafeIP's table away, until the daemon starts again: every protected port is as open as without SafeIP")
    return parser


def _usage(options: argparse.Namespace) -> str | None:
    if options.verb == "revoke" and options.service and not options.address:
        return "revoke: --service goes with an ADDRESS"
    return person_usage(options) if options.verb == "person" else None


def _add_setup(verbs: Verbs) -> None:
    setup = add(verbs, "setup", "ask what is to be closed, write the configuration and make the first admin")
    setup.add_argument("--force", action="store_true", help="write a configuration that is there anew, and keep a copy of it")
    setup.add_argument("--state-dir", metavar="DIR", default="/var/lib/safeip", help="where people and links are kept (%(default)s)")
    setup.add_argument("--runtime-dir", metavar="DIR", default="/run/safeip", help="where the daemon's socket is (%(default)s)")
    alone = "ask nothing: have certbot obtain a certificate for the portal, and agree to its authority's terms"
    setup.add_argument("--certificate", action="store_true", help=alone)
    setup.add_argument("--email", metavar="TEXT", default="", help="the address that the authority is told (none)")
    setup.add_argument("--webroot", metavar="DIR", default="", help="what a web server at tcp/80 serves; without one certbot listens itself")
    setup.add_argument("--certbot", metavar="FILE", help="the program (certbot, where it is found)")


def _add_grants(verbs: Verbs) -> None:
    grant = add(verbs, "grant", "open a service for an address")
    grant.add_argument("service", metavar="SERVICE", help="a service of the configuration")
    grant.add_argument("address", metavar="ADDRESS", help=_ADDRESS)
    add_for(grant, "how long (the service's default_duration)")
    grant.add_argument("--note", metavar="TEXT", help="who or what it is for")
    add_listing(verbs, "grants", "show who is in, until when")
    revoke = add(verbs, "revoke", "close what was opened; live connections end at once")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("address", metavar="ADDRESS", nargs="?", help="all grants of this address")
    which.add_argument("--holder", metavar="HOLDER", type=holder, help="all grants of a holder, such as link:k3v9aa")
    which.add_argument("--all", action="store_true", help="all grants there are")
    revoke.add_argument("--service", metavar="SERVICE", help="of the address, this service only")


def _add_bans(verbs: Verbs) -> None:
    add_listing(verbs, "blocked", "show who was blocked at a protected port, in the last day")
    ban = add(verbs, "ban", "keep an address away from all services and from the portal, for a time")
    ban.add_argument("address", metavar="ADDRESS", help=_ADDRESS)
    add_for(ban, "how long (1d)", default="1d")
    unban = add(verbs, "unban", "end a ban")
    unban.add_argument("address", metavar="ADDRESS", help="an address that 'safeip bans' shows")
    add_listing(verbs, "bans", "show who is banned, until when")


def _add_keep(verbs: Verbs) -> None:
    backup = add(verbs, "backup", "write configuration, people, links, tokens and their key to a file, which is a secret")
    backup.add_argument("file", metavar="FILE", help="where to; - is standard output")
    restore = add(verbs, "restore", "bring back what a backup holds, while the daemon is stopped; what was there is kept beside it")
    restore.add_argument("file", metavar="FILE", help="where from; - is standard input")


def _add_history(verbs: Verbs) -> None:
    history = add_listing(verbs, "history", "show what happened, the newest last")
    history.add_argument("--last", metavar="N", type=count, default=100, help="so many entries (%(default)s)")
    history.add_argument("--who", metavar="WHO", help="by this person or about them, such as mamie, or of a holder such as link:k3v9aa")
    history.add_argument("--event", metavar="EVENT", help="of this kind, such as signed-in")
    history.add_argument("--address", metavar="ADDRESS", help="from this address or about it")
    history.add_argument("--outcome", choices=("allowed", "refused"), help="what was allowed, or what was refused")
    history.add_argument("--follow", action="store_true", help="go on with what happens from now on; with --json one object a line")


def _add_tell(verbs: Verbs) -> None:
    tell = add(verbs, "tell", "send notifications and reports in the foreground, as safeip-teller.service does")
    instead = tell.add_mutually_exclusive_group()
    instead.add_argument("--try", dest="trial", action="store_true", help="send a trial message to each notification URL, and end")
    instead.add_argument("--dry-run", action="store_true", help="print what the last day would make it send, and end; nothing is sent or kept")
