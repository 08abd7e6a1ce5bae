"""What Debian's own critic says: nothing, but for overrides, each with its reason."""

import subprocess
from pathlib import Path

import pytest

from lab import checkout, deb

PACKAGING = checkout.ROOT / "packaging"


def test_lintian_has_nothing_to_say(built: deb.Built) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--no-cfg", "--pedantic", "--display-info", "--fail-on=error,warning,info,pedantic", str(built.changes)],
        capture_output=True, text=True, check=False, timeout=600, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_every_override_has_its_reason() -> None:
    lines = (PACKAGING / "debian" / "safeip.lintian-overrides").read_text("utf-8").splitlines()
    overrides = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert overrides
    assert [lines[number] for number in overrides if number == 0 or not lines[number - 1].startswith("# ")] == []


SHELL = ("packaging/debian/safeip.p", "packaging/debian/tests/", "packaging/certbot/")
SCRIPTS = [name for name in checkout.files() if name.startswith(SHELL) and not name.endswith("/control")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_pass_shellcheck(name: str) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", str(checkout.ROOT / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_scripts_stop_at_the_first_failure(built: deb.Built, tmp_path: Path) -> None:
    """As they are in the package, with what debhelper has put into them."""
    subprocess.run(["dpkg-deb", "--control", str(built.deb), str(tmp_path / "control")], check=True)
    scripts = [tmp_path / "control" / name for name in ("postinst", "prerm", "postrm")]
    for script in scripts:
        assert script.read_text().startswith("#!/bin/sh\nset -e\n")
        subprocess.run(["sh", "-n", str(script)], check=True)
        assert "#DEBHELPER#" not in script.read_text()
    assert not (tmp_path / "control" / "preinst").exists(), "something is stopped before an upgrade"
    assert not (tmp_path / "control" / "conffiles").exists()
    assert "deb-systemd-invoke start 'safeip-closed" not in scripts[0].read_text()
