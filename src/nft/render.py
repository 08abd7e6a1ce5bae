"""The gate's rules as text: the base ruleset with the configured services in it. Pure; nothing is run here."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from nft.policy import Policy, PortRange, ServiceRule

# not resolved: the file may be seen through a directory that only its descriptor leads to
BASE = Path(__file__).parents[2] / "nft" / "safeip.nft"

# an empty chain that says: loaded at boot, and nobody has put the grants back yet
AT_BOOT = "at-boot"
_BLOCKED = "blocked-"

# what the kernel fills by itself, packet by packet: nobody's to adopt, to restore or to repair
RECORDS = frozenset(f"{name}{family}" for name in ("blocked", "arrivals", "held", "masks") for family in (4, 6))
BASE_SETS = RECORDS | {"ports", "banned4", "banned6"}
BASE_CHAINS = frozenset(
    {"gate", "trusted", "inside", "outside", "masked", "custom", "ranges", "kept", "closed", "leaving", "unasked", "middle"}
    | {"portal", "holding", "flooded", "proxies"}
)
# what nobody routes through the Internet: who comes from there with such a source was given it on the way
_PRIVATE = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)


@dataclass(frozen=True, slots=True)
class Present:
    """What the table holds already: names of its sets and maps, of its chains, and of its counters."""

    sets: Collection[str] = field(default=())
    chains: Collection[str] = field(default=())
    counters: Collection[str] = field(default=())


def service_sets(policy: Policy) -> list[str]:
    """The names of the sets that hold grants; in a table of one family only that family's."""
    families = {"ip": (4,), "ip6": (6,)}.get(policy.family, (4, 6))
    return [f"{name}{family}" for name in policy.services for family in families]


def blocked_counter(service: str) -> str:
    """The name of the counter of what was closed to a service; it outlives its rule, which each change of rules makes anew."""
    return f"{_BLOCKED}{service}"


def script(policy: Policy, present: Present, custom: str | None = None) -> str:
    """One transaction that makes the table what the policy says and leaves every grant where it is.

    Rules are replaced, elements of sets that stay are not touched, services that went are taken away with
    their sets. `custom` is the path of a file of the admin's rules to include. With no table `present` it
    makes it. In mode "sets" only the grants' sets that are missing are made, in a table that may be the admin's.
    """
    table = f"{policy.family} {policy.table}"
    if policy.mode == "sets":
        missing = [name for name in service_sets(policy) if name not in present.sets]
        return f"table {table} {{\n{_sets(missing)}}}\n" if missing else ""
    gone_chains = sorted(set(present.chains) - BASE_CHAINS - {f"service-{name}" for name in policy.services})
    gone_sets = sorted(set(present.sets) - BASE_SETS - set(service_sets(policy)))
    counters = {name for name in present.counters if name.startswith(_BLOCKED)}
    gone_counters = sorted(counters - {blocked_counter(name) for name in policy.services})
    base = _base().replace("table inet safeip {", f"table {table} {{", 1)
    base = base.replace(prefix_mask(64), prefix_mask(policy.ipv6_prefix))
    return "\n".join(
        [
            f"add table {table}",
            f"flush table {table}",
            f"add map {table} ports {{ type inet_proto . inet_service : verdict; }}",  # there, or it cannot be flushed
            f"flush map {table} ports",
            base,
            f"table {table} {{",
            _sets(service_sets(policy)),
            *(_service(service, policy) for service in policy.services.values()),
            _chain("trusted", _by(policy, "iifname", "outside") + _trusted(policy)),
            _chain("outside", _each("saddr", policy.trusted, "goto masked")),
            _chain("masked", _masked(policy)),
            _chain("proxies", _each("saddr", policy.portal_proxies, "accept")),
            _chain("unasked", _by(policy, "oifname", "middle") + _each("daddr", policy.trusted, "accept") + "\t\tgoto middle\n"),
            _chain("middle", _middle(policy)),
            _custom(custom),
            _ports(policy),
            "}",
            *(f"delete chain {table} {name}" for name in gone_chains),
            *(f"delete set {table} {name}" for name in gone_sets),
            *(f"delete counter {table} {name}" for name in gone_counters),
            "",
        ]
    )


def ahead(policy: Policy, present: Present) -> str:
    """What a change of ports needs in the kernel a transaction earlier: new services whole, and each port as a rule too.

    A packet that is on its way while `script` takes effect keeps to the old rules, but finds the new elements of the map
    (nf_tables reads the generation once for the rules of a hook, and again at each lookup). Its port may have moved from
    the map to a rule that it does not see, or be sent to a chain that is empty for it, and nothing would stop it.
    """
    new = [service for service in policy.services.values() if f"service-{service.name}" not in present.chains]
    ports = [(port, service.name) for service in policy.services.values() for port in service.ports]
    return "\n".join(
        [
            f"table {policy.family} {policy.table} {{",
            _sets([name for name in service_sets(policy) if name not in present.sets]),
            *(_service(service, policy) for service in new),
            _chain("ranges", "".join(_range(port, name) for port, name in ports)),
            "}\n",
        ]
    )


def closed(policy: Policy) -> str:
    """The ruleset that closes before there is a network, as a file of its own: no grants, nothing included.

    The admin's own rules are left out, since one that cannot be loaded would leave everything open. Loading
    it where the table stands already changes no grant. Empty in mode "sets", where the admin's ruleset closes.
    """
    if policy.mode == "sets":
        return ""
    return script(policy, Present()) + f"add chain {policy.family} {policy.table} {AT_BOOT}\n"


def teardown(policy: Policy) -> str:
    """One transaction that takes away what `script` made in mode "table"."""
    table = f"{policy.family} {policy.table}"
    return f"add table {table}\ndelete table {table}\n"


def prefix_mask(bits: int) -> str:
    """The netmask of an IPv6 prefix: `ffff:ffff:ffff:ffff::` for 64."""
    return str(IPv6Network(f"::/{bits}").netmask)


def is_private(network: IPv4Network | IPv6Network) -> bool:
    """Whether all of it is: private (RFC 1918), a carrier's own (RFC 6598), link-local or unique local.

    A trusted network of the Internet's may be as far away as it likes.
    """
    return any(isinstance(own, type(network)) and network.subnet_of(own) for own in _PRIVATE)  # type: ignore[arg-type]


def _sets(names: Sequence[str]) -> str:
    return "".join(
        f"\tset {name} {{ type ipv{name[-1]}_addr; flags timeout; counter; gc-interval 30s; }}\n" for name in names
    )


def _chain(name: str, rules: str) -> str:
    return f"\tchain {name} {{\n{rules}\t}}"


def _service(service: ServiceRule, policy: Policy) -> str:
    keep = "\t\tjump kept\n" if service.existing == "keep" else ""
    counter = blocked_counter(service.name)
    return f"\tcounter {counter} {{ }}\n" + _chain(
        f"service-{service.name}",
        f"{keep}\t\tip saddr @{service.name}4 accept\n"
        f"\t\tip6 saddr & {prefix_mask(policy.ipv6_prefix)} @{service.name}6 accept\n"
        f"\t\tcounter name {counter} goto closed\n",
    )


def _each(side: str, networks: Sequence[IPv4Network | IPv6Network], verdict: str) -> str:
    return "".join(f"\t\t{_family(network)} {side} {network} {verdict}\n" for network in networks)


def _by(policy: Policy, side: str, chain: str) -> str:
    return "".join(f'\t\t{side} "{name}" goto {chain}\n' for name in policy.wan_interfaces)


def _trusted(policy: Policy) -> str:
    return "".join(_each("saddr", [network], "goto inside" if is_private(network) else "accept") for network in policy.trusted)


def _masked(policy: Policy) -> str:
    """Recorded for what a stranger would come for: a service's TCP port, or the portal's."""
    ports = [*map(str, policy.portal_ports), *_tcp_ports(policy)]
    if not ports:
        return ""
    match = f"tcp dport {{ {', '.join(ports)} }}"
    return f"\t\t{match} update @masks4 {{ ip saddr }}\n\t\t{match} update @masks6 {{ ip6 saddr }}\n"


def _middle(policy: Policy) -> str:
    """Nothing from a TCP port of a service's. UDP tells no beginning from a middle."""
    return "".join(f"\t\ttcp sport {ports} drop\n" for ports in _tcp_ports(policy))


def _tcp_ports(policy: Policy) -> list[str]:
    ports = [port for service in policy.services.values() for port in service.ports if port.protocol == "tcp"]
    return [str(port).removeprefix("tcp/") for port in ports]


def _family(network: IPv4Network | IPv6Network) -> str:
    return "ip" if network.version == 4 else "ip6"


def _custom(path: str | None) -> str:
    include = f'\t\tinclude "{path}"\n' if path else ""
    return _chain("custom", include)


def _ports(policy: Policy) -> str:
    single = [f"tcp . {port} : goto portal" for port in policy.portal_ports]
    ranges: list[str] = []
    for service in policy.services.values():
        for port in service.ports:
            if port.first == port.last:
                single.append(f"{port.protocol} . {port.first} : goto service-{service.name}")
            else:
                ranges.append(_range(port, service.name))
    elements = f" elements = {{ {', '.join(single)} }};" if single else ""
    return (
        f"\tmap ports {{ type inet_proto . inet_service : verdict;{elements} }}\n"
        + _chain("ranges", "".join(ranges))
    )


def _range(port: PortRange, name: str) -> str:
    return f"\t\t{port.protocol} dport {port.first}-{port.last} goto service-{name}\n"


@functools.cache
def _base() -> str:
    """Read once: after its start the gate has no way to the file any more (safeip.cell)."""
    return BASE.read_text(encoding="utf-8")
