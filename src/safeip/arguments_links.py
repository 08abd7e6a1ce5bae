"""The command line's grammar of links."""

import argparse

from safeip.grammar import Verbs, add, add_for, add_listing, add_qr, count, duration, link_id


def add_links(verbs: Verbs) -> None:
    """The verb `link` with its actions."""
    link = add(verbs, "link", "make and look after links, which let in whoever opens them")
    actions = link.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = add(actions, "add", "make a link and print its URL")
    new.add_argument("label", metavar="LABEL", help="whose it is; visitors read it")
    new.add_argument("--service", metavar="SERVICE", action="append", required=True, help="what it opens; repeat it for more")
    add_for(new, "how long it opens (the services' default_duration)")
    new.add_argument("--expires", metavar="DURATION", type=duration, help="end of the link itself (never)")
    new.add_argument("--uses", metavar="N", type=count, help="how often it opens (any number of times)")
    new.add_argument("--addresses", metavar="N", type=count, help="addresses let in at once, the oldest leave (any number)")
    new.add_argument("--pin", metavar="PIN", help="what the visitor has to type as well; - asks for it, so that no process list shows it")
    new.add_argument("--to", metavar="URL", help="where the visitor goes next (the first service with a url)")
    add_qr(new)
    add_listing(actions, "list", "show all links")
    show = add_listing(actions, "show", "show a link and its URL")
    _add_id(show)
    add_qr(show)
    _add_id(add(actions, "pause", "open nothing through a link until it is resumed, and close what it opened"))
    _add_id(add(actions, "resume", "let a paused link open again"))
    rotate = add(actions, "rotate", "give a link a new URL and print it; the old one is unknown from then on")
    _add_id(rotate)
    add_qr(rotate)
    _add_id(add(actions, "remove", "forget a link, and close what it opened"))


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=link_id, help="a link's id, which 'safeip link list' shows")
