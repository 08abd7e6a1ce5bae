"""The gallery shows every kind of trouble that pages know: what it leaves out, no test of the pages has ever seen."""

import ast
import re
from pathlib import Path

from access.opened import Reason
from lab.gallery import PLACES
from portal import problems

ROOT = Path(__file__).parents[2]
# Scripts alone are told these, as JSON or by a status
TOLD_TO_SCRIPTS = {"ended", "bad-ticket", "same-family", "watched"}
# A link's page says these by itself
ON_THE_PAGE = {"pin-needed", "pin-wrong", "other-family"}


def raised() -> set[str]:
    """The kinds of problem that the portal's own code raises."""
    found = set()
    for file in (ROOT / "src/portal").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem" and node.args:
                first = node.args[0]
                found |= {first.value} if isinstance(first, ast.Constant) else set()
    return found


def compared(template: str, name: str) -> set[str]:
    """What a template compares `name` with."""
    text = (ROOT / "templates" / template).read_text("utf-8")
    tests = re.findall(rf"\b{re.escape(name)} (?:== (\"[a-z-]+\")|in \(([^)]*)\))", text)
    return {word for one, several in tests for word in re.findall(r'"([a-z-]+)"', one + several)}


def said(template: str) -> set[str]:
    """The sentences that a template holds for scripts to show."""
    text = (ROOT / "templates" / template).read_text("utf-8")
    return set(re.findall(r'data-say="([a-z-]+)"', text)) | set(re.findall(r'^  \("([a-z-]+)", _\(', text, re.MULTILINE))


def known() -> set[str]:
    kinds = raised() | set(problems._BY_STATUS.values()) | {name for name, _ in problems._BY_CODE.values()}
    kinds |= {reason.value for reason in Reason} | {"old-form", "foreign-form"}  # the second: portal.door.Why
    return (
        {f"problem:{kind}" for kind in kinds - TOLD_TO_SCRIPTS - ON_THE_PAGE}
        | {f"notice:{notice}" for notice in compared("link.html", "notice") - {"other-family"} | {"old-form"}}
        | {f"say:{code}" for code in said("link.html") | said("opened.html")}
        | {f"refused:{reason}" for reason in compared("fields.html", "refusal.reason") | {"old-form"}}
        | {f"said:{code}" for code in compared("admin_said.html", "said")}
    )


def test_every_kind_of_trouble_has_a_place() -> None:
    shown = {place.shows for place in PLACES if place.shows}
    assert known() - shown == set()
    assert shown - known() == set()


def test_no_name_is_taken_twice() -> None:
    assert len({place.name for place in PLACES}) == len(PLACES)
