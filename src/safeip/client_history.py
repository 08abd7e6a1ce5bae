"""The verb `safeip history`."""

import argparse
from typing import Any

from safeip import output
from safeip.control import Control, ControlError

Options = argparse.Namespace
_Json = dict[str, Any]


def show(control: Control, options: Options) -> None:
    """What happened, and with --follow what happens."""
    asked = {"who": options.who, "event": options.event, "address": options.address, "outcome": options.outcome}
    query = {"last": str(options.last)} | {key: value for key, value in asked.items() if value is not None}
    if options.follow:
        print_one = output.print_json_line if options.json else _print_entry
        for entry in control.follow("/history", query | {"follow": "true"}):
            print_one(entry)
        raise ControlError("the daemon has ended")
    entries: list[_Json] = control.ask("GET", "/history", query=query)
    if options.json:
        output.print_json(entries)
        return
    for entry in entries:
        _print_entry(entry)
    if not entries:
        print("Nothing happened yet." if query.keys() == {"last"} else "Nothing of that kind happened.")


def _print_entry(entry: _Json) -> None:
    """One line: when, what, whether it was refused and why, about whom, by whom and from where, which services."""
    about = [entry.get(key) for key in ("person", "address", "holder", "note")]
    words = (
        f"{entry.get('event', ''):<14}",
        f"refused ({entry.get('reason', '')})" if entry.get("outcome") == "refused" else "",
        *about,
        ", ".join(entry.get("services", ())),
        f"by {entry['by']}" if entry.get("by") not in (None, *about) else "",
        f"from {entry['from']}" if entry.get("from") not in (None, *about) else "",
    )
    line = "  ".join(output.clean(word) for word in words if word)
    print(f"{output.local(entry.get('at'), seconds=True)}  {line}".rstrip(), flush=True)
