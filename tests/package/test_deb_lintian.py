"""What Debian's own critic says: nothing, but for overrides, each with its reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lab import checkout, deb

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def lintian(what: Path) -> subprocess.CompletedProcess[str]:
    """Of Debian 12 or 13: what is right for the one is an alien tag or an old standard to the other."""
    shown = ("--pedantic", "--display-info", "--suppress-tags=alien-tag,out-of-date-standards-version")
    return subprocess.run(
        ["lintian", "--allow-root", "--no-cfg", *shown, "--fail-on=error,warning,info,pedantic", str(what)],
        capture_output=True, text=True, check=False, timeout=600, env=ENVIRONMENT,
    )  # fmt: skip


def test_lintian_has_nothing_to_say(built: deb.Built) -> None:
    done = lintian(built.changes)
    assert (done.returncode, done.stdout) == (0, "")


def test_lintian_has_nothing_to_say_about_the_packaging(tmp_path: Path) -> None:
    tree = tmp_path / "safeip"
    deb.export(tree)
    for path in tree.iterdir():  # the packaging alone: the rest is as large as it is well looked at
        if path.is_dir() and path.name != "debian":
            shutil.rmtree(path)
    version = subprocess.run(["dpkg-parsechangelog", "-SVersion"], cwd=tree, capture_output=True, text=True, check=True).stdout.strip()
    upstream = version.rpartition("-")[0]
    archive = ["tar", "--create", "--xz", "--exclude=./debian", f"--file=safeip_{upstream}.orig.tar.xz", "--directory=safeip", "."]
    for command in (archive, ["dpkg-source", "--build", "safeip"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=ENVIRONMENT)
    done = lintian(tmp_path / f"safeip_{version}.dsc")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["safeip.lintian-overrides", "source/lintian-overrides"])
def test_every_override_has_its_reason(name: str) -> None:
    paragraphs = (checkout.ROOT / "packaging" / "debian" / name).read_text("utf-8").strip().split("\n\n")
    assert [paragraph for paragraph in paragraphs if not paragraph.startswith("# ") or "\n" not in paragraph] == []


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
    conffiles = (tmp_path / "control" / "conffiles").read_text().split()
    assert [name for name in conffiles if not name.startswith("/etc/fail2ban/")] == []
    assert "deb-systemd-invoke start 'safeip-closed" not in scripts[0].read_text()
