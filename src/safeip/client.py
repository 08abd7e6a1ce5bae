"""The verbs that the running daemon does: each is a request or two, and what an admin wants to read."""

import argparse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from access import journal
from safeip import client_history, client_links, client_people, client_tokens, output
from safeip.config import read_control_socket
from safeip.control import Control, ControlError

Options = argparse.Namespace
_Json = dict[str, Any]
_Row = tuple[object, ...]


def do(options: Options) -> int:
    """Do the verb of `options`; the exit code. Raises ConfigError."""
    output.print_anywhere()
    control = Control(read_control_socket(options.config))
    act = _VERBS.get(options.verb) or _ACTIONS[options.verb][options.action]
    try:
        act(control, options)
    except ControlError as error:
        journal.say(output.clean(error))
        return 1
    return 0


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
        ("flooded", f"{output.plural(status['flooded_packets'], 'packet')} to the portal, beyond what one source may"),
    )
    for trouble in (status["record"], status["certificate"], *status["warnings"]):
        if trouble is not None:
            output.print_fields(("warning", trouble))
    print()
    services = [
        (name, service["title"], ", ".join(service["ports"]) or "by its proxy", service["grants"])
        for name, service in status["services"].items()
    ]
    output.print_table(("SERVICE", "TITLE", "PORTS", "GRANTS"), services, empty="No services.")


def _grant(control: Control, options: Options) -> None:
    # "" would be no part of a path
    place = "/".join(quote(word or " ", safe="", errors="replace") for word in (options.service, options.address))
    grant = control.ask("PUT", f"/grants/{place}", body={"for": options.duration, "note": options.note})
    print(f"{grant['service']} is open for {grant['address']} until {output.until(grant)}")


def _grants(control: Control, options: Options) -> None:
    def row(grant: _Json) -> _Row:
        address = grant["address"] if grant["reached"] else f"{grant['address']} (not reached)"
        return grant["service"], address, output.until(grant), grant["holder"], output.size(grant["bytes"]), grant["shared"] or "", grant["note"]

    headings = ("SERVICE", "ADDRESS", "UNTIL", "HOLDER", "TRAFFIC", "SHARED", "NOTE")
    output.print_list(control.ask("GET", "/grants"), headings, row, empty="Nobody is in.", as_json=options.json)


def _revoke(control: Control, options: Options) -> None:
    if options.all:
        query = {"all": "true"}
    elif options.holder:
        query = {"holder": options.holder}
    else:
        query = {"address": options.address} | ({"service": options.service} if options.service else {})
    revoked = control.ask("DELETE", "/grants", query=query)["revoked"]
    print(f"{output.plural(revoked, 'grant')} revoked" if revoked else "Nothing was open.")


def _blocked(control: Control, options: Options) -> None:
    blocked: list[_Json] = control.ask("GET", "/blocked")
    now = datetime.now(UTC)

    def row(knock: _Json) -> _Row:
        return (
            knock["address"], f"{knock['protocol']}/{knock['port']}", knock["packets"], output.size(knock["bytes"]),
            f"{output.span((now - datetime.fromisoformat(knock['last_at'])).total_seconds())} ago",
        )  # fmt: skip

    headings = ("ADDRESS", "PORT", "PACKETS", "BYTES", "LAST")
    output.print_list(blocked, headings, row, empty="Nobody knocked in the last day.", as_json=options.json)


def _ban(control: Control, options: Options) -> None:
    control.ask("POST", "/bans", body={"address": options.address, "for": options.duration})
    print(f"{output.clean(options.address)} is banned for {options.duration}")


def _unban(control: Control, options: Options) -> None:
    control.ask("DELETE", "/bans", query={"address": options.address})
    print(f"{output.clean(options.address)} is not banned")


def _bans(control: Control, options: Options) -> None:
    def row(ban: _Json) -> _Row:
        return ban["address"], output.until(ban), ban["packets"]

    headings = ("ADDRESS", "UNTIL", "PACKETS")
    output.print_list(control.ask("GET", "/banned"), headings, row, empty="Nobody is banned.", as_json=options.json)


_VERBS: Mapping[str, Callable[[Control, Options], None]] = {
    "status": _status,
    "grant": _grant,
    "grants": _grants,
    "revoke": _revoke,
    "blocked": _blocked,
    "ban": _ban,
    "unban": _unban,
    "bans": _bans,
    "history": client_history.show,
}
_ACTIONS: Mapping[str, Mapping[str, Callable[[Control, Options], None]]] = {
    "link": client_links.ACTIONS,
    "person": client_people.ACTIONS,
    "token": client_tokens.ACTIONS,
}
