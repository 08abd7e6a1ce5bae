"""Whether a POST comes from our own page, as far as the browser tells."""

from collections.abc import Collection, Mapping

_OWN = {"same-origin", "none"}


def from_own_page(headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """False where the browser says that another site is behind the request.

    Sec-Fetch-Site (W3C Fetch Metadata) must be same-origin, none, or absent. Origin must be absent,
    `null` (what browsers send under Referrer-Policy: no-referrer), one of `origins`, or name the host
    that was asked. This only backs the form token up; programs other than browsers say what they like.
    """
    if headers.get("Sec-Fetch-Site", "none") not in _OWN:
        return False
    origin = headers.get("Origin", "null")
    if origin == "null" or origin in origins:
        return True
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and host == headers.get("Host")
