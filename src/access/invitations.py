"""Invitations as their person meets them: looked at, and accepted once."""

import hashlib
import time
from dataclasses import dataclass, replace

from access.address import Address
from access.codes import totp_uri
from access.enrolment import anew, new_era, new_recovery, new_step
from access.finish import finish
from access.guard import Guard, Throttled
from access.hashes import Hashes
from access.history import History
from access.moment import Clock
from access.password import check_password
from access.person import Person, Role
from access.secret import Key
from access.state import State, UnknownPerson


class InvitationGone(Exception):
    """It was used, replaced or taken back, its time is over, or there never was one."""


@dataclass(frozen=True, slots=True)
class Invited:
    """Whom an invitation is for, and what their authenticator is to know: `secret`, or `uri` as a QR code."""

    name: str
    role: Role
    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """`recovery_codes` are known now and never again."""

    person: Person
    recovery_codes: tuple[str, ...]


class Invitations:
    """Made by People.invite. Accepting one begins a new era of its person: sessions from before it are over."""

    def __init__(
        self,
        state: State,
        key: Key,
        hashes: Hashes,
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
        self._guard = guard
        self._history = history
        self._clock = clock
        self._host = host

    def invited(self, token: str) -> Invited | None:
        """What an invitation's page shows, the same each time; None where InvitationGone would be raised."""
        person = self._holder_of(token)
        if person is None:
            return None
        secret = self._key.totp_secret(person.name, self._seed_of(token))
        return Invited(person.name, person.role, secret, totp_uri(person.name, secret))

    async def accept(
        self, token: str, password: str, code: str, *, address: Address, trusted: bool
    ) -> Accepted:
        """Set password and TOTP by an invitation, which is used up then. Two at once: one wins.

        Raises InvitationGone, Throttled; BadInput for "password" and "code". Wrong tokens and codes are
        strikes.
        """
        return await finish(self._accept(token, password, code, address, trusted=trusted))

    async def _accept(
        self, token: str, password: str, code: str, address: Address, *, trusted: bool
    ) -> Accepted:
        if wait_s := self._guard.may_try_s(address, trusted=trusted):
            raise Throttled(wait_s)
        person = self._holder_of(token)
        if person is None:
            self._guard.count("invitation", address, trusted=trusted, guess=token)
            raise InvitationGone
        clean = await check_password(password, person.name, host=self._host)
        if wait_s := self._guard.may_try_s(address, trusted=trusted):
            raise Throttled(wait_s)
        seed = self._seed_of(token)
        with self._guard.attempt("invitation", address, trusted=trusted) as attempt:
            step = new_step(self._key, person.name, seed, code, self._clock())
            attempt.right()
        hashed = await self._hashes.hash(clean, urgent=True)
        codes, hashed_codes = await new_recovery(self._hashes)
        digest, era = _digest(token), new_era()

        def use(current: Person) -> Person:
            invitation = current.invitation
            if invitation is None or invitation.digest != digest:
                raise InvitationGone
            return replace(
                anew(current, era),
                password=hashed,
                totp=seed,
                totp_step=step,
                recovery=hashed_codes,
                invitation=None,
            )

        try:
            accepted = await self._state.change_person(person.name, use)
        except UnknownPerson:
            raise InvitationGone from None
        self._history.record("person-accepted", by=accepted.holder, source=str(address), person=accepted.name)
        return Accepted(accepted, codes)

    def _holder_of(self, token: str) -> Person | None:
        digest = _digest(token)
        for person in self._state.people.values():
            invitation = person.invitation
            if invitation is not None and invitation.digest == digest:
                return person if self._clock() < invitation.expires_at else None
        return None

    def _seed_of(self, token: str) -> str:
        return self._key.mark("invitation", token).hex()[:32]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
