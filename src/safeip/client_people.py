"""The actions of `safeip person`."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from safeip import output, terminal
from safeip.control import Control, ControlError

Options = argparse.Namespace
_Json = dict[str, Any]
_Row = tuple[object, ...]


def _add(control: Control, options: Options) -> None:
    asked = {"name": options.name, "role": options.role, "services": options.service, "links": options.links}
    if options.invite:
        _print_invitation(control.ask("POST", "/people", body={**asked, "invite": True}), options)
    elif options.password_stdin:
        control.ask("POST", "/people", body={**asked, "password": _password_from_stdin()})
        print(f"{options.name} is added, without the codes of an app: 'safeip person totp {options.name}' turns them on")
    else:
        _need_terminal("or give --invite or --password-stdin")
        _add_here(control, options.name, asked)


def _add_here(control: Control, name: str, asked: Mapping[str, object]) -> None:
    """Ask for everything at the terminal. The person can sign in once all of it is answered."""
    from safeip import enrol  # noqa: PLC0415 (brings what judges passwords)

    url = control.ask("GET", "/status")["url"]
    people = enrol.DaemonsPeople(control)
    control.ask("POST", "/people", body=asked)
    with enrol.whole(people, name):
        password = enrol.ask_password(name, url)
        codes = enrol.set_up_app(people, name)
        people.set_password(name, password)
    enrol.show_recovery_codes(codes)
    terminal.say()
    terminal.say(f"{name} is added and signs in at {url}/sign-in")


def _list(control: Control, options: Options) -> None:
    def row(person: _Json) -> _Row:
        return (
            person["name"], person["role"], person["state"], _services(person), _yes(person["links"]),
            "on" if person["totp"] else "off", output.local(person["last_seen_at"]) or "never",
        )  # fmt: skip

    headings = ("NAME", "ROLE", "STATE", "SERVICES", "LINKS", "TOTP", "LAST SEEN")
    output.print_list(control.ask("GET", "/people"), headings, row, empty="No people.", as_json=options.json)


def _show(control: Control, options: Options) -> None:
    person: _Json = control.ask("GET", _person(options))
    sessions: list[_Json] = control.ask("GET", f"{_person(options)}/sessions")
    if options.json:
        output.print_json({**person, "sessions": sessions})
        return
    output.print_fields(
        ("name", person["name"]),
        ("role", person["role"]),
        ("state", person["state"]),
        ("may open", _services(person)),
        ("may make links", _yes(person["links"])),
        ("TOTP", f"on, {output.plural(person['recovery_left'], 'recovery code')} left" if person["totp"] else "off"),
        ("invitation", f"until {output.local(person['invitation_expires_at'])}" if person["invitation_expires_at"] else "none"),
        *((("asks", person["message"]),) if person["state"] == "asked" else ()),
        ("created", output.local(person["created_at"])),
        ("last seen", output.local(person["last_seen_at"]) or "never"),
    )
    print()

    def row(session: _Json) -> _Row:
        return output.local(session["seen_at"]), session["address"], output.local(session["expires_at"]), session["agent"]

    output.print_table(("LAST USED", "FROM", "ENDS", "BROWSER"), [row(one) for one in sessions], empty="Not signed in.")


def _services(person: _Json) -> str:
    return "everything" if person["role"] == "admin" else ", ".join(person["services"]) or "nothing"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _change(control: Control, options: Options) -> None:
    services = [] if options.no_services else options.service
    control.ask("PATCH", _person(options), body={"role": options.role, "services": services, "links": options.links})
    print(f"{options.name} is changed")


def _password(control: Control, options: Options) -> None:
    if options.password_stdin:
        password = _password_from_stdin()
    else:
        _need_terminal("or give --password-stdin")
        from safeip import enrol  # noqa: PLC0415 (brings what judges passwords)

        control.ask("GET", _person(options))  # before anything is asked
        password = enrol.ask_password(options.name, control.ask("GET", "/status")["url"])
    control.ask("POST", f"{_person(options)}/password", body={"password": password})
    print(f"{options.name} has a new password and is signed out everywhere")


def _totp(control: Control, options: Options) -> None:
    if options.off:
        control.ask("DELETE", f"{_person(options)}/totp")
        print(f"{options.name} signs in with the password alone; 'safeip person totp {options.name}' changes that")
        return
    _need_terminal("it shows a QR code and asks for the app's code")
    from safeip import enrol  # noqa: PLC0415 (brings what judges passwords)

    enrol.show_recovery_codes(enrol.set_up_app(enrol.DaemonsPeople(control), options.name))


def _invite(control: Control, options: Options) -> None:
    _print_invitation(control.ask("POST", f"{_person(options)}/invitation"), options)


def _print_invitation(invitation: _Json, options: Options) -> None:
    print(invitation["url"])
    if options.qr:
        output.print_qr(invitation["url"])


def _approve(control: Control, options: Options) -> None:
    control.ask("POST", f"{_person(options)}/approve", body={"services": options.service or [], "links": options.links})
    print(f"{options.name} may sign in")


def _act(control: Control, options: Options) -> None:
    control.ask("POST", f"{_person(options)}/{options.action}")
    print(f"{options.name} is {'refused' if options.action == 'refuse' else 'signed out everywhere'}")


def _remove(control: Control, options: Options) -> None:
    control.ask("DELETE", _person(options))
    print(f"{options.name} is removed")


def _person(options: Options) -> str:
    return f"/people/{options.name}"


def _password_from_stdin() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _need_terminal(instead: str) -> None:
    if not terminal.is_there():
        raise ControlError(f"this asks questions: run it at a terminal, {instead}")


ACTIONS: Mapping[str, Callable[[Control, Options], None]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "change": _change,
    "password": _password,
    "totp": _totp,
    "invite": _invite,
    "approve": _approve,
    "refuse": _act,
    "sign-out": _act,
    "remove": _remove,
}
