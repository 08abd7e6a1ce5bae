"""What the gate tells of itself for a graph: by service and family, in transactions, in bytes."""

import contextlib
import dataclasses
import os
import socket
from pathlib import Path

import pytest

from lab.net import Namespace, veth
from lab.process import wait_for
from nft import wire
from nft.gate import Gate
from nft.measures import BOUNDS_S
from nft.policy import Policy, PortRange, ServiceRule
from nft.render import Present, blocked_counter
from nft.wire import Ban, Grant, List

CLOUD = ServiceRule("cloud", (PortRange("udp", 443, 443),), 3600)
GAME = ServiceRule("game", (PortRange("udp", 25565, 25570),), 3600, "keep")
POLICY = Policy({"cloud": CLOUD, "game": GAME}, ())


@pytest.fixture
def street():
    """A stranger, and a gateway with a gate on it."""
    with Namespace("stranger", "sipt") as stranger, Namespace("gateway", "sipt") as gateway:
        veth(
            stranger, "out", ("203.0.113.66/24", "2001:db8:66::66/64"),
            right=gateway, right_name="wan", right_addresses=("203.0.113.1/24", "2001:db8:66::1/64"),
        )  # fmt: skip
        with gateway.entered(), contextlib.closing(Gate(POLICY)) as gate:
            gate.start()
            yield stranger, gateway, gate


def status(gate: Gate) -> dict:
    [[told]] = gate.tell(List(1, "status", None, None, None))
    return told


def knock(stranger: Namespace, port: int, times: int, host: str = "203.0.113.1") -> None:
    with stranger.entered(), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(times):
            sock.sendto(b"knock", (host, port))


def closed(gate: Gate) -> dict[str, int]:
    return {name: told["closed_packets"] for name, told in status(gate)["services"].items()}


def counted(gate: Gate, **expected: int) -> None:
    """Wait until these are closed: a busy kernel may take packets a moment after they were sent."""
    wait_for(f"{expected}", lambda: closed(gate) == expected)


def test_blocked_packets_are_counted_by_service_and_outlive_a_change_of_rules(street):
    stranger, gateway, gate = street
    knock(stranger, 443, 3)
    knock(stranger, 443, 2, "2001:db8:66::1")
    knock(stranger, 25566, 4)
    knock(stranger, 9, 7)  # no service's
    counted(gate, cloud=5, game=4)
    assert status(gate)["closed_packets"] == 9
    gate.decide([Grant(1, {"cloud": 60}, "203.0.113.66", "cli", "", None)])
    knock(stranger, 443, 3)
    assert closed(gate)["cloud"] == 5, "what is let through is not blocked"

    films = ServiceRule("films", (PortRange("udp", 9, 9),), 60)
    gate.reload(dataclasses.replace(POLICY, services={"cloud": CLOUD, "films": films}))
    knock(stranger, 9, 1)
    counted(gate, cloud=5, films=1)  # a reload keeps what was counted
    assert sorted(gate._rules.present().counters) == ["blocked-cloud", "blocked-films", "closed", "flooded"]
    gate.reload(POLICY)
    assert closed(gate) == {"cloud": 5, "game": 0}

    gateway.run("nft", "flush", "ruleset")

    def repaired() -> bool:
        gate.repair()
        gate.work()
        return status(gate)["repairs"] == 1

    wait_for("the repair", repaired, 30.0)
    assert closed(gate) == {"cloud": 0, "game": 0}, "a flush takes the counters along"
    knock(stranger, 25566, 2)
    counted(gate, cloud=0, game=2)


def test_grants_and_bans_are_told_without_a_look_at_the_kernel(street, monkeypatch):
    _stranger, _gateway, gate = street
    gate.decide(
        [
            Grant(1, {"cloud": 60, "game": 60}, "203.0.113.7", "cli", "", None),
            Grant(2, {"cloud": 60}, "2001:db8:7::/64", "cli", "", None),
            Ban(3, "203.0.113.9", 60),
            Ban(4, "2001:db8:9::/64", 60),
        ]
    )
    dump = gate._sets.dump

    def few(name):
        assert name in {"masks4", "masks6"}, "sets that hold 255 at most"
        return dump(name)

    monkeypatch.setattr(gate._sets, "dump", few)
    monkeypatch.setattr(gate._sets, "read", None)
    told = status(gate)
    assert {name: service["families"] for name, service in told["services"].items()} == {"cloud": [1, 1], "game": [1, 0]}
    assert (told["grants"], told["bans"], told["max_grants"]) == (3, 2, 100_000)


def test_transactions_are_counted_and_timed_where_they_change_something(street):
    _stranger, _gateway, gate = street
    before = status(gate)["transactions"]
    gate.decide([Grant(1, {"cloud": 60}, "203.0.113.7", "cli", "", None)])
    gate.decide([Grant(2, {"cloud": 60}, "203.0.113.8", "cli", "", None), Ban(3, "203.0.113.9", 60)])
    gate.decide([Grant(4, {"nothing": 60}, "203.0.113.8", "cli", "", None)])
    after = status(gate)["transactions"]
    assert after["count"] - before["count"] == 2
    assert 0 < after["seconds"] - before["seconds"] < 30
    assert sum(after["buckets"]) == after["count"]
    assert len(after["buckets"]) == len(after["bounds"]) + 1
    assert list(BOUNDS_S) == sorted(BOUNDS_S)


def test_its_memory_is_what_the_kernel_says(street):
    *_, gate = street
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    assert status(gate)["memory"] == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)


def test_the_largest_configuration_and_the_largest_counts_fit_a_line(network, monkeypatch):
    names = [f"{'s' * 21}{number:03}" for number in range(256)]
    ports = iter(range(10_000, 61_200))
    services = {name: ServiceRule(name, tuple(PortRange("udp", next(ports), next(ports)) for _ in range(4)), 60) for name in names}
    with contextlib.closing(Gate(dataclasses.replace(POLICY, services=services))) as gate:
        assert gate._rules.present() == Present([], [], [])
        monkeypatch.setattr(gate._sets, "counters", lambda wanted: dict.fromkeys(wanted, (2**64 - 1, 2**64 - 1)))
        monkeypatch.setattr(gate._ledger.book, "count", lambda *_: 1_000_000)
        told = status(gate)
        assert told["services"][names[0]]["closed_packets"] == 2**64 - 1, blocked_counter(names[0])
        assert len(wire.encode({"id": 2**53, "part": [told]})) < wire.LINE


def test_in_a_table_of_the_admins_own_nobody_counts_what_is_blocked(network, nft):
    nft("table inet mine { counter closed { packets 7 bytes 7; }\n counter blocked-cloud { packets 9 bytes 9; }\n}\n")
    with contextlib.closing(Gate(dataclasses.replace(POLICY, mode="sets", table="mine"))) as gate:
        gate.start()
        told = status(gate)
    assert (told["closed_packets"], told["flooded_packets"]) == (0, 0)
    assert {service["closed_packets"] for service in told["services"].values()} == {0}
