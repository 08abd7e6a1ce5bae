"""What the papers promise is so: their files exist, their examples are accepted, their commands are CI's."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from safeip.config import parse_config

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
SPOKEN = re.compile(r"`((?:[a-z_]+/)+[a-z_.]*|[a-z_]+/[a-z_]+\.[a-z]+)`|\]\(([^):]+)\)")


@pytest.mark.parametrize("paper", PAPERS)
def test_files_that_are_named_exist(paper: str) -> None:
    text = (ROOT / paper).read_text("utf-8")
    named = {code or link for code, link in SPOKEN.findall(text)}
    assert named, "the pattern finds nothing any more"
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / "src" / name).exists()] == []


def test_the_readmes_configuration_is_accepted() -> None:
    example = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert example
    config = parse_config(example[1], "README.md")
    assert [str(port) for port in config.policy.services["cloud"].ports] == ["tcp/443", "udp/443"]


def test_ci_runs_the_readmes_commands() -> None:
    runs = re.findall(r"'(\./dev [a-z]+)'", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert "./dev test" in runs
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert [command for command in runs if f"    {command}" not in lines] == []


def test_dev_explains_itself_and_refuses_what_it_does_not_know() -> None:
    dev = str(ROOT / "dev")
    helped = subprocess.run([dev, "help"], capture_output=True, text=True, check=True)
    for verb in ("demo", "test", "check", "bench"):
        assert f"./dev {verb}" in helped.stdout
    wrong = subprocess.run([dev, "dance"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", helped.stdout)


def test_dev_tells_who_is_not_root() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directory is closed to others
        place = Path(name)
        place.chmod(0o755)
        dev = shutil.copy(ROOT / "dev", place)
        done = subprocess.run([dev, "demo"], capture_output=True, text=True, check=False, user=65534, cwd="/")
    assert done.returncode == 1
    assert done.stderr == "./dev: run this as root, for instance: sudo ./dev demo (it makes network namespaces)\n"
