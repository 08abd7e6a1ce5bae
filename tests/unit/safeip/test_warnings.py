"""What is allowed and seldom meant is said, and nothing is said of what is usual."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from access.services import Services
from portal.client_address import ClientAddress
from portal.live import Live
from safeip.config import parse_config
from safeip.reload import events
from safeip.warnings import warnings

ROOT = Path(__file__).resolve().parents[3]


def told(proxies: str, service: str = 'ports = ["tcp/443"]') -> list[str]:
    text = f'[portal]\nurl = "https://open.example.org:8443"\n{proxies}\n[services.cloud]\n{service}\n'
    return warnings(parse_config(text, "safeip.toml"))


@pytest.mark.parametrize(
    "proxies",
    ["", "trusted_proxies = []", 'trusted_proxies = ["127.0.0.1", "::1"]', 'trusted_proxies = ["127.0.0.0/8"]',
     'trusted_proxies = ["192.168.1.2", "192.168.1.3", "fd00::2", "fd00::3", "100.64.0.1", "fe80::1", "169.254.1.1"]'],
)  # fmt: skip
def test_what_is_usual_is_not_warned_of(proxies: str) -> None:
    assert told(proxies) == []


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("192.168.1.0/24", ["wider than a host"]),
        ("fd00::/64", ["wider than a host"]),
        ("192.168.1.2/31", ["wider than a host"]),
        ("203.0.113.5", ["in the Internet"]),
        ("2001:db8::5", ["in the Internet"]),
        ("100.128.0.1", ["in the Internet"]),
        ("172.32.0.1", ["in the Internet"]),
        ("173.245.48.0/20", ["wider than a host", "in the Internet"]),
        ("100.0.0.0/8", ["wider than a host", "in the Internet"]),
        ("fc00::/7", ["wider than a host"]),
    ],
)
def test_a_proxy_that_anybody_may_be_is_warned_of(network: str, words: list[str]) -> None:
    found = told(f'trusted_proxies = ["127.0.0.1", "{network}"]')
    assert len(found) == len(words)
    for warning, word in zip(found, words, strict=True):
        assert warning.startswith(f"portal.trusted_proxies: {ip_network(network)} is {word}")
        assert "; " in warning, "what to do"


def test_a_service_that_a_proxy_closes_needs_a_proxy() -> None:
    by_proxy = 'closed_by = "proxy"\nurl = "https://cloud.example.org/"'
    assert told('trusted_proxies = ["127.0.0.1"]', by_proxy) == []
    [warning] = told("", by_proxy)
    assert warning.startswith('services.cloud: closed_by is "proxy", but portal.trusted_proxies is empty')


def test_a_portal_that_only_this_host_reaches_has_a_proxy() -> None:
    [warning] = told('listen = ["127.0.0.1:8443", "[::1]:8443"]')
    assert warning.startswith("portal.listen: only this host reaches the portal, and portal.trusted_proxies is empty")
    assert told('listen = ["127.0.0.1:8443", "192.168.1.1:8443"]') == []
    assert told('listen = ["127.0.0.1:8443"]\ntrusted_proxies = ["127.0.0.1"]') == []


@pytest.mark.parametrize(
    ("ports", "abuseipdb", "enough"),
    [
        ('["tcp/443", "udp/1-100"]', "scans = true", 1),
        ('["tcp/1-4"]', "scans = true\ndry_run = true", 4),
        ('["tcp/1-4"]', "", None),
        ('["tcp/1-4"]', "scans = false", None),
        ('["tcp/1-4"]', "scans = true\nports = 4", None),
        ('["tcp/1-3", "tcp/5-6"]', "scans = true", None),
    ],
)
def test_reports_of_scans_need_ports_to_scan(ports: str, abuseipdb: str, enough: int | None) -> None:
    found = told("", f'ports = {ports}\n[abuseipdb]\nkey_file = "/etc/safeip/key"\n{abuseipdb}')
    if enough is None:
        assert found == []
    else:
        [warning] = found
        assert warning == (
            f"abuseipdb.ports: a scan is reported from 5 TCP ports on, and of those that are protected there are only {enough}, "
            "so that none ever is; lower it, or leave out abuseipdb.scans"
        )


def test_scans_that_nobody_counts_are_not_reported() -> None:
    sets = 'ports = ["tcp/1-9"]\n[gate]\nmode = "sets"\ntable = "inet fw"\n[abuseipdb]\nkey_file = "/k"\nscans = true'
    [warning] = told("", sets)
    assert warning.startswith('abuseipdb.scans: with gate.mode = "sets" SafeIP does not see who is blocked')
    assert told("", 'ports = ["tcp/1"]\n[abuseipdb]\nscans = true') == [], "without a key nothing is reported"


@pytest.mark.parametrize(
    ("path", "text", "warned"),
    [
        ("/etc/safeip/safeip.toml", 'state_dir = "/srv/safeip"', True),
        ("/etc/safeip/safeip.toml", "", False),
        ("/etc/safeip/safeip.toml", 'state_dir = "/var/lib/safeip"', False),
        ("/root/safeip.toml", 'state_dir = "/srv/safeip"', False),
        ("/etc/safeip/safeip.toml", 'state_dir = "/srv/safeip"\ngate = { mode = "sets", table = "inet fw" }', False),
    ],
)
def test_a_state_dir_that_the_boot_does_not_know_is_warned_of(
    path: str, text: str, *, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safeip.warnings.OWN_UNIT", str(tmp_path / "safeip-closed.service"))
    config = parse_config(f'{text}\n[portal]\nurl = "https://open.example.org"\n[services.cloud]\nports = ["tcp/443"]\n', path)
    found = warnings(config)
    if warned:
        [warning] = found
        assert warning.startswith("state_dir: safeip-closed.service loads /var/lib/safeip/gate/closed.nft at boot")
        assert "/srv/safeip/gate/closed.nft" in warning
        assert "lines ConditionPathExists, ExecStart and ExecReload name /srv/safeip/gate/closed.nft (systemctl edit safeip-closed)" in warning
    else:
        assert found == []


def test_a_boot_that_was_told_of_the_state_dir_is_not_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'state_dir = "/srv/safeip"\n[portal]\nurl = "https://open.example.org"\n[services.cloud]\nports = ["tcp/443"]\n'
    monkeypatch.setattr("safeip.warnings.OWN_UNIT", str(tmp_path / "safeip-closed.service"))
    config = parse_config(text, "/etc/safeip/safeip.toml")
    assert len(warnings(config)) == 1
    additions = tmp_path / "safeip-closed.service.d"
    additions.mkdir()
    assert len(warnings(config)) == 1
    lines = ["[Service]"]
    named = "ConditionPathExists=/srv/safeip/gate/closed.nft\n" + "".join(
        f"{key}=/usr/sbin/nft -f /srv/safeip/gate/closed.nft\n" for key in ("ExecStart", "ExecReload")
    )
    (additions / "override.conf").write_text(named, "utf-8")
    assert len(warnings(config)) == 1, "the package's lines count too, and its condition is not met"
    (additions / "override.conf").unlink()
    (additions / "override.conf~").write_text(re.sub("(?m)^(\\w+=)", r"\1\n\1", named), "utf-8")
    assert len(warnings(config)) == 1, "systemd does not read it"
    for key, command in (("ExecStart", "/usr/sbin/nft -f "), ("ExecReload", "/usr/sbin/nft -f "), ("ConditionPathExists", "")):
        assert len(warnings(config)) == 1, "a unit whose condition fails is left out"
        lines += [f"{key}=", f"{key}={command}/srv/safeip/gate/closed.nft"]
        (additions / "override.conf").write_text("\n".join(lines), "utf-8")
    assert warnings(config) == []
    (additions / "override.conf").unlink()
    (tmp_path / "safeip-closed.service").write_text(named, "utf-8")
    assert warnings(config) == [], "a unit of one's own is in the package's place"
    (additions / "other.conf").mkdir()
    assert warnings(config) == [], "what cannot be read is somebody's"


def test_neighbours_are_two_hosts_and_not_one_network() -> None:
    text = 'trusted_proxies = ["192.168.1.2", "192.168.1.3", "192.168.1.2", "10.0.0.0/24", "10.0.0.7"]'
    config = parse_config(f'[portal]\nurl = "https://open.example.org"\n{text}\n[services.cloud]\nports = ["tcp/1"]\n', "x")
    assert [str(network) for network in config.settings.trusted_proxies] == ["192.168.1.2/32", "192.168.1.3/32", "10.0.0.0/24"]


def test_the_portal_hears_of_them_at_a_reload() -> None:
    config = parse_config((ROOT / "examples" / "safeip.toml").read_text("utf-8"), "safeip.toml")
    heard = ["an old one"]
    live = Live(Services({}), ClientAddress((), "X-Forwarded-For", (), 64), heard)
    sentences = [f"{number}: {'x' * 300}" for number in range(300)]
    parts = list(events(config, sentences))
    assert len(parts) > 1
    for event in parts[:-1]:
        live.take(event)
        assert heard == ["an old one"]
    live.take(parts[-1])
    assert heard == sentences
