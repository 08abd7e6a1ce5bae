"""Translations: every string of every template, in every language, with the same places to fill."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2.ext
import pytest
from portal_house import ROOT

from portal.catalogue import BadCatalogue, read_catalogue

CATALOGUES = sorted((ROOT / "locale").glob("*/LC_MESSAGES/safeip.po"))
PLACES = re.compile(r"%\(\w+\)[sd]")


def template_strings() -> dict[tuple[str, ...], str]:
    """Every translatable string of pages, with its plural, and one file that has it."""
    found: dict[tuple[str, ...], str] = {("English",): "pages.py"} | dict(field_errors())
    for file in sorted((ROOT / "templates").glob("*.html")):
        with file.open("rb") as opened:
            for _line, _function, message, _comments in jinja2.ext.babel_extract(
                opened, ("_", "gettext", "ngettext"), [], {"silent": "false"}
            ):
                parts = (message,) if isinstance(message, str) else tuple(part for part in message if part)
                found[parts] = file.name
    return found


def field_errors() -> Iterator[tuple[tuple[str, ...], str]]:
    """What stands beside a field, and the file that says it: BadInput("field", "...") and form.fail("field", "...")."""
    files = [*(ROOT / "src" / "access").glob("*.py"), *(ROOT / "src" / "portal").glob("*.py")]
    for file in sorted(file for file in files if not file.name.startswith("api_")):
        module = ast.parse(file.read_text("utf-8"))
        texts = {
            node.targets[0].id: node.value
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(module):
            if not (isinstance(node, ast.Call) and len(node.args) >= 2):
                continue
            if ast.unparse(node.func).rpartition(".")[2] not in {"BadInput", "fail"}:
                continue
            said = node.args[1]
            said = texts.get(said.id, said) if isinstance(said, ast.Name) else said
            if ast.unparse(said) == "bad.template":
                continue  # a BadInput that goes through
            assert isinstance(said, ast.Constant), f"{file}:{node.lineno}: cannot be translated"
            yield (str(said.value),), file.name


def test_what_stands_beside_fields_is_found() -> None:
    found = {text for (text,), _file in field_errors()}
    assert "is too short; write at least 10 characters" in found
    assert "This is not a duration; write one such as 90s, 15m, 12h or 7d" in found


def test_there_are_strings_and_catalogues() -> None:
    assert len(template_strings()) > 80
    assert [path.parts[-3] for path in CATALOGUES] == ["fr"]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_no_string_is_untranslated_or_left_over(path: Path) -> None:
    texts = read_catalogue(path).texts
    strings = template_strings()
    untranslated = [
        (file, parts) for parts, file in strings.items() if len(texts.get(parts[0], ())) != len(parts)
    ]
    assert untranslated == []
    assert set(texts) == {parts[0] for parts in strings}, "strings that no template has any more"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_translations_fill_the_same_places(path: Path) -> None:
    for message, texts in read_catalogue(path).texts.items():
        for text in texts:
            assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(message)), message
            assert "<" not in text


def test_templates_say_nothing_without_gettext() -> None:
    """Words outside {{ _() }} would stay English for everybody."""
    for file in (ROOT / "templates").glob("*.html"):
        text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", "", file.read_text(), flags=re.DOTALL)
        assert set(text.split()) <= {"SafeIP", "·"}, file


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
