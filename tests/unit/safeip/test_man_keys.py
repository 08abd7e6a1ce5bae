"""safeip.toml(5), and the example of the configuration, have each key that the code takes, as the code takes it, and no other."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from access.duration import LONGEST_S, format_duration
from lab.config import toml
from nft.policy import PortRange
from portal.settings import Listen, Network
from safeip import config, config_portal, config_services, config_teller, values
from safeip.config import CONTROL_SOCKET, Config, parse_config, read_config, runtime_directory
from safeip.reload import fixed
from safeip.section import Section
from teller.settings import EVENTS

ROOT = Path(__file__).resolve().parents[3]
KEYS = ROOT / "man" / "safeip.toml.5"
BASE = '[portal]\nurl = "https://open.example.org:8443"\n[gate]\n[services.cloud]\nports = ["tcp/443"]\n[notifications]\n[abuseipdb]\n'
TLS = "portal.tls"


@dataclass(frozen=True)
class Key:
    """A key that the code asks for: how its value is read, and what stands for a missing one."""

    kind: str
    parse: Callable[[object], object]
    default: object


def keys_of_the_code() -> dict[str, Key]:
    """Every key that reading a configuration asks for, by its dotted path; a service's below services.NAME."""
    found: dict[str, Key] = {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("get", "need", "many", "need_many"):
            patch.setattr(Section, kind, _noting(kind, getattr(Section, kind), found))
        parse_config(BASE, "safeip.toml")
        parse_config(BASE.replace("[gate]", 'tls = { certificate = "/c", key = "/k" }\n[gate]'), "safeip.toml")
    return found


def _noting(kind: str, real: Callable[..., object], found: dict[str, Key]) -> Callable[..., object]:
    def note(section: Section, key: str, parse: Callable[[object], object], default: object, *rest: object) -> object:
        path = f"{section.path}.{key}".strip(".").replace("services.cloud", "services.NAME")
        found.setdefault(path, Key(kind, parse, default))  # need asks get too
        return real(section, key, parse, default, *rest)

    return note


@dataclass
class Entry:
    """What safeip.toml(5) says of a key."""

    type: str
    default: str
    change: str
    example: str


def plain(roff: str) -> str:
    """The text of some lines of mdoc."""
    lines = []
    for line in roff.splitlines():
        text = line.replace(r"\(dq", '"')
        if match := re.fullmatch(r"\.(?:Ql|Li|Pa) (.*?)( [.,;:])?", text):
            text = match[1] + (match[2] or "").strip()
        lines.append(text)
    return " ".join(lines)


def keys_of_the_page() -> dict[str, Entry]:
    section = re.search(r"^\.Sh KEYS\n(.*?)^\.Sh ", KEYS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    found = {}
    for part in re.split(r"^\.Ss ", section[1], flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        before = f"{title[1:-1]}." if title.startswith("[") else ""
        for item in re.split(r"^\.It Ic ", body, flags=re.MULTILINE)[1:]:
            name, _, text = item.partition("\n")
            fields = re.fullmatch(
                r"(?:[^\n].*\n)+\.Bl -tag -width \"Default\" -compact\n\.It Type\n(.*)\.It Default\n(.*)\.It Change\n(.*)\.It Example\n(.*?)"
                r"\.El\n(?:\.El\n)?",
                text, re.DOTALL,
            )  # fmt: skip
            assert fields, name
            assert before + name not in found
            found[before + name] = Entry(*(plain(field) for field in fields.groups()))
    return found


CODE_KEYS, PAGE_KEYS = keys_of_the_code(), keys_of_the_page()


def cells(function: Callable[..., object]) -> dict[str, object]:
    """What a parser that was made with limits remembers of them."""
    closure = getattr(function, "__closure__", None) or ()
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in closure), strict=True))


def type_of(key: Key) -> str:
    """What the page must begin a key's type with."""
    limits = cells(key.parse)
    if key.parse is values.listen and key.kind == "many":
        return "list of addresses with ports, none that listen has, each once; IPv6 in brackets"
    if "words" in limits:
        first, *rest = (f'"{word}"' for word in limits["words"])
        *middle, last = rest
        return ", ".join((first, *middle)) + f" or {last}"
    if isinstance(limits.get("low"), int):
        return f"whole number, {limits['low']} to {limits['high']}"
    if "low" in limits:
        return f"duration, {limits['low']} to {limits['high']}"
    kinds = {
        values.duration: f"duration, 1s to {format_duration(LONGEST_S)}",
        values.absolute_path: "absolute path without ..",
        runtime_directory: f"absolute path without .., at most {config._LONGEST_SOCKET_PATH - len(CONTROL_SOCKET) - 1} bytes",
        values.origin: "http or https URL of scheme, host and port; https where tls is on",
        values.url: "http or https URL, in ASCII, without user name and password",
        values.title: f"text of 1 to {values._TITLE_LENGTH} characters on one line",
        values.network: f"list of networks, none wider than /{values._WIDEST[4]} (IPv4) or /{values._WIDEST[6]} (IPv6)",
        values.interface: "list of names as ip-link(8) shows them",
        values.listen: "list of addresses with ports, at least one, each once; IPv6 in brackets",
        values.port_range: "list of ports and ranges, at least one: tcp/443, udp/30000-30010",
        config_teller.secret_file: "absolute path without ..",
        config_teller.event: "list of " + " or ".join((", ".join(f'"{one}"' for one in EVENTS[:-1]), f'"{EVENTS[-1]}"')) + ", at least one",
        config_teller.report_url: "http or https URL, in ASCII, without user name and password; http to this host alone",
        config_services.family: 'list of "ipv4" or "ipv6", at least one',
        values.true_or_false: "true or false",
        values.table_name: '"inet NAME"; NAME is a letter, then letters, digits, - and _, at most 32',
        config_portal._tls_word: '"auto", "off" or a table with certificate and key',
    }
    return kinds[key.parse]


def default_of(path: str, key: Key) -> str:
    """What the page must say of a key's default."""
    if key.kind == "need" or (key.kind == "need_many" and not key.default):
        return "none, it is required"
    if key.default is None:
        return "none"
    if path == "services.NAME.title":
        return "the service's name"
    return toml(written(key))


def written(key: Key) -> object:
    """The default as the file would hold it."""
    if key.kind in {"many", "need_many"}:
        assert isinstance(key.default, tuple)
        assert all(isinstance(one, Listen | PortRange | Network | str) for one in key.default)
        return [str(one) for one in key.default]
    if isinstance(key.default, bool):
        return key.default
    if isinstance(key.default, int) and (key.parse is values.duration or not isinstance(cells(key.parse)["low"], int)):
        return format_duration(key.default)
    return " ".join(key.default) if isinstance(key.default, tuple) else key.default


def test_the_page_has_each_key_and_no_other() -> None:
    assert len(CODE_KEYS) > 25, "the spy sees nothing any more"
    assert sorted(PAGE_KEYS) == sorted(CODE_KEYS)


@pytest.mark.parametrize("path", sorted(CODE_KEYS))
def test_the_page_says_type_limits_and_default_of_a_key(path: str) -> None:
    key, entry = CODE_KEYS[path], PAGE_KEYS[path]
    assert entry.type == type_of(key)
    assert entry.default == default_of(path, key)


def test_the_page_has_the_limits_of_services() -> None:
    text = " ".join(plain(KEYS.read_text("utf-8")).split())
    assert f"At most {config_services._MOST_SERVICES} services and, of all services together, {config_services._MOST_PORTS} ports" in text
    assert config_services._NAME.pattern == "[a-z][a-z0-9-]{0,23}", "then the page says something else too"
    assert "NAME is a letter a-z, then letters a-z, digits and -, 24 characters at most." in text
    assert config._LONGEST_FILE == 1 << 20
    assert "at most 1 MiB" in text


def with_line(path: str, line: str) -> str:
    """The smallest configuration with this line in the table of the key, in place of the one that is there."""
    table = path.rpartition(".")[0] if not path.startswith(TLS) else "portal"
    if not table:
        return f"{line}\n{BASE}"
    ports = 'ports = ["tcp/443"]\n'
    there = {"portal.url": 'url = "https://open.example.org:8443"\n', "services.NAME.ports": ports, "services.NAME.closed_by": ports}
    heading = f"[{table.replace('NAME', 'cloud')}]\n"
    return BASE.replace(there.get(path, "\0"), "").replace(heading, f"{heading}{line}\n")


def example_of(path: str) -> Config:
    """The configuration with the page's example of a key."""
    line = PAGE_KEYS[path].example
    if path in {f"{TLS}.certificate", f"{TLS}.key"}:  # one needs the other
        line = "\n".join(PAGE_KEYS[f"{TLS}.{key}"].example for key in ("certificate", "key"))
    if path == "portal.trusted_proxies":
        line += '\nlisten = ["127.0.0.1:8080"]'
    if path == "portal.listen_proxy_protocol":
        line += '\ntrusted_proxies = ["127.0.0.1"]'
    return parse_config(with_line(path, line), "safeip.toml")


@pytest.mark.parametrize("path", sorted(CODE_KEYS))
def test_the_examples_of_keys_are_accepted(path: str) -> None:
    assert PAGE_KEYS[path].example.startswith(path.removeprefix("portal.").rpartition("NAME.")[2].removeprefix("gate.").removeprefix("notifications.").removeprefix("abuseipdb."))
    assert example_of(path)


# another value than the default, where the page's example is the default or needs a restart for itself
OTHER = {
    "gate.mode": 'mode = "sets"\ntable = "inet safeip"',
    "portal.url": 'url = "https://other.example.org:8443"',
    "abuseipdb.url": 'url = "https://reports.example.org/"',
    "portal.trusted_proxies": 'trusted_proxies = ["127.0.0.1/32"]',
    "services.NAME.ports": 'ports = ["tcp/8096"]',
}


@pytest.mark.parametrize("path", sorted(CODE_KEYS))
def test_the_page_says_what_a_reload_takes_up(path: str) -> None:
    old = parse_config(BASE, "safeip.toml")
    new = parse_config(with_line(path, OTHER[path]), "safeip.toml") if path in OTHER else example_of(path)
    assert new != old, "the example changes nothing, so that this looks at nothing"
    assert PAGE_KEYS[path].change == ("restart" if fixed(old, new) else "reload")


def test_the_whole_examples_of_the_page_are_accepted() -> None:
    text = KEYS.read_text("utf-8")
    examples = re.findall(r"^\.Bd -literal -offset indent\n(\[.*?)^\.Ed$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert parse_config(example, "safeip.toml").policy.services


def test_the_example_file_has_each_key_and_no_other() -> None:
    """Also those in a comment; with read_config it is good, so that it has no other."""
    assert read_config(str(ROOT / "examples" / "safeip.toml"))
    found, table = set(), ""
    for line in (ROOT / "examples" / "safeip.toml").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"\[(.*)\]", line):
            table = f"{match[1]}.".replace("services.cloud", "services.NAME")
        elif match := re.match(r"(?:# )?([a-z0-9_]+) = ", line):
            found.add(table + match[1])
            if match[1] == "tls" and "{" in line:
                found |= {f"{table}tls.{key}" for key in re.findall(r"(\w+) = \"", line)}
    assert {path for path in found if "services.game" not in path} == set(CODE_KEYS)
