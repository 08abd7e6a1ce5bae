"""Whether a configuration was refused as it should be, or closes what it says and trusts nobody else.

What the file says is read here anew, from TOML, and what the ruleset does from the kernel.
"""

import json
import re
import tomllib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from nft import render
from nft.bindings import Bindings
from safeip.config import Config, read_config
from safeip.problem import ConfigError

HOME = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"]  # DESIGN.md, section 6
PORT = re.compile(r"(tcp|udp)/(\d+)(?:-(\d+))?")
_WIDEST = {4: 8, 6: 7}
FAMILIES = {"inet": (4, 6), "ip": (4,), "ip6": (6,)}
Rule = list[dict[str, Any]]


class Wrong(AssertionError):
    """What it says of a configuration may not be."""


def judge(data: bytes, path: Path, *, load: bool = True) -> Config | None:
    """Read a file with these bytes, load its ruleset in this thread's network: the configuration, None if it was refused. Raises Wrong."""
    path.write_bytes(data)
    try:
        config = read_config(str(path))
    except ConfigError as error:
        if not error.problems:
            raise Wrong("refused without a reason") from error
        for problem in error.problems:
            line = str(problem)
            if problem.file != str(path) or not problem.wrong or not problem.right or not line.isprintable() or len(line) > 1000 + len(str(path)):
                raise Wrong(f"a problem that nobody can read: {line!r}") from error
        return None
    if load:
        bindings = Bindings()
        bindings.load("flush ruleset")
        bindings.load(render.script(config.policy, render.Present()))
        listed = json.loads(bindings.run("list ruleset", as_json=True))["nftables"]
        compare(config, tomllib.loads(data.decode("utf-8-sig")), listed)
        bindings.load(render.closed(config.policy))
    return config


def compare(config: Config, says: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    """Raises Wrong where the ruleset `listed` is not what the file `says`."""
    gate, services = says.get("gate", {}), says["services"]
    family, name = gate.get("table", "inet safeip").split(" ")
    for kind in ("table", "chain", "rule", "set", "map", "counter"):
        strange = [item for item in _all(listed, kind) if item.get("table", item["name"] if kind == "table" else None) != name]
        if strange:
            raise Wrong(f"another table: {strange}")
    own = {f"{service}{number}" for service in services for number in FAMILIES[family]}
    closes = gate.get("mode", "table") == "table"
    _same("mode", config.policy.mode, "table" if closes else "sets")
    _same("sets", {found["name"] for found in _all(listed, "set")}, own | (render.BASE_SETS - {"ports"} if closes else set()))
    _same("chains", {chain["name"] for chain in _all(listed, "chain")}, _chains(services) if closes else set())
    if closes:
        _compare_rules(says, listed)


def _compare_rules(says: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    portal, gate, services = says["portal"], says.get("gate", {}), says["services"]
    rules: dict[str, list[Rule]] = {name: [] for name in _chains(services)}
    for rule in _all(listed, "rule"):
        rules[rule["chain"]].append(rule["expr"])
    _same("the gateway itself", rules["trusted"][:1], [[{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": None}]])
    _same("trusted", _sources(rules["trusted"][1:], "inside"), _widths(gate.get("trusted_networks", HOME)))
    _same("what is only recorded", [verdict for rule in rules["masked"] for verdict in rule if {"accept", "goto", "jump"} & verdict.keys()], [])
    _same("proxies", _sources(rules["proxies"]), _widths(portal.get("trusted_proxies", [])))
    _same("custom", rules["custom"], [])
    written = {place: f"service-{service}" for service, keys in services.items() for place in _places(keys["ports"])}
    for listen in (*portal.get("listen", ["0.0.0.0:8443", "[::]:8443"]), *portal.get("listen_proxy_protocol", [])):
        host, _, port = listen.rpartition(":")
        if not ip_address(host.strip("[]")).is_loopback:
            written["tcp", int(port)] = "portal"
    _same("ports", _closed(listed, rules["ranges"]), written)
    for service, keys in services.items():
        _check_service(service, keys, rules[f"service-{service}"], gate.get("ipv6_prefix", 64))


def _chains(services: Iterable[str]) -> set[str]:
    return {*render.BASE_CHAINS, *(f"service-{service}" for service in services)}


def _check_service(service: str, keys: dict[str, Any], rules: list[Rule], prefix: int) -> None:
    kept = [[{"jump": {"target": "kept"}}]] if keys.get("existing") == "keep" else []
    mask = str(ip_network(f"::/{prefix}").netmask)
    four = {"payload": {"protocol": "ip", "field": "saddr"}}
    six = {"&": [{"payload": {"protocol": "ip6", "field": "saddr"}}, mask]}
    wanted = [
        *kept,
        [{"match": {"op": "==", "left": four, "right": f"@{service}4"}}, {"accept": None}],
        [{"match": {"op": "==", "left": six, "right": f"@{service}6"}}, {"accept": None}],
        [{"counter": f"blocked-{service}"}, {"goto": {"target": "closed"}}],
    ]
    if rules != wanted:
        raise Wrong(f"service {service}: {rules}")


def _all(listed: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item[kind] for item in listed if kind in item]


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {str(found)[:2000]}, where the file says {str(wanted)[:2000]}")


def _widths(networks: Iterable[str]) -> dict[int, list[tuple[int, int]]]:
    """What networks cover, by family: spans of addresses, joined where they touch."""
    found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for network in sorted((ip_network(text, strict=False) for text in networks), key=lambda it: (it.version, it)):
        spans = found[network.version]
        first, last = int(network.network_address), int(network.broadcast_address)
        if network.prefixlen < _WIDEST[network.version]:
            raise Wrong(f"{network} is taken")
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return found


def _sources(rules: list[Rule], by_way_of: str = "") -> dict[int, list[tuple[int, int]]]:
    """What rules accept by their source alone, or send to a chain that does."""
    accepting = [{"accept": None}, {"goto": {"target": by_way_of}}]
    networks = []
    for rule in rules:
        match, verdict = rule
        left, right = match["match"]["left"]["payload"], match["match"]["right"]
        if left["field"] != "saddr" or match["match"]["op"] != "==" or verdict not in accepting:
            raise Wrong(f"{rule}")
        networks.append(right if isinstance(right, str) else f"{right['prefix']['addr']}/{right['prefix']['len']}")
    return _widths(networks)


def _places(ports: list[str]) -> list[tuple[str, int]]:
    places = []
    for text in ports:
        match = PORT.fullmatch(text)
        if match is None:
            raise Wrong(f"{text} is taken")
        places += [(match[1], port) for port in range(int(match[2]), int(match[3] or match[2]) + 1)]
    return places


def _closed(listed: list[dict[str, Any]], ranges: list[Rule]) -> dict[tuple[str, int], str]:
    """Every port that the map and the rules of ranges send somewhere, and where."""
    [ports] = _all(listed, "map")
    found = {_place(key["concat"]): verdict["goto"]["target"] for key, verdict in ports.get("elem", [])}
    for rule in ranges:
        match, verdict = rule[0]["match"], rule[1]
        protocol = match["left"]["payload"]["protocol"]
        first, last = match["right"]["range"]
        for port in range(first, last + 1):
            found.setdefault((protocol, port), verdict["goto"]["target"])
    return found


def _place(concat: list[Any]) -> tuple[str, int]:
    protocol, port = concat
    return {"6": "tcp", "17": "udp"}.get(str(protocol), str(protocol)), int(port)
