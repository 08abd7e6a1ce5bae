"""A grant, a renewal and a revocation beside a country list of 100,000 addresses, and on an empty host."""

import contextlib
from collections.abc import Callable
from ipaddress import ip_address

from bench._figures import median, microseconds, shown, table
from lab.net import Namespace
from nft.bindings import Bindings, BindingsSets
from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import Add, Element, Remove, Replace
from nft.wire import Grant, Revoke

HOUR = 3600
FOREIGN = 100_000
ROUNDS, SLOW_ROUNDS = 1000, 5
POLICY = Policy({"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)}, ())

Costs = dict[str, float]


def through_gate(gate: Gate, rounds: int) -> Costs:
    times: dict[str, list[float]] = {"grant": [], "renewal": [], "revocation": []}
    for number in range(rounds):
        address = str(ip_address(0xCB007100 + number % 250))

        def decide(request: Grant | Revoke) -> Callable[[], object]:
            def run() -> None:
                [answer] = gate.decide([request])
                if "ok" not in answer:
                    raise RuntimeError(answer)

            return run

        def grant(seconds: int, address: str = address) -> Grant:
            return Grant(1, {"cloud": seconds}, address, "link:k3v9aa", "Mamie", None)

        times["grant"].append(microseconds(decide(grant(HOUR))))
        times["renewal"].append(microseconds(decide(grant(2 * HOUR))))
        times["revocation"].append(microseconds(decide(Revoke(1, None, address, None, everything=False))))
    return {name: median(values) for name, values in times.items()}


def through_libnftables(rounds: int) -> Costs:
    with contextlib.closing(BindingsSets("inet", "safeip")) as sets:
        times: dict[str, list[float]] = {"grant": [], "renewal": [], "revocation": []}
        for number in range(rounds):
            key = (0xCB007200 + number).to_bytes(4, "big")
            element = Element("cloud4", key, HOUR * 1000, HOUR * 1000, "link:k3v9aa Mamie")
            times["grant"].append(microseconds(lambda element=element: sets.commit([Add(element)])))
            times["renewal"].append(microseconds(lambda element=element: sets.commit([Replace(element)])))
            times["revocation"].append(microseconds(lambda key=key: sets.commit([Remove("cloud4", key)])))
        return {name: median(values) for name, values in times.items()}


def foreign_list() -> str:
    networks = ",".join(f"{ip_address(0x0B000000 + 32 * number)}/28" for number in range(FOREIGN))
    return f"table inet foreign {{ set country {{ type ipv4_addr; flags interval; elements = {{ {networks} }}\n}}\n}}\n"


def main() -> None:
    with Namespace("bench", "sipb") as namespace, namespace.entered(), contextlib.closing(Gate(POLICY)) as gate:
        gate.start()
        through_gate(gate, 100)  # warm
        alone, slow_alone = through_gate(gate, ROUNDS), through_libnftables(SLOW_ROUNDS * 20)
        Bindings().load(foreign_list())
        beside, slow_beside = through_gate(gate, ROUNDS), through_libnftables(SLOW_ROUNDS)
    table(
        ("", "empty host", f"beside {FOREIGN:,} addresses", "ratio", "libnftables: empty host", "beside", "ratio"),
        [
            (
                name, shown(alone[name]), shown(beside[name]), f"{beside[name] / alone[name]:.2f}",
                shown(slow_alone[name]), shown(slow_beside[name]), f"{slow_beside[name] / slow_alone[name]:,.0f}",
            )
            for name in alone
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
