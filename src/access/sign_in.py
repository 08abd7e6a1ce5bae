"""Signing in, and proving again who one is: throttle, then the code, then the password (DESIGN §8.4)."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from access.address import Address
from access.codes import clean_code, recovery_parts, totp_step
from access.files import NotSaved
from access.finish import finish
from access.guard import Attempt, Guard
from access.hashes import Busy, Hashes
from access.history import History
from access.inputs import clean_name
from access.moment import Clock
from access.person import Person
from access.secret import Key
from access.sessions import Session, Sessions
from access.state import State, UnknownPerson
from access.telling import Telling

log = logging.getLogger(__name__)

Reason = Literal["wrong", "locked", "busy", "not-saved"]


class SignInRefused(Exception):
    """Nobody is signed in, nothing is proven. "wrong" tells not what; the others may be tried again later."""

    def __init__(self, reason: Reason, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class _Wrong(Exception):
    """For the history: what was wrong."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`token` is the session's cookie, `device` the long-lived one by which the browser is known again."""

    person: Person
    token: str
    session: Session
    device: str


class SignIn:
    """Whoever asks, and whatever name: the same answer after the same work.

    One argon2 run for the password, always, and one before it for a code of a recovery code's form. A code
    is used up durably before the password is looked at, so that each pays for one guess.
    """

    def __init__(
        self,
        state: State,
        key: Key,
        hashes: Hashes,
        guard: Guard,
        sessions: Sessions,
        history: History,
        clock: Clock = time.time,
    ) -> None:
        self._state = state
        self._key = key
        self._hashes = hashes
        self._guard = guard
        self._sessions = sessions
        self._history = history
        self._clock = clock
        self._telling = Telling()

    async def sign_in(
        self,
        name: str,
        password: str,
        code: str,
        *,
        address: Address,
        trusted: bool,
        agent: str,
        device: str | None = None,
    ) -> SignedIn:
        """Start a session. `device`: the cookie from an earlier time. `code` is ignored where none is needed.

        Raises SignInRefused. Goes on to its end when the caller is cancelled.
        """
        name = clean_name(name)

        async def work() -> SignedIn:
            with self._try(name, name, address, trusted=trusted, device=device) as attempt:
                person = await self._check(name, password, code, address, trusted=trusted)
                token, session = await self._sessions.start(person, str(address), agent)
                attempt.right()
            self._seen(person)
            await self._rehash(person, password)
            self._history.tally["sign-in", "signed-in"] += 1
            self._history.record("signed-in", by=person.holder, source=str(address), person=person.name)
            person = self._state.people.get(person.name, person)
            return SignedIn(person, token, session, self._guard.device(name, device))

        return await finish(work())

    async def prove(
        self, person: Person, password: str, code: str, *, address: Address, trusted: bool
    ) -> Person:
        """Check the password and code of somebody signed in once more; gives back the person as it is then.

        Counted apart from sign-ins, so that a stranger's guesses keep nobody from changing a password.
        Raises SignInRefused.
        """

        async def work() -> Person:
            with self._try(
                person.name, f"prove {person.name}", address, trusted=trusted, device=None
            ) as attempt:
                proven = await self._check(person.name, password, code, address, trusted=trusted)
                if proven.era != person.era:
                    raise _Wrong("signed-out")
                attempt.right()
            return proven

        return await finish(work())

    @contextmanager
    def _try(
        self, name: str, counted: str, address: Address, *, trusted: bool, device: str | None
    ) -> Iterator[Attempt]:
        wait_s = self._guard.may_try_s(address, trusted=trusted, name=counted, device=device)
        if wait_s:
            self._tell(name, address, "locked")
            raise SignInRefused("locked", wait_s)
        with self._guard.attempt("sign-in", address, trusted=trusted, name=counted, device=device) as attempt:
            try:
                yield attempt
            except _Wrong as wrong:
                self._tell(name, address, str(wrong))
                raise SignInRefused("wrong") from None
            except Busy:
                attempt.untried()
                self._tell(name, address, "busy")
                raise SignInRefused("busy", 1) from None
            except NotSaved as error:
                attempt.untried()
                self._tell(name, address, "not-saved")
                log.warning("%s", error)
                raise SignInRefused("not-saved") from None

    async def _check(self, name: str, password: str, code: str, address: Address, *, trusted: bool) -> Person:
        person = self._state.people.get(name)
        if person is not None and person.state != "active":
            person = None
        code_right = await self._use_code(person, code, address, urgent=trusted)
        stored = person.password if person is not None and code_right else None
        # Whoever has the code comes before a crowd of guesses.
        urgent = trusted or (person is not None and person.totp is not None and code_right)
        right = await self._hashes.matches(stored, password, urgent=urgent)
        if person is None or not code_right:
            raise _Wrong("unknown-name" if person is None else "wrong-code")
        if not right:
            raise _Wrong("wrong-password")
        now = self._state.people.get(name)
        # The hash took its time.
        if now is None or now.state != "active" or now.era != person.era:
            raise _Wrong("changed-meanwhile")
        return now

    async def _use_code(self, person: Person | None, text: str, address: Address, *, urgent: bool) -> bool:
        """Whether the code is right or none is needed. A right one is used up."""
        code = clean_code(text)
        asked = person if person is not None and person.totp is not None else None
        parts = recovery_parts(code)
        if parts is not None:
            return await self._use_recovery(asked, *parts, address, urgent=urgent) or _needs_none(person)
        if asked is None or asked.totp is None:
            return _needs_none(person)
        secret = self._key.totp_secret(asked.name, asked.totp)
        step = totp_step(secret, code, self._clock(), asked.totp_step)
        if step is None:
            return False

        def use(current: Person) -> Person:
            if current.totp != asked.totp or current.totp_step >= step:
                raise _Wrong("wrong-code")
            return replace(current, totp_step=step)

        return await self._burn(asked.name, use)

    async def _use_recovery(
        self, person: Person | None, index: int, text: str, address: Address, *, urgent: bool
    ) -> bool:
        stored = person.recovery[index] if person is not None and index < len(person.recovery) else ""
        right = await self._hashes.matches(stored, text, urgent=urgent)
        if person is None or not right:
            return False

        def use(current: Person) -> Person:
            if current.recovery[index : index + 1] != (stored,):
                raise _Wrong("wrong-code")
            rest = [*current.recovery]
            rest[index] = ""
            return replace(current, recovery=tuple(rest))

        if not await self._burn(person.name, use):
            return False
        self._history.record("recovery-code-used", by=person.holder, source=str(address), person=person.name)
        return True

    async def _burn(self, name: str, use: Callable[[Person], Person]) -> bool:
        try:
            await self._state.change_person(name, use)
        except (_Wrong, UnknownPerson):  # somebody else was faster
            return False
        return True

    def _seen(self, person: Person) -> None:
        now = int(self._clock())
        self._state.change_person_lazily(person.name, lambda current: replace(current, last_seen_at=now))

    async def _rehash(self, person: Person, password: str) -> None:
        if person.password is None or not self._hashes.outdated(person.password):
            return
        try:
            new = await self._hashes.hash(password, urgent=True)
            await self._state.change_person(
                person.name,
                lambda current: (
                    replace(current, password=new) if current.password == person.password else current
                ),
            )
        except (Busy, NotSaved, UnknownPerson) as error:
            log.info("the password of %s keeps its older hash: %s", person.name, error)

    def _tell(self, name: str, address: Address, reason: str) -> None:
        self._history.tally["sign-in", reason] += 1
        # What belongs to nobody is not recorded: people type passwords there.
        known = name if name in self._state.people else None
        if self._telling.tells(address, (known, reason == "locked")):
            self._history.record(
                "sign-in-refused", outcome="refused", reason=reason, source=str(address), person=known
            )


def _needs_none(person: Person | None) -> bool:
    return person is not None and person.totp is None
