"""`safeip backup` and `safeip restore`: what makes this gateway itself, in one file.

That is the configuration, and of the portal's state people, links, tokens, the key that they derive from, the history and the
self-signed certificate. Not what is open: an address of then is somebody else's today. Nor sessions: everybody signs in again.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from access import files
from access.secret import Key
from access.state import Tables
from access.store import parse
from safeip import archive, privileges
from safeip.archive import Archive, BadArchive
from safeip.config import Config, parse_config, read_text
from safeip.control import Control, ControlError
from safeip.directories import StartError, lock, make_state_directory
from safeip.setup_file import draft, free, sync

_LARGEST = 256 << 20  # bytes of a backup
_STANDARD = "-"


class BackupError(Exception):
    """Nothing was written, or brought back. The message says why."""


def backup(config_path: str, target: str) -> None:
    """Write everything to `target`, readable by its owner alone, whole or not at all; "-" is standard output.

    What could not be brought back is no backup: state and key are tried as a start would try them. A daemon that runs is
    told how it went. Raises BackupError, ConfigError.
    """
    text = read_text(config_path)
    config = parse_config(text, config_path)
    try:
        _write(target, Archive.of(_collected(config, text)).pack())
    except (BackupError, files.StateError, files.NotSaved, OSError) as error:
        _tell(config, "failed", str(error))
        raise BackupError(str(error)) from None
    _tell(config, "made", None)


def restore(config_path: str, source: str) -> Iterator[str]:
    """Bring back what a backup holds, while no daemon runs; gives sentences on what was done.

    Everything is tried before anything is changed, and what was there is kept beside it. Raises BackupError, ConfigError.
    """
    try:
        found = Archive.unpack(_read(source))
        text = found.files[archive.CONFIG].decode("utf-8-sig")
        config = parse_config(text, config_path)
        tables = _tried(config, found.files)
        yield from _put(config, text, found.files)
    except (BadArchive, UnicodeDecodeError, RecursionError) as error:
        raise BackupError(f"{source} {error}") from None
    except (StartError, files.StateError, files.NotSaved, OSError) as error:
        raise BackupError(str(error)) from None
    yield (
        f"It is as it was on {found.made_at}: {len(tables.links)} links, {len(tables.people)} people, {len(tables.tokens)} tokens. "
        "What was removed, paused or changed since is valid again: look through them."
    )


def _collected(config: Config, text: str) -> dict[str, bytes]:
    found = {archive.CONFIG: text.encode()}
    custom = files.read(config.custom)
    if custom is not None:
        found[archive.CUSTOM] = custom
    with _as(privileges.portal_account()):
        for name in archive.PORTAL:
            data = files.read(f"{config.state_dir}/{name}")
            if data is not None:
                found[name] = data
    _tried(config, found)
    return found


def _tried(config: Config, found: Mapping[str, bytes]) -> Tables:
    """What the files say, tried as a start would; raises StateError."""
    tables = Tables()
    if archive.STATE in found:
        tables = parse(f"{config.state_dir}/{archive.STATE}", found[archive.STATE], Tables)
    path = f"{config.state_dir}/{archive.KEY}"
    if archive.KEY in found:
        Key.parse(path, found[archive.KEY])
    elif tables.needs_key:
        raise files.StateError(path, "", "is missing, and links and TOTP secrets derive from it")
    return tables


def _write(target: str, packed: bytes) -> None:
    if target != _STANDARD:
        if Path(target).is_dir():
            raise BackupError(f"{target} is a directory: name a file in it")
        files.replace(target, packed)
    elif sys.stdout.isatty():
        raise BackupError("a backup holds secrets and is nothing for a terminal: name a file, or pass it on (| age -r … >FILE)")
    else:
        sys.stdout.buffer.write(packed)
        sys.stdout.buffer.flush()


def _read(source: str) -> bytes:
    if source == _STANDARD:
        packed = sys.stdin.buffer.read(_LARGEST + 1)
    else:
        with Path(source).open("rb") as file:
            packed = file.read(_LARGEST + 1)
    if len(packed) > _LARGEST:
        raise BadArchive(f"is larger than {_LARGEST >> 20} MiB")
    return packed


def _put(config: Config, text: str, found: Mapping[str, bytes]) -> Iterator[str]:
    portal = privileges.portal_account()
    make_state_directory(config, privileges.gate_account(), portal)
    with lock(config), _portal_directory(config, portal, found) as new:
        for path, data in ((config.path, text.encode()), (config.custom, found.get(archive.CUSTOM))):
            if data is None or (Path(path).exists() and Path(path).read_bytes() == data):
                continue
            with draft(path, data) as one:
                if kept := one.put(replace=True):
                    yield f"The {Path(path).name} that was there is kept as {kept}."
        there, kept = Path(config.settings.state_dir), None
        if any(there.iterdir()):
            kept = free(there)
            there.rename(kept)
        new.rename(there)  # over an empty directory, too
        sync(there.parent)
        if kept:
            yield f"The portal's state that was there is kept as {kept}."


@contextlib.contextmanager
def _portal_directory(config: Config, portal: privileges.Account, found: Mapping[str, bytes]) -> Iterator[Path]:
    """The portal's directory to be, complete and on the disk; gone at the end of the block unless it was moved to its place."""
    new = Path(f"{config.settings.state_dir}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        for name in ("", *dict.fromkeys(str(Path(name).parent.relative_to("portal")) for name in archive.PORTAL if name in found)):
            (new / name).mkdir(mode=0o700, exist_ok=True)
            os.chown(new / name, portal.uid, portal.gid)
        with _as(portal):
            for name in archive.PORTAL:
                if name in found:
                    files.replace(str(new / Path(name).relative_to("portal")), found[name])
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _as(account: privileges.Account) -> contextlib.AbstractContextManager[None]:
    """For a `with` block, files are read and made as `account` would."""
    return privileges.acting_as(account) if os.geteuid() == 0 else contextlib.nullcontext()


def _tell(config: Config, how: str, reason: str | None) -> None:
    with contextlib.suppress(ControlError):  # none runs: whoever asked for the backup is told
        Control(config.control_socket).ask("POST", "/backups", body={"how": how, "reason": reason and reason[:200]})
