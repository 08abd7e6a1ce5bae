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


# OWASP ASVS 5.0: how many requirements of levels 1 and 2 each section of chapters 6 to 8 begins with
REQUIREMENTS = {
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
}  # fmt: skip


def test_asvs_has_a_row_for_each_requirement_and_tests_that_exist() -> None:
    text = (ROOT / "ASVS.md").read_text("utf-8")
    rows = []
    for section, first, last in re.findall(r"^\| (\d\.\d)\.(\d+)(?: to \d\.\d\.(\d+))? \|", text, re.MULTILINE):
        rows += [f"{section}.{number}" for number in range(int(first), int(last or first) + 1)]
    assert rows == [f"{section}.{number}" for section, most in REQUIREMENTS.items() for number in range(1, most + 1)]
    named = set(re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", text))
    assert len(named) > 30, "the pattern finds nothing any more"
    missing = [
        f"{file}::{name}"
        for file, name in sorted(named)
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == []


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
