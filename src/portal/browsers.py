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

    def token(self, request: web.Request, path: str, lives_s: int = FORM_LIFE_S) -> tuple[str, str | None]:
        """A token for a form that is posted to `path`; and the nonce for a browser that has none."""
        nonce, new = self._cookie.read(request), None
        if nonce is None:
            nonce = new = secrets.token_urlsafe(16)
        return self._key.form_token(f"page:{path}", nonce, int(self._clock()) + lives_s), new

    def give(self, response: web.StreamResponse, nonce: str) -> None:
        """Tell a browser its nonce, which ends with it."""
        self._cookie.give(response, nonce)

    def holds(self, request: web.Request, token: str) -> bool:
        """Whether a posted token was made for this path and browser and has not ended."""
        nonce = self._cookie.read(request)
        return nonce is not None and self._key.form_token_holds(
            token, f"page:{request.path}", nonce, self._clock()
        )
