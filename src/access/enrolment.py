"""What setting up a second factor takes, by invitation or by oneself."""

import secrets
from dataclasses import replace

from access.codes import clean_code, new_recovery_codes, recovery_parts, totp_step
from access.hashes import Hashes
from access.inputs import BadInput
from access.person import Person
from access.secret import Key

_WRONG_CODE = "is wrong; write the six digits that the authenticator shows now"


def new_step(key: Key, name: str, seed: str, text: str, now: float) -> int:
    """The time step of a code that shows that its sender knows the secret of `seed`. Raises BadInput."""
    step = totp_step(key.totp_secret(name, seed), clean_code(text), now, 0)
    if step is None:
        raise BadInput("code", _WRONG_CODE)
    return step


async def new_recovery(hashes: Hashes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ten recovery codes, and what to store of them. Raises Busy."""
    codes = new_recovery_codes()
    hashed = []
    for code in codes:
        parts = recovery_parts(clean_code(code))
        if parts is None:
            raise RuntimeError("a new recovery code has another form than is read")
        hashed.append(await hashes.hash(parts[1], urgent=True))
    return codes, tuple(hashed)


def new_era() -> str:
    """Of one change. An edit of the state may run twice (Store.commit), so it is drawn before."""
    return secrets.token_hex(8)


def anew(person: Person, era: str) -> Person:
    """The person in a new era: every session is over."""
    return replace(person, era=era)
