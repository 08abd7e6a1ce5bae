"""systemd takes the units as they are."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[3] / "packaging" / "systemd"


@pytest.mark.parametrize("spoilt", [False, True])
def test_systemd_has_nothing_against_the_units(tmp_path: Path, spoilt: bool) -> None:
    """Verified by Debian's systemd-analyze, with a program in the place of the one that is not installed here."""
    program = shutil.which("true")
    assert program is not None
    for unit in UNITS.glob("*.service"):
        text = unit.read_text("utf-8").replace("/usr/sbin/safeip", program)
        (tmp_path / unit.name).write_text(text + ("\n[Service]\nNoSuchKey=1\n" if spoilt else ""), "utf-8")
    names = sorted(str(path) for path in tmp_path.iterdir())
    assert len(names) == 3
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names], capture_output=True, text=True, check=False
    )
    if spoilt:
        assert done.stderr.count("NoSuchKey") == 3
    else:
        assert (done.returncode, done.stderr) == (0, "")
