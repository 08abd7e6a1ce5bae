"""The first admin: made through the daemon that runs, or where none does in its state directory."""

# ruff: noqa: ARG002 (a gate takes what it does nothing with; Admins and Gate describe what others do)

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from access.actor import Actor
from access.address import Address
from access.gate import Banned, Blocked, GateUnavailable, Grant, Granted
from access.inputs import BadInput
from access.start import Access, start
from safeip import directories, enrol, privileges, terminal
from safeip.config import Config
from safeip.control import Control, ControlError

_T = TypeVar("_T")


class Admins(enrol.People, Protocol):
    """Where the first admin is made."""

    def active(self) -> list[str]:
        """The names of the admins who can sign in."""

    def add(self, name: str) -> str:
        """Add an admin who cannot sign in yet; the clean name. Raises ValueError for a name that cannot be taken."""


@contextlib.contextmanager
def admins(config: Config) -> Iterator[Admins]:
    """Of the daemon that runs on this state, or of the state itself, claimed meanwhile so that none starts.

    What was made for it is gone again where the block is left before its end. Raises StartError, StateError, NotSaved.
    """
    account = privileges.portal_account()
    with _made_directories(config, account), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(directories.lock(config))
        except directories.DaemonRuns:
            yield _DaemonsAdmins(Control(config.control_socket))
            return
        stack.enter_context(_emptied_again(Path(config.settings.state_dir)))
        yield stack.enter_context(_opened(config, account))


@contextlib.contextmanager
def _made_directories(config: Config, portal: privileges.Account) -> Iterator[None]:
    places = [Path(place) for place in (config.state_dir, config.gate_dir, config.settings.state_dir)]
    missing = [place for place in places if not place.exists()]
    try:
        directories.make_state_directory(config, privileges.gate_account(), portal)
        yield
    except BaseException:
        for place in reversed(missing):
            with contextlib.suppress(OSError):  # somebody has put something there
                place.rmdir()
        raise


@contextlib.contextmanager
def _emptied_again(state: Path) -> Iterator[None]:
    """A portal's directory that was empty before is so again where the block is left before its end."""
    empty = not any(state.iterdir())
    try:
        yield
    except BaseException:
        for path in state.iterdir() if empty else ():
            path.unlink(missing_ok=True)
        raise


def make_admin(people: Admins, config: Config, suggestion: str) -> tuple[str, Sequence[str]]:
    """Ask for the admin's name, password and app; the name and the recovery codes."""
    name = terminal.ask("Name of the admin, to sign in with", people.add, default=suggestion)
    with enrol.whole(people, name):
        password = enrol.ask_password(name, config.settings.url)
        codes = enrol.set_up_app(people, name)
        people.set_password(name, password)
    return name, codes


class _DaemonsAdmins(enrol.DaemonsPeople):
    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self._control = control

    def active(self) -> list[str]:
        people = self._control.ask("GET", "/people")
        return [str(one["name"]) for one in people if (one["role"], one["state"]) == ("admin", "active")]

    def add(self, name: str) -> str:
        try:
            return str(self._control.ask("POST", "/people", body={"name": name, "role": "admin"})["name"])
        except ControlError as error:
            if error.field == "name":
                raise ValueError(str(error)) from None
            raise


@contextlib.contextmanager
def _opened(config: Config, account: privileges.Account) -> Iterator["_StatesAdmins"]:
    with asyncio.Runner() as runner:
        with privileges.acting_as(account):
            access = runner.run(_start(config))
        people = _StatesAdmins(access, runner, account)
        try:
            yield people
        finally:
            people.run(access.close)


async def _start(config: Config) -> Access:
    return start(config.settings.state_dir, config.settings.services, _NoGate(), config.settings.limits)


class _StatesAdmins:
    """Works as the portal's account, so that every file belongs to it."""

    def __init__(self, access: Access, runner: asyncio.Runner, account: privileges.Account) -> None:
        self._access = access
        self._runner = runner
        self._account = account

    def run(self, work: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any, **named: Any) -> _T:  # noqa: ANN401 (what `work` takes)
        with privileges.acting_as(self._account):
            return self._runner.run(work(*arguments, **named))

    def active(self) -> list[str]:
        people = self._access.people.list(Actor.CLI)
        return [person.name for person in people if person.admin and person.state == "active"]

    def add(self, name: str) -> str:
        return self.run(self._access.people.add, Actor.CLI, name, role="admin").name

    def set_password(self, name: str, password: str) -> None:
        self.run(self._access.credentials.set_password, Actor.CLI, name, password)

    def new_totp(self, name: str) -> enrol.Offer:
        offer = self._access.credentials.new_totp(Actor.CLI, name)
        return enrol.Offer(offer.seed, offer.secret, offer.uri)

    def totp_on(self, name: str, seed: str, code: str) -> Sequence[str]:
        try:
            return self.run(self._access.credentials.totp_on, Actor.CLI, name, seed, code)[1]
        except BadInput as error:
            raise ValueError(f"The code {error.message}") from None

    def remove(self, name: str) -> None:
        self.run(self._access.people.remove, Actor.CLI, name)


class _NoGate:
    """No daemon runs: nothing can be opened, and who was added a moment ago has opened nothing."""

    async def grant(
        self, services: Mapping[str, int], address: Address, *, holder: str, note: str, addresses: int | None = None
    ) -> Granted:
        raise GateUnavailable

    async def revoke(
        self, *, service: str | None = None, address: Address | None = None, holder: str | None = None, everything: bool = False
    ) -> int:
        return 0

    async def grants(self, *, service: str | None = None, address: Address | None = None, holder: str | None = None) -> list[Grant]:
        raise GateUnavailable

    async def held(self, service: str, address: Address) -> bool:
        raise GateUnavailable

    async def blocked(self) -> list[Blocked]:
        raise GateUnavailable

    async def ban(self, address: Address, duration_s: int) -> None:
        raise GateUnavailable

    async def banned(self) -> list[Banned]:
        raise GateUnavailable

    async def status(self) -> dict[str, Any]:
        raise GateUnavailable
