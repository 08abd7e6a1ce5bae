"""The configuration: safeip.toml read once into frozen, typed values, or every problem at once.

The daemon and `safeip check` both read through here. Imported by the gate's process, so it stays light.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from nft.policy import Policy
from portal.settings import Files, Settings
from safeip import config_portal, values
from safeip.config_services import read_services
from safeip.config_teller import read_teller
from safeip.problem import ConfigError, NotConfiguredError, Problem, WrongValueError, shown
from safeip.section import Report, Section
from teller.settings import TellerSettings

DEFAULT_CONFIG = "/etc/safeip/safeip.toml"
DEFAULT_RUNTIME_DIR = "/run/safeip"
CONTROL_SOCKET = "control.sock"  # in runtime_dir
DEFAULT_STATE_DIR = "/var/lib/safeip"
GATE_STATE, PORTAL_STATE, TELLER_STATE = "gate", "portal", "teller"  # in state_dir
DEFAULT_TRUSTED = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
)
_DEFAULT_BAN_AFTER = 10
_DEFAULT_BAN_DURATION_S = 3600
_LONGEST_FILE = 1 << 20  # bytes; a hundred services take ten thousand
_LONGEST_SOCKET_PATH = 107  # bytes: sun_path of unix(7) without its closing zero
_DEEP_KEY = re.compile(r"(?<![\w\"'.-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){256}")  # a host name has at most 127 parts
_SYNTAX = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Config:
    """What safeip.toml says, checked: the portal's part, the gate's, the teller's and where files are.

    Each has a directory of its own in `state_dir`: `gate_dir`, `settings.state_dir` and `teller_dir`.
    `custom` is the path of the admin's own rules, beside the configuration; the file may be missing. `text` is what was read.
    """

    path: str
    state_dir: str
    runtime_dir: str
    settings: Settings
    policy: Policy
    custom: str
    teller: TellerSettings
    text: str = field(repr=False, compare=False)

    @property
    def gate_dir(self) -> str:
        """The path of what the gate alone reads and writes."""
        return f"{self.state_dir}/{GATE_STATE}"

    @property
    def teller_dir(self) -> str:
        """The path of what the teller alone reads and writes."""
        return f"{self.state_dir}/{TELLER_STATE}"

    @property
    def control_socket(self) -> str:
        """The path of the command line's door."""
        return f"{self.runtime_dir}/{CONTROL_SOCKET}"


def read_config(path: str) -> Config:
    """Read and check the file at `path`, and that the certificate files that it names are there.

    Raises ConfigError with everything that is wrong.
    """
    config = parse_config(read_text(path), path)
    report = Report(path)
    if isinstance(config.settings.tls, Files):
        _look_for(report, "portal.tls.certificate", config.settings.tls.certificate)
        _look_for(report, "portal.tls.key", config.settings.tls.key)
    if report.problems:
        raise ConfigError(report.problems)
    return config


def read_control_socket(path: str) -> str:
    """Where the daemon of this configuration listens for the command line.

    Looks at nothing else, so that the daemon can be asked while the file is being edited. Raises ConfigError.
    """
    report = Report(path)
    root = Section(report, "", parse_toml(read_text(path), path))
    runtime_dir = root.get("runtime_dir", runtime_directory, DEFAULT_RUNTIME_DIR)
    if report.problems:
        raise ConfigError(report.problems)
    return f"{runtime_dir}/{CONTROL_SOCKET}"


def read_text(path: str) -> str:
    """The text of a configuration file of at most 1 MiB. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise _unreadable(path, error) from error
    if len(content) > _LONGEST_FILE:
        raise ConfigError([Problem(path, "", "is larger than 1 MiB", "name a safeip.toml with --config FILE")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(path, f"line {line}", "is not UTF-8", "save the file as UTF-8 text")]) from error
    if not text.strip():
        raise ConfigError([Problem(path, "", "is empty", "it needs at least [portal] with url, and one [services.NAME]")])
    return text


def _unreadable(path: str, error: Exception) -> ConfigError:
    right = "name the configuration with --config FILE"
    if isinstance(error, FileNotFoundError) and path == DEFAULT_CONFIG:
        return NotConfiguredError(path)
    if isinstance(error, FileNotFoundError):
        wrong = "there is no such file"
    elif isinstance(error, PermissionError):
        wrong, right = "may not be read by this user", f"run it as root (sudo safeip …); for the daemon, chmod 644 {path}"
    elif isinstance(error, IsADirectoryError):
        wrong, right = "is a directory", "name the file in it, such as safeip.toml"
    else:
        wrong = f"can't be read: {error.strerror if isinstance(error, OSError) else error}"
    return ConfigError([Problem(path, "", wrong, right)])


def _look_for(report: Report, key: str, path: str) -> None:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        report.add(key, f"{shown(path)}: there is no such file", 'name one, or write tls = "auto"')
    except OSError:
        pass  # in a directory closed to this user, perhaps not to the portal, which reports what it can't read


def parse_config(text: str, path: str) -> Config:
    """Check the text of a configuration; `path` names it in messages and locates custom.nft.

    Touches no file. Raises ConfigError with everything that is wrong.
    """
    report = Report(path)
    tables = parse_toml(text, path)
    root = Section(report, "", tables)
    state_dir = root.get("state_dir", values.absolute_path, DEFAULT_STATE_DIR)
    runtime_dir = root.get("runtime_dir", runtime_directory, DEFAULT_RUNTIME_DIR)
    portal, gate = root.section("portal"), root.section("gate")
    prefix = gate.get("ipv6_prefix", values.whole_number(48, 64), 64)
    trusted = config_portal.networks(gate, "trusted_networks", DEFAULT_TRUSTED)
    wan = tuple(dict.fromkeys(name for _, name in gate.many("wan_interfaces", values.interface, (), '["eth0", "ppp*"]')))
    proxies = config_portal.hosts(portal, "trusted_proxies")
    listen, proxied = config_portal.listening(portal, proxies)
    tls = config_portal.tls(portal)
    idle_s, lifetime_s = config_portal.session(portal)
    services, rules = read_services(root, listen, proxied)
    settings = Settings(
        url=portal.need("url", values.origin, "", 'write the address that visitors use, such as "https://open.example.org:8443"'),
        url_ipv4=portal.get("url_ipv4", values.origin, None),
        url_ipv6=portal.get("url_ipv6", values.origin, None),
        listen=listen,
        listen_proxy_protocol=proxied,
        tls=tls,
        trusted_proxies=proxies,
        client_ip_header=portal.get(
            "client_ip_header", values.choice("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"), "X-Forwarded-For"
        ),
        metrics_networks=config_portal.networks(portal, "metrics_networks", ()),
        registration=portal.get("registration", values.choice("closed", "approval"), "closed"),
        session_idle_s=idle_s,
        session_lifetime_s=lifetime_s,
        ban_after=portal.get("ban_after", values.whole_number(3, 1000), _DEFAULT_BAN_AFTER),
        ban_duration_s=portal.get("ban_duration", values.duration_between("1m", "30d"), _DEFAULT_BAN_DURATION_S),
        ipv6_prefix=prefix,
        trusted_networks=trusted,
        wan=wan,
        services=services,
        state_dir=f"{state_dir}/{PORTAL_STATE}",
    )
    config_portal.check_schemes(portal, settings)
    family, table = gate.get("table", values.table_name, ("inet", "safeip"))
    policy = Policy(
        mode=gate.get("mode", values.choice("table", "sets"), "table"),
        family=family,
        table=table,
        trusted=trusted,
        ipv6_prefix=prefix,
        max_grants=gate.get("max_grants", values.whole_number(1, 200_000), 100_000),
        services=rules,
        portal_ports=config_portal.portal_ports(listen + proxied),
        portal_proxies=settings.trusted_proxies,
        wan_interfaces=wan,
    )
    if policy.mode == "table" and policy.family != "inet" and gate.sound("mode"):
        wrong = values.not_inet(f"{policy.family} {policy.table}")
        gate.problem("table", wrong.wrong, wrong.right)
    if policy.mode == "sets" and not gate.has("table"):
        gate.problem("table", "is missing", 'with mode = "sets" it names your own table, such as "inet filter"')
    teller = read_teller(root)
    for section in (root, portal, gate):
        section.close()
    if report.problems:
        order = {name: place for place, name in enumerate(tables)}
        raise ConfigError(sorted(report.problems, key=lambda it: order.get(it.key.split(".")[0], len(order))))
    custom = Path(path).absolute().with_name("custom.nft")
    return Config(path, state_dir, runtime_dir, settings, policy, str(custom), teller, text)


def parse_toml(text: str, path: str) -> dict[str, object]:
    """The tables of a TOML text. Raises ConfigError with line and column."""
    if deep := _DEEP_KEY.search(text):  # tomllib takes hours for a key of a megabyte
        line = text.count("\n", 0, deep.start()) + 1
        raise ConfigError([Problem(path, f"line {line}", "is not TOML: a key has hundreds of parts", "write keys of one or two")])
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        wrong = match["what"] if match else str(error)
        place = f"line {match['line']}, column {match['column']}" if match and match["line"] else "at its end"
        right = 'a line is [table], key = "text", key = 64, key = ["…", "…"] or # a comment'
        raise ConfigError([Problem(path, place, f"is not TOML: {wrong}", right)]) from error
    except ValueError as error:  # an integer of thousands of digits
        raise ConfigError([Problem(path, "", "is not TOML: a number has thousands of digits", "write a smaller one")]) from error
    except RecursionError as error:
        raise ConfigError([Problem(path, "", "is not TOML: it nests too deeply", "write each value on one level")]) from error


def runtime_directory(value: object) -> str:
    """An absolute path short enough for the socket inside."""
    path = values.absolute_path(value)
    longest = _LONGEST_SOCKET_PATH - len(CONTROL_SOCKET) - 1
    if len(os.fsencode(path)) > longest:
        raise WrongValueError(f"{shown(path)} is too long for a socket", f"write a path of at most {longest} bytes")
    return path
