"""The gate tells who is let in beside the one holder that an element names, and the kernel is not asked twice for it."""

import contextlib
from ipaddress import ip_network

import pytest

from nft.gate import Gate
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import KernelError, whole
from nft.wire import Grant, List, Revoke

HOUR = 3600
HERE = "203.0.113.7"
POLICY = Policy(
    {"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 24 * HOUR), "game": ServiceRule("game", (), 24 * HOUR)},
    (ip_network("10.0.0.0/8"),),
)


@pytest.fixture
def gate(network):
    gate = Gate(POLICY, None, print)
    gate.start()
    yield gate
    gate.close()


def grant(holder, hours=2, service="cloud", addresses=None) -> Grant:
    return Grant(1, {service: hours * HOUR}, HERE, holder, "", addresses)


def listed(gate, holder=None, address=HERE, service=None, of="grants") -> list[tuple]:
    rows = [row for part in gate.tell(List(1, of, service, address, holder)) for row in part]
    return [(row["service"], row["holder"], round(row["remaining_ms"] / 1000 / HOUR), row["others"]) for row in rows]


def element() -> object:
    with contextlib.closing(NetlinkSets(POLICY.family, POLICY.table)) as sets:
        [found] = [found for part in whole(sets, "cloud4") for found in part]
        return found.comment, found.timeout_ms


def test_two_in_one_transaction_are_both_there(gate):
    answers = gate.decide([grant("link:a"), grant("link:b", 1), grant("link:c", 3)])
    assert [answer["ok"]["grants"][0]["others"] for answer in answers] == [False, True, True]
    assert element() == ("link:c", 3 * HOUR * 1000)
    assert listed(gate) == [("cloud", "link:c", 3, True)]
    for holder, hours in (("link:a", 2), ("link:b", 1), ("link:c", 3)):
        for of in ("grants", "held"):
            assert listed(gate, holder, of=of) == [("cloud", holder, hours, True)]
    assert listed(gate, "link:d") == listed(gate, "link:a", service="game") == listed(gate, "link:a", address=None) == []


def test_another_service_at_the_address_is_somebody_else_too(gate):
    gate.decide([grant("link:a"), grant("link:b", service="game")])
    assert {others for *_, others in listed(gate)} == {True}
    gate.decide([Revoke(1, None, None, "link:b", everything=False)])
    assert listed(gate) == [("cloud", "link:a", 2, False)]


def test_who_is_beside_is_closed_with_what_they_had(gate):
    gate.decide([grant("link:a"), grant("link:b", 1)])
    [answer] = gate.decide([Revoke(1, None, None, "link:b", everything=False)])
    assert answer["ok"] == {"revoked": 0}, "the element is the other's"
    assert listed(gate) == [("cloud", "link:a", 2, False)]
    assert listed(gate, "link:b") == []


def test_what_the_kernel_refuses_leaves_nobody_beside(gate, nft):
    gate.decide([grant("link:a", 1)])
    commit, gate._sets.commit = gate._sets.commit, refuse
    try:
        [answer] = gate.decide([grant("link:b", 2)])
    finally:
        gate._sets.commit = commit
    assert answer["error"]["code"] == "kernel"
    assert listed(gate) == [("cloud", "link:a", 1, False)]
    assert listed(gate, "link:b") == []


def refuse(_changes) -> None:
    raise KernelError(12, "no memory")
