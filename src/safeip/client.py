"""The verbs that the running daemon does: each is a request or two, and what an admin wants to read."""

import argparse
import contextlib
import getpass
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from safeip import output
from safeip.config import read_control_socket
from safeip.control import Control, ControlError

Options = argparse.Namespace
_Json = dict[str, Any]
_Row = tuple[object, ...]


def do(options: Options) -> int:
    """Do the verb of `options`; the exit code. Raises ConfigError."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that has no é still gets its table
    control = Control(read_control_socket(options.config))
    verb = options.verb if options.verb != "link" else f"link {options.action}"
    try:
        _VERBS[verb](control, options)
    except ControlError as error:
        print(f"safeip: {output.clean(error)}", file=sys.stderr)
        return 1
    return 0


def _list(
    found: list[_Json], options: Options, headings: tuple[str, ...], row: Callable[[_Json], _Row], *, empty: str
) -> None:
    """What the daemon listed, as JSON or as a table with a row for each."""
    if options.json:
        output.print_json(found)
    else:
        output.print_table(headings, [row(item) for item in found], empty=empty)


def _status(control: Control, options: Options) -> None:
    status: _Json = control.ask("GET", "/status")
    if options.json:
        output.print_json(status)
        return
    output.print_fields(
        ("portal", status["url"]),
        ("table", f"{status['table']} (mode {status['mode']}), put back {output.plural(status['repairs'], 'time')}"),
        ("grants", output.count(status["grants"])),
        ("links", f"{output.count(status['links']['all'])}, of which open: {output.count(status['links']['open'])}"),
        ("blocked", f"{output.plural(status['closed_packets'], 'packet')}, {output.size(status['closed_bytes'])}"),
    )
    print()
    services = [
        (name, service["title"], ", ".join(service["ports"]), service["grants"])
        for name, service in status["services"].items()
    ]
    output.print_table(("SERVICE", "TITLE", "PORTS", "GRANTS"), services, empty="No services.")


def _grant(control: Control, options: Options) -> None:
    asked = {"service": options.service, "address": options.address, "for": options.duration, "note": options.note}
    for grant in control.ask("POST", "/grants", body=asked):
        print(f"{grant['service']} is open for {grant['address']} until {_end(grant)}")


def _grants(control: Control, options: Options) -> None:
    def row(grant: _Json) -> _Row:
        return grant["service"], grant["address"], _end(grant), grant["holder"], output.size(grant["bytes"]), grant["note"]

    headings = ("SERVICE", "ADDRESS", "UNTIL", "HOLDER", "TRAFFIC", "NOTE")
    _list(control.ask("GET", "/grants"), options, headings, row, empty="Nobody is in.")


def _end(grant: _Json) -> str:
    # whole seconds are rounded down, and what was opened for 2 h a moment ago is open for 2 h
    return f"{output.local(grant['expires_at'])} (in {output.span(grant['remaining_s'] + 1)})"


def _revoke(control: Control, options: Options) -> None:
    if options.all:
        query = {"all": "true"}
    elif options.holder:
        query = {"holder": options.holder}
    else:
        query = {"address": options.address} | ({"service": options.service} if options.service else {})
    revoked = control.ask("DELETE", "/grants", query=query)["revoked"]
    print(f"{output.plural(revoked, 'grant')} revoked" if revoked else "Nothing was open.")


def _link_add(control: Control, options: Options) -> None:
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
    _print_url(control.ask("POST", "/links", body=asked), options)


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


def _link_list(control: Control, options: Options) -> None:
    def row(link: _Json) -> _Row:
        return (
            link["id"], link["label"], ", ".join(link["services"]), link["state"], _used(link),
            output.local(link["last_used_at"]) or "never", output.local(link["expires_at"]) or "never",
        )  # fmt: skip

    headings = ("ID", "LABEL", "SERVICES", "STATE", "USED", "LAST USED", "EXPIRES")
    _list(control.ask("GET", "/links"), options, headings, row, empty="No links.")


def _used(link: _Json) -> str:
    return f"{link['used']} of {link['uses']}" if link["uses"] else str(link["used"])


def _link_show(control: Control, options: Options) -> None:
    link: _Json = control.ask("GET", _link(options))
    if options.json:
        output.print_json(link)
    else:
        output.print_fields(
            ("id", link["id"]),
            ("label", link["label"]),
            ("url", link["url"]),
            ("state", link["state"]),
            ("opens", ", ".join(link["services"])),
            ("for", link["for"] or "each service's default_duration"),
            ("used", _used(link)),
            ("last used", output.local(link["last_used_at"]) or "never"),
            ("addresses", link["addresses"] or "any number at once"),
            ("PIN", "yes" if link["pin"] else "no"),
            ("leads to", link["to"] or "the first service with a url"),
            ("created", output.local(link["created_at"])),
            ("expires", output.local(link["expires_at"]) or "never"),
        )
    if options.qr:
        output.print_qr(link["url"])


def _link_act(control: Control, options: Options) -> None:
    control.ask("POST", f"{_link(options)}/{options.action}")
    print(f"{options.id} is {'paused' if options.action == 'pause' else 'resumed'}")


def _link_rotate(control: Control, options: Options) -> None:
    _print_url(control.ask("POST", f"{_link(options)}/rotate"), options)


def _link_remove(control: Control, options: Options) -> None:
    control.ask("DELETE", _link(options))
    print(f"{options.id} is removed")


def _link(options: Options) -> str:
    return f"/links/{options.id}"


def _blocked(control: Control, options: Options) -> None:
    blocked: list[_Json] = control.ask("GET", "/blocked")
    now = datetime.now(UTC)

    def row(knock: _Json) -> _Row:
        return (
            knock["address"], f"{knock['protocol']}/{knock['port']}", knock["packets"], output.size(knock["bytes"]),
            f"{output.span((now - datetime.fromisoformat(knock['last_at'])).total_seconds())} ago",
        )  # fmt: skip

    headings = ("ADDRESS", "PORT", "PACKETS", "BYTES", "LAST")
    _list(blocked, options, headings, row, empty="Nobody knocked in the last day.")


def _ban(control: Control, options: Options) -> None:
    control.ask("POST", "/bans", body={"address": options.address, "for": options.duration})
    print(f"{output.clean(options.address)} is banned for {options.duration}")


def _unban(control: Control, options: Options) -> None:
    control.ask("DELETE", "/bans", query={"address": options.address})
    print(f"{output.clean(options.address)} is not banned")


def _bans(control: Control, options: Options) -> None:
    def row(ban: _Json) -> _Row:
        return ban["address"], _end(ban), ban["packets"]

    _list(control.ask("GET", "/banned"), options, ("ADDRESS", "UNTIL", "PACKETS"), row, empty="Nobody is banned.")


def _history(control: Control, options: Options) -> None:
    query = {"last": str(options.last)}
    if options.follow:
        show = output.print_json_line if options.json else _print_entry
        for entry in control.follow("/history", query | {"follow": "true"}):
            show(entry)
        raise ControlError("the daemon has ended")
    entries: list[_Json] = control.ask("GET", "/history", query=query)
    if options.json:
        output.print_json(entries)
        return
    for entry in entries:
        _print_entry(entry)
    if not entries:
        print("Nothing happened yet.")


def _print_entry(entry: _Json) -> None:
    """One line: when, what, whether it was refused and why, who, from where, which services."""
    refused = f"refused ({entry.get('reason', '')})" if entry.get("outcome") == "refused" else ""
    words = (
        f"{entry.get('event', ''):<14}", refused, entry.get("address"), entry.get("holder"), entry.get("note"),
        ", ".join(entry.get("services", ())),
    )  # fmt: skip
    line = "  ".join(output.clean(word) for word in words if word)
    print(f"{output.local(entry.get('at'), seconds=True)}  {line}".rstrip(), flush=True)


_VERBS: dict[str, Callable[[Control, Options], None]] = {
    "status": _status,
    "grant": _grant,
    "grants": _grants,
    "revoke": _revoke,
    "link add": _link_add,
    "link list": _link_list,
    "link show": _link_show,
    "link pause": _link_act,
    "link resume": _link_act,
    "link rotate": _link_rotate,
    "link remove": _link_remove,
    "blocked": _blocked,
    "ban": _ban,
    "unban": _unban,
    "bans": _bans,
    "history": _history,
}
