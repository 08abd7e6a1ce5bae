"""Scripts and the style sheet without what is for their readers: comments, and indentation.

The package is built with it too, so that it needs nothing but Python.
"""

import re

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def _script(text: str) -> str:
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


def _style(text: str) -> str:
    return _script(_COMMENT.sub("", text))


# by the ending of a file's name
LEAN = {".js": _script, ".css": _style}
