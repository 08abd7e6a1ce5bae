"""A person's password and authenticator app, set up at the terminal by whoever runs `safeip`."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from access.inputs import BadInput
from access.password import check_password
from safeip import output, terminal
from safeip.control import Control, ControlError


@dataclass(frozen=True, slots=True)
class Offer:
    """What an authenticator app is to learn. Secret, but for the seed."""

    seed: str
    secret: str
    uri: str


class People(Protocol):
    """Where people are kept. Each raises ControlError where it is refused."""

    def set_password(self, name: str, password: str) -> None:
        """Let the person sign in with it."""

    def new_totp(self, name: str) -> Offer:
        """Something for an app to learn; changes nothing."""

    def totp_on(self, name: str, seed: str, code: str) -> Sequence[str]:
        """Ask for codes from now on, and give back the recovery codes. Raises ValueError where the code is wrong."""

    def remove(self, name: str) -> None:
        """Forget the person."""


class DaemonsPeople:
    """The people of the daemon that runs."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def set_password(self, name: str, password: str) -> None:
        """See People."""
        self._control.ask("POST", f"/people/{name}/password", body={"password": password})

    def new_totp(self, name: str) -> Offer:
        """See People."""
        return Offer(**self._control.ask("POST", f"/people/{name}/totp"))

    def totp_on(self, name: str, seed: str, code: str) -> Sequence[str]:
        """See People."""
        try:
            answer = self._control.ask("POST", f"/people/{name}/totp/confirm", body={"seed": seed, "code": code})
        except ControlError as error:
            if error.field == "code":
                raise ValueError(str(error)) from None
            raise
        return [str(one) for one in answer["recovery_codes"]]

    def remove(self, name: str) -> None:
        """See People."""
        self._control.ask("DELETE", f"/people/{name}")


@contextlib.contextmanager
def whole(people: People, name: str) -> Iterator[None]:
    """For a person who was just added and has no password yet: gone again where the block is left before its end."""
    with terminal.leaving():
        try:
            yield
        except BaseException:
            with terminal.undisturbed():
                people.remove(name)
            raise


def ask_password(name: str, url: str) -> str:
    """A password that may be chosen at the portal with this URL, typed twice."""

    def check(text: str) -> str:
        try:
            return asyncio.run(check_password(text, name, host=urlsplit(url).hostname or ""))
        except BadInput as error:
            raise ValueError(f"The password {error.message}") from None

    return terminal.new_password(f"Password of {name} (10 characters or more)", check)


def set_up_app(people: People, name: str) -> Sequence[str]:
    """Show the QR code, ask for the app's codes until one is right, turn them on; the recovery codes."""
    offer = people.new_totp(name)
    terminal.say()
    terminal.say("Scan this with an authenticator app (Aegis, FreeOTP, a password manager …):")
    output.print_qr(offer.uri)
    terminal.say()
    terminal.say("Or type into the app:")
    terminal.say(f"  {offer.uri}")
    terminal.say()
    return terminal.ask("The six digits that the app shows now", lambda code: people.totp_on(name, offer.seed, code))


def show_recovery_codes(codes: Sequence[str]) -> None:
    """For a phone that is lost. Shown this once."""
    terminal.say()
    terminal.say("Recovery codes. Each signs in once without the app. Keep them on paper; they are shown only now:")
    for code in codes:
        terminal.say(f"  {code}")
