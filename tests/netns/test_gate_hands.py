"""What others do to the gate's table, by hand or by program: noticed, and put right, or believed."""

import contextlib
import errno
import gc
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from test_gate import (
    CLOUD,
    GAME,
    HOUR,
    grant,
    kernel,
    listed,
    loaded_at_the_same_instant,
    names,
    one,
    opened,
    revoke,
    settle,
)

from lab.process import PATIENCE
from nft import netlink, repair
from nft.netlink import Message
from nft.netlink_sets import NetlinkSocket
from nft.policy import Policy
from nft.sets import Add, KernelError
from nft.wire import Ban

_SO_RCVBUFFORCE = 33


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def over() -> list[str]:
    return []


@pytest.fixture
def gate(network, warnings, over, tmp_path):
    custom = tmp_path / "custom.nft"
    custom.write_text("ip saddr 192.0.2.0/24 accept\n")
    with opened(custom=str(custom), warnings=warnings, over=over) as started:
        yield started


def many(gate, count: int, **chosen) -> None:
    for start in range(0, count, 1000):
        wanted = [grant(address(n), number=n, **chosen) for n in range(start, min(start + 1000, count))]
        assert all("ok" in answer for answer in gate.decide(wanted))


def address(number: int) -> str:
    return socket.inet_ntoa((0xCB000000 + number).to_bytes(4, "big"))


def until(gate, condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        settle(gate)


def part_of_repair(gate) -> None:
    """Until some of it is back."""
    until_s = time.monotonic() + 10 * PATIENCE
    while not there():
        assert time.monotonic() < until_s
        gate.repair()
        gate.work()
    assert gate.next_s() == 0


def there() -> bool:
    try:
        return bool(kernel())
    except KernelError:  # no table
        return False


def shape(nft) -> list[str]:
    """The table without what counts and ends."""
    return sorted(
        line.replace(" packets 0 bytes 0", "") for line in nft("list ruleset").splitlines() if "expires" not in line
    )




@pytest.mark.parametrize(
    "hand",
    [
        "add table inet safeip { flags dormant; }",
        "add chain inet safeip gate { policy drop; }",
        "flush chain inet safeip gate\ndelete chain inet safeip gate",
        "delete chain inet safeip gate\nadd chain inet safeip gate { type filter hook input priority 0; }",
        "delete chain inet safeip gate\nadd chain inet safeip gate { type filter hook prerouting priority 0; }",
        "delete chain inet safeip gate\nadd chain inet safeip gate",
        "delete chain inet safeip gate\nadd chain inet safeip other { type filter hook prerouting priority mangle; }",
        "rename chain inet safeip gate other",
        "rename chain inet safeip service-cloud other",
        "add chain inet safeip more { type filter hook prerouting priority -400; }\nadd rule inet safeip more accept",
        "add set inet safeip more { type ipv4_addr; }",
        "flush chain inet safeip service-cloud\ndelete set inet safeip cloud4\nadd set inet safeip cloud4 { type ipv6_addr; }",
        "flush chain inet safeip gate\ndelete set inet safeip banned4",
        "flush chain inet safeip closed\ndelete set inet safeip blocked4",
        "delete table inet safeip\ntable inet safeip { chain gate { accept\n}\n}",
        "flush ruleset\ntable inet safeip { set cloud4 { type ipv4_addr; flags timeout; elements = { 203.0.113.99 timeout 1h } }\n}",
        "flush ruleset\nflush ruleset",
    ],
)
def test_whatever_somebody_makes_of_the_table_it_is_as_it_was(gate, nft, hand, warnings):
    gate.decide([grant(services={"cloud": 2 * HOUR, "game": HOUR}), grant("2001:db8:1::/64"), Ban(3, "203.0.113.66", HOUR)])
    whole, before = shape(nft), {name: kernel(name).keys() for name in ("cloud4", "cloud6", "game4", "banned4")}
    nft(hand)
    assert shape(nft) != whole
    settle(gate)
    assert shape(nft) == whole
    assert {name: kernel(name).keys() for name in before} == before
    assert "repaired" in names(gate)
    assert "left out" not in " ".join(warnings)
    settle(gate)
    assert names(gate) == []  # and it does not take its own doing for another's


def test_own_rules_that_are_wrong_too_are_left_out_of_a_table_that_is_made_anew(gate, nft, warnings, tmp_path):
    one(gate, grant())
    (tmp_path / "custom.nft").write_text("ip saddr 192.0.2.0/24 akzept\n")
    nft("delete chain inet safeip gate\nadd chain inet safeip gate { type filter hook input priority 0; }")
    settle(gate)
    assert list(kernel()) == ["203.0.113.7"]
    assert "hook prerouting" in nft("list chain inet safeip gate")
    assert [" is left out: " in line for line in warnings] == [False, True]


def test_another_program_loads_and_adds_at_once_and_again_while_it_is_repaired(gate, nft):
    many(gate, 4000)
    whole = shape(nft)
    for hand in ("flush ruleset", "delete table inet safeip", "flush ruleset"):
        nft(hand)
        part_of_repair(gate)
    settle(gate)
    assert shape(nft) == whole
    assert len(kernel()) == 4000


def test_what_is_decided_while_grants_are_put_back_wins(gate, nft):
    many(gate, 4000)
    nft("flush ruleset")
    part_of_repair(gate)
    assert 0 < len(kernel()) < 4000
    one(gate, grant("198.51.100.1"))
    one(gate, revoke(address=address(3)))
    one(gate, grant(address(4), services={"cloud": 5 * HOUR}))
    one(gate, revoke(address=address(5)))
    one(gate, grant(address(5), services={"cloud": HOUR}))
    settle(gate)
    held = kernel()
    assert len(held) == len(listed(gate)) == 4000
    assert address(3) not in held
    assert "198.51.100.1" in held
    assert held[address(4)].timeout_ms == 5 * HOUR * 1000
    assert held[address(5)].timeout_ms == HOUR * 1000


def test_deleted_by_hand_and_then_flushed_stays_deleted(gate, nft):
    gate.decide([grant("203.0.113.1"), grant("203.0.113.2")])
    nft("delete element inet safeip cloud4 { 203.0.113.1 }")
    nft("flush ruleset")
    settle(gate)
    assert list(kernel()) == ["203.0.113.2"]
    assert [item["address"] for item in listed(gate)] == ["203.0.113.2"]
    assert sorted(names(gate)) == ["foreign-revoke", "repaired"]


def test_deleted_by_hand_while_grants_are_put_back_stays_deleted(gate, nft):
    many(gate, 4000)
    nft("flush ruleset")
    part_of_repair(gate)
    [gone, *_] = kernel()
    nft(f"delete element inet safeip cloud4 {{ {gone} }}")
    settle(gate)
    assert len(kernel()) == len(listed(gate)) == 3999
    assert gone not in kernel()


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EBUSY], ids=["no memory", "busy"])
def test_a_kernel_that_cannot_at_this_moment_ends_no_grant_that_is_put_back(gate, nft, warnings, over, monkeypatch, number):
    many(gate, 3)
    transact, tries = gate._sets._transact, []

    def short(changes, generation=0):
        if any(type(change) is Add for change in changes):
            tries.append(changes)
            return number
        return transact(changes, generation)

    monkeypatch.setattr(gate._sets, "_transact", short)
    monkeypatch.setattr(repair, "_AGAIN_S", 60 * PATIENCE)
    nft("flush ruleset")
    settle(gate)
    assert gate.next_s() > 0
    assert len(tries) == (100 if number == errno.EBUSY else 1), "as one transaction, and then nobody is held up for a second"
    assert gate.grants == 3
    assert "ok" in one(gate, grant("198.51.100.1"))
    assert len(warnings) == 1
    assert "does not get its grants back yet" in warnings[0]
    monkeypatch.undo()
    gate._repair._again_s = 0.0
    until(gate, lambda: len(kernel()) == 4)
    assert over == ["table inet safeip is as it should be again"]
    assert names(gate) == ["repaired"]


def test_a_set_that_somebody_emptied_stays_empty(gate, nft):
    many(gate, 2000)
    nft("flush set inet safeip cloud4")
    settle(gate)
    assert kernel() == {}
    assert listed(gate) == []
    assert set(names(gate)) == {"foreign-revoke"}


def test_more_by_hand_than_is_remembered_one_by_one(gate, nft):
    many(gate, 3000)
    others = ", ".join(f"{address(n)} timeout 1h" for n in range(100_000, 105_000))
    nft(f"add element inet safeip cloud4 {{ {others} }}\ndelete element inet safeip cloud4 {{ {address(7)} }}")
    until(gate, lambda: gate.next_s() != 0 and len(listed(gate)) == 7999)
    assert len(kernel()) == 7999
    assert address(7) not in kernel()


def test_what_is_put_in_by_hand_for_longer_than_a_service_allows_is_cut(gate, nft):
    nft("add element inet safeip game4 { 203.0.113.1 timeout 30d, 203.0.113.2 }")
    settle(gate)
    assert all(found.left_ms <= 12 * HOUR * 1000 for found in kernel("game4").values())
    assert len(listed(gate)) == 2


class Owner:
    """A program that keeps a table from all others (`flags owner`), until it ends."""

    def __init__(self, table: str) -> None:
        self._socket = NetlinkSocket()
        body = netlink.text(netlink.TABLE, table) + netlink.attribute(2, struct.pack(">I", 2))
        made = netlink.message(Message.NEWTABLE, netlink.REQUEST | netlink.CREATE | netlink.ACK, 1, 1, body)
        self._socket.socket.send(netlink.batch([made], 0))
        assert [answer.error for answer in self._socket.answers()] == [0]

    def end(self) -> None:
        self._socket.close()


def test_a_table_that_another_program_owns_is_told_once_and_taken_back_when_it_ends(gate, nft, warnings, over, monkeypatch):
    monkeypatch.setattr(repair, "_AGAIN_S", 60 * PATIENCE)
    one(gate, grant())
    whole = shape(nft)
    nft("delete table inet safeip")
    owner = Owner("safeip")
    try:
        settle(gate)
        assert one(gate, grant("203.0.113.8"))["error"]["code"] == "kernel"
        assert gate.next_s() > 0
        assert len(warnings) == 1
        assert "owner" in warnings[0]
    finally:
        owner.end()
    gate._repair._again_s = 0.0
    until(gate, there)
    assert shape(nft) == whole
    assert list(kernel()) == ["203.0.113.7"]
    assert over == ["table inet safeip is as it should be again"]


def overflow(gate, nft) -> None:
    """More notifications than the listener's buffer holds."""
    listening = gate._repair._listener._socket.socket
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4096)
    nft("".join(f"add table inet foreign{n}\n" for n in range(50)))
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)


def test_an_overflow_takes_no_live_element_out_of_its_set(gate, nft):
    """Each element keeps its counters and its place: it was not put again."""
    many(gate, 3000)
    before = gate._sets.handles()
    watching, stop, least = threading.Event(), threading.Event(), [3000]

    def watch() -> None:
        while not stop.is_set():
            least[0] = min(least[0], len(kernel()))
            watching.set()

    with contextlib.ExitStack() as stack:
        network_thread = threading.Thread(target=watch)
        network_thread.start()
        stack.callback(network_thread.join)
        stack.callback(stop.set)
        watching.wait(10)
        overflow(gate, nft)
        settle(gate)
    assert gate._sets.handles() == before
    assert least == [3000]
    assert len(kernel()) == len(listed(gate)) == 3000


def test_what_was_done_unheard_is_found_all_the_same(gate, nft):
    many(gate, 1500, services={"cloud": 2 * HOUR, "game": HOUR})
    overflow(gate, nft)
    nft(
        f"delete element inet safeip cloud4 {{ {address(1)}, {address(2)} }}\n"
        "add element inet safeip cloud4 { 198.51.100.1 timeout 1h }\n"
        "flush chain inet safeip service-game\ndelete set inet safeip game4\n"
        "add set inet safeip game4 { type ipv4_addr; flags timeout; counter; }\n"
        "flush chain inet safeip gate\n"
    )
    settle(gate)
    assert len(kernel()) == 1499
    assert "198.51.100.1" in kernel()
    assert address(1) not in kernel()
    assert len(kernel("game4")) == 1500
    assert "vmap @ports" in nft("list chain inet safeip gate")
    assert len(listed(gate)) == 2999


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """The collector does not look at what all the tests before have left."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def test_another_tables_hundred_thousand_elements_hold_up_no_grant(gate, tmp_path):
    """They are passed over, a few at a time."""
    one(gate, grant())
    script = tmp_path / "foreign.nft"
    held = ", ".join(address(n) for n in range(100_000))
    script.write_text(f"table inet foreign {{ set s {{ type ipv4_addr; elements = {{ {held} }} }}\n}}\n")
    worst, whole, number = 0.0, 0.0, 1
    with subprocess.Popen(["nft", "-f", str(script)]) as loading, uncollected():
        while loading.poll() is None or gate.next_s() == 0:
            begin = time.thread_time()  # what it waits for the kernel's lock is not the gate's
            gate.repair()
            gate.work()
            took = time.thread_time() - begin
            worst, whole = max(worst, took), whole + took
            if number < 100:  # nft begins again when the ruleset has changed meanwhile
                assert "ok" in one(gate, grant(address(number)))
                number += 1
    assert worst < whole / 4  # all at once it would be the whole
    assert "foreign-revoke" not in names(gate)
    settle(gate)
    assert len(kernel()) == len(listed(gate)) == number


def test_own_loads_are_known_by_their_port_while_others_change_rulesets_without_end(gate, nft):
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            nft("table inet foreign { set s { type ipv4_addr; elements = { 192.0.2.1 } }\n}\ndelete table inet foreign\n")

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(5):
            nft("flush chain inet safeip gate")
            settle(gate)
        assert 1 <= gate._repair.repairs <= 6
    finally:
        stop.set()
        churning.join()


@pytest.mark.parametrize(
    "hand", ["flush ruleset", "flush chain inet safeip gate", "flush chain inet safeip service-cloud\ndelete set inet safeip cloud4"]
)
def test_what_others_do_in_the_instant_of_a_load_is_heard(gate, nft, monkeypatch, hand):
    one(gate, grant())
    settle(gate)
    whole = shape(nft)
    waits = loaded_at_the_same_instant(gate, monkeypatch, nft, hand)
    with contextlib.suppress(KernelError):  # what it would have changed went an instant ago
        gate.reload(gate._ledger.policy)
    assert not waits
    settle(gate)
    assert shape(nft) == whole
    assert list(kernel()) == ["203.0.113.7"]


SETS = Policy({"cloud": CLOUD, "game": GAME}, (), mode="sets", table="mine")
MINE = """
table inet mine {
    set cloud4 { type ipv4_addr; flags timeout; elements = { 192.0.2.1 } }
    set cloud6 { type ipv6_addr; flags timeout; }
    set game4 { type ipv4_addr; flags timeout; }
    set game6 { type ipv6_addr; flags timeout; }
    set banned { type ipv4_addr; flags timeout; elements = { 192.0.2.9 timeout 1h } }
    chain input { type filter hook input priority 0; tcp dport 443 ip saddr != @cloud4 drop; }
}
"""


def test_an_admins_ruleset_that_is_loaded_again_gets_the_grants_back(network, nft):
    nft(MINE)
    with opened(SETS) as gate:
        gate.decide([grant(services={"cloud": 2 * HOUR, "game": HOUR})])
        for _ in range(2):
            nft("flush ruleset\n" + MINE)
            settle(gate)
            assert set(kernel(policy=SETS)) == {"192.0.2.1", "203.0.113.7"}
            assert 0 < kernel(policy=SETS)["203.0.113.7"].left_ms <= 2 * HOUR * 1000
            assert set(kernel("game4", SETS)) == {"203.0.113.7"}
        nft("delete element inet mine cloud4 { 203.0.113.7 }\nadd rule inet mine input accept")
        settle(gate)
        assert set(kernel(policy=SETS)) == {"192.0.2.1"}
        assert [item["service"] for item in listed(gate)] == ["game"]


def test_a_set_of_the_admins_that_is_too_small_keeps_what_fits(network, nft):
    nft(MINE)
    with opened(SETS) as gate:
        gate.decide([grant(f"203.0.113.{n}", services={"game": HOUR}, number=n) for n in range(1, 9)])
        nft("flush ruleset\n" + MINE.replace("set game4 { type ipv4_addr; flags timeout;", "set game4 { type ipv4_addr; flags timeout; size 3;"))
        settle(gate)
        assert len(kernel("game4", SETS)) == len(listed(gate)) == 3
        assert names(gate).count("foreign-revoke") == 5
        assert "kernel" in one(gate, grant("203.0.113.99", services={"game": HOUR}))["error"]["code"]


def test_of_a_thousand_those_fit_that_fit(network, nft, monkeypatch):
    """And nobody waits until each of them has been tried."""
    small = MINE.replace("set game4 { type ipv4_addr; flags timeout;", "set game4 { type ipv4_addr; flags timeout; size 333;")
    nft(MINE)
    with opened(SETS) as gate:
        many(gate, 1000, services={"game": HOUR})
        nft("flush ruleset\n" + small)
        commits, commit = [], gate._sets.commit
        monkeypatch.setattr(gate._sets, "commit", lambda changes: (commits.append(changes), commit(changes)))
        settle(gate)
        assert len(kernel("game4", SETS)) == gate.grants == 333
        assert len(commits) < 30


def test_what_is_renewed_while_a_set_that_became_small_is_filled_stays_in_the_book(network, nft):
    small = MINE.replace("set game4 { type ipv4_addr; flags timeout;", "set game4 { type ipv4_addr; flags timeout; size 400;")
    nft(MINE)
    with opened(SETS) as gate:
        many(gate, 1000, services={"game": HOUR})
        nft("flush ruleset\n" + small)
        while select.select([gate], [], [], 0)[0]:
            gate.repair()
        gate.work()
        assert "ok" in one(gate, grant(address(0), services={"game": 2 * HOUR}))
        settle(gate)
        assert {item["address"] for item in listed(gate)} == set(kernel("game4", SETS))
        assert address(0) in kernel("game4", SETS)


