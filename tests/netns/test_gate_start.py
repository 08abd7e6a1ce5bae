"""The gate's start and reload: what the kernel kept, what it forgot, and what the record brings back."""

import contextlib
import errno
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network

import pytest
from test_gate import (
    CLOUD,
    GAME,
    HOUR,
    POLICY,
    grant,
    kernel,
    listed,
    loaded_in_the_middle_of_a_start,
    names,
    one,
    settle,
)
from test_packets import field, unharmed_flow  # noqa: F401 (a fixture)

from lab.process import PATIENCE
from nft import render, stamps
from nft.bindings import Bindings
from nft.gate import Gate
from nft.policy import PortRange, ServiceRule
from nft.recall import RecordError
from nft.sets import KernelError
from nft.wire import Ban


@pytest.fixture
def record(tmp_path):
    return tmp_path / "grants.jsonl"


@contextlib.contextmanager
def opened(record=None, policy=POLICY, custom=None, warnings=None):
    gate = Gate(policy, custom, (warnings if warnings is not None else []).append, record=record)
    try:
        gate.start()
        yield gate
    finally:
        gate.close()


def filled(record) -> None:
    """A gate's life: two grants and a ban, in kernel and record."""
    with opened(record) as gate:
        gate.decide([grant(services={"cloud": 2 * HOUR, "game": HOUR}), grant("2001:db8:1::/64"), Ban(3, "203.0.113.66", HOUR)])
        settle(gate)


def held() -> dict[str, list[str]]:
    return {name: list(kernel(name)) for name in ("cloud4", "game4", "cloud6", "banned4")}


ALL = {"cloud4": ["203.0.113.7"], "game4": ["203.0.113.7"], "cloud6": ["2001:db8:1::"], "banned4": ["203.0.113.66"]}


@pytest.mark.parametrize("loaded", [False, True], ids=["no table", "loaded at boot"])
def test_after_a_boot_everything_comes_back_with_the_time_it_had_left(network, nft, record, loaded):
    filled(record)
    nft("flush ruleset")
    if loaded:
        nft(render.closed(POLICY))
    with opened(record) as gate:
        assert held() == ALL
        assert len(listed(gate)) == 3
        assert kernel()["203.0.113.7"].timeout_ms == 2 * HOUR * 1000
        assert kernel()["203.0.113.7"].left_ms < 2 * HOUR * 1000
        assert render.AT_BOOT not in nft("list table inet safeip")
        assert names(gate) == []


@pytest.mark.parametrize("when", ["recorded", "everything"])
@pytest.mark.parametrize("then", ["", render.closed(POLICY), None], ids=["nothing", "loaded at boot", "saved"])
def test_flushed_in_the_middle_of_a_start_everything_comes_back(network, nft, record, monkeypatch, when, then):
    filled(record)
    saved = re.sub(r"elements = \{[^}]*\}", "", nft("list ruleset")) if then is None else then
    waits = loaded_in_the_middle_of_a_start(monkeypatch, when, nft, "flush ruleset\n" + saved)
    for _ in range(2):  # and the record has it too
        with opened(record) as gate:
            settle(gate)
            assert not waits
            assert held() == ALL
            assert len(listed(gate)) == 3
            assert names(gate) == []
        nft("flush ruleset")


def test_what_the_kernel_kept_is_believed_before_the_record(network, nft, record):
    filled(record)
    nft("delete element inet safeip cloud4 { 203.0.113.7 }\nadd element inet safeip game4 { 203.0.113.8 timeout 1h }")
    with opened(record) as gate:
        assert kernel() == {}
        assert set(kernel("game4")) == {"203.0.113.7", "203.0.113.8"}
        settle(gate)
    nft("flush ruleset")
    with opened(record):
        assert kernel() == {}
        assert set(kernel("game4")) == {"203.0.113.7", "203.0.113.8"}


def test_a_set_that_went_while_nobody_ran_comes_back_with_its_elements(network, nft, record):
    filled(record)
    nft("flush chain inet safeip service-cloud\ndelete set inet safeip cloud4\ndelete element inet safeip game4 { 203.0.113.7 }")
    with opened(record):
        assert held() == ALL | {"game4": []}


def test_a_start_that_ended_before_all_was_back_is_done_again(network, nft, record):
    """The chain that says so goes last."""
    filled(record)
    nft("flush ruleset\n" + render.closed(POLICY) + "add element inet safeip game4 { 203.0.113.7 timeout 1h }\n")
    with opened(record):
        assert held() == ALL


def test_a_start_that_ends_before_the_daemon_runs_counts_the_time_that_it_gave(network, nft, record):
    """Else a second boot, with a clock in 1970, would give the same time again."""
    filled(record)
    stamp, _, rest = record.read_bytes().partition(b"\n")
    at = stamps.parse(stamp)
    record.write_bytes(replace(at, at=replace(at.at, boot="another")).line() + rest)
    nft("flush ruleset")
    with opened(record):
        pass
    now, again = stamps.Clock.now(), stamps.parse(record.read_bytes().partition(b"\n")[0]).at
    assert again.boot == now.boot
    assert at.at.monotonic_ms < again.monotonic_ms <= now.monotonic_ms


def test_with_a_record_that_cannot_be_read_the_table_is_closed_and_nothing_starts(network, nft, record):
    record.write_text("{}\nnonsense\n")
    with pytest.raises(RecordError), opened(record):
        pass
    assert "goto service-cloud" in nft("list table inet safeip")
    assert render.AT_BOOT in nft("list table inet safeip")  # the next start begins again


def test_every_change_is_in_the_record(network, nft, record):
    with opened(record) as gate:
        gate.decide([grant("203.0.113.1"), grant("203.0.113.2"), grant("203.0.113.3"), grant(services={"game": HOUR})])
        nft("delete element inet safeip cloud4 { 203.0.113.1 }\nadd element inet safeip cloud4 { 203.0.113.9 timeout 1h }")
        settle(gate)
        gate.reload(replace(POLICY, services={"cloud": replace(CLOUD, max_duration_s=HOUR)}))
        settle(gate)
    nft("flush ruleset")
    with opened(record) as gate:
        assert set(kernel()) == {"203.0.113.2", "203.0.113.3", "203.0.113.9"}
        assert kernel("game4") == {}
        assert all(found.left_ms <= HOUR * 1000 for found in kernel().values())


def test_status_says_why_the_record_cannot_be_written(network, record):
    with opened(record) as gate:
        [status] = listed(gate, "status")
        assert status["record"] is None
        record.unlink(missing_ok=True)
        record.mkdir()
        one(gate, grant())
        gate._ledger.begin()
        deadline = time.monotonic() + 10 * PATIENCE
        while listed(gate, "status")[0]["record"] is None:
            assert time.monotonic() < deadline
            gate.work()
        assert "unrecorded" in names(gate)
        record.rmdir()


WEB = ServiceRule("web", (PortRange("tcp", 80, 80),), HOUR)


def test_a_reload_takes_a_services_grants_and_leaves_the_others_alone(network, nft):
    with opened() as gate:
        gate.decide([grant(services={"cloud": 2 * HOUR, "game": HOUR}), Ban(3, "203.0.113.66", HOUR)])
        before = gate._sets.handles()
        gate.reload(replace(POLICY, services={"cloud": replace(CLOUD, ports=(PortRange("tcp", 8443, 8443),)), "web": WEB}))
        settle(gate)
        assert list(kernel()) == ["203.0.113.7"]
        assert all(gate._sets.handles()[name] == before[name] for name in ("cloud4", "cloud6", "banned4"))
        table = nft("list table inet safeip")
        assert "game" not in table
        assert "25565" not in table
        assert "tcp . 8443 : goto service-cloud" in table
        assert [item["service"] for item in listed(gate)] == ["cloud"]
        assert names(gate) == ["revoked"]
        assert one(gate, grant(services={"game": HOUR}))["error"]["code"] == "unknown-service"
        assert "ok" in one(gate, grant(services={"web": HOUR}))
        gate.reload(POLICY)
        settle(gate)
        assert kernel("game4") == {}
        assert names(gate) == ["revoked"]


def test_a_service_that_goes_and_is_back_at_once_has_lost_its_grants(network):
    with opened() as gate:
        gate.decide([grant(f"203.0.113.{n}", services={"game": HOUR}, number=n) for n in range(1, 200)])
        gate.decide([grant(f"198.51.100.{n}", services={"game": HOUR}, number=n) for n in range(1, 200)])
        gate.reload(replace(POLICY, services={"cloud": CLOUD}))
        assert not gate.settled
        gate.reload(POLICY)
        assert gate.settled
        assert kernel("game4") == {}
        assert "ok" in one(gate, grant("203.0.113.5", services={"game": HOUR}))
        assert list(kernel("game4")) == ["203.0.113.5"]
        settle(gate)
        assert list(kernel("game4")) == ["203.0.113.5"]
        assert len(listed(gate)) == 1


def test_a_reload_is_settled_once_its_slices_are_done(network):
    with opened() as gate:
        gate.decide([grant(f"203.0.113.{n}", services={"game": HOUR}, number=n) for n in range(1, 255)])
        gate.reload(replace(POLICY, services={"cloud": CLOUD}))
        slices = 0
        while not gate.settled:
            gate.work()
            slices += 1
        assert slices > 1
        assert gate.grants == 0


def test_a_shorter_maximum_cuts_what_lasts_longer(network):
    with opened() as gate:
        gate.decide([grant("203.0.113.1", services={"cloud": 5 * HOUR}), grant("203.0.113.2", services={"cloud": HOUR})])
        gate.reload(replace(POLICY, services={"cloud": replace(CLOUD, max_duration_s=2 * HOUR), "game": GAME}))
        settle(gate)
        found = kernel()
        assert found["203.0.113.1"].left_ms <= 2 * HOUR * 1000
        assert found["203.0.113.1"].timeout_ms == 2 * HOUR * 1000
        assert found["203.0.113.2"].timeout_ms == HOUR * 1000
        assert max(item["remaining_ms"] for item in listed(gate)) <= 2 * HOUR * 1000


def test_rules_of_ones_own_that_went_bad_since_they_were_tried_change_nothing_else(network, nft, tmp_path):
    custom = tmp_path / "custom.nft"
    warnings: list[str] = []
    with opened(custom=str(custom), warnings=warnings) as gate:
        one(gate, grant(services={"game": HOUR}))
        before = nft("list table inet safeip")
        gate.try_rules(replace(POLICY, services={"cloud": CLOUD}))
        custom.write_text("ip saddr 192.0.2.0/24 akzept\n")
        with pytest.raises(KernelError, match=r"akzept|syntax"):
            gate.reload(replace(POLICY, services={"cloud": CLOUD}))
        settle(gate)
        after = nft("list table inet safeip")
        assert [x for x in after.splitlines() if "expires" not in x] == [x for x in before.splitlines() if "expires" not in x]
        assert len(listed(gate)) == 1
        assert [line for line in warnings if "left out" in line] == warnings != []
        assert "ok" in one(gate, grant("203.0.113.9", services={"game": HOUR}))


def test_a_reload_after_which_only_a_new_table_is_taken_loses_no_grant(network, nft, monkeypatch):
    warnings: list[str] = []
    with opened(warnings=warnings) as gate:
        one(gate, grant(services={"game": HOUR}))
        before = nft("list table inet safeip")
        load, loads = Bindings.load, []

        def refusing(self: Bindings, script: str) -> None:
            loads.append(script)
            if len(loads) in {2, 3}:  # the new rules, and the old ones in their place
                raise KernelError(errno.EINVAL, "no")
            load(self, script)

        monkeypatch.setattr(Bindings, "load", refusing)
        with pytest.raises(KernelError, match="no"):
            gate.reload(replace(POLICY, services={"cloud": CLOUD}))
        settle(gate)
        assert "the table is made anew: no" in warnings
        after = nft("list table inet safeip")
        assert [x for x in after.splitlines() if "expires" not in x] == [x for x in before.splitlines() if "expires" not in x]
        assert list(kernel("game4")) == ["203.0.113.7"]
        assert gate.grants == 1


def test_rules_are_tried_beside_the_gates_own_thread(network, nft, tmp_path, monkeypatch):
    custom = tmp_path / "custom.nft"
    tried_in: list[int] = []
    check = Bindings.check

    def seen(self: Bindings, script: str) -> str | None:
        tried_in.append(threading.get_ident())
        return check(self, script)

    monkeypatch.setattr(Bindings, "check", seen)
    other = replace(POLICY, services={"cloud": CLOUD})
    with opened(custom=str(custom)) as gate, ThreadPoolExecutor(1) as beside:
        one(gate, grant(services={"game": HOUR}))
        before = nft("list chains") + nft("list maps")
        custom.write_text("ip saddr 192.0.2.0/24 akzept\n")
        trial = beside.submit(gate.try_rules, other)
        while trial.running() or not kernel("cloud4"):
            assert "ok" in one(gate, grant("203.0.113.9"))
        assert re.search("akzept|syntax", str(trial.exception()))
        assert isinstance(trial.exception(), KernelError)
        custom.write_text("ip saddr 192.0.2.0/24 accept\n")
        beside.submit(gate.try_rules, other).result()
        assert nft("list chains") + nft("list maps") == before
        gate.reload(other)
        assert threading.get_ident() not in tried_in
        assert len(tried_in) == 2
        settle(gate)
        assert names(gate)[-1] == "revoked"
        assert list(kernel()) == ["203.0.113.9"]


def test_a_reload_in_the_middle_of_a_repair_loses_nothing_that_stays(network, nft):
    with opened() as gate:
        for start in range(0, 6000, 1000):
            gate.decide([grant(f"203.0.{n >> 8}.{n & 255}", services={"cloud": 5 * HOUR}, number=n) for n in range(start, start + 1000)])
        one(gate, grant("198.51.100.1", services={"game": HOUR}))
        nft("flush ruleset")
        gate.repair()
        gate.work()
        gate.reload(replace(POLICY, services={"cloud": replace(CLOUD, max_duration_s=HOUR)}))
        settle(gate)
        found = kernel()
        assert len(found) == len(listed(gate)) == 6000
        assert all(element.left_ms <= HOUR * 1000 for element in found.values())


def test_a_reload_before_a_flush_was_heard_loses_nothing_that_stays(network, nft):
    with opened() as gate:
        one(gate, grant(services={"cloud": 2 * HOUR, "game": HOUR}))
        nft("flush ruleset")
        gate.reload(replace(POLICY, services={"cloud": CLOUD}))
        settle(gate)
        assert list(kernel()) == ["203.0.113.7"]
        assert [item["service"] for item in listed(gate)] == ["cloud"]


def test_reloads_under_a_flow_of_packets_lose_none_and_let_no_stranger_in(field):  # noqa: F811
    rules = field.gate._ledger.policy
    more = replace(rules, services={**rules.services, "web": WEB}, trusted=(ip_network("10.0.0.0/8"),))
    shorter = replace(rules, services={"cloud": replace(rules.services["cloud"], max_duration_s=2 * HOUR)})
    with unharmed_flow(field):
        for _ in range(10):
            for policy in (more, shorter, rules):
                field.gateway.call(lambda policy=policy: field.gate.reload(policy))
                field.gateway.call(lambda: settle(field.gate))
