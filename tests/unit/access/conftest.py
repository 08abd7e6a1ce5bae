import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from access_desk import Argon2, OpenDesk, desk_in
from access_house import Live, live_in


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return partial(live_in, tmp_path)


@pytest.fixture
def argon2(monkeypatch: pytest.MonkeyPatch) -> Argon2:
    counted = Argon2()
    counted.stand_in(monkeypatch)
    return counted


@pytest.fixture
def desk(tmp_path: Path, argon2: Argon2) -> OpenDesk:
    return partial(desk_in, tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)
