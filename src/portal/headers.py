"""The headers that every answer carries, errors too."""

from collections.abc import Mapping
from types import MappingProxyType

_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_ALWAYS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}
# Two years. Only with a certificate that browsers accept: with a self-signed one it would lock people out.
_HSTS = {"Strict-Transport-Security": "max-age=63072000"}

NO_STORE = "no-store"
FOREVER = "public, max-age=31536000, immutable"


def security_headers(*, real_tls: bool) -> Mapping[str, str]:
    """What to add to every answer of the public pages."""
    return MappingProxyType(_ALWAYS | _HSTS if real_tls else _ALWAYS)
