"""cracklib's judgement of a password, by the library itself (libcrack2, its dictionary by cracklib-runtime).

Its Python module would look up in /etc/passwd who runs the program, and call every password easy where nobody is found: the
portal's account may have no entry, and its cell no way to a file that was written anew since the start.
"""

import ctypes

_library = ctypes.CDLL("libcrack.so.2")
_judge = _library.FascistCheckUser
_judge.restype = _library.GetDefaultCracklibDict.restype = ctypes.c_char_p
DICTIONARY: bytes = _library.GetDefaultCracklibDict()


def weakness(password: str) -> str | None:
    """What is wrong with it, None: nothing. Not for two threads at once. Raises RuntimeError without the dictionary."""
    found = _judge(password.encode(), DICTIONARY, b"", b"")  # of nobody's name
    if found is None:
        return None
    if b"loading" in found and b"word" not in found:
        raise RuntimeError("cracklib has no dictionary; is cracklib-runtime installed?")
    return str(found, "utf-8", "replace")
