"""Whether a password may be chosen."""

import json
import subprocess
import sys

from access.hashes import Busy, Pool, normal
from access.inputs import BadInput

SHORTEST, LONGEST = 10, 256
"""Characters, after NFKC. What they are is free: length is what counts (NIST SP 800-63B)."""

_GUESSES = 10**8  # fewer, and a thousand guesses an hour have it before long
_JUDGED = 72  # characters: the time to judge grows faster than the length
_WITHIN_S = 5.0

# A process of its own: the lists of words take 14 MiB, for a question asked a few times a year.
_PROGRAM = """
import json, sys
from zxcvbn import zxcvbn
text, words, least = json.load(sys.stdin)
print(int(zxcvbn(text, words)["guesses"] >= least))
"""
_pool = Pool(at_once=1, waiting=8)


async def check_password(text: object, name: str, *, field: str = "password", host: str = "") -> str:
    """A password to be set, after NFKC: 10 to 256 characters, and hard to guess for whoever knows `name`.

    `host`: the portal's. Raises BadInput; Busy where too many are being judged.
    """
    if not isinstance(text, str):
        raise BadInput(field, "is not text")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text[: LONGEST * 4]):
        raise BadInput(field, "holds half a character; type it again")
    password = normal(text)
    if password is None or len(password) > LONGEST:
        raise BadInput(field, "is too long; write at most 256 characters")
    if len(password) < SHORTEST:
        raise BadInput(field, "is too short; write at least 10 characters")
    if not await _pool.run(
        _hard, password[:_JUDGED], [name, "safeip", host, host.replace(".", ""), *host.split(".")]
    ):
        raise BadInput(field, "is easy to guess; write a longer one, such as a few unusual words")
    return password


def _hard(password: str, words: list[str]) -> bool:
    command = [sys.executable, "-I", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([password, words, _GUESSES]).encode(),
            capture_output=True,
            timeout=_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Busy("the password could not be judged in time") from None
    if done.returncode != 0:
        # its message might quote the password
        raise RuntimeError("the password could not be judged; is python3-zxcvbn installed?")
    return done.stdout == b"1\n"
