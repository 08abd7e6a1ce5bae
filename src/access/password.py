"""Whether a password may be chosen."""

from access.hashes import Pool, normal
from access.inputs import BadInput

SHORTEST, LONGEST = 10, 256
"""Characters, after NFKC. What they are is free: length is what counts (NIST SP 800-63B)."""

_JUDGED = 72  # characters that the dictionary is asked about; it has bounds of its own
# What people put into passwords beside their own names, in the languages of the pages, and walks over keys.
_COMMON = (
    *("password", "passwort", "passwd", "motdepasse", "letmein", "welcome", "bonjour", "changeme", "trustno"),
    *("qwerty", "azerty", "qwertz", "admin", "qaz", "wsx", "edc", "zaq", "xsw", "cde", "qwe", "asd", "zxc"),
)
_SPELT_WITH_DIGITS = str.maketrans("0134578@$", "oieastbas")
_FEWEST_LETTERS = 5  # that have to be left of a password without its common words and its digits
_pool = Pool(at_once=1, waiting=8)


async def check_password(text: object, name: str, *, field: str = "password", host: str = "") -> str:
    """A password to be set, after NFKC: 10 to 256 characters, and hard to guess for whoever knows `name`.

    Hard to guess: cracklib finds it neither near a word of its dictionary nor systematic, and more is left
    of it than common words, `name` and the portal's `host`. Raises BadInput; Busy where too many are being
    judged.
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
    words = [name, "safeip", *host.split("."), *_COMMON]
    if not await _pool.run(_hard, password[:_JUDGED], words):
        raise BadInput(field, "is easy to guess; write a longer one, such as a few unusual words")
    return password


def _hard(password: str, words: list[str]) -> bool:
    return _says_enough(password, words) and _unlike_a_word(password)


def _says_enough(password: str, words: list[str]) -> bool:
    spelt = password.lower()
    return all(_left(text, words) >= _FEWEST_LETTERS for text in (spelt, spelt.translate(_SPELT_WITH_DIGITS)))


def _left(text: str, words: list[str]) -> int:
    rest = "".join(character for character in text if character.isalpha())
    for word in sorted((word for word in words if len(word) > 2), key=len, reverse=True):
        rest = rest.replace(word, "")
    return len(set(rest))


def _unlike_a_word(password: str) -> bool:
    from access import crack  # noqa: PLC0415  asked a few times a year

    # A zero byte would end the text for the library, and what no keyboard types is in no dictionary.
    return crack.weakness("".join(character for character in password if character.isprintable())) is None
