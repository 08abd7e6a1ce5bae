"""The configuration that setup writes: its text, and how it comes to its place whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from portal.settings import Network
from safeip.config import DEFAULT_RUNTIME_DIR, DEFAULT_STATE_DIR


@dataclass(slots=True)
class NewService:
    """A [services.NAME] to be."""

    name: str
    title: str
    url: str
    ports: list[str]
    existing: Literal["cut", "keep"] = "cut"


@dataclass(slots=True)
class Answers:
    """What was answered."""

    url: str
    port: int
    services: dict[str, NewService] = field(default_factory=dict)
    trusted: list[Network] = field(default_factory=list)
    state_dir: str = DEFAULT_STATE_DIR
    runtime_dir: str = DEFAULT_RUNTIME_DIR


def render(answers: Answers) -> str:
    """The text of safeip.toml, with a word on each key."""
    places = [("state_dir", answers.state_dir, DEFAULT_STATE_DIR), ("runtime_dir", answers.runtime_dir, DEFAULT_RUNTIME_DIR)]
    top = "".join(f"{key} = {_toml(value)}\n" for key, value, default in places if value != default)
    listen = [f"0.0.0.0:{answers.port}", f"[::]:{answers.port}"]
    return f"""\
# SafeIP's configuration, written by "safeip setup". safeip.toml(5) and examples/safeip.toml show every key.
#
# After a change: "safeip check" tells everything that is wrong, then systemctl reload safeip.
{top}
[portal]
# The address of the portal as visitors type it; links are built on it.
url = {_toml(answers.url)}
listen = {_toml(listen)}

# "auto": a self-signed certificate, about which browsers warn. With one of your own:
# tls = {{ certificate = "/path/fullchain.pem", key = "/path/privkey.pem" }}
tls = "auto"

[gate]
# Networks that are never closed.
trusted_networks = [
{"".join(f"    {_toml(str(network))},{chr(10)}" for network in answers.trusted)}]

# One table for each service that is closed to everybody but those whom you let in.
{chr(10).join(_service(service) for service in answers.services.values())}"""


def _service(service: NewService) -> str:
    lines = [f"[services.{service.name}]", f"title = {_toml(service.title)}", f"ports = {_toml(service.ports)}"]
    if service.url:
        lines.append(f"url = {_toml(service.url)}    # where a visitor goes next")
    if service.existing == "keep":
        lines += ["# connections that stand go on when they are no longer let in, so that nobody is cut off", 'existing = "keep"']
    return "\n".join(lines) + "\n"


def _toml(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # the same in TOML for what is printable
    return "[" + ", ".join(_toml(item) for item in value) + "]"


class Draft:
    """A configuration that is on the disk, but not yet in its place."""

    def __init__(self, path: Path, new: Path) -> None:
        self._path = path
        self._new = new

    def put(self, *, replace: bool) -> Path | None:
        """Put it in its place; where it replaces one, the copy of that one. Raises FileExistsError, OSError."""
        copy = None
        if replace and self._path.exists():
            copy = free(self._path)
            os.link(self._path, copy)
        if replace:
            self._new.rename(self._path)
        else:
            os.link(self._new, self._path)  # which, unlike a rename, replaces nothing
        sync(self._path.parent)
        return copy


@contextlib.contextmanager
def draft(path: str, data: bytes) -> Iterator[Draft]:
    """Write `data` beside `path`, mode 0644; gone at the end of the block unless it was put in its place. Raises OSError."""
    place = Path(path).absolute()
    made = list(_make(place.parent))
    new = place.with_name(f"{place.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        yield Draft(place, new)
    finally:
        new.unlink(missing_ok=True)
        for directory in reversed(made):
            with contextlib.suppress(OSError):  # there is something in it by now
                directory.rmdir()


def _make(directory: Path) -> Iterable[Path]:
    """Make a directory and those above it; those that were missing."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    return reversed(missing)


def free(path: Path) -> Path:
    """A name for a copy of today."""
    day = f"{path}.{datetime.now().astimezone():%Y-%m-%d}"
    number = 1
    while os.path.lexists(copy := Path(day if number == 1 else f"{day}.{number}")):
        number += 1
    return copy


def sync(directory: Path) -> None:
    """Have the disk know the names in a directory."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
