"""started.toml: what the configuration said when the daemon started, by which a reload knows what needs a restart."""

import contextlib
import os
from pathlib import Path

from access import files
from safeip.config import Config, parse_config, read_text
from safeip.problem import ConfigError, Problem
from safeip.reload import fixed


def write(config: Config) -> None:
    """Keep it for `refused`. Where it cannot be written, the daemon alone tells what a reload does not change."""
    try:
        files.replace(_place(config), config.text.encode())
    except files.NotSaved:
        with contextlib.suppress(OSError):
            Path(_place(config)).unlink()  # another's, then


def refused(new: Config) -> list[Problem]:
    """What the daemon that was started last takes up at a restart alone; nothing where none is known."""
    try:
        return fixed(parse_config(read_text(_place(new)), new.path), new)
    except ConfigError:  # there is none, or another version wrote it
        return []


def _place(config: Config) -> str:
    # the unit's own directory stays where it is when the file names another
    return f"{os.environ.get('RUNTIME_DIRECTORY', config.runtime_dir)}/started.toml"
