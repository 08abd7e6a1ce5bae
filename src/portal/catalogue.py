"""Translations straight from gettext's .po files.

Read by hand: nothing compiled is committed, so Babel or msgfmt would have to compile at start. Babel
would stay in memory with 2 MiB, 5.5 MiB with its dates; this reader leaves nothing behind but the texts.
It takes what msgmerge and poedit write: comments, contexts excepted, one plural form or several.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_ENTRY = re.compile(r'(msgid|msgid_plural|msgstr|msgstr\[(\d)\])?\s*"(.*)"')
_ESCAPE = re.compile(r'\\(["\\nt])')
_PLAIN = {"n": "\n", "t": "\t"}
# The plural rules of the languages that fit a two-form file. gettext's own are C expressions.
_PLURALS: dict[str, Callable[[int], int]] = {
    "nplurals=2; plural=(n != 1);": lambda n: int(n != 1),
    "nplurals=2; plural=(n > 1);": lambda n: int(n > 1),
}


class BadCatalogue(ValueError):
    """A .po file that cannot be taken; the message names the line."""


@dataclass(slots=True)
class Catalogue:
    """The texts of one language, by the English they stand for. Missing or fuzzy ones stay English."""

    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    plural: Callable[[int], int] = _PLURALS["nplurals=2; plural=(n != 1);"]

    def gettext(self, message: str) -> str:
        """The text for `message`."""
        found = self.texts.get(message)
        return found[0] if found else message

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        """The text for `number` of something."""
        found = self.texts.get(singular)
        if found is None or len(found) < 2:
            return singular if number == 1 else plural
        return found[self.plural(number)]


@dataclass(slots=True)
class _Entry:
    """One message while it is being read: its parts by keyword."""

    parts: dict[str, str] = field(default_factory=dict)
    fuzzy: bool = False
    last: str = ""


def read_catalogue(path: Path) -> Catalogue:
    """The texts of one .po file, UTF-8. Raises BadCatalogue, OSError."""
    catalogue = Catalogue()
    entry = _Entry()
    # An empty line at the end closes the last entry like any other.
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], 1):
        if line.startswith("#,") and "fuzzy" in line:
            entry.fuzzy = True
        elif line.startswith("#"):
            continue
        elif not line.strip():
            _take(entry, catalogue, f"{path}:{number}")
            entry = _Entry()
        elif match := _ENTRY.fullmatch(line.strip()):
            entry.last = match[1] or entry.last
            if not entry.last or (match[1] and match[1] in entry.parts):
                raise BadCatalogue(f"{path}:{number}: separate messages with an empty line")
            text = _ESCAPE.sub(lambda escape: _PLAIN.get(escape[1], escape[1]), match[3])
            entry.parts[entry.last] = entry.parts.get(entry.last, "") + text
        else:
            raise BadCatalogue(f"{path}:{number}: not a line of a catalogue")
    return catalogue


def _take(entry: _Entry, catalogue: Catalogue, place: str) -> None:
    if not entry.parts:
        return
    if "msgid" not in entry.parts:
        raise BadCatalogue(f"{place}: a message without msgid")
    if entry.parts["msgid"] == "":
        catalogue.plural = _plural_rule(entry.parts.get("msgstr", ""), place)
        return
    texts = tuple(text for keyword, text in sorted(entry.parts.items()) if keyword.startswith("msgstr"))
    if texts and all(texts) and not entry.fuzzy:
        # The English is in the templates' code already
        catalogue.texts[sys.intern(entry.parts["msgid"])] = texts


def _plural_rule(header: str, place: str) -> Callable[[int], int]:
    for line in header.splitlines():
        key, _, value = line.partition(":")
        if key == "Plural-Forms":
            rule = _PLURALS.get(value.strip())
            if rule is None:
                raise BadCatalogue(f"{place}: this plural rule is not known; known are {', '.join(_PLURALS)}")
            return rule
    raise BadCatalogue(f"{place}: the header has no Plural-Forms")
