"""Cookies that only this host gets, only over its own scheme, and no script reads."""

import re

from aiohttp import web


class Cookie:
    """One cookie by its name. Over https it is `__Host-NAME` and Secure (RFC 6265bis, 4.1.3.2).

    SameSite=Lax, because pages are opened from elsewhere, from a message or a bookmark: a Strict cookie
    would not come with that GET. A foreign site's POST does not bring a Lax one. `characters` are its
    value's; `lives_s` None: until the browser ends.
    """

    def __init__(self, name: str, characters: str, *, secure: bool, lives_s: int | None = None) -> None:
        self.name = f"__Host-{name}" if secure else name
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        self._life = "" if lives_s is None else f"; Max-Age={lives_s}"
        self._pattern = re.compile(rf"(?:^|;)\s*{self.name}=({characters})\s*(?:;|$)")

    def read(self, request: web.Request) -> str | None:
        """Its value, None where it is absent or has not its form."""
        match = self._pattern.search(request.headers.get("Cookie", ""))
        return match[1] if match else None

    def give(self, response: web.StreamResponse, value: str) -> None:
        """Have the browser keep `value`."""
        response.headers.add("Set-Cookie", f"{self.name}={value}{self._life}{self._attributes}")

    def take_back(self, response: web.StreamResponse) -> None:
        """Have the browser forget it."""
        response.headers.add("Set-Cookie", f"{self.name}=; Max-Age=0{self._attributes}")
