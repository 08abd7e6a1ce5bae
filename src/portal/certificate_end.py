"""When a certificate ends, of which Python's ssl tells nothing without a connection."""

import re
import ssl
from datetime import UTC, datetime

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# RFC 5280, 4.1.2.5: a SEQUENCE of two moments, each UTCTime (17) or GeneralizedTime (18), and both in UTC to the second
_VALIDITY = re.compile(rb"\x30[\x1e-\x22](?:\x17\x0d\d{12}Z|\x18\x0f\d{14}Z)(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)")


def ends_at(pem: str) -> float | None:
    """The end of the first certificate of a PEM text, in seconds since 1970; None where it has none that can be read."""
    if (first := _FIRST.search(pem)) is None:
        return None
    try:
        found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(first[0]))
        if found is None:
            return None
        text = (found[1] or found[2]).decode("ascii")
        if len(text) == 12:
            text = f"{'19' if text[:2] >= '50' else '20'}{text}"
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
