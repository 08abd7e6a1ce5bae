"""When a certificate begins and ends, of which Python's ssl tells nothing without a connection."""

import re
import ssl
from datetime import UTC, datetime

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# RFC 5280, 4.1.2.5: a SEQUENCE of two moments, each UTCTime (17) or GeneralizedTime (18), and both in UTC to the second
_MOMENT = rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)"
_VALIDITY = re.compile(rb"\x30[\x1e-\x22]" + _MOMENT + _MOMENT)
_NEAR_S = 10 * 86400.0
_NEAR_OF_ALL = 1 / 4  # of those that live for days: certbot renews them at half their life, others at a third


def validity(pem: str) -> tuple[float, float] | None:
    """When the first certificate of a PEM text begins and ends, in seconds since 1970; None where that cannot be read."""
    if (first := _FIRST.search(pem)) is None:
        return None
    try:
        found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(first[0]))
        return None if found is None else (_seconds(found[1] or found[2]), _seconds(found[3] or found[4]))
    except ValueError:
        return None


def _seconds(moment: bytes) -> float:
    text = moment.decode("ascii")
    if len(text) == 12:
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def ending(begin: float, end: float, now: float) -> str | None:
    """That it "ends on" or "ended on" a day, where something should have renewed it by now; all in seconds since 1970."""
    if end - now >= min(_NEAR_S, (end - begin) * _NEAR_OF_ALL):
        return None
    return f"{'ends' if now < end else 'ended'} on {datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
