"""The checkout as it is now, committed or not, as an archive that a machine reads from a disk."""

import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pack(to: Path) -> None:
    """Write the archive: every file that git knows, or would know if it were added."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(set(filter(None, names))):
            if (ROOT / name).exists():  # not one that was removed and is still in the index
                archive.add(ROOT / name, arcname=name, recursive=False, filter=_rootly)


def unpack(archive: Path, to: Path) -> None:
    """Put the files of an archive into a directory."""
    with tarfile.open(archive) as opened:
        opened.extractall(to, filter="tar")


def _rootly(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
