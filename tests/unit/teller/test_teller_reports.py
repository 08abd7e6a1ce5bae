"""Who is reported to AbuseIPDB, and above all who never is."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from access.files import StateError
from access.moment import moment_text
from teller import reports as reports_of
from teller.granted import Granted
from teller.reports import Book, Report, Reports, _own
from teller.settings import AbuseIpdb

NOW = 1_800_000_000
STRANGER = "203.0.113.66"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
DAY = 86_400


@pytest.fixture(autouse=True)
def _a_host_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that this runs on may have any address."""
    monkeypatch.setattr(reports_of, "_own", lambda _: False)


def granted(tmp_path: Path, since: int = 0) -> Granted:
    found = Granted(str(tmp_path / "granted.json"))
    found.begin(since)
    return found


def reports(tmp_path: Path, book: Book | None = None, **more: object) -> Reports:
    settings = AbuseIpdb(**({"key_file": "/k", "scans": True, "ports": 3} | more))  # type: ignore[arg-type]
    return Reports(settings, TRUSTED, granted(tmp_path), book or Book())


def scan(address: str = STRANGER, ports: int = 3, at: int = NOW, protocol: str = "tcp") -> list[dict]:
    return [
        {"address": address, "protocol": protocol, "port": 100 + n, "packets": 2, "bytes": 120, "last_at": moment_text(at)}
        for n in range(ports)
    ]


def ban(address: str = STRANGER, reason: str = "sign-in", by: str = "safeip", **more: object) -> dict:
    return {"at": moment_text(NOW), "event": "banned", "outcome": "allowed", "by": by, "reason": reason, "address": address} | more


def addresses(found: list[Report]) -> list[str]:
    return [report.ip for report in found]


# never


@pytest.mark.parametrize("address", ["10.1.2.3", "198.51.100.7", "192.168.1.1", "127.0.0.1", "169.254.1.1", "224.0.0.5", "0.0.0.0",
                                     "255.255.255.255", "100.64.0.9", "2001:db8:1::/64", "2a00:1::/64", "nonsense", ""])  # fmt: skip
def test_never_who_is_trusted_not_on_the_internet_or_known_by_a_prefix(tmp_path: Path, address: str) -> None:
    it = reports(tmp_path)
    it.banned(ban(address))
    assert it.due(scan(address, 50), NOW) == []


def test_never_who_holds_a_grant_or_held_one_in_the_last_thirty_days(tmp_path: Path) -> None:
    it = reports(tmp_path)
    it._granted.held_now([STRANGER], NOW)
    assert it.due(scan(), NOW) == []
    it._granted.held_now([], NOW)
    for later, expected in ((1, []), (30 * DAY - 1, []), (30 * DAY, [STRANGER])):
        assert addresses(it.due(scan(at=NOW + later), NOW + later)) == expected


def test_never_whoever_may_have_held_one_before_anything_was_known(tmp_path: Path) -> None:
    it = Reports(AbuseIpdb(key_file="/k", scans=True, ports=3), TRUSTED, granted(tmp_path, NOW - 29 * DAY), Book())
    assert it.due(scan(), NOW) == []
    assert addresses(it.due(scan(at=NOW + DAY), NOW + DAY)) == [STRANGER]
    unknown = Reports(AbuseIpdb(key_file="/k", scans=True, ports=3), TRUSTED, Granted(str(tmp_path / "none.json")), Book())
    assert unknown.due(scan(), NOW) == []


def test_never_who_is_in_the_allow_list(tmp_path: Path) -> None:
    it = reports(tmp_path, allow=(ip_network("203.0.113.0/24"),))
    assert it.due(scan() + scan("192.88.99.9"), NOW) != []
    assert STRANGER not in addresses(it.due(scan() + scan("192.88.99.9"), NOW))


def test_never_an_address_of_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reports(tmp_path).due(scan(), NOW)
    monkeypatch.setattr(reports_of, "_own", lambda address: address == STRANGER)
    assert reports(tmp_path).due(scan(), NOW) == []


def test_what_this_host_has_is_asked_of_the_kernel() -> None:
    assert _own("127.0.0.1")
    assert not _own("255.255.255.254")


def test_never_for_udp_whose_sender_anybody_forges(tmp_path: Path) -> None:
    assert reports(tmp_path).due(scan(protocol="udp", ports=40) + scan(ports=2), NOW) == []


def test_never_for_what_was_dropped_without_a_handshake_unless_the_owner_wants_it(tmp_path: Path) -> None:
    assert AbuseIpdb().scans is False
    it = reports(tmp_path, scans=False)
    assert it.due(scan(ports=50), NOW) == []
    assert it.candidates(scan(ports=50), NOW) == []
    it.banned(ban())
    (report,) = it.due(scan(ports=50), NOW)
    assert (report.categories, report.comment) == ("18", "SafeIP: banned after guessing at a sign-in")


def test_never_for_a_ban_that_a_hand_made_or_that_came_to_nothing(tmp_path: Path) -> None:
    it = reports(tmp_path)
    for entry in (ban(by="person:yves"), ban(by="cli"), ban(outcome="refused"), ban(reason="because"), ban(event="unbanned")):
        it.banned(entry)
    assert it.due([], NOW) == []


# when


def test_the_threshold_is_the_number_of_ports(tmp_path: Path) -> None:
    it = reports(tmp_path)
    assert it.due(scan(ports=2) * 9, NOW) == []
    (report,) = it.due(scan(ports=3), NOW)
    assert report == Report(STRANGER, "14", "SafeIP: blocked at 3 TCP ports that are closed to strangers", "2027-01-15T08:00:00+00:00")


@pytest.mark.parametrize(("reason", "category"), [("sign-in", "18"), ("pin", "18"), ("token", "18"), ("link", "21"), ("invitation", "21")])
def test_a_ban_has_the_category_of_what_was_done(tmp_path: Path, reason: str, category: str) -> None:
    it = reports(tmp_path)
    it.banned(ban(reason=reason))
    assert [report.categories for report in it.due([], NOW)] == [category]
    assert [report.categories for report in it.due(scan(), NOW)] == [f"14,{category}"]


def test_no_report_says_what_this_house_protects(tmp_path: Path) -> None:
    it = reports(tmp_path)
    it.banned(ban())
    (report,) = it.due(scan(), NOW)
    assert not {"100", "101", "102"} & set(report.comment.split())
    assert len(report.comment) < 1024


def test_the_quiet_time_then_only_who_goes_on(tmp_path: Path) -> None:
    it = reports(tmp_path)
    found = it.due(scan(), NOW)
    it.sending(found, NOW)
    it.settle(found[0], "taken")
    assert it.due(scan(at=NOW + 899), NOW + 899) == []
    assert it.due(scan(at=NOW), NOW + 86_000) == [], "nothing new, only still listed"
    assert addresses(it.due(scan(at=NOW + 900), NOW + 900)) == [STRANGER]


def test_the_ceiling_of_a_day(tmp_path: Path) -> None:
    it = reports(tmp_path, daily=25)
    knocks = [knock for n in range(60) for knock in scan(f"203.0.113.{n + 1}")]
    sent = 0
    for _ in range(5):
        found = it.due(knocks, NOW)
        assert len(found) <= 20
        it.sending(found, NOW)
        for report in found:
            it.settle(report, "taken")
        sent += len(found)
    assert sent == 25
    assert it.why_not("203.0.113.60", NOW) == "ceiling"
    tomorrow = (NOW // DAY + 1) * DAY
    assert len(it.due([knock | {"last_at": moment_text(tomorrow)} for knock in knocks], tomorrow)) == 20


def test_what_the_service_surely_has_not_is_sent_again_and_counts_for_nothing(tmp_path: Path) -> None:
    it = reports(tmp_path)
    it.banned(ban())
    for verdict in ("pause", "key"):
        (report,) = it.due(scan(), NOW)
        it.sending([report], NOW)
        it.settle(report, verdict)  # type: ignore[arg-type]
        assert it.book.count == 0
    assert addresses(it.due([], NOW)) == [STRANGER], "the ban still waits"
    it.sending([report], NOW)
    it.settle(report, None)
    assert it.due(scan(), NOW) == [], "nobody knows whether it came: not again"


def test_a_pause_is_kept_but_not_one_without_end(tmp_path: Path) -> None:
    it = reports(tmp_path, Book(not_before=NOW + 10))
    assert it.due(scan(), NOW) == []
    assert it.due(scan(at=NOW + 10), NOW + 10)
    assert reports(tmp_path, Book(not_before=NOW + 400 * DAY)).due(scan(), NOW), "the clock was wrong when that was written"


# who held a grant


def test_who_held_a_grant_outlives_the_teller(tmp_path: Path) -> None:
    first = granted(tmp_path)
    first.held_now(["192.0.2.1", "192.0.2.2"], NOW)
    first.held_once("192.0.2.3", NOW)
    first.save()
    again = Granted(str(tmp_path / "granted.json"))
    again.held_now(["192.0.2.2"], NOW + 20 * DAY)  # it was away for long: who is gone held until now, for all it knows
    later = NOW + 45 * DAY
    assert [again.may_have_held(f"192.0.2.{n}", later) for n in (1, 2, 3)] == [True, True, False]
    again.held_now([], later)
    assert set(again.ended) == {"192.0.2.1", "192.0.2.2"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "since": "x", "held": {}, "ended": {}}',
                                  '{"version": 1, "since": "2026-11-21T09:30:00Z", "held": {}, "ended": {"192.0.2.1": 7}}'])  # fmt: skip
def test_a_file_that_is_no_good_stops_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "granted.json").write_text(text)
    with pytest.raises(StateError, match=r"granted\.json"):
        Granted(str(tmp_path / "granted.json"))
