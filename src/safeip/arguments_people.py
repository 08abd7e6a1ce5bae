"""The command line's grammar of people."""

import argparse

from safeip.grammar import Verbs, add, add_listing, add_qr, person_name


def add_people(verbs: Verbs) -> None:
    """The verb `person` with its actions."""
    person = add(verbs, "person", "make and look after people, who sign in at the portal")
    actions = person.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = add(actions, "add", "add a person; at a terminal it asks for a password and sets up the codes of an authenticator app")
    new.add_argument("name", metavar="NAME", type=person_name, help="what the person signs in with, such as mamie")
    new.add_argument("--admin", dest="role", action="store_const", const="admin", help="may do everything, at the portal too")
    _add_services(new, "what the person may open")
    new.add_argument("--links", action="store_true", default=None, help="may make links for these services")
    how = new.add_mutually_exclusive_group()
    how.add_argument("--invite", action="store_true", help="print a URL with which the person chooses password and codes, once")
    _add_password_stdin(how)
    add_qr(new)
    add_listing(actions, "list", "show all people")
    _add_name(add_listing(actions, "show", "show a person and where they are signed in"))
    _add_change(actions)
    _add_password_stdin(_add(actions, "password", "set a person's password, which signs them out everywhere"))
    totp = _add(actions, "totp", "turn on the codes of an authenticator app, or set up another app")
    totp.add_argument("--off", action="store_true", help="let the password suffice, for somebody who lost the app")
    add_qr(_add(actions, "invite", "print a URL with which a person chooses a new password and new codes, once, within 7 days"))
    approve = _add(actions, "approve", "let in somebody who asked for an account")
    _add_services(approve, "what the person may open")
    approve.add_argument("--links", action="store_true", default=None, help="may make links for these services")
    _add(actions, "refuse", "forget somebody who asked for an account")
    _add(actions, "sign-out", "end all sessions of a person")
    _add(actions, "remove", "forget a person, their links and sessions, and close what they opened")


def person_usage(options: argparse.Namespace) -> str | None:
    """What is wrong with options that are right one by one, or None."""
    if options.action == "add" and options.qr and not options.invite:
        return "person add: --qr goes with --invite"
    changes = ("role", "service", "no_services", "links")
    if options.action == "change" and all(getattr(options, change) is None for change in changes):
        return "person change: say what is to change"
    return None


def _add_change(actions: Verbs) -> None:
    change = _add(actions, "change", "change what a person may do")
    role = change.add_mutually_exclusive_group()
    role.add_argument("--admin", dest="role", action="store_const", const="admin", help="may do everything from now on")
    role.add_argument("--member", dest="role", action="store_const", const="member", help="may do everything no longer")
    services = change.add_mutually_exclusive_group()
    _add_services(services, "what the person may open, instead of what it was")
    services.add_argument("--no-services", action="store_true", default=None, help="the person may open nothing")
    links = change.add_mutually_exclusive_group()
    links.add_argument("--links", dest="links", action="store_true", default=None, help="may make links")
    links.add_argument("--no-links", dest="links", action="store_false", help="may make no links, and those made open nothing")


def _add(actions: Verbs, name: str, does: str) -> argparse.ArgumentParser:
    parser = add(actions, name, does)
    _add_name(parser)
    return parser


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=person_name, help="a person's name, which 'safeip person list' shows")


def _add_services(parser: argparse._ActionsContainer, does: str) -> None:
    parser.add_argument("--service", metavar="SERVICE", action="append", help=f"{does}; repeat it for more")


def _add_password_stdin(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input, for scripts")
