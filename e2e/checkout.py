"""The checkout as it is now, committed or not, as an archive that a machine reads from a disk."""

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from e2e.debian import CACHE
from lab import checkout


def pack(to: Path) -> None:
    """Write the archive: every file that git knows, or would know if it were added."""
    with tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in checkout.files():
            archive.add(checkout.ROOT / name, arcname=name, recursive=False, filter=_rootly)


def unpack(archive: Path, to: Path) -> None:
    """Put the files of an archive into a directory."""
    subprocess.run(["tar", "-x", "-C", str(to), "-f", str(archive)], check=True)


def _rootly(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


@contextlib.contextmanager
def working_directory() -> Iterator[Path]:
    """A directory for one run. Those of runs that were killed go when the next one begins."""
    for old in CACHE.glob("run-*"):
        if not Path("/proc", old.name.split("-")[1]).exists():
            shutil.rmtree(old, ignore_errors=True)  # another run may do the same
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=CACHE) as name:
        yield Path(name)
