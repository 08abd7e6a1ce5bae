"""Translations: every string of every template, in every language, with the same places to fill."""

import re
from pathlib import Path

import pytest
from portal_house import ROOT

from lab.words import field_errors, messages
from portal.catalogue import BadCatalogue, read_catalogue

CATALOGUES = sorted((ROOT / "locale").glob("*/LC_MESSAGES/safeip.po"))
PLACES = re.compile(r"%\(\w+\)[sd]")
CLOCK = "%(hour)s:%(minute)s"


def test_what_stands_beside_fields_is_found() -> None:
    found = {text for text, _file in field_errors()}
    assert "is too short; write at least 10 characters" in found
    assert "This is not a duration; write one such as 90s, 15m, 12h or 7d" in found


def test_there_are_strings_and_catalogues() -> None:
    assert len(messages()) > 500
    assert [path.parts[-3] for path in CATALOGUES] == ["de", "es", "fr"]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_no_string_is_untranslated_or_left_over(path: Path) -> None:
    texts = read_catalogue(path).texts
    strings = messages()
    untranslated = [
        (file, parts) for parts, file in strings.items() if len(texts.get(parts[0], ())) != len(parts)
    ]
    assert untranslated == [], f"{len(untranslated)} of {len(strings)}; ./dev words adds them to the catalogues"
    assert set(texts) == {parts[0] for parts in strings}, "strings that no page has any more; see ./dev words"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_translations_fill_the_same_places(path: Path) -> None:
    for message, texts in read_catalogue(path).texts.items():
        for text in texts:
            if message == CLOCK:
                assert set(PLACES.findall(text)) <= {f"%({part})s" for part in ("hour", "minute", "h", "h12", "half")}
            else:
                assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(message)), message
            assert "<" not in text


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_typography(path: Path) -> None:
    """Curly apostrophes everywhere, and in French a space that does not break before its high signs."""
    for message, texts in read_catalogue(path).texts.items():
        for text in texts:
            assert "'" not in text, message
            assert text == text.strip(), message
            if path.parts[-3] == "fr":
                assert not re.search(r"[^\s\u00a0\u202f][?!;»]| [?!:;»]|« ", text), message


def test_templates_say_nothing_without_gettext() -> None:
    """Words outside {{ _() }} would stay English for everybody."""
    for file in (ROOT / "templates").glob("*.html"):
        text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", "", file.read_text(), flags=re.DOTALL)
        assert set(text.split()) <= {"SafeIP", "IPv", "·", ","}, file


HEAD = 'msgid ""\nmsgstr ""\n"Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.po"
    path.write_text(text)
    return path


def test_what_a_po_file_may_hold(tmp_path: Path) -> None:
    text = (
        HEAD
        + r'''#. note
#: place
msgid ""
"long "
"text\n"
msgstr "un \"long\"\t"
"texte \\n"

#, fuzzy
msgid "unsure"
msgstr "peut-être"

msgid "empty"
msgstr ""

#~ msgid "old"
#~ msgstr "vieux"

msgid "%(num)d day"
msgid_plural "%(num)d days"
msgstr[0] "jour"
msgstr[1] "jours"'''
    )
    catalogue = read_catalogue(write(tmp_path, text))
    assert catalogue.gettext("long text\n") == 'un "long"\ttexte \\n'
    assert catalogue.gettext("unsure") == "unsure"
    assert catalogue.gettext("empty") == "empty"
    assert catalogue.gettext("old") == "old"
    days = [catalogue.ngettext("%(num)d day", "%(num)d days", n) for n in (0, 1, 2)]
    assert days == ["jour", "jour", "jours"]
    assert catalogue.ngettext("a", "b", 1) + catalogue.ngettext("a", "b", 2) == "ab"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('msgid "a"\nmsgstr "b"\nmsgid "c"\nmsgstr "d"\n', 3),
        ('msgid "a"\nmsgstr unquoted\n', 2),
        ('"text first"\n', 1),
        ('msgstr "alone"\n\n', 2),
        ('msgctxt "menu"\nmsgid "a"\n', 1),
        ('msgid ""\nmsgstr "Plural-Forms: nplurals=6; plural=n;\\n"\n', 3),
        ('msgid ""\nmsgstr ""\n', 3),
    ],
)
def test_a_bad_po_file_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(BadCatalogue, match=rf"x\.po:{line}: "):
        read_catalogue(write(tmp_path, text))
