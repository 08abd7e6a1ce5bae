"""Origins as browsers write them, for what is compared with theirs or told to them."""

import re
from urllib.parse import urlsplit

_DEFAULT = {"http": 80, "https": 443}
# What a header may hold as it is: names as DNS has them, and addresses.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*")


def web_origin(url: str | None) -> str | None:
    """The origin of an http(s) URL, without its scheme's own port (RFC 6454, 6.2); None where there is none to tell.

    Takes any text: what it gives holds no space, comma, semicolon or star.
    """
    try:
        parts = urlsplit(url or "")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT or not _HOST.fullmatch(host):
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, _DEFAULT[parts.scheme]} else f":{port}")
