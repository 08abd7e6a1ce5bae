"""Second factors: TOTP codes (RFC 6238) and recovery codes."""

import re
import secrets
import unicodedata

from access.secret import same

STEP_S = 30
RECOVERY_CODES = 10

_LONGEST = 64  # characters; more is no code
_TOTP = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"(10|[1-9])([a-z2-7]{12})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def clean_code(text: str) -> str:
    """A code as it is compared, however it was typed: without spaces and dashes, in small letters."""
    if len(text) > _LONGEST:
        return ""
    return "".join(
        character
        for character in unicodedata.normalize("NFKC", text).lower()
        if not character.isspace() and unicodedata.category(character) != "Pd"
    )


def totp_step(secret: str, code: str, now: float, after: int) -> int | None:
    """The time step that a clean code stands for: this one or a neighbour, later than `after`; else None.

    SHA-1, six digits, 30 seconds: what every authenticator knows.
    """
    import pyotp  # noqa: PLC0415  a portal without TOTP needs none

    totp = pyotp.TOTP(secret)
    found = None
    current = int(now // STEP_S)
    for step in range(max(0, current - 1), max(0, current + 2)):
        # the latest that fits, so that its code is of no use again
        if same(code, totp.generate_otp(step)) and step > after:
            found = step
    return found if _TOTP.fullmatch(code) else None


def totp_uri(name: str, secret: str) -> str:
    """What an authenticator's camera reads. A secret."""
    import pyotp  # noqa: PLC0415  as above

    return str(pyotp.TOTP(secret).provisioning_uri(name, issuer_name="SafeIP"))


def recovery_parts(code: str) -> tuple[int, str] | None:
    """Which of the ten a clean code claims to be, from 0, and its characters; None where it has another form."""
    match = _RECOVERY.fullmatch(code)
    return (int(match[1]) - 1, match[2]) if match else None


def new_recovery_codes() -> tuple[str, ...]:
    """Ten codes of 60 random bits, as they are shown: "1-abcd-efgh-ijkl"."""
    return tuple(f"{number}-{_four()}-{_four()}-{_four()}" for number in range(1, RECOVERY_CODES + 1))


def _four() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(4))
