"""What comes back after a boot: nothing that the policy forbids, and nothing for longer than it had left."""

import os
import re
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from nft import checks
from nft.book import Book, Entry
from nft.policy import Policy, PortRange, ServiceRule
from nft.record import Clock, Record, RecordError, read
from nft.stamps import Stamp

DAY = 86_400_000
POLICY = Policy(
    services={"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 86_400)},
    trusted=(ip_network("192.168.0.0/16"),),
    max_grants=5,
)
THEN = Clock(monotonic_ms=5 * DAY, wall_ms=1_795_000_000_000, boot="0d4a3c1e-then")
GRANT = (
    '{"put": "cloud4", "address": "203.0.113.7", "holder": "link:k3v9", "note": "Mamie", '
    f'"until": "", "end_ms": {5 * DAY + 3_600_000}, "timeout_ms": 43200000}}\n'
)


def written(path: Path, *lines: str, next_ms: int = 60_000) -> Path:
    path.write_bytes(Stamp(THEN, next_ms).line() + "".join(lines).encode())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grants.jsonl"


def left_ms(path: Path, now: Clock) -> int:
    return sum(entry.end_ms - now.monotonic_ms for entry in read(path, POLICY, now))


def test_no_file_means_that_nothing_was_open(path: Path):
    assert read(path, POLICY, THEN) == []


def test_in_the_same_boot_an_end_stays_where_it_is(path: Path):
    now = Clock(THEN.monotonic_ms + 600_000, 0, THEN.boot)  # whatever the time of day is said to be
    assert read(written(path, GRANT), POLICY, now) == [
        Entry("cloud4", bytes([203, 0, 113, 7]), "link:k3v9", "Mamie", 5 * DAY + 3_600_000, DAY // 2)
    ]


@pytest.mark.parametrize(
    ("wall_ms", "next_ms", "left"),
    [
        (THEN.wall_ms + 600_000, 60_000, 3_000_000),  # the machine was down for ten minutes
        (THEN.wall_ms + 1_000, 60_000, 3_540_000),  # longer than it was down
        (0, 60_000, 3_540_000),  # no clock that runs without power
        (THEN.wall_ms - DAY, 60_000, 3_540_000),  # set back
        (0, 0, 3_600_000),  # a clean end, and no clock
        (THEN.wall_ms + DAY, 60_000, 0),  # set forward, or a day without power
    ],
)
def test_on_another_boot_it_has_at_most_what_it_had_left(path: Path, wall_ms: int, next_ms: int, left: int):
    now = Clock(7_000, wall_ms, "77e1-now")
    assert left_ms(written(path, GRANT, next_ms=next_ms), now) == left


def test_a_clock_that_went_back_in_the_same_boot_is_another_boots(path: Path):
    assert left_ms(written(path, GRANT), Clock(1_000, THEN.wall_ms, THEN.boot)) == 3_540_000


@pytest.mark.parametrize(
    "changed",
    [
        ("203.0.113.7", "192.168.1.1"),  # trusted by now
        ("203.0.113.7", "127.0.0.1"),
        ("203.0.113.7", "0.0.0.0"),
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.7", "2001:db8:1::/64"),  # of the other family's set
        ("cloud4", "game4"),
        ("cloud4", "cloud6"),
        ("cloud4", "cloud"),
        ("cloud4", "trusted4"),
        ("cloud4", ""),
        ("link:k3v9", "root"),
        ("Mamie", '\\"'),
        ("Mamie", "\\u0007"),
        ("Mamie", "\\ud800"),
        ("Mamie", "M" * 65),
        ("43200000", "0"),
    ],
)
def test_what_the_policy_forbids_is_left_out(path: Path, changed: tuple[str, str]):
    assert len(read(written(path, GRANT), POLICY, THEN)) == 1
    assert read(written(path, GRANT, GRANT.replace(*changed)), POLICY, THEN) in (
        read(written(path, GRANT), POLICY, THEN),  # another address's
        [],  # the same address's, put in the place of the first
    )
    assert read(written(path, GRANT.replace(*changed)), POLICY, THEN) == []


def test_a_prefix_of_another_width_opens_nothing(path: Path):
    line = GRANT.replace("cloud4", "cloud6").replace("203.0.113.7", "2001:db8:1::/64")
    assert len(read(written(path, line), POLICY, THEN)) == 1
    wider = Policy(services=POLICY.services, trusted=(), ipv6_prefix=56)
    assert read(written(path, line), wider, THEN) == []


def test_what_lasts_too_long_is_cut(path: Path):
    year = GRANT.replace(str(5 * DAY + 3_600_000), str(400 * DAY)).replace("43200000", str(400 * DAY))
    (found,) = read(written(path, year), POLICY, THEN)
    assert (found.end_ms - THEN.monotonic_ms, found.timeout_ms) == (DAY, DAY)
    (found,) = read(written(path, GRANT.replace("43200000", "1000")), POLICY, THEN)
    assert (found.end_ms - THEN.monotonic_ms, found.timeout_ms) == (1000, 1000)
    ban = year.replace("cloud4", "banned4")
    (found,) = read(written(path, ban), POLICY, THEN)
    assert found.end_ms - THEN.monotonic_ms == checks.BAN_MAX_S * 1000


def test_no_more_than_the_policy_allows_at_once(path: Path):
    lines = [GRANT.replace("113.7", f"113.{number}") for number in range(9)]
    bans = [line.replace("cloud4", "banned4") for line in lines]
    found = read(written(path, *lines, *bans), POLICY, THEN)
    assert [entry.set for entry in found] == ["cloud4"] * 5 + ["banned4"] * 5
    sets_only = Policy(services=POLICY.services, trusted=(), mode="sets")
    assert {entry.set for entry in read(written(path, *lines, *bans), sets_only, THEN)} == {"cloud4"}


def test_torn_at_any_byte_it_gives_what_was_whole_or_says_where_it_is_not(tmp_path: Path):
    path = tmp_path / "grants.jsonl"
    book = Book()
    record = Record(path, book, 64, print)
    now_ms = time.monotonic_ns() // 1_000_000
    entries = [
        Entry("cloud4", bytes([203, 0, 113, n]), "cli", "Müller", now_ms + DAY // 2, DAY // 2)
        for n in range(4)
    ]
    record.rewrite()
    record.go_on()
    for entry in entries:
        record.note([(entry.set, entry.key, entry)])
    record.note([("cloud4", entries[0].key, None)])
    record.close()
    whole = path.read_bytes()
    states = [[], entries[:1], entries[:2], entries[:3], entries, entries[1:]]
    ends = [at.end() for at in re.finditer(rb"\n", whole)]
    for cut in range(len(whole) + 1):
        path.unlink()  # truncated instead, ext4 would wait for the disk
        path.write_bytes(whole[:cut] + b"\0" * (cut % 3))  # some file systems leave zeros
        if cut < ends[0]:
            with pytest.raises(RecordError, match=r"grants\.jsonl: line 1: "):
                read(path, POLICY, Clock.now())
        else:
            lines = sum(end <= cut for end in ends)
            assert read(path, POLICY, Clock.now()) == states[lines - 1], cut


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "needs a text as 'taken'"),
        ('{"put": "cloud4"}', "needs a text as 'address'"),
        (GRANT.strip().replace('"cli"', "7").replace('"link:k3v9"', "7"), "needs a text as 'holder'"),
        (GRANT.strip().replace("43200000", "-1"), "needs a number of milliseconds as 'timeout_ms'"),
        (GRANT.strip().replace("43200000", "1e3"), "needs a number of milliseconds as 'timeout_ms'"),
        (GRANT.strip().replace("43200000", "9" * 5000), "is not JSON"),
        (GRANT.strip().replace("43200000", "9" * 25), "needs a number of milliseconds as 'timeout_ms'"),
        (GRANT.strip().replace("43200000", "true"), "needs a number of milliseconds as 'timeout_ms'"),
        ("\x00", "is not JSON"),
    ],
)
def test_damage_is_told_with_its_line(path: Path, line: str, what: str):
    with pytest.raises(RecordError) as caught:
        read(written(path, GRANT, line + "\n", GRANT), POLICY, THEN)
    assert str(caught.value) == f"{path}: line 3: {what}"
    assert (caught.value.file, caught.value.place, caught.value.message) == (path, "line 3", what)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version": 1', b'"version": 2'),
        (b'"version": 1', b'"version": true'),
        (b'"version"', b'"vision"'),
        (b'"boot"', b'"root"'),
        (b'"next_ms": 60000', b'"next_ms": -6000'),
        (b'"monotonic_ms": 4', b'"monotonic_ms": "'),
        (b'"time": "2026', b'"time": "20x6'),
        (b'Z"', b' "'),
    ],
)
def test_a_first_line_without_a_stamp_is_refused(path: Path, old: bytes, new: bytes):
    data = written(path, GRANT).read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(RecordError, match="line 1"):
        read(path, POLICY, THEN)


def test_only_an_own_plain_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere = written(path.with_name("elsewhere"), GRANT)
    path.symlink_to(elsewhere)
    with pytest.raises(RecordError, match="is a symbolic link"):
        read(path, POLICY, THEN)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordError, match="is not a regular file"):
        read(path, POLICY, THEN)
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordError, match="is not a regular file"):
        read(path, POLICY, THEN)
    path.rmdir()
    written(path, GRANT)
    os.truncate(path, 257 * 1024 * 1024)  # a hole
    with pytest.raises(RecordError, match="is larger than 268435456 bytes"):
        read(path, POLICY, THEN)
    if os.geteuid() == 0:
        os.chown(written(path, GRANT), 65534, 65534)
        with pytest.raises(RecordError, match=r"belongs to user 65534; it must be user 0's or root's"):
            read(path, POLICY, THEN)
