"""Backup and restore on the real daemon: a gateway that is lost is itself again, and what fails changes nothing."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import ROOT, Gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipk") as there:
        yield there




def test_a_gateway_that_lost_everything_is_itself_again(gateway: Gateway, tmp_path: Path) -> None:
    url = gateway.add_link("Mamie")
    gateway.cli("person", "add", "mamie", "--service", "cloud", "--invite")
    file = tmp_path / "backup.tar.gz"
    gateway.cli("backup", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert gateway.cli_json("history", "--event", "backup-made")
    config = gateway.config.read_bytes()
    gateway.stop()
    shutil.rmtree(gateway.state_dir)
    gateway.config.write_text("[portal]\n# a mistake\n", "utf-8")
    said = gateway.cli("restore", str(file)).stdout
    assert "1 links, 1 people, 0 tokens" in said
    assert gateway.config.read_bytes() == config
    (kept,) = gateway.directory.glob("safeip.toml.20*")
    assert kept.read_text("utf-8") == "[portal]\n# a mistake\n"
    assert f"The safeip.toml that was there is kept as {kept}." in said
    gateway.start()
    assert gateway.visitor.open_link(url).status == 200
    assert gateway.visitor.reaches("http://home.test/", timeout=30)
    assert [person["name"] for person in gateway.cli_json("person", "list")] == ["mamie"]


def test_what_is_there_is_kept_and_what_is_open_stays_as_it_is(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    gateway.cli("backup", str(file))
    gateway.add_link("Later")
    gateway.cli("grant", "cloud", "192.0.2.10")
    gateway.stop()
    said = gateway.cli("restore", str(file)).stdout
    (kept,) = gateway.state_dir.glob("portal.20*")
    assert f"The portal's state that was there is kept as {kept}." in said
    assert b"Later" in (kept / "state.json").read_bytes()
    gateway.start()
    assert gateway.cli_json("link", "list") == []
    assert [grant["address"] for grant in gateway.cli_json("grants")] == ["192.0.2.10"]


def test_beside_a_daemon_nothing_is_restored(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    gateway.cli("backup", str(file))
    gateway.add_link("Mamie")
    refused = gateway.cli("restore", str(file), check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "stop it first" in refused.stderr
    assert len(gateway.cli_json("link", "list")) == 1
    assert sorted(path.name for path in gateway.state_dir.iterdir()) == ["gate", "portal"]


def test_a_backup_that_could_not_be_brought_back_is_refused_and_told(gateway: Gateway, tmp_path: Path) -> None:
    gateway.add_link("Mamie")
    file = tmp_path / "backup"
    gateway.cli("backup", str(file))
    before = file.read_bytes()
    key = gateway.state / "secret.key"
    held = key.read_bytes()
    os.truncate(key, 7)
    refused = gateway.cli("backup", str(file), check=False)
    assert refused.returncode == 1
    assert f"{key}: is not a key" in refused.stderr
    assert file.read_bytes() == before
    (told,) = gateway.cli_json("history", "--event", "backup-failed")
    assert (told["by"], told["outcome"]) == ("cli", "refused")
    assert "is not a key" in told["reason"]
    assert held.decode().strip() not in str(gateway.cli_json("history"))
    key.write_bytes(held)
    refused = gateway.cli("backup", str(tmp_path / "nowhere" / "file"), check=False)
    assert "No such file" in refused.stderr


def test_it_goes_through_a_pipe_and_back(gateway: Gateway) -> None:
    gateway.add_link("Mamie")
    command = [ROOT / "bin" / "safeip", "--config", gateway.config]
    made = subprocess.run([*command, "backup", "-"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        assert tar.getnames()[:2] == ["backup.json", "safeip.toml"]
        assert "portal/sessions.json" not in tar.getnames()
    gateway.stop()
    subprocess.run([*command, "restore", "-"], input=made, check=True, stdout=subprocess.DEVNULL)
    gateway.start()
    assert len(gateway.cli_json("link", "list")) == 1


def test_one_that_is_no_good_changes_nothing(gateway: Gateway, tmp_path: Path) -> None:
    gateway.add_link("Mamie")
    file = tmp_path / "backup"
    gateway.cli("backup", str(file))
    gateway.stop()
    state = (gateway.state / "state.json").read_bytes()
    whole = file.read_bytes()
    for broken in (b"", whole[:-20], b"x" * 100):
        file.write_bytes(broken)
        refused = gateway.cli("restore", str(file), check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith(f"safeip: {file} ")
    assert (gateway.state / "state.json").read_bytes() == state
    assert sorted(path.name for path in gateway.state_dir.iterdir()) == ["gate", "portal"]
