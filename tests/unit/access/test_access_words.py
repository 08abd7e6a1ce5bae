"""Addresses, durations and moments: the small types at the door."""

import subprocess
import sys
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

import pytest

from access.address import BadAddress, parse_address
from access.duration import LONGEST_S, format_duration, parse_duration
from access.gate import Grant
from access.moment import moment_text, parse_moment

SOURCE = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("::ffff:203.0.113.7/128", "203.0.113.7"),
        ("2001:db8:1::5", "2001:db8:1::/64"),
        ("2001:DB8:1:0:9:9:9:9", "2001:db8:1::/64"),
        ("2001:db8:1::/64", "2001:db8:1::/64"),
        ("2001:db8:1::7/64", "2001:db8:1::/64"),
        ("2001:db8:1::5/128", "2001:db8:1::/64"),
        ("2001:db8:1::/80", "2001:db8:1::/64"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        ("fe80::1", "fe80::/64"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    got = parse_address(text, 64)
    assert str(got) == address
    assert isinstance(got, IPv4Address | IPv6Network)
    assert parse_address(str(got), 64) == got


def test_wider_lines() -> None:
    assert str(parse_address("2001:db8:1:ffff::1", 48)) == "2001:db8:1::/48"
    assert str(parse_address("2001:db8:1::/56", 48)) == "2001:db8:1::/48"
    with pytest.raises(BadAddress, match="is wider than one line; write at most a /48"):
        parse_address("2001:db8::/47", 48)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an address"),
        (" 203.0.113.7", "is not an address"),
        ("203.0.113.7 ", "is not an address"),
        ("203.0.113.7\n", "is not an address"),
        ("203.0.113", "is not an address"),
        ("203.0.113.07", "is not an address"),
        ("0x7f.0.0.1", "is not an address"),
        ("2130706433", "is not an address"),
        ("203.0.113.256", "is not an address"),
        ("٢٠٣.0.113.7", "is not an address"),
        ("203.0.113.7:443", "is not an address"),
        ("[2001:db8::1]", "is not an address"),
        ("2001:db8::1::2", "is not an address"),
        ("home.example.org", "is not an address"),
        ("203.0.113.7,198.51.100.4", "is not an address"),
        ("203.0.113.0/24", "is a range; write one host"),
        ("0.0.0.0/0", "is a range"),
        ("203.0.113.7/33", "is not an address"),
        ("203.0.113.7/032", "is not an address"),
        ("203.0.113.7/255.255.255.255", "is not an address"),
        ("203.0.113.7/", "is not an address"),
        ("203.0.113.7/³", "is not an address"),
        ("203.0.113.7/32/32", "is not an address"),
        ("2001:db8::/63", "is wider than one line; write at most a /64"),
        ("::/0", "is wider than one line"),
        ("2001:db8::/129", "is not an address"),
        ("2001:db8::/-1", "is not an address"),
        ("::ffff:0:0/96", "is a range of IPv4 addresses"),
        ("::ffff:203.0.113.0/120", "is a range of IPv4 addresses"),
        ("fe80::1%eth0", "has a scope"),
        ("fe80::1%", "has a scope"),
        ("a" * 65, "at most 64 characters, this has 65"),
        ("1" * 10_000_000, "at most 64 characters"),
        ("\0", "is not an address"),
        ("\ud800", "is not an address"),
    ],
)
def test_bad_addresses(text: str, message: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text, 64)
    assert message in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("12h", 43200), ("7d", 604800), ("3650d", LONGEST_S)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (60, "1m"), (3600, "1h"), (86400, "1d"), (86401, "86401s"), (5400, "90m")],
)
def test_largest_unit(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "1",
        "1w",
        "-1h",
        "+1h",
        "1.5h",
        "1h30m",
        " 1h",
        "1h ",
        "1 h",
        "1H",
        "٣h",
        "1h\n",
        "9" * 5000 + "s",
        "\ud800h",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write 90s, 15m, 12h or 7d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0d", "3651d", "999999999d"])
def test_durations_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"is out of range; write 1s to 3650d"):
        parse_duration(text)


def test_moments() -> None:
    assert moment_text(0) == "1970-01-01T00:00:00Z"
    assert moment_text(1_800_000_000.999) == "2027-01-15T08:00:00Z"
    assert parse_moment("2027-01-15T08:00:00Z") == 1_800_000_000


@pytest.mark.parametrize(
    "text", ["", "2027-01-15", "2027-01-15T08:00:00", "2027-1-15T08:00:00Z", "2027-02-30T08:00:00Z", "0"]
)
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="is not a moment; write one such as"):
        parse_moment(text)


def test_grant_as_json() -> None:
    grant = Grant("cloud", "203.0.113.7", "link:k3v7aa", "Mamie", 43_180_900, 12, 3456)
    assert grant.as_json(1_800_000_000.5) == {
        "service": "cloud",
        "address": "203.0.113.7",
        "holder": "link:k3v7aa",
        "note": "Mamie",
        "expires_at": "2027-01-15T19:59:41Z",
        "remaining_s": 43180,
        "packets": 12,
        "bytes": 3456,
        "shared": None,
    }


def test_what_the_gate_process_imports_is_light() -> None:
    heavy = "{'asyncio', 'ssl', 'argon2', 'json', 'hashlib', 'aiohttp'}"
    code = f"import sys, access.address, access.duration, access.services, access.inputs; print({heavy} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "set()\n"
