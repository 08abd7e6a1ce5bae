"""The headers that every answer carries, errors too."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

POLICY = "Content-Security-Policy"
NO_STORE = "no-store"
FOREVER = "public, max-age=31536000, immutable"


def content_policy(connects: Iterable[str | None] = ()) -> str:
    """What a page may load and reach (CSP 3). `connects`: origins beside our own that its scripts ask, None is none."""
    reached = " ".join(dict.fromkeys(("'self'", *(origin for origin in connects if origin))))
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; manifest-src 'self'; "
        f"connect-src {reached}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


_ALWAYS = {
    POLICY: content_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}
# Two years. Only with a certificate that browsers accept: with a self-signed one it would lock people out.
_HSTS = {"Strict-Transport-Security": "max-age=63072000"}


def security_headers(*, real_tls: bool) -> Mapping[str, str]:
    """What to add to every answer of the public pages; a page may come with a policy of its own."""
    return MappingProxyType(_ALWAYS | _HSTS if real_tls else _ALWAYS)
