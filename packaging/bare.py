#!/usr/bin/python3
"""What is installed, without what is for readers of the repository: `bare.py DIRECTORY`, in place.

Of Python comments, docstrings, most types and most of the indentation, line by line: what runs and the lines that an error names are the
same. Of scripts and the style sheet what the portal would leave out when it serves them. Of templates and nft's rules the text of comments.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from portal.lean import LEAN

_NOTE = re.compile(r"\{#.*?#\}", re.DOTALL)
_REMARK = re.compile(r"^[ \t]*#.*", re.MULTILINE)


def bare(text: str) -> str:
    """The same program with as many lines. Nothing but what Python ignores is taken out."""
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    tree = ast.parse("\n".join(lines))
    for row, column, end_row, end_column in sorted(_types(tree, lines), reverse=True):
        first, last = lines[row].encode(), lines[end_row].encode()  # where ast says, in bytes
        lines[row] = (first[:column] + (last[end_column:] if row == end_row else b"")).decode()
        if row != end_row:
            lines[row + 1 : end_row + 1] = [*[""] * (end_row - row - 1), last[end_column:].decode()]
    for row, end_row, left in _imports("\n".join(lines)):
        lines[row:end_row] = [left, *[""] * (end_row - row - 1)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for part in filter(_is_text, body):
            row, end_row = part.lineno - 1, part.end_lineno
            # a body needs a statement
            lines[row:end_row] = [" " * part.col_offset + "..." if len(body) == 1 else "", *[""] * (end_row - row - 1)]
    return _shallow("\n".join(lines))


def _shallow(text: str) -> str:
    """One space for each block, none within a statement. Lines that begin inside of a string stay as they are."""
    depth, begun = 0, False
    depths: dict[int, int] = {}  # of the lines on which a statement begins
    strings: list[int] = []
    within: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind, row = tokenize.tok_name[token.type], token.start[0]
        if kind in {"INDENT", "DEDENT"}:
            depth += 1 if kind == "INDENT" else -1
        elif kind == "NEWLINE":
            begun = False
        elif not begun and kind not in {"COMMENT", "NL", "ENDMARKER"}:
            depths[row], begun = depth, True
        if kind == "FSTRING_START":  # from Python 3.12 on
            strings.append(row)
        elif kind in {"STRING", "FSTRING_END"}:
            first = row if kind == "STRING" else strings.pop()
            within.update(range(first + 1, token.end[0] + 1))
    lines = enumerate(text.split("\n"), 1)
    return "\n".join(line if row in within else " " * depths.get(row, 0) + line.lstrip(" ") for row, line in lines)


def _template(text: str) -> str:
    """With as many lines, and what surrounds a comment as it is."""
    return _NOTE.sub(lambda note: "{#" + "\n" * note[0].count("\n") + "#}", text)


def _rules(text: str) -> str:
    """With as many lines, since nft names them."""
    return _REMARK.sub("", text)


def _types(tree: ast.AST, lines: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """From where to where, line and byte. A result's type of several lines stays: only between brackets does a line go on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name_ends = node.col_offset + len(node.arg.encode())
            yield node.lineno - 1, name_ends, node.annotation.end_lineno - 1, node.annotation.end_col_offset
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            row, kind = node.returns.lineno - 1, node.returns
            arrow = lines[row].encode().rfind(b" ->", 0, kind.col_offset)
            if arrow >= 0 and kind.end_lineno == kind.lineno:
                yield row, arrow, row, kind.end_col_offset
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_variables(node)


def _of_variables(scope: ast.AST) -> Iterator[tuple[int, int, int, int]]:
    """Those that begin with a value; without, they would be no statement, and a class's may be fields."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.AnnAssign) and node.value is not None and node.annotation.end_lineno == node.lineno:
            yield node.lineno - 1, node.target.end_col_offset, node.lineno - 1, node.annotation.end_col_offset
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_variables(node)


def _imports(text: str) -> Iterator[tuple[int, int, str]]:
    """From which line to which names for types are imported, and what is left of it."""
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in {"collections.abc", "typing"}:
            names = [alias.name for alias in node.names if alias.name in used]
            yield node.lineno - 1, node.end_lineno, f"from {node.module} import {', '.join(names)}" if names else ""


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    kinds = {**LEAN, ".py": bare, ".html": _template, ".nft": _rules}
    for path in Path(sys.argv[1]).rglob("*"):
        if path.suffix in kinds and path.is_file():
            path.write_text(kinds[path.suffix](path.read_text("utf-8")), "utf-8")
