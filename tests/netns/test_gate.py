"""The gate on a real kernel: decides, adopts, renews, and puts back what others broke."""

import contextlib
import select
import subprocess
import time
from ipaddress import ip_address, ip_network

import pytest

from lab.process import PATIENCE, wait_for
from nft import rules
from nft.adoption import Adoption
from nft.gate import Gate
from nft.ledger import Ledger
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.sets import KernelError, whole
from nft.wire import Ban, Grant, List, Revoke

HOUR = 3600
CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443), PortRange("udp", 443, 443)), 30 * 24 * HOUR)
GAME = ServiceRule("game", (PortRange("tcp", 25565, 25570),), 12 * HOUR)
POLICY = Policy({"cloud": CLOUD, "game": GAME}, (ip_network("10.0.0.0/8"), ip_network("fc00::/7")))
HOLDER = "link:k3v9aa"


@contextlib.contextmanager
def opened(policy: Policy = POLICY, custom: str | None = None, warnings: list[str] | None = None, over: list[str] | None = None):
    gate = Gate(policy, custom, *((told if told is not None else []).append for told in (warnings, over)))
    try:
        gate.start()
        yield gate
    finally:
        gate.close()


@pytest.fixture
def gate(network):
    with opened() as started:
        yield started


def grant(address="203.0.113.7", services=None, holder=HOLDER, note="Mamie", addresses=None, number=1) -> Grant:
    return Grant(number, services or {"cloud": 2 * HOUR}, address, holder, note, addresses)


def revoke(service=None, address=None, holder=None, *, everything=False) -> Revoke:
    return Revoke(9, service, address, holder, everything)


def one(gate: Gate, request) -> dict:
    [answer] = gate.decide([request])
    return answer


def listed(gate: Gate, of="grants", service=None, address=None, holder=None) -> list[dict]:
    return [item for part in gate.tell(List(1, of, service, address, holder)) for item in part]


def kernel(name: str = "cloud4", policy: Policy = POLICY) -> dict[str, object]:
    with contextlib.closing(NetlinkSets(policy.family, policy.table)) as sets:
        return {str(ip_address(found.key)): found for part in whole(sets, name) for found in part}


def names(gate: Gate) -> list[str]:
    return [event["event"] for event in gate.events()]


def loaded_at_the_same_instant(gate: Gate, monkeypatch, nft, script: str) -> list[str]:
    """Somebody's script is loaded once, right after the gate has looked at what the table holds; empty when that was so."""
    present, waits = gate._rules.present, [script]

    def raced():
        found = present()
        if waits:
            nft(waits.pop())
        return found

    monkeypatch.setattr(gate._rules, "present", raced)
    return waits


def loaded_in_the_middle_of_a_start(monkeypatch, when: str, nft, script: str) -> list[str]:
    """Somebody's script is loaded once, when the record has been read or a set been adopted; empty when that was so."""
    kind = Ledger if when == "recorded" else Adoption
    real, waits = getattr(kind, when), [script]

    def interrupted(*arguments):
        found = real(*arguments)
        if waits:
            nft(waits.pop())
        return found

    monkeypatch.setattr(kind, when, interrupted)
    return waits


def test_a_grant_is_an_element_with_its_end_and_its_holder(gate):
    answer = one(gate, grant())
    [shown] = answer["ok"]["grants"]
    assert 2 * HOUR * 1000 - 60_000 < shown["remaining_ms"] <= 2 * HOUR * 1000
    [(address, found)] = kernel().items()
    assert address == "203.0.113.7"
    assert found.timeout_ms == 2 * HOUR * 1000
    assert found.comment == "link:k3v9aa Mamie"
    assert kernel("cloud6") == kernel("game4") == {}


def test_an_ipv6_grant_is_its_prefix(gate):
    one(gate, grant("2001:db8:1:2::/64"))
    assert list(kernel("cloud6")) == ["2001:db8:1:2::"]
    assert listed(gate)[0]["address"] == "2001:db8:1:2::/64"


def test_several_services_open_together_or_not_at_all(gate):
    refused = one(gate, grant(services={"cloud": HOUR, "nothing": HOUR}))
    assert refused["error"]["code"] == "unknown-service"
    refused = one(gate, grant(services={"cloud": HOUR, "game": 13 * HOUR}))
    assert refused["error"]["code"] == "bad-duration"
    assert kernel() == kernel("game4") == {}
    one(gate, grant(services={"cloud": HOUR, "game": 2 * HOUR}))
    assert kernel()["203.0.113.7"].timeout_ms * 2 == kernel("game4")["203.0.113.7"].timeout_ms
    assert [item["service"] for item in listed(gate)] == ["cloud", "game"]


def test_renewing_lengthens_and_never_shortens(gate):
    one(gate, grant(services={"cloud": 2 * HOUR}))
    one(gate, grant(services={"cloud": HOUR}, holder="cli"))
    assert kernel()["203.0.113.7"].timeout_ms == 2 * HOUR * 1000
    assert kernel()["203.0.113.7"].comment == "link:k3v9aa Mamie"
    one(gate, grant(services={"cloud": 3 * HOUR}, holder="cli", note=""))
    assert kernel()["203.0.113.7"].timeout_ms == 3 * HOUR * 1000
    assert kernel()["203.0.113.7"].comment == "cli"
    wait_for("a moment", lambda: kernel()["203.0.113.7"].left_ms < 3 * HOUR * 1000 - 100)
    begin = time.monotonic()
    one(gate, grant(services={"cloud": 3 * HOUR}, holder="cli", note=""))  # the same time again
    left_ms = kernel()["203.0.113.7"].left_ms
    assert left_ms > 3 * HOUR * 1000 - 50 - (time.monotonic() - begin) * 1000


def test_requests_that_wait_are_one_transaction_and_each_has_its_answer(gate, network):
    before = gate._sets.generation()
    answers = gate.decide(
        [
            grant("203.0.113.1", number=1),
            grant("10.0.0.1", number=2),
            grant("203.0.113.2", number=3),
            Revoke(4, None, "203.0.113.1", None, everything=False),
            Ban(5, "203.0.113.66", HOUR),
            grant("203.0.113.1", services={"cloud": HOUR}, number=6),
        ]
    )
    assert gate._sets.generation() == before + 1
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5, 6]
    assert answers[1]["error"]["code"] == "trusted-address"
    assert answers[3]["ok"] == {"revoked": 1}
    assert set(kernel()) == {"203.0.113.1", "203.0.113.2"}
    assert kernel()["203.0.113.1"].timeout_ms == HOUR * 1000
    assert set(kernel("banned4")) == {"203.0.113.66"}


def test_what_the_kernel_refuses_is_refused_to_the_one_who_asked_only(gate, nft):
    """Somebody made a set too small: who does not fit is told, the others' grants go on."""
    nft(
        "flush chain inet safeip service-game\ndelete set inet safeip game4\n"
        "add set inet safeip game4 { type ipv4_addr; flags timeout; size 1; }\n"
    )
    requests = [grant(f"203.0.113.{n}", services={"game": HOUR}, number=n) for n in (1, 2)]
    answers = gate.decide([*requests, grant("203.0.113.3", number=3)])
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, "kernel", None]
    assert list(kernel("game4")) == ["203.0.113.1"]
    assert list(kernel()) == ["203.0.113.3"]
    assert len(listed(gate)) == 2


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"address": "203.0.113.1"}, 3),
        ({"holder": HOLDER}, 1),
        ({"service": "game"}, 4),
        ({"service": "cloud", "holder": HOLDER}, 2),
        ({"service": "cloud", "address": "203.0.113.9"}, 5),
        ({"everything": True}, 0),
    ],
)
def test_revoking_takes_back_exactly_what_matches(gate, chosen, left):
    gate.decide(
        [
            grant("203.0.113.1", services={"cloud": HOUR, "game": HOUR}),
            grant("203.0.113.2"),
            grant("203.0.113.3", holder="cli"),
            grant("2001:db8:1::/64"),
            Ban(7, "203.0.113.66", HOUR),
        ]
    )
    assert one(gate, revoke(**chosen))["ok"]["revoked"] == 5 - left
    held = [*kernel(), *kernel("cloud6"), *kernel("game4")]
    assert len(held) == len(listed(gate)) == left
    assert len(listed(gate, "banned")) == 1


@pytest.mark.parametrize("count", [4000, 4700])
def test_a_very_large_revocation_takes_several_transactions(gate, monkeypatch, count):
    assert len(gate.decide([grant(f"198.{n >> 8}.{n & 255}.1", number=n) for n in range(count)])) == count
    commit, sizes = gate._sets.commit, []
    monkeypatch.setattr(gate._sets, "commit", lambda changes: (sizes.append(len(changes)), commit(changes))[1])
    after = grant("203.0.113.7", number=3)
    answers = gate.decide([grant("203.0.113.8", holder="cli", number=2), revoke(holder=HOLDER), after])
    assert [answer.get("ok", {}).get("revoked") for answer in answers] == [None, count, None]
    assert max(sizes) < 2000
    assert sorted(kernel()) == ["203.0.113.7", "203.0.113.8"]


def test_a_large_revocation_goes_on_with_the_next_call(gate):
    gate.decide([grant(f"198.{n >> 8}.{n & 255}.1", number=n) for n in range(2500)])
    wanted = [revoke(holder=HOLDER), revoke(holder=HOLDER)]
    assert gate.decide(wanted, 0.0) == gate.decide(wanted, 0.0) == []
    assert len(kernel()) == 500
    assert gate.decide(wanted, 0.0) == [{"id": 9, "ok": {"revoked": 2500}}]
    assert gate.decide(wanted[1:], 0.0) == [{"id": 9, "ok": {"revoked": 0}}]
    assert kernel() == {}


def test_what_takes_longer_than_others_can_wait_is_left_for_another_call(gate):
    wanted = [grant(f"203.0.113.{n}", number=n) for n in range(1, 6)]
    assert [answer["id"] for answer in gate.decide(wanted, 0.0)] == [1]
    assert list(kernel()) == ["203.0.113.1"]


def test_of_a_holders_addresses_the_oldest_leaves(gate):
    for number in (1, 2, 3):
        one(gate, grant(f"203.0.113.{number}", services={"cloud": HOUR, "game": HOUR}, addresses=3))
    one(gate, grant("203.0.113.1", services={"cloud": 2 * HOUR, "game": 2 * HOUR}, addresses=3))  # now the newest
    one(gate, grant("203.0.113.200", holder="cli"))
    answer = one(gate, grant("203.0.113.4", services={"cloud": HOUR, "game": HOUR}, addresses=2))
    assert answer["ok"]["left"] == ["203.0.113.2", "203.0.113.3"]
    assert not answer["ok"]["renewed"]
    assert one(gate, grant("203.0.113.4", addresses=2))["ok"]["renewed"]
    assert not one(gate, grant("203.0.113.4", holder="link:other1", services={"cloud": 3 * HOUR}))["ok"]["renewed"]
    one(gate, revoke(holder="link:other1"))
    assert set(kernel()) == {"203.0.113.1", "203.0.113.200"}
    assert set(kernel("game4")) == {"203.0.113.1", "203.0.113.4"}
    assert one(gate, grant("2001:db8:1::/64", addresses=1))["ok"]["left"] == []  # each family by itself


def test_no_more_grants_than_the_ceiling(network):
    with opened(Policy({"cloud": CLOUD}, (), max_grants=3)) as gate:
        answers = gate.decide([grant(f"203.0.113.{number}", number=number) for number in range(1, 6)])
        codes = [answer.get("error", {}).get("code") for answer in answers]
        assert codes == [None, None, None, "too-many", "too-many"]
        assert len(kernel()) == 3
        assert "ok" in one(gate, grant("203.0.113.1", services={"cloud": 3 * HOUR}))  # a renewal is no new one
        one(gate, revoke(address="203.0.113.2"))
        assert "ok" in one(gate, grant("203.0.113.4"))


def test_bans_last_and_are_lifted(gate):
    one(gate, Ban(1, "203.0.113.66", HOUR))
    one(gate, Ban(1, "2001:db8:66::/64", HOUR))
    assert {item["address"] for item in listed(gate, "banned")} == {"203.0.113.66", "2001:db8:66::/64"}
    assert one(gate, Ban(1, "10.0.0.1", HOUR))["error"]["code"] == "trusted-address"
    assert one(gate, Ban(1, "203.0.113.67", 31 * 86400))["error"]["code"] == "bad-duration"
    one(gate, Ban(1, "203.0.113.66", 0))
    assert "ok" in one(gate, Ban(1, "203.0.113.68", 0))
    assert kernel("banned4") == {}
    assert list(kernel("banned6")) == ["2001:db8:66::"]


def test_an_end_is_told_when_the_kernel_has_forgotten(gate):
    one(gate, grant(services={"cloud": 1}))
    deadline = time.monotonic() + 5 * PATIENCE
    while listed(gate):
        assert time.monotonic() < deadline
        assert 0 <= gate.next_s() <= 1
        time.sleep(gate.next_s())
        gate.work()
    assert names(gate) == ["grant-expired"]
    assert gate.next_s() is None
    while kernel():
        assert time.monotonic() < deadline


def test_what_is_held_is_told_without_the_kernel(gate, monkeypatch):
    one(gate, grant(services={"cloud": HOUR, "game": HOUR}))
    one(gate, grant("2001:db8:1::/64"))
    for name in ("read", "dump", "commit", "counter"):
        monkeypatch.delattr(NetlinkSets, name)
    with pytest.raises(AttributeError):
        listed(gate)
    assert [found["service"] for found in listed(gate, "held", "cloud", "203.0.113.7")] == ["cloud"]
    assert [found["address"] for found in listed(gate, "held", "cloud", "2001:db8:1::/64")] == ["2001:db8:1::/64"]
    assert listed(gate, "held", "cloud", "203.0.113.8") == []
    assert listed(gate, "held", "game", "2001:db8:1::/64") == []


def test_what_has_ended_is_not_held_any_more_before_anybody_noticed(gate):
    one(gate, grant(services={"cloud": 1}))
    deadline = time.monotonic() + 5 * PATIENCE
    while any(found["remaining_ms"] for found in listed(gate, "held", "cloud", "203.0.113.7")):
        assert time.monotonic() < deadline
    assert names(gate) == []


def test_a_service_without_ports_holds_grants_and_closes_nothing(network, nft):
    named = Policy({"cloud": CLOUD, "site": ServiceRule("site", (), HOUR)}, ())
    with opened(named) as gate:
        one(gate, grant(services={"site": 60}))
        assert list(kernel("site4", named)) == ["203.0.113.7"]
        assert "goto service-site" not in nft("list map inet safeip ports")
        gate.reload(Policy({"cloud": CLOUD, "site": ServiceRule("site", (PortRange("tcp", 8080, 8080),), HOUR)}, ()))
        assert "goto service-site" in nft("list map inet safeip ports")
        gate.reload(named)
        assert "goto service-site" not in nft("list map inet safeip ports")
        assert [found["address"] for found in listed(gate, "held", "site")] == ["203.0.113.7"]


def test_a_new_gate_adopts_what_the_kernel_holds(network, nft):
    with opened() as gate:
        gate.decide([grant(services={"cloud": HOUR, "game": HOUR}), grant("2001:db8:1::/64"), Ban(3, "203.0.113.66", HOUR)])
        before = {name: kernel(name) for name in ("cloud4", "cloud6", "game4", "banned4")}
        shown = listed(gate)
    with opened() as gate:
        again = listed(gate)
        assert [{**item, "remaining_ms": 0} for item in again] == [{**item, "remaining_ms": 0} for item in shown]
        assert all(a["remaining_ms"] <= b["remaining_ms"] for a, b in zip(again, shown, strict=True))
        for name, held in before.items():
            assert kernel(name).keys() == held.keys()
            assert all(kernel(name)[address].left_ms <= found.left_ms for address, found in held.items())
        assert one(gate, revoke(holder=HOLDER))["ok"]["revoked"] == 3
        assert kernel() == kernel("cloud6") == {}


def test_what_was_put_by_hand_without_an_end_gets_the_services_longest(network, nft):
    with opened():
        pass
    nft(
        "add element inet safeip game4 { 203.0.113.1, 203.0.113.2 timeout 30d, 203.0.113.3 timeout 1h }\n"
        "add element inet safeip cloud6 { 2001:db8:1::5 timeout 1h }\n"  # no network address: opens nothing
    )
    with opened() as gate:
        left = {item["address"]: item["remaining_ms"] // 1000 for item in listed(gate)}
        assert left == {
            "203.0.113.1": pytest.approx(12 * HOUR, abs=60),
            "203.0.113.2": pytest.approx(12 * HOUR, abs=60),
            "203.0.113.3": pytest.approx(HOUR, abs=60),
        }
        assert kernel("game4")["203.0.113.1"].left_ms <= 12 * HOUR * 1000


def test_loading_again_changes_no_element(gate):
    one(gate, grant())
    before = kernel()
    with opened() as second:
        assert kernel()["203.0.113.7"].timeout_ms == before["203.0.113.7"].timeout_ms
        assert len(listed(second)) == 1


def test_a_service_that_left_the_configuration_leaves_the_kernel(network, nft):
    with opened() as gate:
        gate.decide([grant(), grant(services={"game": HOUR})])
    with opened(Policy({"cloud": CLOUD}, ())) as gate:
        table = nft("list table inet safeip")
        assert "game" not in table
        assert "25565" not in table
        assert list(kernel()) == ["203.0.113.7"]


def wait_repair(gate: Gate) -> list[str]:
    deadline = time.monotonic() + 5 * PATIENCE
    happened: list[str] = []
    while not happened and time.monotonic() < deadline:
        settle(gate)
        happened = names(gate)
    return happened


def settle(gate: Gate) -> None:
    """What the loop does until nothing is left to be done."""
    while select.select([gate], [], [], 0)[0] or gate.next_s() == 0:
        gate.repair()
        gate.work()


@pytest.mark.parametrize(
    "hand",
    [
        "flush ruleset",
        "delete table inet safeip",
        "delete table inet safeip\nadd table inet safeip",
        "flush chain inet safeip service-cloud\ndelete set inet safeip cloud4",
        (
            "flush chain inet safeip service-cloud\ndelete set inet safeip cloud4\n"
            "add set inet safeip cloud4 { type ipv4_addr; flags timeout; }\n"
            "add element inet safeip cloud4 { 203.0.113.99 timeout 1d }"
        ),
    ],
    ids=["ruleset", "table", "table made again", "set", "set made again with another's element"],
)
def test_what_somebody_flushed_is_put_back_with_the_time_it_had_left(gate, nft, hand):
    gate.decide([grant(services={"cloud": 2 * HOUR, "game": HOUR}), grant("2001:db8:1::/64"), Ban(3, "203.0.113.66", HOUR)])
    whole = nft("list table inet safeip").splitlines()
    begin = time.monotonic()
    before = {name: kernel(name) for name in ("cloud4", "cloud6", "game4", "banned4")}
    nft(hand)
    assert "repaired" in wait_repair(gate)
    after = nft("list table inet safeip").splitlines()
    assert sorted(x for x in after if "expires" not in x) == sorted(x for x in whole if "expires" not in x)
    for name, held in before.items():
        assert kernel(name).keys() == held.keys()
        for address, found in held.items():
            again = kernel(name)[address]
            passed_ms = (time.monotonic() - begin) * 1000
            assert found.left_ms - passed_ms - 50 <= again.left_ms <= found.left_ms
            assert (again.timeout_ms, again.comment) == (found.timeout_ms, found.comment)
    assert len(listed(gate)) == 3


@pytest.mark.parametrize(
    "hand",
    [
        "flush chain inet safeip gate",
        "flush chain inet safeip closed",
        "delete element inet safeip ports { tcp . 443 }",
        "flush map inet safeip ports",
        "insert rule inet safeip gate accept",
        "add chain inet safeip other",
        "add rule inet safeip service-cloud accept",
        "flush map inet safeip ports\nflush chain inet safeip service-cloud\ndelete chain inet safeip service-cloud",
        "flush chain inet safeip gate\ndelete set inet safeip banned6",
    ],
)
def test_rules_that_somebody_changed_are_as_they_were(gate, nft, hand):
    one(gate, grant())
    whole = nft("list table inet safeip")
    nft(hand)
    assert nft("list table inet safeip") != whole
    assert "repaired" in wait_repair(gate)
    mended = nft("list table inet safeip")
    assert sorted(x for x in mended.splitlines() if "expires" not in x) == sorted(
        x for x in whole.splitlines() if "expires" not in x
    )
    settle(gate)
    assert names(gate) == []  # the gate does not take its own repair for another's doing


def test_other_tables_are_nobodys_business(gate, nft):
    nft("table inet foreign { set s { type ipv4_addr; elements = { 192.0.2.1 } }\n chain c { accept\n}\n}")
    nft("delete table inet foreign")
    nft("table ip safeip { chain c { accept\n}\n}")
    gate.repair()
    assert names(gate) == []
    assert "chain c" in nft("list table ip safeip")


def test_what_an_admin_takes_out_by_hand_stays_out(gate, nft):
    one(gate, grant())
    nft("delete element inet safeip cloud4 { 203.0.113.7 }")
    assert wait_repair(gate) == ["foreign-revoke"]
    assert listed(gate) == []
    nft("flush ruleset")
    assert wait_repair(gate) == ["repaired"]
    assert kernel() == {}


def test_what_an_admin_puts_in_by_hand_is_a_grant(gate, nft):
    nft('add element inet safeip cloud4 { 203.0.113.1 timeout 1h comment "person:anne Anne", 203.0.113.2 }')
    assert wait_repair(gate) == ["foreign-grant", "foreign-grant"]
    assert {item["address"]: item["holder"] for item in listed(gate)} == {
        "203.0.113.1": "person:anne",
        "203.0.113.2": "cli",
    }
    assert kernel()["203.0.113.2"].left_ms is not None
    assert one(gate, revoke(holder="person:anne"))["ok"]["revoked"] == 1


def test_a_hand_that_comes_late_does_not_undo_a_newer_grant(gate, nft):
    one(gate, grant())
    nft("delete element inet safeip cloud4 { 203.0.113.7 }")
    one(gate, grant(services={"cloud": 3 * HOUR}))  # before the gate has heard of the deletion
    settle(gate)
    assert list(kernel()) == ["203.0.113.7"]
    assert len(listed(gate)) == 1


def test_a_grant_in_the_instant_of_a_flush_is_not_lost(gate, nft):
    one(gate, grant("203.0.113.1"))
    nft("flush ruleset")
    answer = one(gate, grant("203.0.113.2"))
    assert "ok" in answer
    settle(gate)
    assert set(kernel()) == {"203.0.113.1", "203.0.113.2"}


def test_more_notifications_than_can_be_heard_end_in_the_same_state(gate, nft):
    one(gate, grant())
    gate._repair._listener._socket.socket.setsockopt(1, 33, 32768)  # SO_RCVBUFFORCE
    for _ in range(30):
        nft("".join(f"add table inet foreign{n}\n" for n in range(30)) + "flush ruleset\n")
    deadline = time.monotonic() + 5 * PATIENCE
    while "safeip" not in nft("list tables"):
        assert time.monotonic() < deadline
        settle(gate)
    assert list(kernel()) == ["203.0.113.7"]


def test_own_changes_do_not_wake_the_listener(gate):
    while select.select([gate], [], [], 0)[0]:
        gate.repair()  # hears the rules that were loaded at start
    assert names(gate) == []
    for number in range(1, 50):
        one(gate, grant(f"203.0.113.{number}"))
    with pytest.raises(BlockingIOError):
        gate._repair._listener._socket.socket.recv(1, 0x40)  # MSG_DONTWAIT


def test_the_admins_own_rules_are_included(network, tmp_path, nft):
    custom = tmp_path / "custom.nft"
    custom.write_text("ip saddr 192.0.2.0/24 accept\n")
    with opened(custom=str(custom)):
        assert "ip saddr 192.0.2.0/24 accept" in nft("list chain inet safeip custom")
    assert rules.check(POLICY, str(custom)) == []


def test_own_rules_with_sets_in_them_are_loaded_again_like_others(network, tmp_path, nft):
    custom = tmp_path / "custom.nft"
    custom.write_text("tcp dport { 22, 8000-8010 } accept\nmeta l4proto vmap { icmp : accept, ipv6-icmp : accept }\n")
    warnings: list[str] = []
    for _ in range(2):
        with opened(custom=str(custom), warnings=warnings) as gate:
            one(gate, grant())
            gate.reload(POLICY)
            assert list(kernel()) == ["203.0.113.7"]
    assert warnings == []


def test_own_rules_that_nft_refuses_are_left_out_aloud(network, tmp_path, nft):
    """In doubt closed: the services' own rules load all the same."""
    custom = tmp_path / "custom.nft"
    custom.write_text("ip saddr 192.0.2.0/24 akzept\n")
    warnings: list[str] = []
    with opened(custom=str(custom), warnings=warnings):
        assert "goto service-cloud" in nft("list table inet safeip")
        assert str(custom) in warnings[0]
        assert len(warnings) == 1
    [problem] = rules.check(POLICY, str(custom))
    assert "syntax error" in problem


def test_own_rules_that_cannot_be_looked_at_are_left_out_aloud(network, nft):
    custom, warnings = "/" + "x" * 300, []  # as for what lies in a directory that is closed to the gate
    with opened(custom=custom, warnings=warnings) as gate:
        assert f"{custom} is left out: " in warnings[0]
        one(gate, grant())
        nft("flush ruleset")
        settle(gate)
        assert list(kernel()) == ["203.0.113.7"]
        with pytest.raises(KernelError):
            gate.try_rules(POLICY)


def test_own_rules_in_another_encoding_are_refused_like_others(network, tmp_path, nft):
    custom, warnings = tmp_path / "custom.nft", []
    custom.write_bytes("ip saddr 192.0.2.0/24 bloqué\n".encode("latin-1"))
    with opened(custom=str(custom), warnings=warnings) as gate:
        assert f"{custom} is left out: " in warnings[0]
        with pytest.raises(KernelError):
            gate.try_rules(POLICY)
    [problem] = rules.check(POLICY, str(custom))
    assert "syntax error" in problem


def test_a_table_that_does_not_fit_is_made_anew(network, nft):
    """Somebody's set of another type stands where ours belongs."""
    nft("table inet safeip { set cloud6 { type ipv4_addr; }\n set cloud4 { type ipv4_addr; flags timeout; counter; }\n}")
    nft("add element inet safeip cloud4 { 203.0.113.7 timeout 1h }")
    warnings: list[str] = []
    with opened(warnings=warnings) as gate:
        assert "made anew" in warnings[0]
        assert [item["address"] for item in listed(gate)] == ["203.0.113.7"]
        assert list(kernel()) == ["203.0.113.7"]
        assert "ok" in one(gate, grant("2001:db8:1::/64"))


def test_check_changes_nothing(network, nft):
    assert rules.check(POLICY) == []
    assert nft("list ruleset") == ""


def test_down_takes_the_table_away_and_nothing_else(gate, nft):
    nft("table inet mine { chain c { accept\n}\n}")
    rules.down(POLICY)
    assert "safeip" not in nft("list ruleset")
    assert "mine" in nft("list ruleset")
    rules.down(POLICY)  # twice does no harm


SETS = Policy({"cloud": CLOUD}, (), mode="sets", table="mine")


def test_in_the_admins_own_table_only_sets_are_kept(network, nft):
    nft("table inet mine { chain c { accept\n}\n}")
    with opened(SETS) as gate:
        one(gate, grant())
        assert list(kernel(policy=SETS)) == ["203.0.113.7"]
        nft("flush ruleset\ntable inet mine { chain d { drop\n}\n}")
        assert wait_repair(gate) == ["repaired"]
        assert list(kernel(policy=SETS)) == ["203.0.113.7"]
        table = nft("list table inet mine")
        assert "chain d" in table
        assert table.count("chain") == 1
        assert listed(gate, "blocked") == []
    rules.down(SETS)
    assert kernel(policy=SETS) == {}
    assert "chain d" in nft("list table inet mine")


def test_flushed_in_the_middle_of_a_repair_it_begins_again(gate, network):
    """Somebody flushes without end, at every moment of a repair; when they stop, everything is there."""
    gate.decide([grant(services={"cloud": HOUR, "game": HOUR}), grant("2001:db8:1::/64")])
    flood = "import nftables\nnft = nftables.Nftables()\nfor _ in range(2000): nft.cmd('flush ruleset')\n"
    with subprocess.Popen(["/usr/bin/python3", "-c", flood]) as flushing:
        while flushing.poll() is None:
            gate.repair()
            gate.work()
    settle(gate)
    assert "repaired" in names(gate)
    assert list(kernel()) == list(kernel("game4")) == ["203.0.113.7"]
    assert list(kernel("cloud6")) == ["2001:db8:1::"]
