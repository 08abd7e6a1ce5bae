"""The actions of `safeip link`."""

import argparse
import getpass
import sys
from collections.abc import Callable, Mapping
from typing import Any

from access import journal
from safeip import output
from safeip.control import Control

Options = argparse.Namespace
_Json = dict[str, Any]
_Row = tuple[object, ...]


def _add(control: Control, options: Options) -> None:
    asked = {
        "label": options.label,
        "services": options.service,
        "for": options.duration,
        "expires": options.expires,
        "uses": options.uses,
        "addresses": options.addresses,
        "pin": _pin(options.pin),
        "to": options.to,
    }
    link: _Json = control.ask("POST", "/links", body=asked)
    _print_url(link, options)
    if link["wants_pin"]:
        wanting = output.clean(", ".join(link["wants_pin"]))
        journal.say(f"warning: at shared addresses this link opens nothing: {wanting} wants a PIN there, see --pin", journal.WARNING)


def _pin(given: str | None) -> str | None:
    """The PIN, asked for where "-" stands for it."""
    if given != "-":
        return given
    if sys.stdin.isatty():
        return getpass.getpass("PIN: ")
    return sys.stdin.readline().rstrip("\r\n")


def _print_url(link: _Json, options: Options) -> None:
    print(link["url"])
    if options.qr:
        output.print_qr(link["url"])


def _list(control: Control, options: Options) -> None:
    def row(link: _Json) -> _Row:
        return (
            link["id"], link["label"], link["owner"], ", ".join(link["services"]), link["state"], _used(link),
            output.local(link["last_used_at"]) or "never", output.local(link["expires_at"]) or "never",
        )  # fmt: skip

    headings = ("ID", "LABEL", "OWNER", "SERVICES", "STATE", "USED", "LAST USED", "EXPIRES")
    output.print_list(control.ask("GET", "/links"), headings, row, empty="No links.", as_json=options.json)


def _used(link: _Json) -> str:
    return f"{link['used']} of {link['uses']}" if link["uses"] else str(link["used"])


def _show(control: Control, options: Options) -> None:
    link: _Json = control.ask("GET", _link(options))
    if options.json:
        output.print_json(link)
    else:
        output.print_fields(
            ("id", link["id"]),
            ("label", link["label"]),
            ("owner", link["owner"] or "the gateway's admin"),
            ("url", link["url"]),
            ("state", link["state"]),
            ("opens", ", ".join(link["services"])),
            ("for", link["for"] or "each service's default_duration"),
            ("used", _used(link)),
            ("last used", output.local(link["last_used_at"]) or "never"),
            ("addresses", link["addresses"] or "any number at once"),
            ("PIN", "yes" if link["pin"] else "no, and so it opens nothing at shared addresses" if link["wants_pin"] else "no"),
            ("leads to", link["to"] or "the first service with a url"),
            ("created", output.local(link["created_at"])),
            ("expires", output.local(link["expires_at"]) or "never"),
        )
    if options.qr:
        output.print_qr(link["url"])


def _act(control: Control, options: Options) -> None:
    control.ask("POST", f"{_link(options)}/{options.action}")
    print(f"{options.id} is {'paused' if options.action == 'pause' else 'resumed'}")


def _rotate(control: Control, options: Options) -> None:
    _print_url(control.ask("POST", f"{_link(options)}/rotate"), options)


def _remove(control: Control, options: Options) -> None:
    control.ask("DELETE", _link(options))
    print(f"{options.id} is removed")


def _link(options: Options) -> str:
    return f"/links/{options.id}"


ACTIONS: Mapping[str, Callable[[Control, Options], None]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "pause": _act,
    "resume": _act,
    "rotate": _rotate,
    "remove": _remove,
}
