"""The link page's form: the browser it was made for, the token that proves it, and what it brings."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl

from access.secret import Key

TOKEN_LIFE_S = 12 * 3600
"""How long a page may lie open before its form is posted, in seconds."""

_FIELDS = {"form", "pin"}
_FORM_LONGEST = 128
_PIN_LONGEST = 256


class BadForm(ValueError):
    """A body that our form does not send. The message is for logs and tests; it repeats nothing of the body."""


@dataclass(frozen=True, slots=True)
class LinkForm:
    """What the link's form posts: its token, and the PIN where one was asked for."""

    token: str
    pin: str | None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read an application/x-www-form-urlencoded body. Raises BadForm."""
        try:
            pairs = parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=4,
            )
        except ValueError:  # UnicodeDecodeError is one
            raise BadForm("not a form in UTF-8") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadForm("a field comes twice")
        if not fields.keys() <= _FIELDS or "form" not in fields:
            raise BadForm("not the fields of this form")
        if len(fields["form"]) > _FORM_LONGEST or len(fields.get("pin", "")) > _PIN_LONGEST:
            raise BadForm("a field is too long")
        return cls(fields["form"], fields.get("pin"))


class Browsers:
    """Tells browsers apart by a random cookie, and makes form tokens that only one of them can post.

    Over https the cookie is `__Host-safeip`, Secure. SameSite=Lax, because a link is opened from
    elsewhere: a Strict cookie would not come with that GET, so that each link opened in a second tab
    would replace the cookie that the first tab's form needs. A foreign site's POST brings neither.
    """

    def __init__(self, key: Key, clock: Callable[[], float], *, secure: bool) -> None:
        self._key = key
        self._clock = clock
        self.cookie = "__Host-safeip" if secure else "safeip"
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        self._pattern = re.compile(rf"(?:^|;)\s*{self.cookie}=([A-Za-z0-9_-]{{22}})\s*(?:;|$)")

    def nonce(self, cookies: str) -> str | None:
        """The browser's nonce, from the Cookie header as it came."""
        match = self._pattern.search(cookies)
        return match[1] if match else None

    def new_nonce(self) -> tuple[str, str]:
        """A nonce for a browser that has none, and the Set-Cookie that gives it. Ends with the browser's session."""
        nonce = secrets.token_urlsafe(16)
        return nonce, f"{self.cookie}={nonce}{self._attributes}"

    def token(self, link_token: str, nonce: str) -> str:
        """The form's token for this link and browser, good for TOKEN_LIFE_S."""
        return self._key.form_token(f"open:{link_token}", nonce, int(self._clock()) + TOKEN_LIFE_S)

    def holds(self, token: str, link_token: str, nonce: str | None) -> bool:
        """Whether a posted token was made for this link and browser and has not ended."""
        return nonce is not None and self._key.form_token_holds(
            token, f"open:{link_token}", nonce, self._clock()
        )
