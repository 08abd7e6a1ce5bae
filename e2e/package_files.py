"""Which files of a container are others than they were."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.container import Container

_NOT_FILES = ("proc", "sys", "dev", "run", "tmp")
# what may be otherwise after a package came and went, and why
EXCEPTIONS: Mapping[str, str] = {
    r"/var/lib/dpkg/.*": "dpkg's own books",
    r"/var/lib/apt/.*|/var/cache/apt/.*": "apt's own books",
    r"/var/cache/debconf/.*": "debconf's own books",
    r"/var/log/.*": "logs; the package writes none of its own",
    r"/etc/(passwd|group|shadow|gshadow)-?|/etc/\.pwd\.lock": "three locked accounts stay, as those of other packages do",
    r"/etc/ld\.so\.cache|/var/cache/ldconfig/.*": "the linker's cache, of libraries that were drawn in",
    r"/var/lib/systemd/(random-seed|timers/.*|timesync/.*|credential.secret)": "systemd's own, of a running host",
    r"/var/tmp/systemd-private-[0-9a-f]+-systemd-logind.*": "logind's, another in each boot",
    r"/root/(safeip|first|second|third)(/.*)?|/root/[^/]*\.(deb|toml)|/root/\.bash_history": "this story's own",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A file: what it is, and of a regular one that was ever written since the boot of the tree its content."""

    mode: int
    owner: tuple[int, int]
    target: str
    content: str | None


class Files:
    """The files of a running container, compared with those at `before`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._before: Mapping[str, Entry] = {}

    def before(self) -> None:
        """Remember how they are."""
        self._before = dict(self._listed())

    def changed(self) -> list[str]:
        """Those that are there now and were not, are there no more, or are others; without EXCEPTIONS."""
        now = dict(self._listed())
        excepted = re.compile("|".join(f"(?:{pattern})" for pattern in EXCEPTIONS))
        lines = []
        for path in sorted(now.keys() | self._before.keys()):
            if excepted.fullmatch(path):
                continue
            old, new = self._before.get(path), now.get(path)
            if old is None:
                lines.append(f"new: {path}")
            elif new is None:
                lines.append(f"gone: {path}")
            elif self._whole(path, old) != self._whole(path, new):
                lines.append(f"changed: {path}")
        return lines

    def _listed(self) -> Iterator[tuple[str, Entry]]:
        top = self._container.path("/")
        for folder, names, files in os.walk(top):
            here = Path(folder).relative_to(top)
            if here == Path():
                names[:] = [name for name in names if name not in _NOT_FILES]
            for name in (*names, *files):
                path = Path(folder, name)
                try:
                    found = path.lstat()
                    target = str(path.readlink()) if stat.S_ISLNK(found.st_mode) else ""
                    written = stat.S_ISREG(found.st_mode) and os.path.lexists(self._container.upper / here / name)
                    content = _digest(path) if written else None
                except FileNotFoundError:  # it went meanwhile
                    continue
                yield f"/{here / name}", Entry(found.st_mode, (found.st_uid, found.st_gid), target, content)

    def _whole(self, path: str, entry: Entry) -> Entry:
        """The entry with its content, also where that is the tree's."""
        if not stat.S_ISREG(entry.mode) or entry.content is not None:
            return entry
        below = next(layer / path.lstrip("/") for layer in self._container.layers if os.path.lexists(layer / path.lstrip("/")))
        return Entry(entry.mode, entry.owner, entry.target, _digest(below))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
