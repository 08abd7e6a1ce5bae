"""The tokens of a house: made, checked, removed."""

import base64
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from access.actor import Actor
from access.address import Address
from access.duration import LONGEST_S
from access.finish import finish
from access.gate import Gate
from access.guard import Guard, Throttled
from access.history import History
from access.inputs import BadInput, check_count, check_duration, check_label, check_services
from access.moment import Clock
from access.services import Service
from access.state import State, Tables, UnknownToken
from access.telling import Telling
from access.throttle import Throttle
from access.token import SCOPES, Scope, Token, digest_of
from access.underway import Underway

MOST_TOKENS = 1_000

_TEXT = re.compile(r"safeip_([a-z2-7]{6})_([a-z2-7]{26})")
_LONGEST_TEXT = 64  # of what is looked at; a token's text has 40 characters
_NOBODY = "0" * 64  # no secret is known that has this digest
_LAZY_S = 60.0
_DENIED_S = 3600


class BadToken(Exception):
    """Not a token of this house: unknown, wrong, expired or removed, which the one who asks cannot tell apart."""


class Tokens:
    """An admin's hand makes and removes them, at the command line or signed in: a token may not (NotAllowed).

    Methods that change something raise NotSaved, and then nothing was changed.
    """

    def __init__(
        self,
        state: State,
        services: Mapping[str, Service],
        gate: Gate,
        guard: Guard,
        history: History,
        underway: Underway,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._state = state
        self._services = services
        self._gate = gate
        self._guard = guard
        self._history = history
        self._underway = underway
        self._clock = clock
        self._telling = Telling(clock=monotonic)
        self._denied = Throttle(1, _DENIED_S, _DENIED_S, clock=monotonic)

    def list(self, by: Actor) -> list[Token]:
        """All, the oldest first."""
        by.need_hand()
        return sorted(self._state.tokens.values(), key=lambda token: (token.created_at, token.id))

    def get(self, by: Actor, token_id: str) -> Token:
        """Raises UnknownToken."""
        by.need_hand()
        if token_id not in self._state.tokens:
            raise UnknownToken(token_id)
        return self._state.tokens[token_id]

    async def add(
        self,
        by: Actor,
        label: object,
        scopes: object,
        *,
        services: object = None,
        expires_s: object = None,
        duration_s: object = None,
    ) -> tuple[Token, str]:
        """Make a token, and its text, which is known now and never again.

        Values may come as they were typed: BadInput names the field as the API calls it. `services` None: all, and
        those that come later too. `expires_s`: the token's own life from now. `duration_s`: of its grants.
        """
        by.need_hand()
        clean_services = None if services is None else check_services(services, self._services)
        now, lives_s = int(self._clock()), check_count(expires_s, "expires", most=LONGEST_S)
        secret = _letters(26)
        token = Token(
            id="",
            label=check_label(label),
            scopes=_check_scopes(scopes),
            services=clean_services,
            digest=digest_of(secret),
            created_at=now,
            expires_at=None if lives_s is None else now + lives_s,
            duration_s=check_duration(duration_s, clean_services or (), self._services),
        )
        while (token_id := _letters(6)) in self._state.tokens:
            pass
        token = replace(token, id=token_id)
        await self._state.commit(lambda tables: _insert(tables, by, token))
        self._record("token-added", by, token)
        return token, f"safeip_{token.id}_{secret}"

    async def remove(self, by: Actor, token_id: str) -> Token:
        """Forget the token, and close what it opened; gives back what it was.

        Raises UnknownToken; GateUnavailable when it is forgotten but what it opened may still be open.
        """
        by.need_hand()

        def edit(tables: Tables) -> Token:
            by.need_still(tables)
            if token_id not in tables.tokens:
                raise UnknownToken(token_id)
            return tables.tokens.pop(token_id)

        async def work() -> Token:
            token = await self._state.commit(edit)
            self._record("token-removed", by, token)
            # From here on the token opens nothing. What it was let open before must be open before it can be closed.
            async with self._underway.closing(token.holder):
                await self._gate.revoke(holder=token.holder)
            return token

        return await finish(work())

    def check(self, text: str, address: Address, *, trusted: bool) -> Token:
        """The token of this text, and note that it was used from there. Raises BadToken and Throttled.

        Whatever is wrong is a strike of the address; the same text again within a quarter of an hour is the same strike.
        Needs a running event loop.
        """
        if wait_s := self._guard.may_try_s(address, trusted=trusted):
            raise Throttled(wait_s)
        match = _TEXT.fullmatch(text[:_LONGEST_TEXT])
        token = self._state.tokens.get(match[1]) if match else None
        given = digest_of(match[2] if match else "")
        right = hmac.compare_digest(given, token.digest if token else _NOBODY)
        now = self._clock()
        if not right or token is None or token.expired(now):
            self._refuse(text, token, address, "expired" if right else "unknown", trusted=trusted)
            raise BadToken
        used = replace(token, last_used_at=int(now), last_address=str(address))
        self._state.change_token_lazily(token.id, lambda _: used, within_s=_LAZY_S)
        return used

    def denied(self, by: Actor, reason: str, *, tell: bool = True) -> None:
        """Count that a good token was refused what it asked for, and why; with `tell` each reason once an hour in the history.

        `reason` is a word of the program's own.
        """
        self._history.tally["denied", reason] += 1
        if tell and self._denied.count((by.holder, reason)):
            self._history.record("refused", outcome="refused", by=by.holder, source=by.address, reason=reason)

    def holds(self, token: Token) -> bool:
        """Whether a token that was good is still: not removed, and its time not over."""
        now = self._state.tokens.get(token.id)
        return now is not None and now.digest == token.digest and not now.expired(self._clock())

    def _refuse(
        self, text: str, token: Token | None, address: Address, reason: str, *, trusted: bool
    ) -> None:
        self._history.tally["token-refused", reason] += 1
        if not self._guard.count("token", address, trusted=trusted, guess=text[:_LONGEST_TEXT]):
            return
        if self._telling.tells(address, token.id if token else None):
            self._history.record(
                "token-refused",
                outcome="refused",
                reason=reason if token is None or reason == "expired" else "wrong",
                holder=token.holder if token else None,
                note=token.label if token else None,
                address=str(address),
            )

    def _record(self, event: str, by: Actor, token: Token) -> None:
        self._history.record(
            event,
            by=by.holder,
            source=by.address,
            holder=token.holder,
            note=token.label,
            services=token.services or (),
        )


def _check_scopes(value: object) -> tuple[Scope, ...]:
    known = ", ".join(SCOPES)
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise BadInput("scopes", "is not a list of scopes")
    if not value:
        raise BadInput("scopes", "is empty; choose from %(known)s", known=known)
    for name in value:
        if name not in SCOPES:
            raise BadInput(
                "scopes", "%(name)s is not a scope; choose from %(known)s", name=ascii(name[:40]), known=known
            )
    return cast("tuple[Scope, ...]", tuple(scope for scope in SCOPES if scope in value))


def _insert(tables: Tables, by: Actor, token: Token) -> None:
    by.need_still(tables)
    if token.id in tables.tokens:
        raise BadInput("label", "could not be added; try again")  # two at once drew the same id of 2**30
    if len(tables.tokens) >= MOST_TOKENS:
        raise BadInput(
            "label", "cannot be added: there are %(most)s tokens already; remove some", most=MOST_TOKENS
        )
    tables.tokens[token.id] = token


def _letters(number: int) -> str:
    """So many of a-z and 2-7, five random bits each."""
    return base64.b32encode(secrets.token_bytes(number)).decode().lower()[:number]
