"""What is in the package: all that the program needs, and nothing else."""

import ast
import io
import subprocess
import tarfile
import tokenize
from pathlib import Path
from types import EllipsisType

import jinja2
import pytest

from lab import deb
from portal.assets import Assets
from portal.catalogue import read_catalogue

TREE = "usr/share/safeip/"
PRIVATE = ("src/", "templates/", "static/", "locale/")  # whole
SINGLE = ("bin/safeip", "nft/safeip.nft")
DOCUMENTS = {"README.Debian", "SECURITY.md", "changelog.Debian.gz", "copyright"}
ELSEWHERE = {
    "usr/sbin/safeip",
    TREE + "certbot-deploy-hook",
    "usr/lib/systemd/system/safeip.service",
    "usr/lib/systemd/system/safeip-closed.service",
    "usr/lib/systemd/system/safeip-teller.service",
    "usr/lib/systemd/system/nftables.service.d/safeip.conf",
    "usr/lib/sysusers.d/safeip.conf",
    "usr/lib/tmpfiles.d/safeip.conf",
    "usr/share/bash-completion/completions/safeip",
    "usr/share/zsh/vendor-completions/_safeip",
    "usr/share/man/man8/safeip.8.gz",
    "usr/share/man/man5/safeip.toml.5.gz",
    "usr/share/lintian/overrides/safeip",
    "usr/share/python3/runtime.d/safeip.rtupdate",
    *(f"usr/share/doc/safeip/{name}" for name in DOCUMENTS),
}
CONFFILES = {
    "etc/fail2ban/action.d/safeip-grant.conf",
    "etc/fail2ban/action.d/safeip.conf",
    "etc/fail2ban/filter.d/safeip.conf",
    "etc/fail2ban/jail.d/safeip.conf",
}
PROGRAMS = {TREE + "bin/safeip", TREE + "certbot-deploy-hook", "usr/share/python3/runtime.d/safeip.rtupdate"}
MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def archive(built: deb.Built) -> tarfile.TarFile:
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(built.deb)], capture_output=True, check=True).stdout
    return tarfile.open(fileobj=io.BytesIO(data))


def entries(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    return {entry.name.removeprefix("./"): entry for entry in archive.getmembers()}


@pytest.fixture(scope="module")
def names(source: Path) -> list[str]:
    """The checkout's files."""
    return [str(path.relative_to(source)) for path in source.rglob("*") if not path.is_dir()]


def ours(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(PRIVATE) or name in SINGLE]


def test_exactly_these_files(archive: tarfile.TarFile, names: list[str]) -> None:
    found = {name for name, entry in entries(archive).items() if not entry.isdir()}
    examples = {name for name in found if name.startswith("usr/share/doc/safeip/examples/")}
    assert examples == {f"usr/share/doc/safeip/{name}" for name in names if name.startswith("examples/")}
    found -= {name for name in found if name.startswith("usr/share/doc/safeip/examples/")}
    assert found == ELSEWHERE | CONFFILES | {TREE + name for name in ours(names)}


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"./{TREE}{name}")
    assert file is not None
    return file.read()


LESS = (".py", ".po", ".js", ".css", ".html", ".nft")  # without what is for readers of the repository


def test_what_is_no_text_of_ours_is_the_checkouts_byte_for_byte(archive: tarfile.TarFile, source: Path, names: list[str]) -> None:
    same = [name for name in ours(names) if not name.endswith(LESS)]
    assert {Path(name).suffix for name in same} == {"", ".png", ".svg"}
    for name in same:
        assert content(archive, name) == (source / name).read_bytes(), name


def test_scripts_and_style_are_served_as_from_the_checkout(built: deb.Built, source: Path, names: list[str], tmp_path: Path) -> None:
    """A path has the digest of what is served under it. What no browser gets is not installed either."""
    subprocess.run(["dpkg-deb", "--extract", str(built.deb), str(tmp_path)], check=True)
    found, expected = Assets(tmp_path / TREE / "static"), Assets(source / "static")
    files = [Path(name) for name in names if name.startswith("static/")]
    assert len(files) > 10
    for file in files:
        assert found.path(file.name) == expected.path(file.name)
    longer = {file.suffix for file in files if (source / file).stat().st_size > (tmp_path / TREE / file).stat().st_size}
    assert longer == {".js", ".css"}


def test_templates_are_the_checkouts_but_for_what_comments_say(archive: tarfile.TarFile, source: Path, names: list[str]) -> None:
    """An error names the same line of them."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=True)
    templates = [name for name in ours(names) if name.endswith(".html")]
    assert len(templates) > 30
    comments = set()
    for name in templates:
        texts = content(archive, name).decode(), (source / name).read_text("utf-8")
        found, expected = ([token for token in environment.lex(text) if token[1] != "comment"] for text in texts)
        assert found == expected, name
        comments |= {text.strip() for _row, kind, text in environment.lex(texts[0]) if kind == "comment"}
    assert not any(comments)


def test_the_rules_are_the_checkouts_line_by_line(archive: tarfile.TarFile, source: Path) -> None:
    name = "nft/safeip.nft"
    found, expected = content(archive, name).decode().split("\n"), (source / name).read_text("utf-8").split("\n")
    assert found == ["" if line.lstrip().startswith("#") else line for line in expected]
    assert "#" not in "".join(found)


class Bare(ast.NodeTransformer):
    """A program without its docstrings and the types of its parameters and results."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        for name in ("body", "orelse", "finalbody"):
            if isinstance(body := getattr(node, name, None), list):
                setattr(node, name, [self.untyped(part, node) for part in body if not self.idle(part)])
        return node

    @staticmethod
    def untyped(part: ast.stmt, within: ast.AST) -> ast.stmt:
        """A variable's type counts in classes alone."""
        if not isinstance(part, ast.AnnAssign) or part.value is None or isinstance(within, ast.ClassDef):
            return part
        return ast.copy_location(ast.Assign(targets=[part.target], value=part.value), part)

    @staticmethod
    def idle(part: ast.stmt) -> bool:
        if isinstance(part, ast.ImportFrom) and part.module in {"collections.abc", "typing"}:
            return True  # what is missing is noticed by the one that imports all of it
        return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str | EllipsisType)


def test_the_program_is_the_checkouts_line_by_line(archive: tarfile.TarFile, source: Path, names: list[str]) -> None:
    """Without comments, docstrings and types that nobody asks for, so that an error names the same lines."""
    modules = [name for name in ours(names) if name.endswith(".py")]
    assert len(modules) > 200
    typed: list[str] = []
    indents: list[str] = []
    for name in modules:
        found, expected = content(archive, name).decode(), (source / name).read_text("utf-8")
        assert found.count("\n") == expected.count("\n"), name
        trees = [Bare().visit(ast.parse(text)) for text in (found, expected)]
        assert len({ast.dump(tree) for tree in trees}) == 1, name
        assert len({tuple(getattr(node, "lineno", 0) for node in ast.walk(tree)) for tree in trees}) == 1, name
        tokens = list(tokenize.generate_tokens(io.StringIO(found).readline))
        indents += [token.string for token in tokens if token.type == tokenize.INDENT]
        assert [token.string for token in tokens if token.type == tokenize.COMMENT] == [], name
        assert ast.get_docstring(ast.parse(found)) is None, name
        typed += [name for node in ast.walk(ast.parse(found)) if isinstance(node, ast.arg) and node.annotation]
    assert typed == []
    assert 1 == min(map(len, indents)) <= max(map(len, indents)) < 8


def test_the_catalogues_say_what_the_checkouts_say(archive: tarfile.TarFile, source: Path, names: list[str], tmp_path: Path) -> None:
    catalogues = [name for name in names if name.endswith(".po")]
    assert len(catalogues) >= 3
    for name in catalogues:
        text = content(archive, name)
        assert all(b"fuzzy" in line for line in text.splitlines() if line.startswith(b"#"))
        (tmp_path / "safeip.po").write_bytes(text)
        found, expected = read_catalogue(tmp_path / "safeip.po"), read_catalogue(source / name)
        assert len(found.texts) > 300
        assert (found.texts, found.plural) == (expected.texts, expected.plural), name


def test_owners_modes_and_directories(archive: tarfile.TarFile) -> None:
    for name, entry in entries(archive).items():
        assert (entry.uname, entry.gname) == ("root", "root"), name
        program = entry.isdir() or name in PROGRAMS or ("/examples/" in name and entry.mode & 0o100)
        assert entry.issym() or entry.mode == (0o755 if program else 0o644), f"{name}: {entry.mode:o}"
    folders = {"etc", "etc/safeip", "etc/fail2ban", *(name.rpartition("/")[0] for name in CONFFILES)}
    assert {name for name in entries(archive) if name.startswith("etc")} == folders | CONFFILES
    assert not [name for name in entries(archive) if name.startswith(("lib", "bin", "sbin", "var", "run", "usr/bin"))]
    assert entries(archive)["usr/sbin/safeip"].linkname == "../share/safeip/bin/safeip"


def test_small(built: deb.Built) -> None:
    assert built.deb.stat().st_size < MOST_BYTES


def test_the_program_starts_from_what_is_in_it(built: deb.Built, names: list[str], tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(built.deb), str(tmp_path)], check=True)
    program, example = f"{tmp_path}/usr/sbin/safeip", f"{tmp_path}/usr/share/doc/safeip/examples/safeip.toml"
    done = subprocess.run(["unshare", "--net", program, "--config", example, "check"], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout.startswith(f"{example} is good"), done.stderr) == (0, True, "")
    modules = [name.removeprefix("src/").removesuffix(".py").replace("/", ".") for name in ours(names) if name.endswith(".py")]
    every = f"import sys; sys.path.insert(0, sys.argv[1]); import {', '.join(name.removesuffix('.__init__') for name in modules)}"
    subprocess.run(["/usr/bin/python3", "-I", "-B", "-c", every, f"{tmp_path}/usr/share/safeip/src"], check=True, cwd="/")
