"""Who calls: the person of a session, from where."""

from dataclasses import dataclass

from aiohttp import web

from access.actor import Actor, acting
from access.person import Person
from access.sessions import Session
from portal.browsers import FORM_LIFE_S
from portal.client_address import Visitor
from portal.site import Site

_PURPOSE = "session"


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person, as they are at this request. `form_token` goes into every form of their pages."""

    person: Person
    session: Session
    visitor: Visitor
    actor: Actor
    form_token: str

    @property
    def links(self) -> bool:
        """Whether they may make links of their own; an admin's are the house's."""
        return self.person.may_link and not self.admin

    @property
    def admin(self) -> bool:
        """Whether they may do everything."""
        return self.actor.admin


class Callers:
    """Finds who calls by the session's cookie, and checks the tokens of their forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def of(self, request: web.Request) -> Caller | None:
        """Who calls; None where nobody is signed in. Raises BadClientAddress."""
        caller = self.still(request)
        if caller is not None:
            self._site.access.sessions.seen(caller.session, str(caller.visitor.address))
        return caller

    def still(self, request: web.Request) -> Caller | None:
        """Who called, as they are now; a look, by which no session lives longer. Raises BadClientAddress."""
        site = self._site
        token = site.session_cookie.read(request)
        found = None if token is None else site.access.sessions.find(token)
        if found is None:
            return None
        session, person = found
        visitor = site.visitor(request)
        return Caller(
            person,
            session,
            visitor,
            acting(person, str(visitor.address)),
            site.access.key.form_token(_PURPOSE, session.digest, int(site.clock()) + FORM_LIFE_S),
        )

    def holds(self, caller: Caller, token: str) -> bool:
        """Whether a posted token was made for the caller's session and has not ended."""
        return self._site.access.key.form_token_holds(
            token, _PURPOSE, caller.session.digest, self._site.clock()
        )
