"""Configurations as an enemy, a tired admin or a broken disk would write them: the example's tables, then mutations of them."""

import random
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
Tables = dict[str, list[tuple[str, str]]]  # of a table's name the keys and their values, both as they are written

EXAMPLE: Mapping[str, Mapping[str, str]] = {
    "": {"state_dir": '"/var/lib/safeip"', "runtime_dir": '"/run/safeip"'},
    "portal": {
        "url": '"https://open.example.org:8443"', "url_ipv4": '"https://open4.example.org:8443"', "listen": '["0.0.0.0:8443", "[::]:8443"]',
        "tls": '"auto"', "trusted_proxies": '["127.0.0.1"]', "listen_proxy_protocol": '["127.0.0.1:8444"]', "client_ip_header": '"X-Forwarded-For"',
        "registration": '"closed"', "session_idle": '"12h"', "session_lifetime": '"30d"', "ban_after": "10", "ban_duration": '"1h"',
    },
    "gate": {
        "mode": '"table"', "table": '"inet safeip"', "trusted_networks": '["127.0.0.0/8", "::1/128", "192.168.0.0/16", "fe80::/10"]',
        "ipv6_prefix": "64", "max_grants": "100000",
    },
    "services.cloud": {
        "title": '"Nextcloud"', "ports": '["tcp/443", "udp/443"]', "url": '"https://cloud.example.org/"', "default_duration": '"12h"',
        "max_duration": '"30d"', "existing": '"cut"', "families": '["ipv4", "ipv6"]',
    },
    "services.game": {"title": '"Minetest"', "ports": '["udp/30000-30010", "tcp/25565-25570"]', "max_duration": '"7d"', "existing": '"keep"'},
}  # fmt: skip

WRONG = (
    "0", "-1", "1e400", "nan", "-inf", "0x7fffffffffffffff", "9" * 400, "9" * 5000, "true", "false", "1979-05-27T07:32:00Z", "07:32:00", "[]", "[[]]",
    "[[[[1]]]]", "{}", "{ a = 1 }", "{ a.b.c = 1 }", '[{ "" = 0 }]', '""', '" "', '"é"', '"\\u0000"', '"\\u202e\\u0007"', '"\\U0001F600"', "'\\'", "''",
    '"""\nlines\n"""', "'''\n'''", '"' + "x" * 300 + '"', '"' + "x" * 100_000 + '"', "[" + "1," * 5000 + "]", "[" * 200 + "]" * 200, "[1, 'a', {}]",
    '["tcp/443", 7, ["udp/1"]]', '"null"', '"$(reboot)"', '"../../etc/shadow"', '"/"', '"/dev/null"', '"a\\tb"', '"inet"', '" inet safeip"', "0o17", "0b1", "+1",
    "1_000", "1_", "01", ".5", "tru", "inf", '"unclosed', "[1", "{ a = 1", "\\", "=", "", "# nothing", '"\x00"', '"\x1b[31m"', '"\u2028"',
)  # fmt: skip
WORDS = (  # of nft's language, of its tokens that end in a family's number, of SafeIP's chains and sets, of Python and TOML
    "accept", "drop", "reject", "ip", "ip6", "inet", "tcp", "udp", "rt", "rt4", "icmpv", "ether", "set", "map", "chain", "table", "rule", "element", "elements",
    "type", "flags", "timeout", "counter", "limit", "add", "delete", "flush", "list", "reset", "include", "define", "goto", "jump", "return", "queue", "log",
    "meta", "ct", "th", "fib", "hash", "numgen", "osf", "socket", "all", "at", "over", "lo", "gate", "ports", "ranges", "trusted", "custom", "closed", "portal",
    "holding", "flooded", "proxies", "kept", "leaving", "unasked", "inside", "outside", "masked", "middle", "masks", "at-boot", "blocked", "banned", "arrivals", "held", "blocked4", "cloud4", "cloud", "clou",
    "service-cloud", "service", "services", "a", "z-", "a--b", "a" * 24, "a" * 25, "-a", "4", "a4", "a6", "none", "true", "class", "__init__", "a.b", "é",
    "A", "a b", "", "cloud\\n", "a\\u0000", "\\u202ea", "x }; flush ruleset; #", "../a", "mixed", "dnat4", "snat", "masquerade", "secmark", "ipv4_addr", "vlan",
)  # fmt: skip
NAMES = ("web", "mail", "films", "ssh", "a", "b-c", "z9")
NETWORKS = (
    "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/16", "192.168.1.0/24", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/8", "::/0", "2000::/3", "fc00::/7",
    "fe80::/10", "2001:db8::/32", "2001:db8::1", "::1/128", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "::/96", "64:ff9b::/96", "10.0.0.1/8", "10.0.0.0/255.0.0.0",
    "010.0.0.0/8", "10.0.0.0/33", "fe80::1%eth0", "fe80::%1/64", "255.255.255.255/32", "224.0.0.0/8", "203.0.113.7/32", "203.0.113.0/31", "1.1.1.1/32", "", " ", "any",
    "10.0.0.0/8 accept; #", "10.0.0.0/08", "2002::/16", "::/8", "8000::/7", "240.0.0.0/8", "127.0.0.1", "0.0.0.0", "::",
)  # fmt: skip
NEAR: Mapping[str, tuple[str, ...]] = {
    "mode": ('"sets"', '"table"', '"Table"', '"none"'),
    "ipv6_prefix": ("48", "49", "56", "63", "64", "47", "65", "0", "128", "64.0"),
    "max_grants": ("1", "1000000", "1000001", "0"),
    "existing": ('"keep"', '"cut"', '"Keep"'),
    "families": ('["ipv4"]', '["ipv6", "ipv6"]', '["ipv6", "IPv4"]', '["4"]', "[4, 6]", '"ipv4"', "[]"),
    "listen": ('["127.0.0.1:8080"]', '["[::1]:443", "127.0.0.1:443"]', '["0.0.0.0:443"]', '["0.0.0.0:65535", "[::]:1"]', '["0.0.0.0:8443", "0.0.0.0:8443"]',
               '["[::ffff:1.2.3.4]:8443"]', '["[fe80::1%lo]:8443"]', '["1.2.3:80"]', '[":8443"]', "[]"),
    "tls": ('"off"', '"auto"', '{ certificate = "/etc/hostname", key = "/etc/hostname" }', '{ certificate = "/nowhere" }', '{ certificate = "/a", key = "/b", more = 1 }'),
    "url": ('"http://open.example.org"', '"https://[2001:db8::1]:8443"', '"https://a@b/"', '"javascript:alert(1)"', '"https://open.example.org:8443/"',
            '"https://x:99999"', '"https://xn--bcher-kva.example"', '"//x"', '"https://a\\u0000b"'),
    "client_ip_header": ('"X-Real-IP"', '"Host"'),
    "registration": ('"approval"', '"open"'),
    "state_dir": ('"/var/lib/../lib"', '"/srv/safeip"', '"//x"', '"/' + "a" * 5000 + '"', '"relative"'),
    "runtime_dir": ('"/run/x"', '"/run/' + "x" * 120 + '"', '"/run/safeip/"'),
    "title": ('"\\U0001D54F"', '"<script>alert(1)</script>"', '"' + "é" * 64 + '"', '"' + "é" * 65 + '"', '"\\u202eevil"', '"a\\nb"'),
}  # fmt: skip
JUNK = (
    b'"', b"[", b"]", b"=", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"{", b"}", b"#", b".", b"'''", b'"""', b"[[", b"]]", b"\\", b"\\u12", b"\xed\xa0\x80",
    "é".encode(), "\u2028".encode(), b",", b"[a.b.c]\n", b'"".""=1\n', b"a.b=1\na.b.c=2\n", b"[services]\n", b"[[services]]\n", b"[gate]\n", b"[portal.tls]\n", b"\x1b[2J",
)  # fmt: skip


class Configurations:
    """Files from a chance, of which a good part is right but for one place. `base`: what is mutated; `live`: only what may change in a reload."""

    def __init__(self, chance: random.Random, base: Mapping[str, Mapping[str, str]] = EXAMPLE, *, live: bool = False) -> None:
        self._chance = chance
        self._base = base
        self._live = live

    def one(self) -> bytes:
        """The next file."""
        chance = self._chance
        tables: Tables = {name: list(keys.items()) for name, keys in self._base.items()}
        for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 6))):
            self._mutate(tables)
        text = "\n".join(line for name, keys in tables.items() for line in self._written(name, keys)) + "\n"
        data = text.encode(errors="surrogatepass")
        if chance.random() < 0.12:
            data = self._spoil(data)
        return data

    def _written(self, name: str, keys: list[tuple[str, str]]) -> list[str]:
        """A table in one of the ways that TOML has for it."""
        head, _, last = name.partition(".")
        style = self._chance.random()
        if last and style < 0.03:
            return [f"[{head}]", f"{last}.{keys[0][0]} = {keys[0][1]}"] if keys else [f"[{name}]"]
        if style < 0.05:
            return [f"[[{name}]]" if name else "", *(f"{key} = {value}" for key, value in keys)]
        lines = [f'["{head}"."{last}"]' if last and style < 0.08 else f"[{name}]"] if name else []
        return [*lines, *(f"{key} = {value}" for key, value in keys)]

    def _mutate(self, tables: Tables) -> None:
        chance = self._chance
        if self._live:
            chance.choice((self._add_service, self._add_service, self._ports, self._trusted, self._near, self._wrong, self._drop))(tables)
            return
        chance.choice(
            (self._near, self._near, self._near, self._wrong, self._wrong, self._drop, self._twice, self._unknown, self._add_service, self._add_service,
             self._ports, self._ports, self._trusted, self._trusted, self._proxies, self._table, self._many)
        )(tables)  # fmt: skip

    def _place(self, tables: Tables) -> tuple[list[tuple[str, str]], int] | None:
        names = [name for name, keys in tables.items() if keys and (not self._live or name.startswith("services") or name == "gate")]
        if not names:
            return None
        keys = tables[self._chance.choice(names)]
        return keys, self._chance.randrange(len(keys))

    def _near(self, tables: Tables) -> None:
        keys = [(table, index) for table in tables.values() for index, (key, _) in enumerate(table) if key in NEAR or "duration" in key]
        if self._live:
            keys = [(table, index) for table, index in keys if table[index][0] in {"existing", "title", "max_duration", "max_grants"}]
        if keys:
            table, index = self._chance.choice(keys)
            key = table[index][0]
            table[index] = (key, self._chance.choice(NEAR.get(key, ('"1s"', '"3650d"', '"3651d"', '"0s"', '"90"', '"1h30m"', '"-1s"', '"12H"', '"٣h"'))))

    def _wrong(self, tables: Tables) -> None:
        if place := self._place(tables):
            keys, index = place
            keys[index] = (keys[index][0], self._chance.choice(WRONG))

    def _drop(self, tables: Tables) -> None:
        if self._chance.random() < 0.2:
            del tables[self._chance.choice([name for name in tables if not self._live or name.startswith("services")] or list(tables))]
        elif place := self._place(tables):
            del place[0][place[1]]

    def _twice(self, tables: Tables) -> None:
        if place := self._place(tables):
            place[0].append((place[0][place[1]][0], self._chance.choice(WRONG)))

    def _unknown(self, tables: Tables) -> None:
        if tables:
            word = self._chance.choice(("prots", "Ports", '"ports "', "trusted", "max_grant", "\\", "a.b", '""', "é", '"a\\u0000b"', "x" * 70_000))
            tables[self._chance.choice(list(tables))].append((word, self._chance.choice(WRONG)))

    def _add_service(self, tables: Tables) -> None:
        word = self._chance.choice(WORDS) if self._chance.random() < 0.7 else self._chance.choice(NAMES)
        plain = word.isascii() and word.replace("-", "").replace("_", "").isalnum()
        port = self._chance.randint(1, 65535)
        ports = f'["tcp/{port}", "udp/{max(1, port - 3)}-{port}"]'
        tables[f"services.{word}" if plain else f'services."{word}"'] = [("ports", ports), ("existing", self._chance.choice(('"keep"', '"cut"')))]

    def _ports(self, tables: Tables) -> None:
        services = [name for name in tables if name.startswith("services.")]
        if services:
            keys = tables[self._chance.choice(services)]
            ports = ", ".join(f'"{self._port()}"' for _ in range(self._chance.choice((1, 1, 2, 3, 10, 100))))
            keys[:] = [(key, value) for key, value in keys if key != "ports"] + [("ports", f"[{ports}]")]

    def _port(self) -> str:
        chance = self._chance
        if chance.random() < 0.05:
            return chance.choice(("tcp/0", "tcp/65536", "sctp/1", "tcp/1-", "tcp/9-1", "TCP/1", "tcp/0x50", "tcp/ 1", "443", "tcp/1-65535", "tcp/00080", "udp/٣"))
        first = chance.choice((1, 53, 80, 443, 8443, 65535, chance.randint(1, 65535)))
        last = min(65535, first + chance.choice((0, 0, 0, 1, 10, 1000)))
        return f"{chance.choice(('tcp', 'udp'))}/{first}" + (f"-{last}" if last > first else "")

    def _trusted(self, tables: Tables) -> None:
        self._set(tables, "gate", "trusted_networks", self._networks())

    def _proxies(self, tables: Tables) -> None:
        self._set(tables, "portal", "trusted_proxies", self._networks())

    def _table(self, tables: Tables) -> None:
        self._set(tables, "gate", "table", f'"{self._chance.choice(("inet ", "inet ", "inet ", "inet ", "ip ", "")) + self._chance.choice(WORDS)}"')

    def _set(self, tables: Tables, table: str, key: str, value: str) -> None:
        if table in tables:
            tables[table] = [(known, old) for known, old in tables[table] if known != key] + [(key, value)]

    def _networks(self) -> str:
        chance = self._chance
        good = [text for text in NETWORKS if text.count("/") == 1 and text[-1].isdigit() and text[0] in "12f"]
        pool = good if chance.random() < 0.7 else NETWORKS
        some = [chance.choice(pool) for _ in range(chance.choice((0, 1, 2, 5, 40)))]
        some += [f"10.{chance.randrange(256)}.{chance.randrange(256)}.0/{chance.randint(24, 32)}" for _ in range(chance.choice((0, 0, 1, 1000)))]
        return "[" + ", ".join(f'"{text}"' for text in some) + "]"

    def _many(self, tables: Tables) -> None:
        """Very much of something, up to the size that a file may have."""
        number = self._chance.choice((50, 300, 3000))
        match self._chance.randrange(6):
            case 0:
                for index in range(min(number, 300)):
                    tables[f"services.s{index}"] = [("ports", f'["tcp/{20000 + index}"]')]
            case 1:
                tables["unknown"] = [(f"key{index}", "1") for index in range(number)]
            case 2:
                self._set(tables, "gate", "trusted_networks", "[" + ", ".join(f'"10.{i >> 8}.{i & 255}.1"' for i in range(number)) + "]")
            case 3:
                tables["services.deep"] = [("ports", "[" * number + "]" * number)]
            case 4:
                tables["services.dotted"] = [(".".join(["a"] * number), "1")]
            case _:
                tables["services.wide"] = [("ports", "[" + ", ".join(f'"tcp/{i % 70000}"' for i in range(number * 3)) + "]")]

    def _spoil(self, data: bytes) -> bytes:
        chance, spoilt = self._chance, bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(spoilt) + 1)
            match chance.randrange(4):
                case 0:
                    spoilt[at:at] = chance.choice(JUNK)
                case 1:
                    del spoilt[at : at + chance.choice((1, 2, 30, 10_000))]
                case 2:
                    spoilt[at:at] = spoilt[at : at + chance.randint(1, 60)] * chance.choice((1, 3, 200))
                case _:
                    spoilt[at : at + 2] = chance.choice(JUNK)
        return bytes(spoilt)
