"""What the gate refuses, whoever asks: each value of a request against the policy that root wrote."""

import re
import sys
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from nft.policy import Policy, ServiceRule
from nft.spans import Spans

BAN_MAX_S = 30 * 86400
_HOLDER = re.compile(r"(cli|(person|link|token):[a-z0-9._-]{1,32})", re.ASCII)
_NOTE_BYTES = 64  # with the holder's 39 and a space it fits the 127 that nft lists of a comment
_SPECIAL = (
    "0.0.0.0/8",  # RFC 1122: this network
    "127.0.0.0/8",  # RFC 1122: loopback
    "169.254.0.0/16",  # RFC 3927: link-local
    "224.0.0.0/4",  # RFC 5771: multicast
    "240.0.0.0/4",  # RFC 1112: reserved, with the broadcast address
)
_SPECIAL4 = Spans(IPv4Network(text) for text in _SPECIAL)
# Only 2000::/3 (RFC 4291) and the unique local fc00::/7 (RFC 4193) are hosts' own: without them
# remain loopback, unspecified, mapped, translated, link-local, site-local and multicast.
_HOSTS6 = Spans((IPv6Network("2000::/3"), IPv6Network("fc00::/7")))


class Refusal(Exception):
    """The gate says no. `code` is one of a fixed few, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def service(policy: Policy, name: str) -> ServiceRule:
    """A service of the configuration."""
    rule = policy.services.get(name)
    if rule is None:
        raise Refusal("unknown-service", f"there is no service {name!r} in the configuration")
    return rule


def duration(rule: ServiceRule, seconds: int) -> None:
    """Between a second and the service's maximum. Never 0, which the kernel takes for ever."""
    if not 1 <= seconds <= rule.max_duration_s:
        raise Refusal("bad-duration", f"{rule.name} opens for 1 to {rule.max_duration_s} seconds, not {seconds}")


def ban_duration(seconds: int) -> None:
    """0, which lifts a ban, to 30 days."""
    if seconds > BAN_MAX_S:
        raise Refusal("bad-duration", f"a ban lasts {BAN_MAX_S} seconds at most, not {seconds}")


def key(policy: Policy, text: str) -> bytes:
    """The set key of an address in its one canonical spelling, of exactly the configured size."""
    host, slash, _ = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if slash else AF_INET, host)
    except (OSError, ValueError):  # no address; no text that a C function takes
        packed = b""
    if not packed or address(policy, packed) != text or key_of_network(policy, packed) != packed:
        raise Refusal("bad-address", f"{text!r} is neither an IPv4 host nor an IPv6 /{policy.ipv6_prefix}")
    return packed


def open_to(policy: Policy, address_key: bytes) -> None:
    """Refuse what is no single home's own address, what is trusted anyway, also in part, and what no set can hold."""
    if policy.family == ("ip6" if len(address_key) == 4 else "ip"):
        only = f"table {policy.family} {policy.table} keeps no address of this family; one of family inet keeps both"
        raise Refusal("bad-address", f"{address(policy, address_key)} has no place: {only}")
    first = last = int.from_bytes(address_key, "big")
    if len(address_key) == 4:
        special, trusted = _SPECIAL4.meet(first, last), policy.trusted4
    else:
        last += (1 << 128 - policy.ipv6_prefix) - 1
        special, trusted = not _HOSTS6.meet(first, last), policy.trusted6
    if special:
        shown = address(policy, address_key)
        raise Refusal("special-address", f"{shown} is not the address of a host in the Internet")
    if trusted.meet(first, last):
        shown = address(policy, address_key)
        raise Refusal("trusted-address", f"{shown} is in a trusted network, which is never closed")


def address(policy: Policy, address_key: bytes) -> str:
    """A set key in its canonical spelling: `203.0.113.7`, `2001:db8:1::/64`."""
    if len(address_key) == 4:
        return inet_ntop(AF_INET, address_key)
    return f"{inet_ntop(AF_INET6, address_key)}/{policy.ipv6_prefix}"


def key_of_network(policy: Policy, address_key: bytes) -> bytes:
    """A key without the bits beyond the configured prefix."""
    if len(address_key) == 4:
        return address_key
    beyond = 128 - policy.ipv6_prefix
    return (int.from_bytes(address_key, "big") >> beyond << beyond).to_bytes(16, "big")


def holder(text: str) -> None:
    """`cli`, `person:NAME`, `link:ID` or `token:ID`."""
    if not _HOLDER.fullmatch(text):
        raise Refusal("bad-holder", f"{text!r} is not cli, person:NAME, link:ID or token:ID")


def note(text: str) -> None:
    """Printable text that nft can list and read again: no quote, backslash or control character."""
    if len(text.encode()) > _NOTE_BYTES or not text.isprintable() or '"' in text or "\\" in text:
        raise Refusal("bad-note", f"a note has at most {_NOTE_BYTES} bytes and neither quote nor backslash")


def comment(holder_text: str, note_text: str) -> str:
    """What an element says of itself: its holder, and the note."""
    return f"{holder_text} {note_text}".rstrip()


def read_comment(text: str) -> tuple[str, str]:
    """Holder and note of an element; what somebody put there by hand is `cli`'s. Each text is held once in memory."""
    first, _, rest = text.partition(" ")
    try:
        holder(first)
        note(rest)
    except Refusal:
        return "cli", ""
    return sys.intern(first), sys.intern(rest)
