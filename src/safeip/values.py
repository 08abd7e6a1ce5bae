"""Parsers of the values that safeip.toml holds: each takes what TOML read and raises WrongValueError."""

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from access.duration import parse_duration
from nft.policy import PortRange
from nft.words import RESERVED
from portal.settings import Listen, Network
from safeip.problem import WrongValueError, nearest, shown

_Choice = TypeVar("_Choice", bound=str)
_PORTS = re.compile(r"(tcp|udp)/([0-9]{1,9})(?:-([0-9]{1,9}))?")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,9})")
_URL = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # printable ASCII without what a URL never holds bare: " < > \ ^ ` { | }
_BRACKETS = re.compile(r"\[[^][]*\](:[0-9]*)?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?")
_TABLE = re.compile(r"(inet|ip6?) ([A-Za-z][A-Za-z0-9_-]{0,31})")
_WIDEST = {4: 8, 6: 7}  # an IPv4 /8 and the IPv6 private range fc00::/7 are the widest that one home can own
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,14}|[A-Za-z0-9][A-Za-z0-9_.@+-]{0,13}\*")  # 15 bytes: IFNAMSIZ without its zero
_TITLE_LENGTH = 64


def text(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise WrongValueError(f"{shown(value)} is not a text", "write a text in quotes")
    return value


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """A parser of integers from `low` to `high`, both included."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValueError(f"{shown(value)} is not a whole number", f"write {low} to {high}, without quotes")
        if not low <= value <= high:
            raise WrongValueError(f"{shown(value)} is out of range", f"write {low} to {high}")
        return value

    return parse


def choice(*words: _Choice) -> Callable[[object], _Choice]:
    """A parser of exactly one of these words."""
    listed = " or ".join(f'"{word}"' for word in words)

    def parse(value: object) -> _Choice:
        for word in words:
            if value == word:
                return word
        meant = nearest(value, words) if isinstance(value, str) else None
        raise WrongValueError(f"{shown(value)} is none of the choices", f"write {listed}{_meant(meant)}")

    return parse


def _meant(word: str | None) -> str:
    return f' (did you mean "{word}"?)' if word else ""


def true_or_false(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongValueError(f"{shown(value)} is neither true nor false", "write true or false, without quotes")
    return value


def duration(value: object) -> int:
    """A duration such as "12h", in seconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise WrongValueError(f"{shown(value)} has no unit", f'write it with one, such as "{shown(value)}s"')
    try:
        return parse_duration(text(value))
    except WrongValueError:
        raise
    except ValueError as error:
        right = 'write a number and s, m, h or d, such as "90s", "15m", "12h" or "7d", from 1s to 3650d'
        raise WrongValueError(f"{shown(value)} is not a duration", right) from error


def duration_between(low: str, high: str) -> Callable[[object], int]:
    """A parser of durations from `low` to `high`, both included, in seconds."""

    def parse(value: object) -> int:
        seconds = duration(value)
        if not parse_duration(low) <= seconds <= parse_duration(high):
            raise WrongValueError(f"{shown(value)} is out of range", f'write "{low}" to "{high}"')
        return seconds

    return parse


def title(value: object) -> str:
    """One printable line of 1 to 64 characters, to show to people."""
    line = text(value)
    if not line.strip() or len(line) > _TITLE_LENGTH or not line.isprintable():
        raise WrongValueError(f"{shown(line)} is not a title", f"write 1 to {_TITLE_LENGTH} characters on one line")
    return line


def absolute_path(value: object) -> str:
    """An absolute path without `..`, normalised."""
    path = text(value)
    if not path.startswith("/") or path.strip("/") == "":
        raise WrongValueError(f"{shown(path)} is not an absolute path", "write one that begins with / and names something")
    if not path.isprintable() or ".." in path.split("/"):
        raise WrongValueError(f"{shown(path)} is not a plain path", "write it without .. and without control characters")
    return "/" + os.path.normpath(path).lstrip("/")


def network(value: object) -> Network:
    """A network of a plausible width: never everybody."""
    written = text(value)
    example = 'write an address or a network, such as "192.168.1.0/24" or "2001:db8:1::/48"'
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?", written):
        raise WrongValueError(f"{shown(written)} is not a network", example)
    try:
        found: IPv4Network | IPv6Network = ip_network(written, strict=False)
    except ValueError as error:
        raise WrongValueError(f"{shown(written)} is not a network", example) from error
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped and found.prefixlen >= 96:
        plain = f"{found.network_address.ipv4_mapped}/{found.prefixlen - 96}"
        raise WrongValueError(f"{shown(written)} is an IPv4 network in IPv6 notation", f'write "{plain}"')
    if found.prefixlen < _WIDEST[found.version]:
        limits = "none wider than /8 (IPv4) or /7 (IPv6)"
        raise WrongValueError(f"{shown(written)} is too wide", f"name your own networks only, {limits}")
    if "/" in written and found != _strict(written):
        host = written.split("/")[0]
        raise WrongValueError(f"{shown(written)} is an address inside a network", f'write "{found}", or "{host}" alone')
    return found


def _strict(written: str) -> Network | None:
    try:
        return ip_network(written)
    except ValueError:
        return None


def interface(value: object) -> str:
    """The name of a network interface, or with `*` at its end of all that begin so; not all there are."""
    written = text(value)
    if written == "lo":
        raise WrongValueError('"lo" is this host itself', "write the interface that leads to the Internet")
    if not _INTERFACE.fullmatch(written):
        right = 'write a name as "ip link" shows it, such as "eth0", or the beginning of several, such as "ppp*"'
        raise WrongValueError(f"{shown(written)} is not the name of an interface", right)
    return written


def url(value: object) -> str:
    """An http or https URL with a host and without credentials, in ASCII."""
    address = text(value)
    example = 'write one such as "https://cloud.example.org/"'
    if not address.lower().startswith(("http://", "https://")):
        raise WrongValueError(f"{shown(address)} is not an http(s) URL", example)
    if not _URL.fullmatch(address):
        right = "percent-encode other characters than printable ASCII, and write host names as xn--…"
        raise WrongValueError(f"{shown(address)} holds characters that no URL holds", right)
    if "@" in re.split(r"[/?#]", address)[2]:  # not repeated in the message: a log may keep it
        raise WrongValueError("holds a user name or a password", "leave them out: every visitor would see them")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        # not every Python of the supported versions minds what stands around brackets
        bracketed = "[" in parts.netloc
        named = bool(_BRACKETS.fullmatch(parts.netloc) and IPv6Address(host)) if bracketed else bool(_HOST.fullmatch(host))
    except ValueError:
        named, port = False, 0
    if not named or port == 0 or "%" in host or parts.netloc.endswith(":"):
        raise WrongValueError(f"{shown(address)} is not a URL with a host and a port from 1 to 65535", example)
    return address


def origin(value: object) -> str:
    """An http(s) URL of scheme, host and port only; without the slash at its end, in lower case."""
    address = url(value)
    parts = urlsplit(address)
    bare = f"{parts.scheme}://{parts.netloc}".lower()
    if parts.path not in ("", "/") or "?" in address or "#" in address:
        raise WrongValueError(f"{shown(address)} holds more than scheme, host and port", f'write "{bare}"')
    return bare


def listen(value: object) -> Listen:
    """An address and a port to listen on; IPv6 in brackets."""
    written = text(value)
    example = 'write an address and a port, such as "0.0.0.0:8443", "127.0.0.1:8443" or "[::]:8443"'
    match = _LISTEN.fullmatch(written)
    if not match:
        raise WrongValueError(f"{shown(written)} is not an address and a port", example)
    try:
        host = ip_address(match[1] or match[2])
    except ValueError as error:
        raise WrongValueError(f"{shown(written)} is not an address and a port", example) from error
    if (host.version == 6) != bool(match[1]):
        raise WrongValueError(f"{shown(written)} is not an address and a port", example)
    return Listen(str(host), _port(written, match[3]))


def port_range(value: object) -> PortRange:
    """Ports of one protocol: "tcp/443" or "tcp/25565-25570"."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise WrongValueError(f"{shown(value)} names no protocol", f'write "tcp/{shown(value)}" or "udp/{shown(value)}"')
    written = text(value)
    match = _PORTS.fullmatch(written)
    if not match:
        raise WrongValueError(f"{shown(written)} is not a port", "write tcp/443 or tcp/25565-25570")
    first = _port(written, match[2])
    last = _port(written, match[3]) if match[3] else first
    if first > last:
        raise WrongValueError(f"{shown(written)} runs backwards", f'write "{match[1]}/{last}-{first}"')
    protocol: Literal["tcp", "udp"] = "tcp" if match[1] == "tcp" else "udp"
    return PortRange(protocol, first, last)


def _port(written: str, digits: str) -> int:
    port = int(digits)
    if not 1 <= port <= 65535:
        raise WrongValueError(f"{shown(written)} has no such port: {port}", "ports run from 1 to 65535")
    return port


def table_name(value: object) -> tuple[str, str]:
    """The family and the name out of "inet NAME", the way nft writes a table; "ip" and "ip6" are tables of one IP family."""
    written = text(value)
    match = _TABLE.fullmatch(written)
    if not match:
        raise not_inet(written)
    if match[2] in RESERVED:
        raise WrongValueError(f"{shown(written)} is named by a word of nft's language", 'write another name, such as "inet safeip"')
    return match[1], match[2]


def not_inet(written: str) -> WrongValueError:
    """What is wrong with a table that is not of both IP families."""
    return WrongValueError(f"{shown(written)} is not an inet table", 'write "inet NAME", such as "inet safeip"')
