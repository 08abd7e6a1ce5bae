"""Imports go one way: safeip -> portal -> access, safeip -> nft; and the gate's process stays small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
MAY_IMPORT = {
    "safeip": {"safeip", "portal", "access", "nft", "teller"},
    "portal": {"portal", "access"},
    "access": {"access"},
    "nft": {"nft"},
    "teller": {"teller", "access"},
}
# access knows no HTTP and no pages; the gate's code is small because it pulls none of these
NEVER = {
    "access": {"aiohttp", "jinja2", "aiohttp_jinja2", "http", "nftables"},
    "nft": {"asyncio", "ssl", "aiohttp", "jinja2", "aiohttp_jinja2"},
    "portal": {"nftables"},
    "safeip": {"nftables"},
    "teller": {"nftables", "asyncio", "aiohttp", "jinja2", "aiohttp_jinja2"},
}
NFTABLES_STANDS_IN = "nft.bindings"
# what the gate's process loads before and while it runs, and nothing heavy with it
GATE_LOADS = ["access.address", "access.duration", "access.services", "portal.settings", "teller.settings"]
HEAVY = {"asyncio", "ssl", "aiohttp", "jinja2", "argon2", "segno"}


def modules() -> Iterator[tuple[str, str]]:
    """Every module under src by its dotted name, with its text."""
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text("utf-8")


def imported(module: str, text: str) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it, relative ones resolved."""
    package = module if (SRC.joinpath(*module.split("."), "__init__.py")).exists() else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            yield ".".join([*start, *((node.module,) if node.module else ())])


def wrong(module: str, text: str) -> list[str]:
    """The rules that a module breaks, each as a sentence with the module and the import named."""
    package = module.split(".", maxsplit=1)[0]
    found = []
    for name in imported(module, text):
        top = name.split(".", maxsplit=1)[0]
        if top in MAY_IMPORT and top not in MAY_IMPORT[package]:
            found.append(f"{module} imports {name}: {package} may not import {top}")
        elif top in NEVER[package] and not (top == "nftables" and module == NFTABLES_STANDS_IN):
            found.append(f"{module} imports {name}: {package} stays without {top}")
        elif top == "nftables" and module != NFTABLES_STANDS_IN:
            found.append(f"{module} imports {name}: nftables stands in {NFTABLES_STANDS_IN} alone")
    return found


def test_imports_go_one_way() -> None:
    seen = dict(modules())
    assert {name.split(".")[0] for name in seen} == set(MAY_IMPORT), "a package of src has no rule here"
    assert NFTABLES_STANDS_IN in seen
    assert [sentence for name, text in seen.items() for sentence in wrong(name, text)] == []


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("access.links", "import portal.serve", "access.links imports portal.serve: access may not import portal"),
        ("nft.gate", "from access import address", "nft.gate imports access: nft may not import access"),
        ("portal.serve", "def f():\n    from nft import wire", "portal.serve imports nft: portal may not import nft"),
        ("portal.serve", "import safeip.cli", "portal.serve imports safeip.cli: portal may not import safeip"),
        ("access.opening", "from ..portal import serve", "access.opening imports portal: access may not import portal"),
        ("access.links", "import aiohttp.web", "access.links imports aiohttp.web: access stays without aiohttp"),
        ("nft.gate", "import asyncio", "nft.gate imports asyncio: nft stays without asyncio"),
        ("nft.gate", "import nftables", "nft.gate imports nftables: nftables stands in nft.bindings alone"),
        ("safeip.daemon", "import nftables", "safeip.daemon imports nftables: safeip stays without nftables"),
    ],
)
def test_a_wrong_import_is_found(module: str, text: str, expected: str) -> None:
    # a relative import is resolved from src, whose root stands above the packages
    assert wrong(module, text) == [expected]


def test_right_imports_pass() -> None:
    assert wrong("nft.bindings", "import nftables\nfrom nft import policy") == []
    assert wrong("safeip.config", "from portal.settings import Settings\nfrom nft.policy import Policy") == []
    assert wrong("portal.serve", "from .gate import GateClient\nfrom access.gate import Gate\nimport aiohttp") == []


def loaded_by(*names: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after importing `names`."""
    code = f"import sys, {', '.join(names)}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_what_the_gate_loads_is_light() -> None:
    gate = [name for name, _ in modules() if name.startswith(("nft", "safeip.daemon", "safeip.config"))]
    assert loaded_by(*gate, *GATE_LOADS) & HEAVY == set()


def test_a_heavy_module_would_be_seen() -> None:
    assert loaded_by("nft", "asyncio") & HEAVY == {"asyncio", "ssl"}
