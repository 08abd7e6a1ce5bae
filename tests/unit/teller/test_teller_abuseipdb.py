"""Reports go to a real server that speaks AbuseIPDB's documented API, and to one that fails in every way."""

import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from access import journal
from access.moment import moment_text
from lab.abuseipdb import AbuseIpdb
from teller import abuse_child, reporter
from teller.abuse_answers import read_answer
from teller.granted import Granted
from teller.reporter import Reporter
from teller.reports import Book, Report
from teller.settings import AbuseIpdb as Settings

KEY = "s3cret" * 13 + "aa"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("teller.reports._own", lambda _: False)  # whatever addresses the machine has that this runs on


class Teller:
    """A reporter at a server's door. `log` is what it said of trouble, `usual` what else."""

    def __init__(self, tmp_path: Path, url: str, *, key: str = KEY, **more: object) -> None:
        key_file = tmp_path / "key"
        key_file.write_text(f"# mine\n{key}\n")
        key_file.chmod(0o600)
        granted = Granted(str(tmp_path / "granted.json"))
        granted.begin(0)
        self.log: list[str] = []
        self.usual: list[str] = []
        self.book = Book()
        settings = Settings(key_file=str(key_file), url=url, scans=True, **more)  # type: ignore[arg-type]
        self.reporter = Reporter(settings, (ip_network("10.0.0.0/8"),), granted, self.book, self.say)

    def say(self, line: str, level: int = journal.ERROR) -> None:
        {journal.ERROR: self.log, journal.INFO: self.usual}[level].append(line)

    def scans(self, *addresses: str, now: int) -> list[Report]:
        """Decide and send, as the teller does."""
        knocks = [
            {"address": address, "protocol": "tcp", "port": port, "packets": 1, "last_at": moment_text(now)}
            for address in addresses
            for port in range(9)
        ]
        found = self.reporter.reports.due(knocks, now)
        self.reporter.reports.sending(found, now)
        self.reporter.send(found, now, lambda: False)
        return found


def now() -> int:
    return int(time.time())


def test_a_report_arrives_as_documented(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        it = Teller(tmp_path, server.url)
        at = now()
        it.scans("203.0.113.66", "203.0.113.1", now=at)
        assert [taken["ip"] for taken in server.taken] == ["203.0.113.1", "203.0.113.66"]
        assert server.taken[0] == {
            "ip": "203.0.113.1", "categories": "14", "comment": "SafeIP: blocked at 9 TCP ports that are closed to strangers",
            "timestamp": moment_text(at).replace("Z", "+00:00"),
        }  # fmt: skip
        assert it.scans("203.0.113.66", now=at + 60) == [], "the quiet time"
        assert [line.partition(" (")[0] for line in it.usual] == ["reported 203.0.113.1", "reported 203.0.113.66"]
        assert it.log == []
        assert it.book.count == 2


def test_the_same_address_that_somebody_else_reported_with_this_key_is_no_failure(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        server.last["203.0.113.1"] = time.time()
        it = Teller(tmp_path, server.url)
        it.scans("203.0.113.1", "203.0.113.2", now=now())
        assert [taken["ip"] for taken in server.taken] == ["203.0.113.2"]
        assert it.book.not_before == 0
        assert it.usual[0] == "203.0.113.1 is reported already"
        assert it.log == []
        assert set(it.book.reported) == {"203.0.113.1", "203.0.113.2"}


def test_the_limit_of_the_day_waits_as_long_as_the_server_says(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY, daily=1) as server:
        it = Teller(tmp_path, server.url)
        at = now()
        it.scans("203.0.113.1", "203.0.113.2", "203.0.113.3", now=at)
        assert len(server.taken) == 1
        assert server.asked == 2, "after the refusal nothing more"
        assert it.book.not_before == at + 29_242
        assert it.scans("203.0.113.2", now=at + 29_241) == []
        assert "Daily rate limit of 1 requests exceeded" in it.log[-1]
        assert set(it.book.reported) == {"203.0.113.1"}
        assert it.book.count == 1
        server.daily = 10
        it.scans("203.0.113.2", "203.0.113.3", now=at + 29_243)
        assert len(server.taken) == 1, "its timestamp is to come, which the service refuses (422)"
        assert server.asked == 4
        assert "refuses the report of 203.0.113.2: 422 The timestamp is invalid" in it.log[-2]


def test_a_key_that_is_none_is_tried_once_an_hour_and_never_shown(tmp_path: Path) -> None:
    with AbuseIpdb(key="another") as server:
        it = Teller(tmp_path, server.url)
        at = now()
        it.scans("203.0.113.1", "203.0.113.2", now=at)
        assert server.asked == 1
        assert it.scans("203.0.113.1", now=at + 3599) == []
        assert it.book.reported == {}
        it.scans("203.0.113.1", now=at + 3600)
        assert server.asked == 2
        assert "Authentication failed" in it.log[0]
        assert KEY not in "".join(it.log)


def test_a_key_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        it = Teller(tmp_path, server.url)
        (tmp_path / "key").chmod(0o644)
        it.scans("203.0.113.1", now=now())
        assert server.asked == 0
        assert it.log == [f"nobody is reported: {tmp_path}/key is open to others: chown root:safeip-teller {tmp_path}/key; chmod 640 {tmp_path}/key"]
        assert it.book.reported == {}


@pytest.mark.parametrize("how", ["500", "502", "503", "garbage", "redirect"])
def test_a_server_in_trouble_is_left_alone_for_longer_and_longer(tmp_path: Path, how: str) -> None:
    with AbuseIpdb(key=KEY) as server:
        server.failing = how
        it = Teller(tmp_path, server.url)
        at, waits = now(), []
        for asked in range(1, 9):
            it.scans("203.0.113.1", "203.0.113.2", now=at)
            assert server.asked == asked, "one try, and nobody is asked behind a redirect"
            waits.append(it.book.not_before - at)
            at = it.book.not_before
        assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
        assert it.book.reported == {}
        server.failing = ""
        it.scans("203.0.113.1", now=now() if at < now() else it.book.not_before)


def test_nobody_listens(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        url = server.url
    it = Teller(tmp_path, url)
    at = now()
    it.scans("203.0.113.1", now=at)
    assert it.book.not_before == at + 60
    assert it.log == ["AbuseIPDB takes no reports (ConnectionRefusedError); tried again in 60 s"]


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_never_ends_is_left_and_the_report_not_sent_twice(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "_KILLED_S", 2.0)
    with AbuseIpdb(key=KEY) as server:
        server.failing = how
        it = Teller(tmp_path, server.url)
        at = now()
        it.scans("203.0.113.1", "203.0.113.2", now=at)
        assert set(it.book.reported) == {"203.0.113.1"}, "nobody knows whether it came; the second surely did not"
        assert it.book.not_before == at + 60
        assert it.book.count == 1


def test_a_huge_answer_is_read_in_part(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        server.failing = "huge"
        it = Teller(tmp_path, server.url)
        it.scans("203.0.113.1", now=now())
        assert it.log == ["AbuseIPDB refuses the report of 203.0.113.1: 422"]


def test_a_dry_run_asks_nobody_and_says_what_it_would(tmp_path: Path) -> None:
    with AbuseIpdb(key=KEY) as server:
        it = Teller(tmp_path, server.url, dry_run=True)
        it.scans("203.0.113.1", now=now())
        assert server.asked == 0
        assert it.usual[0].startswith("would report 203.0.113.1 (categories 14, ")
        assert it.log == []
        assert it.scans("203.0.113.1", now=now() + 60) == [], "with the quiet time of a real one"


@pytest.mark.parametrize(
    ("status", "headers", "body", "verdict", "pause_s"),
    [
        (200, {}, b"{}", "taken", None),
        (429, {}, b'{"errors":[{"detail":"once in 15 minutes","status":429,"source":{"parameter":"ip"}}]}', "known", None),
        (429, {"retry-after": "60"}, b"", "pause", 61),
        (429, {"retry-after": "999999999"}, b"", "pause", 2 * 86_400),
        (429, {"retry-after": "-5"}, b"", "pause", 3600),
        (429, {"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT"}, b"", "pause", 3600),
        (429, {"x-ratelimit-reset": "1000500"}, b"", "pause", 501),
        (429, {"x-ratelimit-reset": "5"}, b"[[[", "pause", 60),
        (422, {}, b'{"errors":[]}', "refused", None),
        (403, {}, b'{"errors":"no"}', "key", 3600),
        (503, {"retry-after": "120"}, b"", "pause", 121),
        (503, {}, b"", "pause", None),
        (201, {}, b"", "pause", None),
        (302, {}, b"", "pause", None),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], body: bytes, verdict: str, pause_s: int | None) -> None:
    answer = read_answer(status, headers, body, 1_000_000)
    assert (answer.verdict, answer.pause_s) == (verdict, pause_s)


def test_the_servers_words_break_no_line_of_the_log() -> None:
    answer = read_answer(422, {}, b'{"errors":[{"detail":"a\\nb\\u001b[2J' + b"c" * 999 + b'"}]}', 0)
    assert answer.detail.isprintable()
    assert len(answer.detail) < 250


def test_a_key_with_an_end_of_line_in_it_is_no_header_and_not_shown() -> None:
    answer = abuse_child._send("http://127.0.0.1:9/x", "a\r\nX: y", {"ip": "203.0.113.1"})
    assert answer.verdict == "pause"
    assert "X" not in answer.detail
