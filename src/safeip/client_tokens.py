"""The actions of `safeip token`."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from safeip import output
from safeip.control import Control

Options = argparse.Namespace
_Json = dict[str, Any]


def _add(control: Control, options: Options) -> None:
    asked = {
        "label": options.label,
        "scopes": options.scope,
        "services": options.service,
        "expires": options.expires,
        "for": options.duration,
    }
    print(control.ask("POST", "/tokens", body=asked)["text"])


def _list(control: Control, options: Options) -> None:
    def row(token: _Json) -> tuple[object, ...]:
        return (
            token["id"], token["label"], ", ".join(token["scopes"]), _services(token), token["state"], _used(token),
            token["last_address"], output.local(token["expires_at"]) or "never",
        )  # fmt: skip

    headings = ("ID", "LABEL", "SCOPES", "SERVICES", "STATE", "LAST USED", "FROM", "EXPIRES")
    output.print_list(control.ask("GET", "/tokens"), headings, row, empty="No tokens.", as_json=options.json)


def _show(control: Control, options: Options) -> None:
    token: _Json = control.ask("GET", _token(options))
    if options.json:
        output.print_json(token)
        return
    output.print_fields(
        ("id", token["id"]),
        ("label", token["label"]),
        ("state", token["state"]),
        ("scopes", ", ".join(token["scopes"])),
        ("services", _services(token)),
        ("for", token["for"] or "each service's default_duration"),
        ("last used", _used(token)),
        ("from", token["last_address"] or "nowhere yet"),
        ("created", output.local(token["created_at"])),
        ("expires", output.local(token["expires_at"]) or "never"),
    )


def _remove(control: Control, options: Options) -> None:
    token = control.ask("DELETE", _token(options))
    if options.json:
        output.print_json(token)
    else:
        print(f"{options.id} is removed")


def _services(token: _Json) -> str:
    return "all" if token["services"] is None else ", ".join(token["services"])


def _used(token: _Json) -> str:
    return output.local(token["last_used_at"]) or "never"


def _token(options: Options) -> str:
    return f"/tokens/{options.id}"


ACTIONS: Mapping[str, Callable[[Control, Options], None]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "remove": _remove,
}
