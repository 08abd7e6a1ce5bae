"""secret.key: what link URLs, TOTP secrets, form tokens and device cookies derive from."""

import base64
import binascii
import hashlib
import hmac
import secrets

from access import files

_BYTES = 32
_TOKEN_BYTES = 20  # 160 bits, 32 characters of base32
_LONGEST = 256
_ADVICE = (
    f"bring it back from a backup, or put {_BYTES} new random bytes there in base64, "
    "for the same user alone, and every link's URL and every TOTP secret is new"
)


class Key:
    """Derives tokens. Each use has a subkey of its own, so that no token of one can stand for another."""

    __slots__ = ("_device", "_form", "_link", "_mark", "_totp")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _BYTES:
            raise ValueError(f"a key is {_BYTES} bytes")
        self._link = _mac(secret, "safeip link")
        self._form = _mac(secret, "safeip form")
        self._totp = _mac(secret, "safeip totp")
        self._device = _mac(secret, "safeip device")
        self._mark = _mac(secret, "safeip mark")

    @classmethod
    def load(cls, path: str, *, needed: bool) -> "Key":
        """Read the key, or make the first one. Blocks.

        `needed`: there are URLs or TOTP secrets that derive from it, so a missing key is not made anew in silence. Raises
        StateError for a key missing though needed, torn, short, or open to others; NotSaved where none
        can be written.
        """
        text = files.read(path, private=True, largest=_LONGEST)
        if text is None and needed:
            raise files.StateError(
                path, "", f"is missing, and links and TOTP secrets derive from it; {_ADVICE}"
            )
        if text is None:
            secret = secrets.token_bytes(_BYTES)
            files.replace(path, base64.b64encode(secret) + b"\n")
            return cls(secret)
        return cls.parse(path, text)

    @classmethod
    def parse(cls, path: str, text: bytes) -> "Key":
        """Of what the file holds; `path` names it in messages. Raises StateError."""
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != _BYTES:
            raise files.StateError(path, "", f"is not a key of {_BYTES} bytes in base64; {_ADVICE}")
        return cls(secret)

    def link_token(self, link_id: str, generation: int) -> str:
        """The secret part of a link's URL: its id, "-" and 160 bits. The same until the link is rotated."""
        return f"{link_id}-{_text(_mac(self._link, link_id, str(generation)))}"

    def form_token(self, purpose: str, nonce: str, end: int) -> str:
        """Proof that a form was made for `purpose` and the browser that holds `nonce`, until `end` (seconds)."""
        return f"{end}-{_text(_mac(self._form, purpose, nonce, str(end)))}"

    def form_token_holds(self, token: str, purpose: str, nonce: str, now: float) -> bool:
        """Whether form_token gave `token` for this purpose and nonce, and its end is not yet reached."""
        text, _, _ = token.partition("-")
        end = _seconds(text)
        return same(token, self.form_token(purpose, nonce, end)) and now < end

    def totp_secret(self, name: str, seed: str) -> str:
        """What the authenticator of the person `name` is told: 160 bits in base32. The same for one seed."""
        return _text(_mac(self._totp, name, seed)).upper()

    def mark(self, *parts: str) -> bytes:
        """32 bytes by which texts are known again, and which tell nothing of them to who has not the key."""
        return _mac(self._mark, *parts)

    def device_token(self, name: str, device: str, end: int) -> str:
        """Proof that somebody signed in as `name` with the browser `device` (no "-"), until `end` (seconds)."""
        return f"{end}-{device}-{_text(_mac(self._device, name, device, str(end)))}"

    def device(self, token: str, name: str, now: float) -> str | None:
        """The browser for which device_token gave `token`, if that was for `name` and has not ended."""
        text, _, rest = token.partition("-")
        device = rest.partition("-")[0]
        end = _seconds(text)
        return device if same(token, self.device_token(name, device, end)) and now < end else None


def same(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing of where they differ. Both may be any text."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0


def _mac(key: bytes, *parts: str) -> bytes:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        data = part.encode(errors="surrogatepass")
        mac.update(len(data).to_bytes(8, "big") + data)  # so that ("ab", "c") is not ("a", "bc")
    return mac.digest()


def _text(mac: bytes) -> str:
    return base64.b32encode(mac[:_TOKEN_BYTES]).decode().lower()
