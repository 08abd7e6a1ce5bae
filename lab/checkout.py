"""What git knows of the checkout as it is now, committed or not: what is handed on to a machine or made a package of."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_PROGRAM = ("bin", "src", "nft", "templates", "static", "locale")


def copy_program(to: Path) -> None:
    """Put the program's tree into a directory, as an installation has it."""
    for name in _PROGRAM:
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))


def files() -> list[str]:
    """The files that git knows, or would know if they were added, sorted; relative to ROOT."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    # not one that was removed and is still in the index
    return [name for name in sorted(set(filter(None, names))) if (ROOT / name).exists()]
