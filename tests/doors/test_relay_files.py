"""The files of examples/relay, each with its program: what can be seen without running them together."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from lab.examples import EXAMPLES, example
from safeip.config import read_config

MOST_EXPOSED = 2.0  # what systemd-analyze calls "OK"


def test_the_readme_names_each_file_and_no_other() -> None:
    named = re.findall(r"(?m)^    ([a-z][\w.-]+)  ", example("relay/README").partition("\nFiles\n")[2])
    assert sorted([*named, "README"]) == sorted(path.name for path in (EXAMPLES / "relay").iterdir())


def test_the_configuration_is_good(tmp_path: Path) -> None:
    pair = [(f"/etc/safeip/tls/{name}.pem", str(tmp_path / name)) for name in ("certificate", "key")]
    for _, file in pair:
        Path(file).touch()
    mine = tmp_path / "safeip.toml"
    mine.write_text(example("relay/safeip.toml", *pair), "utf-8")
    config = read_config(str(mine))
    assert config.policy.services["home"].existing == "cut"


def test_systemd_takes_the_unit_and_finds_it_shut_in(tmp_path: Path) -> None:
    unit = tmp_path / "relay-tunnel.service"
    shutil.copy(EXAMPLES / "relay/relay-tunnel.service", unit)
    tried = subprocess.run(["systemd-analyze", "--man=yes", "verify", unit], capture_output=True, text=True, check=False)
    assert [line for line in tried.stderr.splitlines() if unit.name in line] == []
    said = subprocess.run(
        ["systemd-analyze", "--offline=true", "--no-pager", "security", unit], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= MOST_EXPOSED


def test_the_ports_are_the_same_in_every_file() -> None:
    """nginx's, those that sshd allows, those that the key may ask for, and those that the unit asks for."""
    wanted = ["127.0.0.1:8001", "127.0.0.1:8002"]
    for name, pattern in {
        "nginx.conf": r"(?m)^    \S+ (127\.0\.0\.1:\d+);", "sshd.conf": r"127\.0\.0\.1:\d+",
        "authorized_keys": r'permitlisten="([^"]+)"', "relay-tunnel.service": r"-R (127\.0\.0\.1:\d+):",
    }.items():  # fmt: skip
        assert re.findall(pattern, example(f"relay/{name}")) == wanted, name


def test_certbot_takes_its_example(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n", "utf-8")
    hook.chmod(0o755)
    mine = tmp_path / "certbot.ini"
    places = [f"--{kind}-dir={tmp_path}/{kind}" for kind in ("config", "work", "logs")]

    def tried(text: str) -> subprocess.CompletedProcess[str]:
        mine.write_text(text, "utf-8")
        return subprocess.run(["certbot", "certificates", "--config", mine, *places], capture_output=True, text=True, check=False)

    good = example("relay/certbot.ini", ("/usr/share/safeip/certbot-deploy-hook", str(hook)))
    done = tried(good)
    assert (done.returncode, "No certificates found" in done.stdout) == (0, True), done.stderr
    assert tried(example("relay/certbot.ini", ("/usr/share/safeip/", "/nowhere/"))).returncode != 0, "then it does not look"
    names = re.findall(r"(?m)server_name (.*);", example("relay/nginx.conf"))
    portal = tomllib.loads(example("relay/safeip.toml"))["portal"]["url"].removeprefix("https://").partition(":")[0]
    found = re.search(r"(?m)^domains = (.*)$", good)
    assert found
    assert set(found[1].split(", ")) == {portal, *" ".join(names).split()}
