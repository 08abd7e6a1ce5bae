"""Brings the catalogues of locale/ up to date with what pages say: `./dev words [LANGUAGE …]`.

What is new stands there untranslated, what no page says any more goes; a language that has no file gets one.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2.ext

from portal.catalogue import read_catalogue

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "locale"
Message = tuple[str, ...]
"""A text of a page, and its plural where it has one."""

_HEADER = r"""# SafeIP in {code}; see CONTRIBUTING.md. "./dev words" adds what is new.
msgid ""
msgstr ""
"Project-Id-Version: SafeIP\n"
"Language: {code}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: {plural}\n"
"""
_NOTES = {
    "English": "The name of the language itself, in the language itself.",
    "1,000": "How digits are grouped.",
    "%(hour)s:%(minute)s": "The time of day. %(h)s is the hour without a zero; %(h12)s with %(half)s, AM or PM, counts to 12.",
}


def messages() -> dict[Message, str]:
    """Every text that pages say, and the file that says it."""
    found: dict[Message, str] = {("English",): "src/portal/pages.py", ("1,000",): "src/portal/phrases.py"}
    for file in sorted((ROOT / "templates").glob("*.html")):
        with file.open("rb") as opened:
            for _line, _function, message, _comments in jinja2.ext.babel_extract(
                opened, ("_", "ngettext"), [], {"silent": "false"}
            ):
                parts = (message,) if isinstance(message, str) else message or ()
                found.setdefault(tuple(part for part in parts if part), f"templates/{file.name}")
    for text, place in field_errors():
        found.setdefault((text,), place)
    return found | teller_messages()


def teller_messages() -> dict[Message, str]:
    """What the teller's messages say: gettext("…") and ngettext("…", "…", number)."""
    file = ROOT / "src" / "teller" / "words.py"
    found: dict[Message, str] = {}
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"gettext", "ngettext"}:
            said = tuple(str(part.value) for part in node.args if isinstance(part, ast.Constant))
            if not said:
                raise TypeError(f"{file}:{node.lineno}: cannot be translated")
            found[said] = str(file.relative_to(ROOT))
    return found


def field_errors() -> Iterator[tuple[str, str]]:
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
            if not isinstance(said, ast.Constant):
                raise TypeError(f"{file}:{node.lineno}: cannot be translated")
            yield str(said.value), str(file.relative_to(ROOT))


def write(code: str, texts: dict[str, Message], plural: str) -> int:
    """Write the catalogue of a language; how many texts it lacks."""
    parts, missing = [_HEADER.format(code=code, plural=plural)], 0
    for message, place in messages().items():
        said = texts.get(message[0], ())
        if len(said) != len(message):
            said, missing = ("",) * len(message), missing + 1
        lines = [f"#. {_NOTES[message[0]]}"] if message[0] in _NOTES else []
        lines += [f"#: {place}", *(["#, python-format"] if "%(" in message[0] else [])]
        lines += [f"{key} {_quoted(text)}" for key, text in zip(("msgid", "msgid_plural"), message, strict=False)]
        keys = ["msgstr"] if len(message) == 1 else [f"msgstr[{number}]" for number in range(len(message))]
        lines += [f"{key} {_quoted(text)}" for key, text in zip(keys, said, strict=True)]
        parts.append("\n".join(lines) + "\n")
    file = LOCALE / code / "LC_MESSAGES" / "safeip.po"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(parts), "utf-8")
    return missing


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a .po file escapes these characters as JSON does


def main() -> None:
    """Bring all up to date, and make those that are named."""
    for code in sorted({*sys.argv[1:], *(path.name for path in LOCALE.iterdir())}):
        file = LOCALE / code / "LC_MESSAGES" / "safeip.po"
        texts, plural = {}, "nplurals=2; plural=(n != 1);"
        if file.exists():
            texts = read_catalogue(file).texts
            plural = next(line for line in file.read_text("utf-8").splitlines() if "Plural-Forms" in line)
            plural = plural.partition(": ")[2].removesuffix('\\n"')
        print(f"{code}: {write(code, texts, plural)} texts to translate")


if __name__ == "__main__":
    main()
