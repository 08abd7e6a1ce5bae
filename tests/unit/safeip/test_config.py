"""safeip.toml: what is good is read as written, what is bad is named, and nothing else ever comes out."""

import os
import pickle
import random
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import FrozenInstanceError
from ipaddress import ip_network
from pathlib import Path

import pytest

from nft.policy import PortRange, ServiceRule
from nft.wire import LINE, encode
from portal.settings import Files, Listen
from safeip.config import Config, parse_config, read_config, read_control_socket
from safeip.problem import ConfigError

ROOT = Path(__file__).resolve().parents[3]
BAD = Path(__file__).parent / "bad-configs"
EXAMPLE = ROOT / "examples" / "safeip.toml"
SMALLEST = '[portal]\nurl = "https://open.example.org:8443"\n[services.cloud]\nports = ["tcp/443"]\n'


def parse(text: str) -> Config:
    return parse_config(text, "/etc/safeip/safeip.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "safeip.toml")
    return [str(problem) for problem in caught.value.problems]


def gate(line: str) -> str:
    return f"{SMALLEST}[gate]\n{line}\n"


def portal(line: str) -> str:
    return SMALLEST.replace("[services", f"{line}\n[services", 1)


# bad configurations, a folder of cases


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.toml")))
def test_a_bad_configuration_is_refused_with_exactly_the_expected_messages(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(ConfigError) as caught:
        read_config(f"{name}.toml")
    assert str(caught.value) + "\n" == (BAD / f"{name}.expected").read_text("utf-8")


def test_the_folder_is_whole_and_each_message_can_be_acted_on() -> None:
    cases = {path.stem for path in BAD.glob("*.toml")}
    assert cases == {path.stem for path in BAD.glob("*.expected")}
    assert len(cases) >= 40
    for name in cases:
        lines = (BAD / f"{name}.expected").read_text("utf-8").splitlines()
        assert lines
        for line in lines:
            assert re.fullmatch(rf"{name}\.toml: .+; .+", line), line
            assert line.isprintable()
            assert len(line) < 300


# good configurations


def test_the_smallest_configuration_has_the_defaults_of_the_design() -> None:
    config = parse(SMALLEST)
    assert (config.path, config.custom) == ("/etc/safeip/safeip.toml", "/etc/safeip/custom.nft")
    assert (config.state_dir, config.runtime_dir) == ("/var/lib/safeip", "/run/safeip")
    assert config.control_socket == "/run/safeip/control.sock"
    settings, policy = config.settings, config.policy
    assert settings.url == "https://open.example.org:8443"
    assert settings.url_ipv4 is None
    assert settings.url_ipv6 is None
    assert settings.listen == (Listen("0.0.0.0", 8443), Listen("::", 8443))
    assert settings.tls == "auto"
    assert settings.trusted_proxies == ()
    assert settings.client_ip_header == "X-Forwarded-For"
    assert settings.registration == "closed"
    assert (settings.session_idle_s, settings.session_lifetime_s) == (12 * 3600, 30 * 86400)
    assert (settings.ban_after, settings.ban_duration_s) == (10, 3600)
    assert settings.state_dir == "/var/lib/safeip/portal"
    assert (policy.mode, policy.family, policy.table) == ("table", "inet", "safeip")
    assert policy.max_grants == 100_000
    assert policy.ipv6_prefix == settings.ipv6_prefix == 64
    home = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
    assert set(policy.trusted) == set(settings.trusted_networks) == {ip_network(text) for text in home}
    cloud = settings.services["cloud"]
    assert (cloud.name, cloud.title, cloud.url, cloud.ports) == ("cloud", "cloud", None, ("tcp/443",))
    assert (cloud.default_duration_s, cloud.max_duration_s) == (12 * 3600, 30 * 86400)
    assert policy.services == {"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 30 * 86400, "cut")}


def test_the_example_is_good_and_shows_the_defaults() -> None:
    example, smallest = read_config(str(EXAMPLE)), parse(SMALLEST)
    assert (example.state_dir, example.runtime_dir) == (smallest.state_dir, smallest.runtime_dir)
    for name in ("url", "listen", "tls", "trusted_proxies", "client_ip_header", "registration", "session_idle_s",
                 "session_lifetime_s", "ban_after", "ban_duration_s", "ipv6_prefix", "trusted_networks"):  # fmt: skip
        assert getattr(example.settings, name) == getattr(smallest.settings, name), name
    for name in ("mode", "family", "table", "trusted", "ipv6_prefix", "max_grants"):
        assert getattr(example.policy, name) == getattr(smallest.policy, name), name
    cloud, game = example.settings.services["cloud"], example.settings.services["game"]
    assert cloud.ports == ("tcp/443", "udp/443")
    assert cloud.url == "https://cloud.example.org/"
    assert game.ports == ("udp/30000-30010", "tcp/25565-25570")
    assert game.max_duration_s == 7 * 86400
    assert example.policy.services["game"].existing == "keep"


def test_each_default_that_the_example_names_can_be_left_out_of_it() -> None:
    text = EXAMPLE.read_text("utf-8")
    shorter = re.sub(r"(?m)^(?!url =|ports|\[|title|max_duration|existing|url_|default_).*\n", "", text)
    assert "max_grants" not in shorter
    assert parse(shorter).settings == parse(text).settings
    assert parse(shorter).policy == parse(text).policy


def test_a_short_lifetime_shortens_the_idle_time_that_nobody_wrote() -> None:
    settings = parse(portal('session_lifetime = "2h"')).settings
    assert (settings.session_idle_s, settings.session_lifetime_s) == (7200, 7200)


def test_the_least_that_bans_is_taken() -> None:
    settings = parse(portal('ban_after = 3\nban_duration = "1m"')).settings
    assert (settings.ban_after, settings.ban_duration_s) == (3, 60)


def test_everything_that_can_be_written_is_taken() -> None:
    config = parse("""
state_dir = "/srv/safeip/state/"
runtime_dir = "/run//safeip"
[portal]
url = "HTTPS://Open.Example.ORG/"
url_ipv4 = "https://192.0.2.1:8443"
url_ipv6 = "https://[2001:db8::1]:8443/"
listen = ["127.0.0.1:443", "[2001:0db8::0001]:8443"]
tls = { certificate = "/etc/ssl/open.pem", key = "/etc/ssl/open.key" }
trusted_proxies = ["192.0.2.7", "2001:db8::/32"]
client_ip_header = "CF-Connecting-IP"
registration = "approval"
session_idle = "90s"
session_lifetime = "90s"
ban_after = 1000
ban_duration = "30d"
[gate]
mode = "sets"
table = "inet my-filter"
trusted_networks = ["192.168.1.0/24", "192.168.0.0/16", "fd00::/8"]
ipv6_prefix = 56
max_grants = 1
[services.a]
title = "Chez l'été"
ports = ["tcp/443", "udp/443", "tcp/1-80", "tcp/81-442"]
url = "https://cloud.example.org/apps?x=1#top"
default_duration = "15m"
max_duration = "15m"
existing = "keep"
[services.a-b4]
ports = ["tcp/65535"]
max_duration = "2h"
""")
    settings, policy = config.settings, config.policy
    assert (config.state_dir, config.control_socket) == ("/srv/safeip/state", "/run/safeip/control.sock")
    assert settings.url == "https://open.example.org"
    assert settings.url_ipv4 == "https://192.0.2.1:8443"
    assert settings.url_ipv6 == "https://[2001:db8::1]:8443"
    assert settings.listen == (Listen("127.0.0.1", 443), Listen("2001:db8::1", 8443))
    assert settings.tls == Files("/etc/ssl/open.pem", "/etc/ssl/open.key")
    assert settings.trusted_proxies == (ip_network("192.0.2.7/32"), ip_network("2001:db8::/32"))
    assert (settings.client_ip_header, settings.registration) == ("CF-Connecting-IP", "approval")
    assert (settings.session_idle_s, settings.session_lifetime_s) == (90, 90)
    assert (settings.ban_after, settings.ban_duration_s) == (1000, 30 * 86400)
    assert (policy.mode, policy.family, policy.table) == ("sets", "inet", "my-filter")
    assert policy.trusted == (ip_network("192.168.0.0/16"), ip_network("fd00::/8")), "overlaps are no interval set"
    assert policy.trusted == settings.trusted_networks
    assert (policy.ipv6_prefix, policy.max_grants) == (56, 1)
    assert list(policy.services) == list(settings.services) == ["a", "a-b4"]
    first = settings.services["a"]
    assert (first.title, first.url) == ("Chez l'été", "https://cloud.example.org/apps?x=1#top")
    assert (first.default_duration_s, first.max_duration_s) == (900, 900)
    assert policy.services["a"].existing == "keep"
    assert policy.services["a"].ports[2:] == (PortRange("tcp", 1, 80), PortRange("tcp", 81, 442))
    assert settings.services["a-b4"].default_duration_s == 2 * 3600, "the default gives way to a shorter maximum"


@pytest.mark.parametrize("family", ["inet", "ip", "ip6"])
def test_an_admins_own_table_may_be_of_one_family(family):
    config = parse(f"""
[portal]
url = "https://open.example.org"
[gate]
mode = "sets"
table = "{family} filter"
[services.cloud]
ports = ["tcp/443"]
""")
    assert (config.policy.family, config.policy.table) == (family, "filter")


def test_a_portal_behind_a_proxy_of_its_own_host_may_stand_behind_a_protected_port() -> None:
    text = portal('listen = ["127.0.0.1:443", "[::1]:443"]\ntls = "off"')
    assert parse(text.replace("https://", "http://")).settings.url == "http://open.example.org:8443"


def test_the_portals_port_may_be_protected_for_udp() -> None:
    assert parse(SMALLEST.replace("tcp/443", "udp/8443")).policy.services["cloud"].ports[0].protocol == "udp"


def test_services_and_ports_fit_a_line_of_the_wire() -> None:
    def services(count: int, ports: int = 1) -> str:
        names = (f"s{number}" + "x" * (24 - len(f"s{number}")) for number in range(count))
        each = ports // count
        return 'portal = { url = "https://open.example.org" }\n' + "\n".join(
            f"[services.{name}]\nports = [{', '.join(repr(f'tcp/{40000 + 2 * port}-{40001 + 2 * port}') for port in range(at, at + each))}]"
            for name, at in zip(names, range(0, ports, each), strict=True)
        )

    most = parse(services(256, 1024))
    assert sum(len(rule.ports) for rule in most.policy.services.values()) == 1024
    gate = {name: {"grants": 1_000_000, "ports": [str(port) for port in rule.ports]} for name, rule in most.policy.services.items()}
    assert len(encode({"id": 1 << 53, "part": [{"services": gate}]})) < LINE - 1024
    assert [line.partition(": ")[2] for line in problems(services(257, 257))] == ["services: names 257 services; write 256 at most"]
    assert problems(services(1, 1025))[0].partition(": ")[2].startswith("services: names 1025 ports; write ranges")


@pytest.mark.parametrize("ports", ['"tcp/1-442", "tcp/444-8442"', '"tcp/443", "udp/443"', '"tcp/65535", "udp/1"'])
def test_neighbouring_ports_do_not_overlap(ports: str) -> None:
    assert len(parse(SMALLEST.replace('"tcp/443"', ports)).policy.services["cloud"].ports) == 2


@pytest.mark.parametrize(
    "line",
    ['trusted_networks = ["10.0.0.0/8"]', 'trusted_networks = ["fc00::/7"]', "trusted_networks = []",
     "ipv6_prefix = 48", "max_grants = 200_000"],
)  # fmt: skip
def test_the_limits_themselves_are_taken(line: str) -> None:
    assert parse(gate(line))


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "safeip.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert read_config(str(path)).policy == parse(SMALLEST).policy


def test_the_configuration_is_frozen_and_its_settings_pass_to_the_portal() -> None:
    config = parse(SMALLEST)
    for value, name in ((config, "path"), (config.settings, "url"), (config.policy, "table")):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(value, name, "x")
    assert pickle.loads(pickle.dumps(config.settings)) == config.settings


def test_certificate_files_that_are_there_are_taken(tmp_path: Path) -> None:
    certificate, key, path = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "safeip.toml"
    path.write_text(portal(f'tls = {{ certificate = "{certificate}", key = "{key}" }}'), "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config(str(path))
    assert [problem.key for problem in caught.value.problems] == ["portal.tls.certificate", "portal.tls.key"]
    certificate.touch()
    key.touch()
    assert read_config(str(path)).settings.tls == Files(str(certificate), str(key))


# problems among themselves


def test_a_wrong_maximum_is_not_reported_twice_through_the_default_duration() -> None:
    text = SMALLEST + 'max_duration = "soon"\ndefault_duration = "60d"\n'
    assert [line.split(":")[1].strip() for line in problems(text)] == ["services.cloud.max_duration"]


def test_a_wrong_tls_is_not_reported_twice_through_the_scheme() -> None:
    lines = problems(portal('tls = "of"').replace("https:", "http:"))
    assert [line.split(": ")[1] for line in lines] == ["portal.tls"]


def test_a_problem_repeats_no_more_than_a_line_of_what_was_written() -> None:
    (line,) = problems(SMALLEST.replace("tcp/443", "x" * 100_000))
    assert len(line) < 200
    (line,) = problems(gate("max_grants = " + "9" * 4000))
    assert len(line) < 200


def test_a_password_in_a_url_is_not_repeated() -> None:
    for url in ("https://yves:secret@open.example.org", "https://yves:secret@open.example.org:99999/x",
                "https://yves:secret@[", "http://yves:secret@x/"):  # fmt: skip
        lines = problems(SMALLEST.replace("https://open.example.org:8443", url))
        assert "user name or a password" in lines[0]
        assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    "url",
    ["https://[::1", "https://[::1]x", "https://[fe80::1%25eth0]/", "https://a:b", "https://a:", "https://a..b/",
     "https://-a/", "https://a_b/", "http:///x", "https:open.example.org", "//open.example.org", "https://\\\\a",
     "https://a\\u0000b/", "https://a/\\n", "", " https://a/", "https://[::ffff:1.2.3.4.5]/", "https://x/<script>"],
)  # fmt: skip
def test_what_only_looks_like_a_url_is_refused(url: str) -> None:
    assert problems(SMALLEST + f'url = "{url}"\n')[0].startswith("safeip.toml: services.cloud.url: ")


# files that cannot be read


def test_what_cannot_be_read_gets_one_clear_line(tmp_path: Path) -> None:
    def why(path: Path | str) -> str:
        with pytest.raises(ConfigError) as caught:
            read_config(str(path))
        (problem,) = caught.value.problems
        assert str(problem).startswith(f"{path}: ")
        return str(problem).removeprefix(f"{path}: ")

    assert why(tmp_path / "none.toml") == "there is no such file; name the configuration with --config FILE"
    assert why(tmp_path) == "is a directory; name the file in it, such as safeip.toml"
    assert why("/dev/zero") == "is larger than 1 MiB; name a safeip.toml with --config FILE"
    assert why("/dev/null").startswith("is empty; ")
    (tmp_path / "file").touch()
    assert why(tmp_path / "file" / "safeip.toml").startswith("can't be read: Not a directory; ")
    assert why("a\0b").startswith("can't be read: ")
    assert why("x" * 5000).startswith("can't be read: File name too long; ")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_file_closed_to_the_user_gets_one_clear_line(tmp_path: Path) -> None:
    # not under tmp_path: a directory of pytest's is closed to other users as a whole
    path = Path(f"/tmp/safeip-config-{os.getpid()}.toml")
    path.write_text(SMALLEST, "utf-8")
    path.chmod(stat.S_IRUSR)
    try:
        code = (
            "import os, sys; sys.path.insert(0, sys.argv[1]); from safeip.config import *\n"
            "os.setuid(65534)\n"
            "try: read_config(sys.argv[2])\n"
            "except ConfigError as error: print(error)"
        )
        ran = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code, str(ROOT / "src"), str(path)], capture_output=True, text=True, check=True
        )
    finally:
        path.unlink()
    assert ran.stdout == f"{path}: may not be read by this user; run it as root (sudo safeip …); for the daemon, chmod 644 {path}\n"


def test_the_control_socket_is_found_while_the_rest_is_being_edited(tmp_path: Path) -> None:
    path = tmp_path / "safeip.toml"
    path.write_text('runtime_dir = "/run/other"\n[portal]\nurl = 7\n', "utf-8")
    assert read_control_socket(str(path)) == "/run/other/control.sock"
    path.write_text("runtime_dir = 7\n", "utf-8")
    with pytest.raises(ConfigError, match="runtime_dir: 7 is not a text"):
        read_control_socket(str(path))


# fuzz: whatever the file holds, a Config or a ConfigError comes out


@pytest.mark.parametrize(
    ("listen", "ports"),
    [
        ('["0.0.0.0:8443", "[::]:8443"]', (8443,)),
        ('["192.0.2.1:9443", "[2001:db8::1]:8443"]', (8443, 9443)),
        ('["127.0.0.1:8080", "[::1]:8081"]', ()),
        ('["127.0.0.1:443", "192.0.2.1:8443"]', (8443,)),
    ],
)
def test_the_gate_limits_connections_where_the_internet_reaches_the_portal(listen: str, ports: tuple[int, ...]) -> None:
    """On loopback there is a proxy before it, and the port may be a service's as well."""
    policy = parse(portal(f"listen = {listen}")).policy
    assert policy.portal_ports == ports


def test_trusted_proxies_are_known_to_the_gate() -> None:
    config = parse(portal('trusted_proxies = ["203.0.113.0/24"]'))
    assert config.policy.portal_proxies == config.settings.trusted_proxies == (ip_network("203.0.113.0/24"),)


def mutate(rng: random.Random, text: bytes) -> bytes:
    odd = [b'"', b"[", b"]", b"=", b"\n", b"\0", b"\xff", b"{", b"}", b"#", b".", b"-1", b"true", b"1e400", b"nan",
           b"inf", b"0x7fffffffffffffffff", b'"\\u0000"', b'"\\uD800"', b"2026-11-21T00:00:00Z", b"[[", b"]]", b"''",
           b"'''", b'"""', "é".encode(), b"[1, [2]]", b"{ a = 1 }", b"99999999999999999999", b"::", b"/0", b"%", b"@"]  # fmt: skip
    lines = text.split(b"\n")
    for _ in range(rng.randint(1, 6)):
        index = rng.randrange(len(lines))
        line = lines[index]
        match rng.randrange(6):
            case 0:
                lines.insert(index, rng.choice(lines))
            case 1:
                lines[index] = b""
            case 2:
                at = rng.randrange(len(line) + 1)
                lines[index] = line[:at] + rng.choice(odd) + line[at:]
            case 3 if b"=" in line:
                lines[index] = line.split(b"=")[0] + b"= " + rng.choice(odd)
            case 4 if b"=" in line:
                other = rng.choice(lines)
                lines[index] = line.split(b"=")[0] + b"=" + other.partition(b"=")[2]
            case _:
                at = rng.randrange(len(line) + 1)
                lines[index] = line[:at] + line[at + rng.randint(1, 4) :]
    return b"\n".join(lines)


def test_two_thousand_mutations_give_a_config_or_problems_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(20261121)
    good = [EXAMPLE.read_bytes(), SMALLEST.encode(), *(path.read_bytes() for path in sorted(BAD.glob("*.toml")))]
    small = [text for text in good if len(text) < 5000]
    plain = b"\n".join(line for line in good[0].split(b"\n") if line and not line.startswith(b"#"))
    path = tmp_path / "safeip.toml"
    refused = 0
    unreadable: list[str] = []
    for _ in range(2000):
        path.write_bytes(mutate(rng, rng.choice((plain, plain, rng.choice(small)))))
        try:
            config = read_config(str(path))
        except ConfigError as error:
            refused += 1
            lines = [str(problem) for problem in error.problems]
            unreadable += [line for line in lines or ["\n"] if not line.isprintable()]
        else:
            taken = [port for rule in config.policy.services.values() for port in rule.ports]
            assert taken
            assert all(1 <= port.first <= port.last <= 65535 for port in taken)
    assert not unreadable
    assert 400 < refused < 1990  # it tries both


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing")
def test_check_takes_the_example_without_a_trace() -> None:
    before = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    ran = subprocess.run(
        [ROOT / "bin" / "safeip", "--config", EXAMPLE, "check"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{EXAMPLE} is good: 2 services, and the kernel takes the ruleset\n"
    assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout == before


def test_reading_a_good_configuration_loads_nothing_heavy() -> None:
    """What reads the configuration stays in the gate's process."""
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"  # what came with the interpreter is not ours
        "from safeip import cli, arguments\n"
        "options = arguments.parse(['--config', sys.argv[2], 'run'])\n"
        "from safeip.config import read_config; read_config(options.config)\n"
        "print(*set(sys.modules) - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, str(ROOT / "src"), str(EXAMPLE)], capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert {"safeip.config", "argparse", "nft.policy"} <= loaded
    heavy = {"http", "http.client", "ssl", "asyncio", "segno", "aiohttp", "jinja2", "argon2", "difflib", "getpass", "email",
             "subprocess", "shutil", "lzma", "nftables", "safeip.client", "safeip.control", "safeip.output", "logging"}  # fmt: skip
    assert not loaded & heavy
