"""Browsers that nobody is signed in with: told apart by a random cookie, so that a form is of one of them."""

import secrets
from collections.abc import Callable

from aiohttp import web

from access.secret import Key
from portal.cookies import Cookie

FORM_LIFE_S = 12 * 3600
"""How long a page may lie open before its form is posted, in seconds."""


class Browsers:
    """Makes form tokens that only one browser can post, and only to one path."""

    def __init__(self, key: Key, clock: Callable[[], float], *, secure: bool) -> None:
        self._key = key
        self._clock = clock
        self._cookie = Cookie("safeip", "[A-Za-z0-9_-]{22}", secure=secure)

    def token(
        self, request: web.Request, path: str, *, says: str = "", lives_s: int = FORM_LIFE_S
    ) -> tuple[str, str | None]:
        """A token for a form that is posted to `path`; and the nonce for a browser that has none.

        It comes back saying what it `says`: text without "~".
        """
        nonce, new = self._cookie.read(request), None
        if nonce is None:
            nonce = new = secrets.token_urlsafe(16)
        proof = self._key.form_token(f"page:{path}", _knows(nonce, says), int(self._clock()) + lives_s)
        return (f"{proof}~{says}" if says else proof), new

    def give(self, response: web.StreamResponse, nonce: str) -> None:
        """Tell a browser its nonce, which ends with it."""
        self._cookie.give(response, nonce)

    def holds(self, request: web.Request, token: str) -> bool:
        """Whether a posted token was made for this path and browser and has not ended."""
        nonce = self._cookie.read(request)
        proof, _, says = token.partition("~")
        return nonce is not None and self._key.form_token_holds(
            proof, f"page:{request.path}", _knows(nonce, says), self._clock()
        )


def said(token: str) -> str:
    """What a token says, if it holds."""
    return token.partition("~")[2]


def _knows(nonce: str, says: str) -> str:
    return f"{nonce} {says}" if says else nonce  # a nonce holds no space
