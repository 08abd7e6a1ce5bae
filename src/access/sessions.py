"""Sessions: who is signed in, in which browser. In sessions.json, by the SHA-256 of their tokens."""

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from access.actor import Actor
from access.files import StateError
from access.history import History
from access.inputs import check_name
from access.moment import Clock, moment_text
from access.person import Person
from access.shape import Fields
from access.state import State
from access.store import Store

FILE = "sessions.json"
MOST = 10_000
MOST_OF_ONE = 20

_TOKEN_BYTES = 32
_TOKEN_LONGEST = 64  # characters that are looked at
_AGENT_LONGEST = 200
_SEEN_EVERY_S = 60
# A clock is set by seconds. By more, and it stands before a time at which a session was already seen, it is
# wrong: such a session waits until the clock is right.
_BACK_S = 300
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ERA = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which `person` is signed in; over when the person's era is another. Moments in seconds.

    `address` is where it was last seen, `agent` what the browser calls itself.
    """

    digest: str
    person: str
    era: str
    created_at: int
    seen_at: int
    expires_at: int
    address: str
    agent: str

    @property
    def id(self) -> str:
        """By which it is named. No secret."""
        return self.digest[:12]


@dataclass(slots=True)
class _Tables:
    sessions: dict[str, Session] = field(default_factory=dict)

    @classmethod
    def read(cls, top: Fields) -> Self:
        return cls({key: _session(fields, key) for key, fields in top.rows("sessions")})

    def document(self) -> dict[str, Any]:
        return {"sessions": {session.digest: _fields(session) for session in self.sessions.values()}}

    def copy(self) -> Self:
        return type(self)(dict(self.sessions))


class Sessions:
    """At most 20 for a person and 10,000 in all: beyond that the longest unused ends.

    One is alive while its person is active and of the same era, it was used within `idle_s`, and it began
    within `lifetime_s`. Used from one event loop. What start and end do lasts; where and when a session was
    last seen follows lazily, so that a power cut makes it look idle for seconds longer.
    """

    def __init__(
        self,
        directory: str,
        state: State,
        history: History,
        *,
        idle_s: int,
        lifetime_s: int,
        clock: Clock = time.time,
    ) -> None:
        """Go on with the sessions of before. Blocks. Raises StateError."""
        self._state = state
        self._history = history
        self._idle_s = idle_s
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._store = Store(f"{directory}/{FILE}", _Tables)

    async def start(self, person: Person, address: str, agent: str) -> tuple[str, Session]:
        """Begin a session; the text is its token, a secret that is known now and never again. Raises NotSaved."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        now = int(self._clock())
        agent = "".join(character for character in agent[:_AGENT_LONGEST] if character.isprintable())
        session = Session(
            _digest(token), person.name, person.era, now, now, now + self._lifetime_s, address, agent
        )

        def edit(tables: _Tables) -> None:
            self._sweep(tables)
            mine = [one for one in tables.sessions.values() if one.person == person.name]
            _make_room(tables, mine, MOST_OF_ONE - 1)
            _make_room(tables, tables.sessions.values(), MOST - 1)
            tables.sessions[session.digest] = session

        await self._store.commit(edit)
        return token, session

    def find(self, token: str) -> tuple[Session, Person] | None:
        """The living session of a token, and its person as they are now."""
        session = self._store.tables.sessions.get(_digest(token)) if len(token) <= _TOKEN_LONGEST else None
        person = None if session is None else self._alive(session)
        return None if session is None or person is None else (session, person)

    def seen(self, session: Session, address: str) -> None:
        """Note that it was used, and from where: at most once a minute, unless the address is another."""
        now = int(self._clock())
        known = self._store.tables.sessions.get(session.digest)
        if known is None or (known.address == address and abs(now - known.seen_at) < _SEEN_EVERY_S):
            return
        changed = replace(known, seen_at=now, address=address)
        self._store.change_lazily(lambda tables: tables.sessions.update({changed.digest: changed}))

    def of(self, name: str) -> list[Session]:
        """The living sessions of a person, the one seen last first."""
        mine = [one for one in self._store.tables.sessions.values() if one.person == name]
        return sorted((one for one in mine if self._alive(one)), key=lambda one: one.seen_at, reverse=True)

    async def end(self, by: Actor, session_id: str) -> None:
        """End one of one's own, as an admin anybody's. One that there is not, or not for them: nothing happens.

        Raises NotSaved.
        """
        for session in list(self._store.tables.sessions.values()):
            if session.id == session_id and (by.admin or session.person == by.name):
                await self._end(session)
                self._history.record("session-ended", by=by.holder, source=by.address, person=session.person)

    async def end_token(self, token: str) -> None:
        """Sign out. Raises NotSaved."""
        session = self._store.tables.sessions.get(_digest(token))
        if session is not None:
            await self._end(session)
            self._history.record(
                "signed-out", by=f"person:{session.person}", source=session.address, person=session.person
            )

    async def close(self) -> None:
        """Write what is left. Raises NotSaved."""
        await self._store.close()

    async def _end(self, session: Session) -> None:
        def edit(tables: _Tables) -> None:
            self._sweep(tables)
            tables.sessions.pop(session.digest, None)

        await self._store.commit(edit)

    def _alive(self, session: Session) -> Person | None:
        person = self._person(session)
        return person if person is not None and session.seen_at - self._clock() <= _BACK_S else None

    def _person(self, session: Session) -> Person | None:
        """Whose it is, if it is not over."""
        now = self._clock()
        person = self._state.people.get(session.person)
        over = (
            person is None
            or person.state != "active"
            or person.era != session.era
            or now >= min(session.expires_at, session.created_at + self._lifetime_s)
            or now >= session.seen_at + self._idle_s
        )
        return None if over else person

    def _sweep(self, tables: _Tables) -> None:
        for session in list(tables.sessions.values()):
            if self._person(session) is None:
                del tables.sessions[session.digest]


def _make_room(tables: _Tables, among: Iterable[Session], most: int) -> None:
    oldest_first = sorted(among, key=lambda session: session.seen_at)
    for session in oldest_first[: max(0, len(oldest_first) - most)]:
        del tables.sessions[session.digest]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _session(fields: Fields, digest: str) -> Session:
    if not _DIGEST.fullmatch(digest):
        raise StateError(fields.file, fields.place, "is not a SHA-256 in hex")
    session = Session(
        digest=digest,
        person=fields.checked("person", check_name),
        era=fields.match("era", _ERA, "an era"),
        created_at=fields.moment("created_at"),
        seen_at=fields.moment("seen_at"),
        expires_at=fields.moment("expires_at"),
        address=fields.text("address", 64),
        agent=fields.text("agent", _AGENT_LONGEST),
    )
    fields.end()
    return session


def _fields(session: Session) -> dict[str, Any]:
    return {
        "person": session.person,
        "era": session.era,
        "created_at": moment_text(session.created_at),
        "seen_at": moment_text(session.seen_at),
        "expires_at": moment_text(session.expires_at),
        "address": session.address,
        "agent": session.agent,
    }
