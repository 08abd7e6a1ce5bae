"""What a person proves themselves with: accepting an invitation, password, TOTP, recovery codes."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Network

from access.actor import Actor, NotAllowed
from access.address import Address
from access.codes import totp_uri
from access.enrolment import anew, new_era, new_recovery, new_step
from access.guard import Guard
from access.hashes import Hashes
from access.history import History
from access.inputs import BadInput
from access.moment import Clock
from access.password import check_password
from access.person import Person
from access.secret import Key
from access.sign_in import SignIn
from access.state import State, UnknownPerson

_SEED = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class TotpOffer:
    """A TOTP secret that counts once totp_on is given its `seed` and a code. `uri` and `secret` are secrets."""

    seed: str
    secret: str
    uri: str


class Credentials:
    """Each change begins a new era of the person: sessions from before it are over.

    Changes raise NotSaved and UnknownPerson, and then nothing was changed; Busy; NotAllowed for what is not
    one's own; BadInput. Who changes their own proves first who they are, by password and, where it is on, a
    code of TOTP or a recovery code: SignInRefused. `trusted`: whether they ask from a trusted network.
    """

    def __init__(
        self,
        state: State,
        key: Key,
        hashes: Hashes,
        sign_in: SignIn,
        guard: Guard,
        history: History,
        clock: Clock = time.time,
        *,
        host: str = "",
    ) -> None:
        """`host`: the portal's, which no password should consist of."""
        self._state = state
        self._key = key
        self._hashes = hashes
        self._sign_in = sign_in
        self._guard = guard
        self._history = history
        self._clock = clock
        self._host = host

    async def set_password(self, by: Actor, name: str, password: object) -> Person:
        """Give a person a password, from the command line. An invitation that is open ends with it."""
        _cli_alone(by)
        self._get(name)
        hashed = await self._hashes.hash(await check_password(password, name, host=self._host))
        era = new_era()
        return await self._change(
            by,
            name,
            "password-changed",
            lambda current: replace(anew(current, era), password=hashed, invitation=None),
        )

    async def change_password(
        self, by: Actor, current: str, code: str, new: object, *, trusted: bool = False
    ) -> Person:
        """Change one's own. BadInput names the field "new"."""
        name = _oneself(by).name
        clean = await check_password(new, name, field="new", host=self._host)
        proven = await self._prove(by, name, current, code, trusted=trusted)
        hashed = await self._hashes.hash(clean, urgent=True)
        era = new_era()
        return await self._change(
            by,
            name,
            "password-changed",
            lambda person: replace(anew(_same(person, proven), era), password=hashed, invitation=None),
        )

    def new_totp(self, by: Actor, name: str, seed: str | None = None) -> TotpOffer:
        """A new secret, or again that of a `seed` offered before: for oneself, from the command line for anybody.

        Changes nothing.
        """
        _own_or_cli(by, name)
        self._get(name)
        if seed is None or not _SEED.fullmatch(seed):
            seed = secrets.token_hex(16)
        secret = self._key.totp_secret(name, seed)
        return TotpOffer(seed, secret, totp_uri(name, secret))

    async def totp_on(
        self,
        by: Actor,
        name: str,
        seed: str,
        code: str,
        *,
        password: str | None = None,
        proof: str = "",
        trusted: bool = False,
    ) -> tuple[Person, tuple[str, ...]]:
        """Turn TOTP on, or to another authenticator, once `code` shows that it knows the secret of `seed`.

        Oneself: `password`, and where TOTP is on already a code of the old one or a recovery code as `proof`.
        Gives back ten new recovery codes; older ones are of no use any more.
        """
        _own_or_cli(by, name)
        if not _SEED.fullmatch(seed):
            raise BadInput("seed", "is not one that was offered; begin again")
        if seed == self._get(name).totp:
            raise BadInput("seed", "is in use already; begin again")  # and its used codes would be good again
        step = new_step(self._key, name, seed, code, self._clock())
        proven = await self._prove(by, name, password or "", proof, trusted=trusted)
        codes, hashed = await new_recovery(self._hashes)
        era = new_era()
        person = await self._change(
            by,
            name,
            "totp-on",
            lambda current: replace(anew(_same(current, proven), era), totp=seed, totp_step=step, recovery=hashed),
        )
        return person, codes

    async def totp_off(
        self,
        by: Actor,
        name: str,
        *,
        password: str | None = None,
        code: str | None = None,
        trusted: bool = False,
    ) -> Person:
        """Turn TOTP off, with password and code, or from the command line. An admin cannot do without."""
        _own_or_cli(by, name)
        if by.person is not None and self._get(name).role == "admin":
            raise BadInput(
                "code", "stays on: an admin signs in with TOTP; set up another authenticator instead"
            )
        proven = await self._prove(by, name, password or "", code or "", trusted=trusted)
        era = new_era()
        return await self._change(
            by,
            name,
            "totp-off",
            lambda current: replace(anew(_same(current, proven), era), totp=None, totp_step=0, recovery=()),
        )

    async def new_recovery_codes(
        self, by: Actor, *, password: str, code: str, trusted: bool = False
    ) -> tuple[str, ...]:
        """Ten new ones for oneself; older ones are of no use any more. Sessions go on."""
        name = _oneself(by).name
        if self._get(name).totp is None:
            raise BadInput("code", "is of no use without TOTP; turn TOTP on first")
        proven = await self._prove(by, name, password, code, trusted=trusted)
        codes, hashed = await new_recovery(self._hashes)
        await self._change(
            by,
            name,
            "recovery-codes-made",
            lambda current: replace(_same(current, proven), recovery=hashed),
        )
        return codes

    def _get(self, name: str) -> Person:
        person = self._state.people.get(name)
        if person is None:
            raise UnknownPerson(name)
        return person

    async def _prove(self, by: Actor, name: str, password: str, code: str, *, trusted: bool) -> Person:
        """The person as they are, after proof where it is needed."""
        if by.person is None:
            return self._get(name)
        return await self._sign_in.prove(by.person, password, code, address=_address(by), trusted=trusted)

    async def _change(self, by: Actor, name: str, event: str, change: Callable[[Person], Person]) -> Person:
        person = await self._state.change_person(name, change)
        self._history.record(event, by=by.holder, source=by.address, person=name)
        return person


def _same(current: Person, proven: Person) -> Person:
    # a second change that was proven before the first one was made
    if current.era != proven.era:
        raise NotAllowed("the person was changed meanwhile")
    return current


def _cli_alone(by: Actor) -> None:
    if by.holder != Actor.CLI.holder:
        raise NotAllowed("only the command line may")


def _oneself(by: Actor) -> Person:
    if by.person is None:
        raise NotAllowed("only a person has credentials of their own")
    return by.person


def _own_or_cli(by: Actor, name: str) -> None:
    if by.person is not None:
        if by.person.name != name:
            raise NotAllowed("only the person or the command line may")
    else:
        _cli_alone(by)


def _address(by: Actor) -> Address:
    text = by.address or ""
    return IPv6Network(text) if ":" in text else IPv4Address(text)
