"""The build: the same bytes whoever builds, wherever and whenever; what goes wrong is said."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import deb

PYTHON = "/usr/bin/python3"
# three years later, in all that the build runs
LATER = """
import glob
import sys
from lab import deb
deb._ENVIRONMENT.update(LD_PRELOAD=glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0], FAKETIME="+1000d", NO_FAKE_STAT="1")
sys.exit(deb._main())
"""


def test_same_bytes_from_another_place_person_and_time(built: deb.Built, source: Path, tmp_path: Path) -> None:
    """The second from a copy, as another person's git would put it there."""
    there, out = tmp_path / "another place", tmp_path / "out"
    shutil.copytree(source, there)
    for path in there.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
    subprocess.run(["git", "init", "--quiet", str(there)], check=True)
    environment = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANGUAGE": "fr",
        "TMPDIR": str(tmp_path), "DEB_BUILD_OPTIONS": "nocheck parallel=2", "PYTHONHASHSEED": "7",
    }  # fmt: skip
    done = subprocess.run(
        [PYTHON, "-c", LATER, "--out", str(out)],
        cwd=there, env=environment, umask=0o077, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}/{built.deb.name} (")
    assert (out / built.deb.name).read_bytes() == built.deb.read_bytes()
    assert sorted(path.suffix for path in out.iterdir()) == [".buildinfo", ".changes", ".deb", ".log"]
    first, second = (
        re.search(r"(?m)^Build-Date: .* (\d{4}) ", next(directory.glob("*.buildinfo")).read_text()) for directory in (built.deb.parent, out)
    )
    assert first
    assert second
    assert int(second[1]) - int(first[1]) in {2, 3}, "it was not built in another year"
    # with "nocheck" the build does not run the program; else it does
    logs = [(directory / "build.log").read_text() for directory in (out, built.deb.parent)]
    assert ["safeip --help" in log for log in logs] == [False, True]


def test_another_version_is_told_by_the_package(tmp_path: Path) -> None:
    deb.export(tmp_path / "tree", "0.1.0-1+trial1")
    said = subprocess.run(
        ["dpkg-parsechangelog", "--all", "--show-field", "Version"], cwd=tmp_path / "tree", capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["0.1.0-1+trial1"]
    dated = subprocess.run(["dpkg-parsechangelog", "-STimestamp"], cwd=tmp_path / "tree", capture_output=True, text=True, check=True)
    assert {path.stat().st_mtime for path in (tmp_path / "tree").rglob("*")} == {int(dated.stdout)}
    assert {oct(path.stat().st_mode & 0o7777) for path in (tmp_path / "tree").rglob("*")} == {"0o755", "0o644"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("examples/safeip.toml", "nonsense", r"(?s)ended with 2; all of it is in .*build\.log:.*safeip\.toml"),
        ("debian/control", "Source: safeip\nBuild-Depends: dh-nowhere\n", "nmet build dependencies: dh-nowhere"),
        ("debian/changelog", "nonsense", "changelog"),
    ],
)
def test_a_build_that_fails_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, said: str) -> None:
    exported = deb.export

    def spoilt(to: Path, version: str | None = None) -> None:
        exported(to, version)
        (to / name).write_text(content)

    monkeypatch.setattr(deb, "export", spoilt)
    monkeypatch.delenv("DEB_BUILD_OPTIONS", raising=False)
    with pytest.raises(deb.BuildError, match=said):
        deb.build(tmp_path / "out")
    assert not list(tmp_path.glob("out/*.deb"))


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(deb.BuildError, match="version"):
        deb.export(tmp_path / "tree", "not a version")
