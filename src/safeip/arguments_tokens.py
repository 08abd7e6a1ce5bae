"""The command line's grammar of tokens."""

import argparse

from access.token import SCOPES
from safeip.grammar import Verbs, add, add_for, add_listing, duration, token_id


def add_tokens(verbs: Verbs) -> None:
    """The verb `token` with its actions."""
    token = add(verbs, "token", "make and look after tokens, with which programs, routers and other hosts act here")
    actions = token.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = add(actions, "add", "make a token and print its text, which is shown this once")
    new.add_argument("label", metavar="LABEL", help="who or what it is for")
    new.add_argument("--scope", choices=SCOPES, action="append", required=True, help="what it may do; repeat it for more")
    new.add_argument("--service", metavar="SERVICE", action="append", help="a service within its reach; repeat it for more (all)")
    new.add_argument("--expires", metavar="DURATION", type=duration, help="end of the token itself (never)")
    add_for(new, "how long its grants last (the services' default_duration)")
    add_listing(actions, "list", "show all tokens, when and from where each was last used")
    _add_id(add_listing(actions, "show", "show a token, without its text"))
    _add_id(add_listing(actions, "remove", "forget a token, and close what it opened"))


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=token_id, help="a token's id, which 'safeip token list' shows")
