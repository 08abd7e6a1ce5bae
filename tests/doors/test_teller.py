"""The teller beside a real daemon: what happens there arrives, in a real inbox and at a server that speaks AbuseIPDB's API."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.gateway import ROOT, Gateway
from lab.process import Process, wait_for

KEY = "k3y-s3cret"
FIRST = "The link of Mamie was opened for the first time, from 192.0.2.10: cloud."


# the program, which looks at a full disk again after 2 s instead of 30
SOON = f"""
import sys; sys.path.insert(0, {str(ROOT / "src")!r})
from safeip.cli import main
from teller import teller
assert teller._AGAIN_S == 30; teller._AGAIN_S = 2
sys.exit(main())
"""


class Home:
    """A gateway with an inbox and a server for reports on it; the teller is begun and ended by each test."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.urls, key = gateway.directory / "urls", gateway.directory / "key"
        self.urls.write_text("json://127.0.0.1:9901/tok3n-s3cret\n")
        key.write_text(KEY)
        for file in (self.urls, key):
            file.chmod(0o600)
        self.key = str(key)
        self.log = gateway.directory / "teller.log"
        self.log.touch()
        self.configure()
        self.inbox = self.serve("lab.inbox", "9901")
        self.reports = self.serve("lab.abuseipdb", "9902", KEY)
        gateway.start(60)

    def configure(self, *, scans: bool = True, **more: object) -> None:
        abuseipdb = {"key_file": self.key, "url": "http://127.0.0.1:9902/api/v2/report", "scans": scans, "ports": 4}
        self.gateway.configure(top={"notifications": {"urls_file": str(self.urls), **more}, "abuseipdb": abuseipdb})

    def serve(self, module: str, *arguments: str) -> Path:
        log = self.gateway.directory / f"{module}.log"
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.gateway.host.start(sys.executable, "-m", module, *arguments, log=log, env=env)
        port = f":{int(arguments[0]):04X}"
        wait_for(module, lambda: port in self.gateway.host.run("cat", "/proc/net/tcp").stdout, 60)
        return log

    def teller(self, *program: str) -> Process:
        command = [*(program or [str(ROOT / "bin" / "safeip")]), "--config", str(self.gateway.config), "tell"]
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        log = self.log.stat()
        env["JOURNAL_STREAM"] = f"{log.st_dev}:{log.st_ino}"
        found = self.gateway.host.start(*command, log=self.log, env=env)
        state = self.gateway.state_dir / "teller" / "teller.json"
        wait_for("the teller's first look", lambda: state.exists() or found.poll() is not None, 60)
        assert found.poll() is None, self.log.read_text()
        return found

    def taken(self, log: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().split("\n")[:-1]]  # the last may be half written

    @property
    def told(self) -> list[str]:
        return [message["message"] for message in self.taken(self.inbox)]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        try:
            wait_for(what, condition, 90, every=0.1)
        except Exception as error:
            raise AssertionError(f"{error}; told {self.told}; {self.log.read_text()}") from error


@pytest.fixture
def home() -> Iterator[Home]:
    with Gateway(start=False, prefix="sipt") as gateway:
        yield Home(gateway)


def test_what_happens_is_told_once_over_deaths_and_restarts(home: Home) -> None:
    gateway = home.gateway
    teller = home.teller()
    link = gateway.add_link("Mamie")
    assert gateway.visitor.open_link(link).status == 200
    home.until("the first message", lambda: home.told == [FIRST])
    gateway.restart()
    assert gateway.second.open_link(link).status == 200
    home.until("the second message", lambda: len(home.told) == 2)
    teller.kill()
    gateway.kill()
    gateway.start()
    assert gateway.visitor.open_link(link, family=6).status == 200
    gateway.cli("ban", "203.0.113.99")
    gateway.nft("flush ruleset")
    gateway.admin_rules()
    teller = home.teller()
    home.until("what was missed", lambda: len(home.told) >= 5)
    assert teller.stop(30) == 0
    new = "The link of Mamie was opened from an address that is new to it, {}: cloud."
    assert home.told[:2] == [FIRST, new.format("192.0.2.130")]
    assert sorted(home.told[2:]) == sorted([
        new.format("2001:db8:1::/64"), "203.0.113.99 was banned by cli.",
        "Another program had taken the rules of SafeIP out of the kernel; they are back.",
    ])  # fmt: skip
    kept = home.log.read_text() + home.inbox.read_text() + "".join(file.read_text() for file in (gateway.state_dir / "teller").iterdir())
    assert "s3cret" not in kept
    assert link.rpartition("/")[2] not in kept
    said = home.log.read_text().splitlines()
    assert "<6>safeip: the daemon answers again" in said
    assert "<3>safeip: the daemon has ended; tried again until it answers" in said


def test_who_scans_is_reported_and_who_was_let_in_is_not(home: Home) -> None:
    gateway = home.gateway
    assert gateway.visitor.open_link(gateway.add_link("Mamie")).status == 200
    for visitor in (gateway.stranger, gateway.visitor):
        for port in range(25565, 25571):
            assert not visitor.reaches(f"http://home.test:{port}/", timeout=0.3)
    gateway.cli("revoke", "--all")
    lines = gateway.cli("tell", "--dry-run").stdout.splitlines()
    assert lines[0] == f"message: {FIRST}"
    assert lines[1] == "no report: 192.0.2.10 held a grant in the last 30 days, or may have"
    assert lines[2].startswith("report: 203.0.113.66 (categories 14, ")
    assert len(lines) == 3
    assert not home.reports.read_text(), "a rehearsal sends nothing"
    teller = home.teller()
    home.until("the report", lambda: bool(home.taken(home.reports)))
    teller.stop(30)
    teller = home.teller()
    teller.stop(30)
    (report,) = home.taken(home.reports)
    assert (report["ip"], report["categories"]) == ("203.0.113.66", "14")
    assert "25565" not in report["comment"]
    assert KEY not in home.log.read_text()


def test_a_full_disk_keeps_messages_back_until_it_has_room(home: Home) -> None:
    gateway = home.gateway
    directory = gateway.state_dir / "teller"
    directory.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", directory], check=True)
    try:
        teller = home.teller("/usr/bin/python3", "-I", "-c", SOON)
        fill = directory / "fill"
        with fill.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        gateway.visitor.open_link(gateway.add_link("Mamie"))
        home.until("the word of it", lambda: "No space left on device" in home.log.read_text())
        assert home.told == []
        fill.unlink()
        home.until("the message", lambda: home.told == [FIRST])
        assert teller.stop(30) == 0
        assert home.log.read_text().count("No space left") == 1
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def test_a_reload_takes_up_another_language_and_no_wrong_file(home: Home) -> None:
    gateway = home.gateway
    teller = home.teller()
    good = gateway.config.read_text()
    gateway.config.write_text(good + "\n[nonsense]\n")
    teller.signal(signal.SIGHUP)
    home.until("the refusal", lambda: "goes on as before" in home.log.read_text())
    home.configure(language="fr")
    teller.signal(signal.SIGHUP)  # before the message is due, however late this goes on
    gateway.visitor.open_link(gateway.add_link("Mamie"))
    home.until("the message", lambda: home.told != [])
    assert home.told == ["Le lien de Mamie a été ouvert pour la première fois, depuis 192.0.2.10\N{NO-BREAK SPACE}: cloud."]
    rehearsed = gateway.cli("tell", "--dry-run").stdout
    assert rehearsed == "message: Le lien de Mamie a été ouvert pour la première fois, depuis 192.0.2.10 : cloud.\n"
    assert teller.stop(30) == 0


@pytest.mark.parametrize("good", [True, False])
def test_whatever_comes_while_it_begins_anew_is_heard(home: Home, good: bool) -> None:
    """As systemd sends it: reload, and stop."""
    teller = home.teller()
    if not good:
        home.gateway.config.write_text(home.gateway.config.read_text() + "\n[nonsense]\n")
    for _ in range(20):
        teller.signal(signal.SIGHUP)
        time.sleep(random.uniform(0, 0.05))  # anywhere on the way
    assert teller.stop(30) == 0


def test_a_second_teller_is_refused(home: Home) -> None:
    home.teller()
    refused = home.gateway.cli("tell", check=False)
    assert refused.returncode == 1
    assert "is in use by another SafeIP" in refused.stderr


def test_a_trial_says_for_each_url_whether_it_arrived(home: Home) -> None:
    home.urls.write_text("json://127.0.0.1:9901/tok3n-s3cret\njson://127.0.0.1:1/tok3n-s3cret\nnosuch://tok3n-s3cret\n")
    tried = home.gateway.cli("tell", "--try", check=False, timeout=90)
    assert tried.returncode == 1
    assert tried.stdout.splitlines() == [
        "notification URL 1 (json): sent", "notification URL 2 (json): not sent", "notification URL 3 (nosuch): not one that apprise knows",
    ]  # fmt: skip
    assert "s3cret" not in tried.stdout + tried.stderr
    assert home.told == ["This is a trial: messages of SafeIP arrive here."]
    home.urls.chmod(0o644)
    assert "is open to others" in home.gateway.cli("tell", "--try", check=False).stderr


def test_where_nothing_is_configured_it_ends_in_peace(home: Home) -> None:
    home.gateway.configure()
    done = home.gateway.cli("tell")
    assert done.stdout.startswith("There is nothing to tell")
