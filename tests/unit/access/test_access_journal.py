"""Entries in a real journal: systemd's own daemon, in a mount namespace with a /run of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from access import journal

SRC = Path(journal.__file__).parent.parent
ENTRY = {
    "at": "2026-11-21T09:30:00Z",
    "event": "link-refused",
    "holder": "link:k3v7aa",
    "note": "Mamie\nPRIORITY=0\nSAFEIP_BY=person:mamie \u2603",
    "address": "203.0.113.7",
    "services": ["cloud", "game"],
    "outcome": "refused",
    "reason": "pin-wrong",
}
# the daemon's end is the namespace's end, and the test's end is the daemon's
START = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToSyslog=no\\n' \
    >/run/systemd/journald.conf.d/test.conf
exec setpriv --pdeathsig KILL /lib/systemd/systemd-journald
"""


class Journal:
    def __init__(self, daemon: "subprocess.Popen[bytes]") -> None:
        self.daemon = daemon

    def inside(self, *command: str, stdin: str = "") -> str:
        there = f"/proc/{self.daemon.pid}"
        # its root too: the tests may run in a tree that is not the machine's own
        enter = ["nsenter", f"--mount={there}/ns/mnt", f"--root={there}/root", "--"]
        done = subprocess.run(
            [*enter, *command], input=stdin, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tell(self, entry: dict[str, Any], times: int = 1) -> float:
        """In a process in the namespace; gives back the seconds that it took there."""
        code = (
            "import json, sys, time; from access.journal import tell\n"
            "entry = json.load(sys.stdin); before = time.monotonic()\n"
            f"for _ in range({times}): tell(entry)\n"
            "print(time.monotonic() - before)"
        )
        environment = ["env", f"PYTHONPATH={SRC}"]
        return float(self.inside(*environment, sys.executable, "-c", code, stdin=json.dumps(entry)))

    def entries(self) -> list[dict[str, Any]]:
        lines = self.inside(
            "journalctl", "-D", "/run/log/journal", "-o", "json", "--no-pager", "SYSLOG_IDENTIFIER=safeip"
        )
        return [json.loads(line) for line in lines.splitlines()]

    def wait(self, number: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 20
        while len(found := self.entries()) < number:
            assert time.monotonic() < end, found
        return found


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Journal]:
    daemon = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", START],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 20
        while not Path(f"/proc/{daemon.pid}/root/run/systemd/journald.conf.d").exists() or not (
            Path(f"/proc/{daemon.pid}/root{journal.SOCKET}").is_socket()
        ):
            assert daemon.poll() is None
            assert time.monotonic() < end
        yield Journal(daemon)
    finally:
        with suppress(ProcessLookupError):
            daemon.send_signal(signal.SIGCONT)
        daemon.kill()
        daemon.wait()


def test_fields_as_they_are(real: Journal) -> None:
    real.tell(ENTRY)
    real.tell({"event": "signed-in", "by": "person:mamie", "outcome": "allowed"})
    real.tell({"event": "banned", "by": "safeip", "outcome": "allowed"})
    refused, signed_in, banned = real.wait(3)
    ours = {key: value for key, value in refused.items() if key.startswith("SAFEIP_")}
    assert ours == {
        "SAFEIP_EVENT": "link-refused",
        "SAFEIP_HOLDER": "link:k3v7aa",
        "SAFEIP_NOTE": ENTRY["note"],
        "SAFEIP_ADDRESS": "203.0.113.7",
        "SAFEIP_SERVICES": "cloud game",
        "SAFEIP_OUTCOME": "refused",
        "SAFEIP_REASON": "pin-wrong",
    }
    assert [entry["PRIORITY"] for entry in (refused, signed_in, banned)] == ["5", "6", "5"]
    assert signed_in["MESSAGE"] == "signed-in by=person:mamie outcome=allowed"
    assert signed_in["SAFEIP_BY"] == "person:mamie"


def test_half_a_character_is_replaced(real: Journal) -> None:
    real.tell({"event": "x", "note": "a\ud800b"})
    assert real.wait(1)[0]["SAFEIP_NOTE"] == "a?b"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("{own}", "<4>safeip: a\n<4><0>b\n<3>safeip: c\n"),
        ("1:2", "safeip: a\n<0>b\nsafeip: c\n"),
        (None, "safeip: a\n<0>b\nsafeip: c\n"),
    ],
)
def test_each_line_on_standard_error_has_its_level_where_that_is_the_journal(tmp_path: Path, stream: str | None, expected: str) -> None:
    file = tmp_path / "stderr"
    code = "from access import journal; journal.say('a\\n<0>b', journal.WARNING); journal.say('c')"
    with file.open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        environment = {"PYTHONPATH": str(SRC)} | ({"JOURNAL_STREAM": stream.format(own=f"{found.st_dev}:{found.st_ino}")} if stream else {})
        subprocess.run([sys.executable, "-c", code], stderr=stderr, env=environment, check=True, timeout=60)
    assert file.read_text("utf-8") == expected


def test_a_journal_that_has_gone_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from access import journal; journal.say('a'); print('goes on')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=write, env={"PYTHONPATH": str(SRC)}, check=False, timeout=60)
    os.close(write)
    assert done.stdout == b"goes on\n"


def test_a_journal_that_stands_still_holds_nothing_up(real: Journal) -> None:
    real.daemon.send_signal(signal.SIGSTOP)
    assert real.tell(ENTRY, times=5000) < 20
    real.daemon.send_signal(signal.SIGCONT)
    assert 0 < len(real.wait(1)) <= 5000


def test_where_there_is_none_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("nothing", "file", "loop", "", "x" * 40):
        monkeypatch.setattr(journal, "SOCKET", f"{tmp_path}/{path}")
        before = time.monotonic()
        for _ in range(100):
            journal.tell(ENTRY)
        assert time.monotonic() - before < 10
    # another test's may have gone meanwhile
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    assert (tmp_path / "file").read_text() == ""


def test_an_entry_too_large_for_a_datagram_is_left_out(real: Journal) -> None:
    real.tell({"event": "large", "note": "x" * 50_000_000})
    real.tell({"event": "small"})
    assert [entry["SAFEIP_EVENT"] for entry in real.wait(1)] == ["small"]
