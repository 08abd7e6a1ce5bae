"""What a portal in an attacker's hands asks for: requests that keep to the wire's rules and are wrong in every other way.

`broken` makes lines that break the wire's rules.
"""

import functools
import json
import random
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from nft.policy import Policy, PortRange, ServiceRule

HOUR, DAY = 3600, 86400
LONGEST_BAN_S = 30 * DAY
SERVICES = {
    "cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443), PortRange("udp", 443, 443)), 12 * HOUR),
    "game": ServiceRule("game", (PortRange("udp", 25565, 25570),), 90, "keep"),
    "a": ServiceRule("a", (PortRange("tcp", 1, 1), PortRange("tcp", 65535, 65535)), 30 * DAY),
}
TRUSTED = tuple(ip_network(text) for text in ("10.0.0.0/8", "203.0.113.128/25", "fc00::/7", "2001:db8:aaaa:100::/56"))
POLICIES: Mapping[str, Policy] = {
    "table": Policy(SERVICES, TRUSTED, max_grants=300, portal_ports=(8443,)),
    "prefix48": Policy(SERVICES, TRUSTED, ipv6_prefix=48, max_grants=100),
    "sets": Policy(SERVICES, TRUSTED, mode="sets", table="mine", ipv6_prefix=56, max_grants=200),
}
# RFC 1122, 3927, 5771, 1112; RFC 4291: addresses that no single host in the Internet has
SPECIAL4 = [IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")]
HOSTS6 = [IPv6Network(text) for text in ("2000::/3", "fc00::/7")]
HOLDER = re.compile(r"(cli|(person|link|token):[a-z0-9._-]{1,32})", re.ASCII)

EDGES4 = (
    "0.0.0.0", "255.255.255.255", "127.0.0.1", "169.254.1.1", "224.0.0.1", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0",
    "203.0.113.127", "203.0.113.128", "223.255.255.255", "1.0.0.0", "128.0.0.0", "192.0.2.1",
)  # fmt: skip
EDGES6 = (
    "::", "::1", "::ffff:192.0.2.1", "64:ff9b::c000:201", "2000::", "3fff:ffff:ffff:ffff::", "fbff:ffff::", "fc00::", "fdff::",
    "fe80::1", "fec0::", "ff02::1", "2001:db8:aaaa:100::", "2001:db8:aaaa:1ff::", "2001:db8:aaaa:200::", "2001:db8:aaaa::", "2001:db8::1",
    "2002:c000:201::", "1fff:ffff::",
)  # fmt: skip
TEXTS = (
    "", " ", "0", "null", "é", "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}", "\0", "\x1b[2J", "\u202e", "\u2066\u2069", "\u2028", '"', "\\", "a\nb", "'; --", "$(reboot)", "%s%n",
    "cloud4", "cloud }", "blocked", "banned4", "ports", "service-cloud", "gate", "inet safeip", "../cloud", "cloud\0", "CLOUD", "cl\u043eud",
    "\N{ARABIC-INDIC DIGIT ONE}.2.3.4", "x" * 256, "😀" * 64, 'x" timeout 0s', "0.0.0.0/0", "::/0", "203.0.113.7 }; flush ruleset; #",
    "203.0.113.1-203.0.113.254", "203.0.113.7,203.0.113.8", "@cloud4", "* ", "1.2.3", "1.2.3.4.5", "0x7f.1", "017.0.0.1", "3405803783",
    "fe80::1%eth0", "[2001:db8::]/64", "2001:db8::/64/64", "2001:db8::/+64", "2001:db8::/064", "203.0.113.7/32", "203.0.113.7/",
)  # fmt: skip


class Requests:
    """Requests from a chance, of which a good part passes every check but one."""

    def __init__(self, policy: Policy, chance: random.Random, addresses: int = 3000) -> None:
        """`addresses`: how many spellings of addresses it knows."""
        self._policy = policy
        self._chance = chance
        self._addresses = [self._spelt() for _ in range(addresses)]
        self._makes = (self._grant,) * 70 + (self._ban,) * 12 + (self._revoke,) * 12 + (self._list,) * 5 + (lambda: {"verb": "watch"},)

    def one(self) -> dict[str, Any]:
        """The next request, without its id."""
        return self._chance.choice(self._makes)()

    def line(self, request: Mapping[str, Any]) -> bytes:
        """The request as one of the lines that say it: keys in any order, escaped or not, up to 64 KiB long, a key twice."""
        chance = self._chance
        keys = list(request.items())
        chance.shuffle(keys)
        text = json.dumps(dict(keys), ensure_ascii=chance.random() < 0.5)
        if chance.random() < 0.02:  # the last of two counts
            key = chance.choice(list(request))
            text = "{" + json.dumps(key) + ': [{"deep": null}], ' + text[1:]
        if chance.random() < 0.001:
            text = text[0] + " " * (65_535 - len(text.encode())) + text[1:]
        return text.encode() + b"\n"

    def _grant(self) -> dict[str, Any]:
        chance = self._chance
        names = chance.sample(list(SERVICES), chance.choice((1, 1, 1, 1, 2, 3)))
        services = {name: self._seconds(SERVICES[name].max_duration_s) for name in names}
        if chance.random() < 0.05:
            services[self._text()] = HOUR
        if chance.random() < 0.005:
            services |= {f"x{number}": HOUR for number in range(64 - len(services))}
        return {
            "verb": "grant", "services": services, "address": self._address(), "holder": self._holder(),
            "note": self._text() if chance.random() < 0.2 else chance.choice(("", "Mamie", "à la maison")),
            "addresses": chance.choice((None, None, None, 1, 3, (1 << 53) - 1)),
        }  # fmt: skip

    def _ban(self) -> dict[str, Any]:
        seconds = 0 if self._chance.random() < 0.4 else self._seconds(LONGEST_BAN_S)
        return {"verb": "ban", "address": self._address(), "duration_s": seconds}

    def _revoke(self) -> dict[str, Any]:
        if self._chance.random() < 0.0005:
            return {"verb": "revoke", "service": None, "address": None, "holder": None, "everything": True}
        choice = self._choice()
        if choice["address"] is None and self._chance.random() < 0.95:  # else nothing stays long
            choice["address"] = self._address()
        return {"verb": "revoke", **choice, "everything": False}

    def _list(self) -> dict[str, Any]:
        of = self._chance.choice(("grants", "grants", "held", "blocked", "banned", "status"))
        choice = self._choice() if self._chance.random() < 0.95 else {"service": None, "address": None, "holder": None}
        return {"verb": "list", "of": of, **choice}

    def _choice(self) -> dict[str, Any]:
        """What is chosen by: at least one of three."""
        makes = {"service": self._service, "address": self._address, "holder": self._holder}
        wanted = self._chance.sample(list(makes), self._chance.choice((1, 1, 2, 3)))
        return {key: make() if key in wanted else None for key, make in makes.items()}

    def _service(self) -> str:
        return self._text() if self._chance.random() < 0.2 else self._chance.choice(list(SERVICES))

    def _seconds(self, most: int) -> int:
        return self._chance.choice((1, 2, 60, most - 1, most, most, most, most + 1, 0, 1 << 31, 1 << 32, (1 << 53) - 1, most * 1000))

    def _holder(self) -> str:
        chance = self._chance
        if chance.random() < 0.1:
            return chance.choice((*TEXTS, "root", "person:", "link:" + "a" * 33, "Link:a", "link:a b", "cli ", "cli:x", "token:é"))
        return chance.choice(("cli", "person:mamie", "token:router", f"link:{chance.randrange(500):06d}", "link:" + "z" * 32))

    def _text(self) -> str:
        return self._chance.choice(TEXTS)

    def _address(self) -> str:
        return self._chance.choice(self._addresses)

    def _spelt(self) -> str:
        """One that is good, mostly; or near one that is not; or in a spelling that is not the one."""
        chance, prefix = self._chance, self._policy.ipv6_prefix
        if chance.random() < 0.06:
            return self._text()
        if chance.random() < 0.5:
            edge = chance.random() < 0.1
            address4 = IPv4Address(chance.choice(EDGES4)) if edge else IPv4Address(0xCB000000 + chance.randrange(0x800000))
            return self._spelt4(address4)
        address6 = IPv6Address(chance.choice(EDGES6)) if chance.random() < 0.1 else IPv6Address(0x20010DB8 << 96 | chance.getrandbits(24) << 72)
        wide = chance.choice((0, 1, 16, 32, 47, 48, 49, 55, 56, 57, 63, 64, 65, 96, 127, 128)) if chance.random() < 0.1 else prefix
        network = IPv6Network((address6, wide), strict=False) if chance.random() < 0.9 else (address6, wide)
        return self._spelt6(network if isinstance(network, IPv6Network) else f"{address6}/{wide}")

    def _spelt4(self, address: IPv4Address) -> str:
        if self._chance.random() < 0.9:
            return str(address)
        number = int(address)
        return self._chance.choice(
            (f"{address}/32", f"{address}/24", f"::ffff:{address}", f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}/128", str(number), hex(number),
             ".".join(f"{part:03d}" for part in address.packed), f" {address}", f"{address}\n", f"{address}.", f"{address}:443", f"{address}%lo")
        )  # fmt: skip

    def _spelt6(self, network: IPv6Network | str) -> str:
        text = str(network)
        if self._chance.random() < 0.9:
            return text
        host, _, bits = text.partition("/")
        long = IPv6Address(host).exploded
        return self._chance.choice(
            (host, text.upper(), f"{long}/{bits}", f"[{host}]/{bits}", f"{host}%eth0/{bits}", f"{text}/", f"{host}/{bits}/{bits}",
             f" {text}", f"{text}\0", f"{host}/ffff:ffff:ffff:ffff::", f"{host}/0{bits}", f"{host}0:0/{bits}")
        )  # fmt: skip


def good_address(policy: Policy, text: str) -> bool:
    """Whether it is one IPv4 host or one IPv6 network of the configured size, in its one spelling."""
    try:
        if "/" not in text:
            return str(IPv4Address(text)) == text
        network = IPv6Network(text)
    except ValueError:
        return False
    return network.prefixlen == policy.ipv6_prefix and str(network) == text and "%" not in text  # Python takes a scope


def may_hold(policy: Policy, text: str) -> bool:
    """Whether a good address may be granted or banned: a host's own, and no part of it trusted."""
    if not good_address(policy, text):
        return False
    network = ip_network(text)
    if any(network.version == own.version and network.overlaps(own) for own in policy.trusted):
        return False
    if isinstance(network, IPv4Network):
        return not any(network.overlaps(special) for special in SPECIAL4)
    return any(network.overlaps(hosts) for hosts in HOSTS6)


def good_note(text: str) -> bool:
    """Whether nft can list it and read it again."""
    return len(text.encode()) <= 64 and text.isprintable() and not set('"\\') & set(text)


class Oracle:
    """What a gate of this policy may say yes to, when there is room; told without the gate's own code."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._good = functools.cache(functools.partial(good_address, policy))
        self._may_hold = functools.cache(functools.partial(may_hold, policy))

    def allows(self, request: Mapping[str, Any]) -> bool:
        """Whether the gate may carry it out."""
        known, address = self._policy.services, request.get("address")
        match request["verb"]:
            case "grant":
                times = all(name in known and 1 <= seconds <= known[name].max_duration_s for name, seconds in request["services"].items())
                holder = HOLDER.fullmatch(request["holder"]) is not None
                return times and holder and good_note(request["note"]) and self._may_hold(address)
            case "ban":
                if self._policy.mode == "sets" and request["duration_s"]:
                    return False  # the admin's ruleset knows no bans
                fits = self._may_hold(address) if request["duration_s"] else self._good(address)
                return fits and 0 <= request["duration_s"] <= LONGEST_BAN_S
            case "revoke" | "list":
                return (request["service"] in {None, *known}) and (address is None or self._good(address))
        return True


GOOD: Mapping[str, Mapping[str, Any]] = {
    "grant": {"services": {"cloud": 60}, "address": "203.0.113.7", "holder": "cli", "note": "", "addresses": None},
    "revoke": {"service": "cloud", "address": None, "holder": None, "everything": False},
    "list": {"of": "grants", "service": None, "address": None, "holder": None},
    "ban": {"address": "203.0.113.7", "duration_s": 60},
    "watch": {},
}
WRONG: Mapping[str, tuple[Any, ...]] = {
    "id": (None, True, "1", 1.0, -1, 1 << 53, [1], {}, "\ud800"),
    "services": (None, [], {}, "cloud", {"cloud": None}, {"cloud": "60"}, {"cloud": 1.5}, {"cloud": True}, {"cloud": -1}, {"\ud800": 1},
                 {"cloud": 1 << 53}, {f"x{number}": 1 for number in range(65)}, {"x" * 257: 1}, {"cloud": {"cloud": 1}}),
    "address": (0, 3405803783, True, ["203.0.113.7"], {}, 1e999, "x" * 257, "\udfff"),
    "holder": (0, True, ["cli"], {}, "x" * 257, "\ud800"),
    "note": (None, 0, True, [], {}, "x" * 257, "\udc00"),
    "addresses": (0, -1, True, "1", 1.0, [], {}, 1 << 53),
    "service": (0, True, [], {}, "x" * 257, "\ud800"),
    "everything": (None, 0, 1, "true", [], {}, True),  # the last: beside a service that is given
    "of": (None, 0, True, "", "all", "tables", ["grants"], {}),
    "duration_s": (None, -1, 1.0, "60", True, [], {}, 1 << 53),
    "verb": (None, 0, True, [], {}, "", "GRANT", "grant ", "exec", "load", "nft", "flush", "__init__"),
}  # fmt: skip
NO_REQUESTS = (
    b"", b"{}", b"[]", b"null", b"1", b'"grant"', b"{", b"}", b"\0", b"\xff\xfe", b"\xef\xbb\xbf{}", b"GET / HTTP/1.1\r", b"{'verb': 'watch'}",
    b"[" * 60_000, b'{"a":' * 12_000, b"x" * 65_535, b'{"id":1,"verb":"watch"}' + b" " * 65_536, b'{"id":1,"verb":"watch"} {}', b"nan",
    b'{"id":' + b"9" * 5000 + b',"verb":"watch"}', b'{"id":1,"verb":"watch","":1}', b'{"id":1,"verb":"watch",}', b'{"id":01,"verb":"watch"}',
    b'{"id":1,"verb":"watch\n"}', b'{"id":NaN,"verb":"watch"}', b'{"verb":"watch"}', b'{"id":1}', b"\r", b"\x1b[2J",
)  # fmt: skip


def broken(chance: random.Random) -> bytes:
    """A line that a gate must not answer: no JSON, a verb that is none, keys too many or too few, values of another type."""
    if chance.random() < 0.15:
        return chance.choice(NO_REQUESTS) + b"\n"
    verb = chance.choice(list(GOOD))
    message: dict[str, Any] = {"id": 1, "verb": verb, **GOOD[verb]}
    match chance.randrange(4):
        case 0:
            del message[chance.choice(list(message))]
        case 1:
            message[chance.choice(("more", "verb ", "", "Id", "timeout", "\ud800", "table"))] = chance.choice((None, 1, "x"))
        case _:
            key = chance.choice(list(message))
            message[key] = chance.choice(WRONG[key])
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"
