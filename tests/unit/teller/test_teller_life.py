"""The teller over its life: what it tells is told once and all of it, over restarts, full disks, silence and floods."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from access import files, journal
from access.files import NotSaved, StateError
from access.moment import moment_text
from lab.abuseipdb import AbuseIpdb as Server
from lab.inbox import Inbox
from lab.process import wait_for
from portal.catalogue import Catalogue
from teller import child, state
from teller import teller as tellers
from teller.outbox import Message
from teller.rehearsal import rehearse
from teller.reports import Book
from teller.settings import AbuseIpdb, Notifications, TellerSettings
from teller.source import Silent
from teller.teller import House, Teller
from teller.words import Words

WORDS = Words(Catalogue(), "open.example.org")


class Daemon:
    """What the teller asks: entries, grants and knocks that a test adds to."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.knocks: list[dict[str, Any]] = []
        self.silent = False
        self.rung = threading.Event()

    def happens(self, event: str, at: float | None = None, **more: object) -> None:
        self.entries.append({"at": moment_text(time.time() if at is None else at), "event": event, "outcome": "allowed", **more})
        self.rung.set()

    def opens(self, address: str, holder: str = "link:k3v9aa", at: float | None = None) -> None:
        self.happens("link-opened", at, holder=holder, note="Mamie", address=address, services=["cloud"])

    def scanned(self, address: str) -> None:
        self.knocks += [
            {"address": address, "protocol": "tcp", "port": port, "packets": 1, "bytes": 60, "last_at": moment_text(time.time())}
            for port in range(9)
        ]

    def history(self, last: int) -> list[dict[str, Any]]:
        self.ask()
        return self.entries[-last:]

    def follow(self) -> Iterator[dict[str, Any]]:
        self.ask()
        while not self.silent:
            if self.rung.wait(0.05):
                self.rung.clear()
                yield {}

    def grants(self) -> list[dict[str, Any]]:
        self.ask()
        return [{"address": address} for address in self.open]

    def blocked(self) -> list[dict[str, Any]]:
        self.ask()
        return self.knocks

    def ask(self) -> None:
        if self.silent:
            raise Silent("nobody answers")


class Home:
    """A daemon, an inbox, an AbuseIPDB, and tellers one after another in one directory."""

    def __init__(self, tmp_path: Path, **more: Any) -> None:
        self.daemon, self.inbox, self.server = Daemon(), Inbox(), Server(key="key")
        self.directory = tmp_path / "teller"
        self.directory.mkdir()
        self.urls, key = tmp_path / "urls", tmp_path / "key"
        self.urls.write_text(self.inbox.url("tok3n-s3cret"))
        key.write_text("key")
        for file in (self.urls, key):
            file.chmod(0o600)
        self.settings = TellerSettings(
            Notifications(urls_file=str(self.urls), **more), AbuseIpdb(key_file=str(key), url=self.server.url, scans=True, ports=3)
        )
        self.log: list[str] = []
        self.usual: list[str] = []
        self.now = time.time()
        self.begin()

    def begin(self) -> None:
        """A new process, as far as the state goes."""
        self.teller = Teller(self.settings, House(str(self.directory), ()), self.daemon, WORDS, self.say, clock=lambda: self.now)
        self.step()

    def say(self, line: str, level: int = journal.ERROR) -> None:
        {journal.ERROR: self.log, journal.INFO: self.usual}[level].append(line)

    def step(self, later_s: float = 0, *, rung: bool = True) -> None:
        self.now += later_s
        self.teller.step(rung=rung)

    @property
    def told(self) -> list[str]:
        return [message["message"] for message in self.inbox.messages]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("teller.reports._own", lambda _: False)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    with home.inbox, home.server:
        yield home


FIRST = "The link of Mamie was opened for the first time, from {}: cloud."
NEW = "The link of Mamie was opened from an address that is new to it, {}: cloud."


def test_what_was_before_the_first_start_is_known_and_not_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.inbox, home.server:
        (home.directory / state.FILE).unlink()
        home.daemon.opens("192.0.2.1")
        home.begin()
        home.daemon.opens("192.0.2.1")
        home.daemon.opens("192.0.2.2")
        home.step()
        assert home.told == [NEW.format("192.0.2.2")]


def test_nothing_is_told_twice_or_left_out_over_restarts(home: Home) -> None:
    for n in range(1, 5):
        home.daemon.opens(f"192.0.2.{n}", holder=f"link:k3v9a{n}")
        if n % 2:
            home.step()
        home.begin()
        home.step(rung=False)
    assert home.told == [FIRST.format(f"192.0.2.{n}") for n in range(1, 5)]


def test_what_happens_while_the_daemon_is_silent_is_told_when_it_answers(home: Home) -> None:
    home.daemon.silent = True
    home.step()
    assert home.log == ["the history could not be read: nobody answers"]
    home.daemon.opens("192.0.2.1")
    home.daemon.silent = False
    home.step(31, rung=False)
    assert home.told == [FIRST.format("192.0.2.1")]


def test_an_inbox_that_fails_gets_what_it_missed_when_it_is_back(home: Home) -> None:
    home.inbox.status = 500
    home.daemon.opens("192.0.2.1")
    home.step()
    home.begin()
    assert home.told == []
    home.inbox.status = 200
    home.step(61, rung=False)
    home.step(600, rung=False)
    assert home.told == [FIRST.format("192.0.2.1")]


def test_a_flood_becomes_a_few_messages_and_one_summary(home: Home) -> None:
    home.step()
    for n in range(500):
        home.daemon.happens("banned", by="safeip", reason="pin", address=f"203.0.113.{n % 250}")
    home.step()
    assert len(home.told) == 20
    home.begin()
    home.step(3599, rung=False)
    assert len(home.told) == 20
    home.step(2, rung=False)
    assert home.told[20:] == ["More happened than is told one by one: 480 bans."]


def test_events_that_are_not_wanted_are_not_told_but_learnt(tmp_path: Path) -> None:
    home = Home(tmp_path, events=("new-address",))
    with home.inbox, home.server:
        home.daemon.opens("192.0.2.1")
        home.daemon.happens("repaired", reason="3 grants back in 4 ms")
        home.step()
        home.daemon.opens("192.0.2.2")
        home.step()
        assert home.told == [NEW.format("192.0.2.2")]


def test_nothing_is_sent_that_the_disk_does_not_know_and_all_of_it_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.replace

    def full(path: str, data: bytes) -> None:
        raise NotSaved(path, OSError(28, "No space left on device"))

    home.step()
    monkeypatch.setattr(files, "replace", full)
    home.daemon.opens("192.0.2.1")
    home.daemon.scanned("203.0.113.66")
    home.step()
    home.step(301, rung=False)
    assert (home.told, home.server.asked) == ([], 0)
    assert len(home.log) == 1, "said once"
    assert "nothing is sent until it can be" in home.log[0]
    monkeypatch.setattr(files, "replace", real)
    home.step(301, rung=False)
    assert home.told == [FIRST.format("192.0.2.1")]
    home.begin()
    assert len(home.told) == 1
    assert [taken["ip"] for taken in home.server.taken] == ["203.0.113.66"]


def test_a_crash_while_sending_tells_nothing_twice(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: object) -> list[dict]:
        raise Crash

    real = child.run
    monkeypatch.setattr(child, "run", crash)
    home.daemon.opens("192.0.2.1")
    with pytest.raises(Crash):
        home.step()
    monkeypatch.setattr(child, "run", real)
    home.begin()
    home.step(4000, rung=False)
    assert home.told == []
    assert home.log == ["1 messages may have been sent or not when this ended the last time; they are not sent again"]


def test_a_scan_is_reported_once_and_not_by_who_holds_a_grant(home: Home) -> None:
    home.daemon.open = ["203.0.113.5"]
    home.daemon.opens("203.0.113.6")
    for address in ("203.0.113.5", "203.0.113.6", "203.0.113.66"):
        home.daemon.scanned(address)
    home.step(301)
    home.daemon.open = []
    for _ in range(3):
        home.step(301, rung=False)
        home.begin()
    assert [taken["ip"] for taken in home.server.taken] == ["203.0.113.66"]


def test_no_report_while_the_history_cannot_be_read(home: Home) -> None:
    home.daemon.scanned("203.0.113.66")
    home.daemon.silent = True
    home.step(301)
    home.daemon.silent = False
    home.teller._again_at = home.now + 30
    home.daemon.history = lambda last: (_ for _ in ()).throw(Silent("busy"))  # type: ignore[method-assign]
    home.step(301, rung=False)
    assert home.server.asked == 0


def test_a_history_that_was_lost_stops_reports_for_thirty_days(home: Home) -> None:
    home.daemon.opens("192.0.2.9")
    home.step()
    home.daemon.entries.clear()
    home.daemon.happens("signed-in", person="yves")
    home.daemon.scanned("203.0.113.66")
    home.step(301)
    assert home.server.asked == 0
    assert home.teller._granted.since is not None
    assert home.teller._granted.since > home.now - 600


def test_it_runs_by_itself_and_ends_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tellers, "_SETTLE_S", 0.05)
    home = Home(tmp_path)
    with home.inbox, home.server:
        teller = Teller(home.settings, House(str(home.directory), ()), home.daemon, WORDS, home.say)
        runs = threading.Thread(target=teller.run, daemon=True)
        runs.start()
        home.daemon.opens("192.0.2.1")
        wait_for("the message", lambda: home.told == [FIRST.format("192.0.2.1")], 60)
        home.daemon.silent = True
        wait_for("the word of it", lambda: any("the daemon has ended" in line for line in home.log), 30)
        home.daemon.silent = False
        home.daemon.opens("192.0.2.2")
        wait_for("the next message", lambda: len(home.told) == 2, 60)
        assert "the daemon answers again" in home.usual
        teller.stop()
        runs.join(30)
        assert not runs.is_alive()


def test_no_secret_is_in_the_state_or_the_log(home: Home) -> None:
    home.inbox.status = 500
    home.daemon.opens("192.0.2.1")
    home.step()
    kept = "".join(file.read_text() for file in home.directory.iterdir())
    assert '"to"' in kept
    assert "s3cret" not in kept + "".join(home.log)
    assert all(file.stat().st_mode & 0o077 == 0 for file in home.directory.iterdir())


def test_a_rehearsal_prints_what_would_be_sent_and_changes_nothing(home: Home) -> None:
    day = 86_400
    home.daemon.opens("192.0.2.1", at=home.now - 2 * day)
    home.daemon.opens("192.0.2.2", at=home.now - 100)
    home.daemon.happens("banned", by="safeip", reason="link", address="203.0.113.7")
    home.daemon.open = ["203.0.113.5"]
    home.daemon.scanned("203.0.113.5")
    home.daemon.scanned("203.0.113.66")
    before = {file.name: file.read_bytes() for file in home.directory.iterdir()}
    house = House(str(home.directory), ())
    lines = list(rehearse(home.settings, house, home.daemon, WORDS, int(home.now)))
    assert lines[:2] == [f"message: {NEW.format('192.0.2.2')}", "message: 203.0.113.7 failed too often at signing in, or guessed, and is banned for a while."]
    assert lines[2] == "no report: 203.0.113.5 held a grant in the last 30 days, or may have"
    assert [line.split(" (")[0] for line in lines[3:]] == ["report: 203.0.113.66", "report: 203.0.113.7"]
    assert {file.name: file.read_bytes() for file in home.directory.iterdir()} == before
    assert (home.told, home.server.asked) == ([], 0)


def test_a_rehearsal_leaves_out_what_was_reported_already(home: Home) -> None:
    for address in ("203.0.113.7", "203.0.113.8", "203.0.113.9"):
        home.daemon.happens("banned", at=home.now - 3600, by="safeip", reason="link", address=address)
    reported = {"203.0.113.7": int(home.now) - 3500, "203.0.113.8": int(home.now) - 7200}
    state.save(str(home.directory / state.FILE), state.State(book=Book(reported)))
    lines = list(rehearse(home.settings, House(str(home.directory), ()), home.daemon, WORDS, int(home.now)))
    assert [line.split(" (")[0] for line in lines if "report" in line] == ["report: 203.0.113.8", "report: 203.0.113.9"]


def test_who_knocked_is_not_asked_for_where_scans_are_not_reported(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.settings = replace(home.settings, abuseipdb=replace(home.settings.abuseipdb, scans=False))
    home.begin()
    home.daemon.scanned("203.0.113.66")
    home.daemon.happens("banned", by="safeip", reason="link", address="203.0.113.7")
    monkeypatch.setattr(home.daemon, "blocked", lambda: pytest.fail("asked"))
    assert [line.split(" (")[0] for line in list(rehearse(home.settings, House(str(home.directory), ()), home.daemon, WORDS, int(home.now)))[1:]] == [
        "report: 203.0.113.7"
    ]
    home.step(300)
    assert [taken["ip"] for taken in home.server.taken] == ["203.0.113.7"]


# the state file


def test_all_that_is_kept_comes_back(tmp_path: Path) -> None:
    kept = state.State(
        addresses={"link:a": {"192.0.2.1": 7}}, told=[1, 2], beyond={"ban": 3},
        messages=[Message("t", "b", warning=True, at=5, to=["a"], sending=True), Message("t", "b", warning=False, at=5)],
        book=Book({"192.0.2.1": 1_800_000_000}, {"192.0.2.2": (5, "21")}, 4, 5, 6),
    )  # fmt: skip
    kept.cursor.tail, kept.cursor.at = ["x"], 9
    path = str(tmp_path / state.FILE)
    state.save(path, kept)
    again = state.load(path)
    assert (again.cursor.tail, again.cursor.at) == (["x"], 9)
    assert (again.addresses, again.told, again.beyond, again.messages, again.book) == (
        kept.addresses, kept.told, kept.beyond, kept.messages, kept.book,
    )  # fmt: skip


def test_a_state_that_is_no_good_is_named_never_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / state.FILE
    state.save(str(path), state.State(messages=[Message("t", "b", warning=True, at=5)]))
    good = json.loads(path.read_text())
    path.write_text("{")
    with pytest.raises(StateError, match=r"teller\.json: line 1"):
        state.load(str(path))
    for key in good:
        for value in (None, "x", [7.5], {"a": []}, -1, [{}], {"a": "x"}):
            path.write_text(json.dumps(good | {key: value}))
            path.chmod(0o600)
            with pytest.raises(StateError, match=r"teller\.json"):
                state.load(str(path))
    path.write_text(json.dumps(good | {"more": 1}))
    with pytest.raises(StateError, match="more"):
        state.load(str(path))
