"""Mode "sets": the admin's own ruleset around SafeIP's sets, reloaded, wrong for a while, with addresses of their own."""

import contextlib
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from test_gate import loaded_at_the_same_instant, loaded_in_the_middle_of_a_start, settle

from lab.gateway import Gateway
from lab.net import Namespace, veth
from lab.process import PATIENCE, wait_for
from nft import rules, stamps
from nft.admin_sets import AdminSets
from nft.gate import Gate
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.serve import PortalGone, Server
from nft.sets import Add, Element, KernelError, Replace
from nft.wire import Ban, Grant, List, Revoke

_SO_RCVBUFFORCE = 33
HOUR = 3600
EXAMPLE = Path("examples/nftables.conf")
CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443), PortRange("udp", 443, 443)), 12 * HOUR)
GAME = ServiceRule("game", (PortRange("udp", 30000, 30010),), 12 * HOUR)
POLICY = Policy({"cloud": CLOUD, "game": GAME}, (), mode="sets", table="filter")
ONE = Policy({"cloud": CLOUD}, (), mode="sets", table="filter")
GATE4, VISITOR4, STRANGER4 = "192.0.2.1", "192.0.2.10", "192.0.2.66"
GATE6, VISITOR6, PREFIX = "2001:db8:1::1", "2001:db8:1::10", "2001:db8:1::/64"


def filter_with(definitions: str, family: str = "inet") -> str:
    return f"flush ruleset\ntable {family} filter {{\n{definitions}\n}}\n"


def named(definition: str) -> str:
    return filter_with(f"set cloud4 {{ {definition} }}")


@contextlib.contextmanager
def started(policy: Policy, record: Path | None = None, brings_back: int = 0) -> Iterator[Gate]:
    with contextlib.closing(Gate(policy, record=record)) as gate:
        assert gate.start() == brings_back
        yield gate


def let_in(gate: Gate, *addresses: str) -> None:
    gate.decide([Grant(1, {"cloud": HOUR}, address, "cli", "", None) for address in addresses])


ADMINS = filter_with("set cloud4 { type ipv4_addr; flags timeout; }\nset cloud6 { type ipv6_addr; flags timeout; }")


@pytest.fixture
def record(tmp_path) -> Path:
    return tmp_path / "grants.jsonl"


def reboot(nft, record: Path, ruleset: str = ADMINS) -> None:
    """As if the machine had, into a ruleset: what is left is the record, which is of another boot."""
    nft(ruleset)
    stamp, _, rest = record.read_bytes().partition(b"\n")
    at = stamps.parse(stamp)
    record.write_bytes(replace(at, at=replace(at.at, boot="another")).line() + rest)


def test_after_a_boot_grants_come_back_into_the_admins_sets(network, nft, record):
    admins = ADMINS.replace("flags timeout;", "flags timeout; elements = { 198.51.100.7 };", 1)
    nft(admins)
    with started(ONE, record) as gate:
        let_in(gate, VISITOR4, PREFIX, "203.0.113.9")
        gate.decide([Revoke(2, None, "203.0.113.9", None, everything=False)])
    nft(admins)  # the same boot: whoever emptied the sets wanted that
    with started(ONE, record) as gate:
        let_in(gate, VISITOR4, PREFIX)
    reboot(nft, record, admins)
    with started(ONE, record, brings_back=2):
        found = kernel(policy=ONE)
        assert set(found) == {VISITOR4, "198.51.100.7"}
        assert 0 < found[VISITOR4] <= HOUR * 1000
        assert list(kernel("cloud6", ONE)) == ["2001:db8:1::"]


def test_a_start_that_ends_before_the_daemon_runs_brings_nothing_back_a_second_time(network, nft, record):
    """The portal's port is taken, say, and it is tried again and again."""
    nft(ADMINS)
    with started(ONE, record) as gate:
        let_in(gate, VISITOR4, "203.0.113.9")
    reboot(nft, record)
    with started(ONE, record, brings_back=2):
        pass
    nft("delete element inet filter cloud4 { 203.0.113.9 }")
    with started(ONE, record, brings_back=1):
        pass
    assert list(kernel(policy=ONE)) == [VISITOR4]


@pytest.mark.parametrize("when", ["recorded", "everything"])
def test_the_admins_reload_in_the_middle_of_a_start_takes_no_grant_away(network, nft, record, monkeypatch, when):
    nft(ADMINS)
    with started(ONE, record) as gate:
        let_in(gate, VISITOR4, PREFIX)
    waits = loaded_in_the_middle_of_a_start(monkeypatch, when, nft, ADMINS)
    for _ in range(2):  # and the record has it too
        with started(ONE, record, brings_back=2):
            assert not waits
            assert list(kernel(policy=ONE)) == [VISITOR4]
            assert list(kernel("cloud6", ONE)) == ["2001:db8:1::"]
        reboot(nft, record)


@pytest.mark.parametrize("when", ["recorded", "everything"])
def test_a_set_that_comes_to_hold_no_grants_in_the_middle_of_a_start_is_not_adopted(network, nft, record, monkeypatch, when):
    nft(ADMINS)
    with started(ONE, record) as gate:
        let_in(gate, VISITOR4)
    wrong = "type ipv4_addr; flags interval,timeout; elements = { 203.0.112.0/24 timeout 1h };"
    loaded_in_the_middle_of_a_start(monkeypatch, when, nft, named(wrong))
    with contextlib.closing(Gate(ONE, record=record)) as gate, pytest.raises(KernelError, match="is an interval set"):
        gate.start()
    assert "203.0.112.0/24" in nft("list set inet filter cloud4")
    reboot(nft, record)
    with started(ONE, record, brings_back=1):
        assert list(kernel(policy=ONE)) == [VISITOR4]


def test_after_a_boot_what_no_longer_fits_into_an_admins_set_is_told_and_the_rest_comes_back(network, nft, record):
    nft(ADMINS)
    with started(ONE, record) as gate:
        let_in(gate, *(f"203.0.113.{n}" for n in range(1, 9)))
    reboot(nft, record, ADMINS.replace("flags timeout;", "flags timeout; size 3;"))
    with started(ONE, record, brings_back=3) as gate:
        assert len(kernel(policy=ONE)) == 3
        assert told_once_it_watches(gate, 5) == ["foreign-revoke"] * 5


def told_once_it_watches(gate: Gate, number: int) -> list[str]:
    """The first events that the portal hears, which does not watch from the first round of the gate's loop on."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20 * PATIENCE)
    server = Server(gate, theirs)

    def serve() -> None:
        with contextlib.suppress(PortalGone):
            server.run()

    loop = threading.Thread(target=serve)
    loop.start()
    try:
        with ours, ours.makefile("rw", encoding="utf-8", newline="\n") as wire:
            print('{"id": 1, "verb": "list", "of": "status", "service": null, "address": null, "holder": null}', file=wire, flush=True)
            while json.loads(wire.readline()) != {"id": 1, "ok": {}}:
                pass
            print('{"id": 2, "verb": "watch"}', file=wire, flush=True)
            assert json.loads(wire.readline()) == {"id": 2, "ok": {}}
            return [json.loads(wire.readline())["event"]["event"] for _ in range(number)]
    finally:
        loop.join()
        server.close()


class Served:
    """A gate whose loop runs in a thread, as the daemon's does."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.warnings: list[str] = []
        self.over: list[str] = []
        self.gate = Gate(policy, warn=self.warnings.append, over=self.over.append)
        self._turn = threading.Lock()
        self._stopped = False
        self.gate.start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            readable = bool(select.select([self.gate], [], [], 0.01)[0])
            with self._turn:
                if readable:
                    self.gate.repair()
                while self.gate.next_s() == 0.0:
                    self.gate.work()

    def decide(self, *requests) -> list[dict]:
        with self._turn:
            return self.gate.decide(requests)

    def grant(self, address: str = VISITOR4, service: str = "cloud", seconds: int = HOUR) -> dict:
        return self.decide(Grant(1, {service: seconds}, address, "link:k3v9aa", "Mamie", None))[0]

    def revoke(self, address: str | None = None) -> int:
        return self.decide(Revoke(1, None, address, None, everything=address is None))[0]["ok"]["revoked"]

    def has_heard(self) -> bool:
        with self._turn:
            return not select.select([self.gate], [], [], 0)[0]

    def listed(self) -> dict[str, int]:
        with self._turn:
            return {item["address"]: item["remaining_ms"] for part in self.gate.tell(List(1, "grants", None, None, None)) for item in part}

    def close(self) -> None:
        self._stopped = True
        self._thread.join(10)
        self.gate.close()


@contextlib.contextmanager
def served(policy: Policy = POLICY) -> Iterator[Served]:
    with contextlib.closing(Served(policy)) as made:
        yield made


def kernel(name: str = "cloud4", policy: Policy = POLICY) -> dict[str, int | None]:
    """What a set holds, with the time that is left; None: for ever. Nothing where there is no such set."""
    with contextlib.closing(NetlinkSets(policy.family, policy.table)) as sets, contextlib.suppress(KernelError):
        return {str(ip_address(found.key)): found.left_ms for part in sets.dump(name) for found in part}
    return {}


FIT = [
    "type ipv4_addr; flags timeout;",
    "type ipv4_addr; flags timeout; counter;",
    "typeof ip saddr; flags timeout; gc-interval 1h;",
    'type ipv4_addr; flags timeout; comment "let in by SafeIP"; counter; size 1000;',
    "type ipv4_addr; flags dynamic,timeout; size 65535;",
    "type ipv4_addr; flags timeout; timeout 1h;",
]
UNFIT = [
    ("type ipv4_addr; flags interval,timeout;", "is an interval set"),
    ("type ipv4_addr; flags interval;", "is an interval set"),
    ("type ipv4_addr;", "keeps its elements for ever"),
    ("type ipv4_addr; flags constant; elements = { 203.0.113.1 };", "is constant"),
    ("type ipv6_addr; flags timeout;", "does not hold ipv4_addr"),
    ("type ipv4_addr . inet_service; flags timeout;", "does not hold ipv4_addr"),
    ("type mark; flags timeout;", "does not hold ipv4_addr"),
]


@pytest.mark.parametrize("definition", FIT)
def test_a_plain_set_of_the_admins_is_used_as_it_is(network, nft, definition):
    nft(named(definition))
    before = nft("list set inet filter cloud4")
    assert rules.check(POLICY) == []
    with served() as gate:
        assert nft("list set inet filter cloud4") == before
        assert "ok" in gate.grant("203.0.113.7")
        assert gate.grant("203.0.113.7", seconds=2 * HOUR)["ok"]
        assert kernel()["203.0.113.7"] > HOUR * 1000
        nft(named(definition))
        wait_for("what was flushed", lambda: list(kernel()) == ["203.0.113.7"])
        assert kernel()["203.0.113.7"] > HOUR * 1000
        assert gate.revoke() == 1
    assert kernel() == {}


@pytest.mark.parametrize(("definition", "why"), UNFIT)
def test_a_set_that_can_hold_no_grants_is_named_with_what_to_write(network, nft, definition, why):
    nft(named(definition))
    before = nft("list ruleset")
    [problem] = rules.check(ONE)
    assert problem.startswith(f"set cloud4 of table inet filter {why}")
    assert 'write "set cloud4 { type ipv4_addr; flags timeout; counter; }"' in problem
    gate = Gate(ONE)
    with contextlib.closing(gate), pytest.raises(KernelError, match=re.escape(problem)):
        gate.start()
    assert nft("list ruleset") == before


def test_a_map_is_no_set(network, nft):
    nft(filter_with("map cloud4 { type ipv4_addr : verdict; flags timeout; }"))
    assert "is a map" in rules.check(ONE)[0]


@pytest.mark.parametrize("start", ["", "table inet filter { chain c { accept\n}\n}"], ids=["no table", "no sets"])
def test_what_is_missing_is_made(network, nft, start):
    nft(start)
    assert rules.check(POLICY) == []
    with served() as gate:
        assert gate.grant("203.0.113.7")["ok"]
        made = {name: nft(f"list set inet filter {name}") for name in ("cloud4", "cloud6", "game4", "game6")}
        nft("delete table inet filter")
        wait_for("the sets", lambda: "game6" in nft("list sets"))
        wait_for("the grant", lambda: list(kernel()) == ["203.0.113.7"])
        assert nft("list set inet filter game6") == made["game6"]
    example = EXAMPLE.read_text()
    for name, text in made.items():
        definition = re.search(rf"\tset {name} {{\n(.*?)\t}}\n", text, re.DOTALL)[1]
        for line in definition.splitlines():
            if "elements" not in line and "203.0.113.7" not in line:
                assert line.strip() in example, "the example's sets are those that SafeIP makes, so that either may come first"


@pytest.mark.parametrize(("family", "own", "other"), [("ip", "203.0.113.7", PREFIX), ("ip6", PREFIX, "203.0.113.7")])
def test_a_table_of_one_family_keeps_that_familys_addresses(network, nft, family, own, other):
    policy = Policy({"cloud": CLOUD}, (), mode="sets", family=family, table="filter")
    nft(filter_with("", family))
    assert rules.check(policy) == []
    with served(policy) as gate:
        assert gate.grant(own)["ok"]
        refused = gate.grant(other)["error"]
        assert refused["code"] == "bad-address"
        assert f"table {family} filter" in refused["message"]
        assert nft("list sets").count("set cloud") == 1
        nft("flush ruleset")
        wait_for("the grant", lambda: len(kernel(f"cloud{4 if family == 'ip' else 6}", policy)) == 1)


def test_bans_are_refused_since_the_ruleset_is_the_admins(network):
    with served() as gate:
        [answer] = gate.decide(Ban(1, "203.0.113.7", HOUR))
        assert answer["error"]["code"] == "no-bans"
        assert gate.decide(Ban(1, "203.0.113.7", 0)) == [{"id": 1, "ok": {}}]


OWN = 'set cloud4 { type ipv4_addr; flags timeout; elements = { 198.51.100.7 comment "the office", 198.51.100.8 } }'


def test_an_address_that_the_admin_wrote_without_an_end_is_theirs(network, nft):
    """Not listed, not ended, not cut to the service's maximum; whatever is granted and revoked around it."""
    own = {"198.51.100.7": None, "198.51.100.8": None}
    nft(filter_with(OWN))
    with served() as gate:
        assert gate.listed() == {}
        assert gate.grant("198.51.100.7")["ok"]["grants"]
        assert gate.grant("203.0.113.7")["ok"]
        assert gate.grant("198.51.100.7", seconds=2 * HOUR)["ok"], "again"
        assert {address: left for address, left in kernel().items() if left is None} == own
        nft(filter_with(OWN))
        wait_for("what was flushed", lambda: "203.0.113.7" in kernel())
        assert {address: left for address, left in kernel().items() if left is None} == own
        assert gate.revoke() == 2
        assert kernel() == own
        nft("add element inet filter cloud4 { 198.51.100.9 }")
        nft("delete element inet filter cloud4 { 198.51.100.8 }")
        gate.grant("203.0.113.7")
    own = {"198.51.100.7": None, "198.51.100.9": None}
    with served() as gate:
        assert list(gate.listed()) == ["203.0.113.7"]
    rules.down(POLICY)
    assert kernel() == own
    assert 'comment "the office"' in nft("list set inet filter cloud4")


def test_down_takes_every_grant_and_nothing_else(network, nft):
    nft(named("type ipv4_addr; flags interval;") + "add element inet filter cloud4 { 203.0.113.0/24 }\n")
    nft("add set inet filter game4 { type ipv4_addr; flags timeout; }\nadd element inet filter game4 { 203.0.113.7 timeout 1h }")
    rules.down(POLICY)
    assert kernel("game4") == {}
    assert "203.0.113.0/24" in nft("list set inet filter cloud4")
    nft("flush ruleset")
    rules.down(POLICY)
    assert nft("list ruleset") == ""


def test_it_goes_on_by_itself_when_a_ruleset_that_was_wrong_is_right_again(network, nft):
    nft(EXAMPLE.read_text())
    with served() as gate:
        gate.grant("203.0.113.7")
        gate.grant("203.0.113.8", "game")
        nft(named("type ipv4_addr; flags interval;") + "add element inet filter cloud4 { 198.51.100.0/24 }\n")
        wait_for("the warning", lambda: bool(gate.warnings))
        assert len(gate.warnings) == 1
        assert "set cloud4 of table inet filter is an interval set" in gate.warnings[0]
        wait_for("the other service", lambda: list(kernel("game4")) == ["203.0.113.8"])
        refused = gate.grant("203.0.113.9")["error"]
        assert refused["code"] == "kernel"
        assert "is an interval set" in refused["message"]
        assert gate.grant("203.0.113.9", "game")["ok"]
        assert "203.0.113" not in nft("list set inet filter cloud4")
        assert "203.0.113.7" in gate.listed()
        nft("add element inet filter cloud4 { 203.0.113.0/24 }\ndelete element inet filter cloud4 { 203.0.113.0/24 }")
        nft(EXAMPLE.read_text())
        wait_for("the grant", lambda: list(kernel()) == ["203.0.113.7"])
        wait_for("good news", lambda: bool(gate.over))
        assert gate.over == ["set cloud4 of table inet filter holds grants again"]
        assert len(gate.warnings) == 1
        wait_for("the other service's", lambda: set(kernel("game4")) == {"203.0.113.8", "203.0.113.9"})
        assert gate.grant("203.0.113.9")["ok"]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("definition", "element"),
    [
        ("type ipv4_addr . inet_service; flags timeout;", "203.0.113.9 . 443 timeout 1h"),
        ("type inet_service; flags timeout;", "443 timeout 1h"),
        ("type ipv4_addr; flags interval,timeout;", "203.0.112.0/24 timeout 900d"),
        ("type ipv4_addr; flags interval,timeout;", "203.0.113.9 timeout 1h"),
    ],
)
def test_what_the_admin_keeps_in_a_set_that_can_hold_no_grants_is_theirs(network, nft, definition, element, at_once):
    nft(named("type ipv4_addr; flags timeout;"))
    add = f"\nadd element inet filter cloud4 {{ {element} }}"
    with served() as gate:
        assert gate.grant("203.0.113.7")["ok"]
        assert gate.grant("203.0.113.7", "game")["ok"]
        nft(named(definition) + add * at_once)
        if not at_once:
            nft(add)
        wait_for("all to be heard", gate.has_heard)
        wait_for("the other service", lambda: "ok" in gate.grant("203.0.113.8", "game"))
        wait_for("an end of the work", lambda: gate.gate.next_s() != 0.0)
        assert gate.revoke("203.0.113.7") == 2
        assert list(kernel("game4")) == ["203.0.113.8"]
        assert element.split(" timeout")[0] in nft("list set inet filter cloud4")
        assert gate.grant("203.0.113.10")["error"]["code"] == "kernel"
        assert gate.revoke() == 1
        assert kernel("game4") == {}
        nft(named("type ipv4_addr; flags timeout;"))
        wait_for("the set", lambda: "ok" in gate.grant("203.0.113.10"))
        assert list(kernel()) == ["203.0.113.10"]


def test_a_service_that_goes_while_its_set_is_wrong_takes_its_grants_along(network, nft):
    nft(EXAMPLE.read_text())
    over: list[str] = []
    with contextlib.closing(Gate(POLICY, warn=lambda _: None, over=over.append)) as gate:
        gate.start()
        gate.decide([Grant(1, {"cloud": HOUR, "game": HOUR}, "203.0.113.7", "cli", "", None)])
        nft(named("type ipv4_addr; flags interval;"))
        settle(gate)
        gate.reload(replace(POLICY, services={"game": GAME}))
        for _ in range(100):
            gate.work()
        assert gate.next_s() != 0
        assert gate.settled
        assert gate.grants == 1
        assert list(kernel("game4")) == ["203.0.113.7"]
        assert over == [], "the set is as wrong as before"


MORE = replace(ONE, services={**ONE.services, "more": replace(CLOUD, name="more")})


@pytest.mark.parametrize("made", [True, False], ids=["nothing to make", "sets to make"])
def test_the_admins_reload_in_the_instant_of_ours_takes_no_grant_away(network, nft, monkeypatch, made):
    nft(EXAMPLE.read_text())
    with started(ONE) as gate:
        settle(gate)
        let_in(gate, VISITOR4, PREFIX)
        waits = loaded_at_the_same_instant(gate, monkeypatch, nft, EXAMPLE.read_text())
        gate.reload(ONE if made else MORE)
        assert not waits
        settle(gate)
        assert list(kernel()) == [VISITOR4]
        assert list(kernel("cloud6")) == ["2001:db8:1::"]
        gate.events()
        nft(EXAMPLE.read_text())
        settle(gate)
        assert list(kernel()) == [VISITOR4], "and what is heard later is heard"
        assert [event["event"] for event in gate.events()] == ["repaired"]


@pytest.mark.parametrize("again", [EXAMPLE.read_text(), named("type ipv4_addr; flags timeout;"), "flush ruleset"])
def test_the_admins_reload_in_the_middle_of_a_repair_is_not_taken_for_what_was_repaired(network, nft, monkeypatch, again):
    with started(POLICY) as gate:
        settle(gate)
        gate.decide([Grant(1, {"cloud": HOUR, "game": HOUR}, VISITOR4, "cli", "", None)])
        nft("delete set inet filter game4")
        waits = loaded_at_the_same_instant(gate, monkeypatch, nft, again)
        settle(gate)
        assert not waits
        assert list(kernel()) == list(kernel("game4")) == [VISITOR4]
        assert not gate._repair.moved()


def test_an_admins_rules_that_leave_the_sets_alone_are_no_repair(network, nft):
    nft(EXAMPLE.read_text())
    with started(POLICY) as gate:
        settle(gate)
        nft("add chain inet filter more\nadd rule inet filter more accept")
        settle(gate)
        assert gate.events() == []


def test_no_address_gets_into_an_interval_set_where_it_would_open_all_that_follows(network, nft):
    """The admin's reload comes between the gate's look and its change."""
    nft(named("type ipv4_addr; flags timeout;"))

    class Raced(AdminSets):
        def unfit(self, set_names):
            found = super().unfit(set_names)
            if raced:
                nft(raced.pop())
            return found

    raced = []
    wanted = Element("cloud4", ip_address("203.0.113.7").packed, 1000, 1000)
    with contextlib.closing(Raced("inet", "filter")) as sets:
        for change in (Replace(wanted), Add(wanted)):
            nft(named("type ipv4_addr; flags timeout;"))
            raced.append(named("type ipv4_addr; flags interval,timeout;"))
            with pytest.raises(KernelError, match="is an interval set"):
                sets.commit([change])
            assert not raced
            assert kernel() == {}
        raced += [named("type ipv4_addr; flags timeout; size 99;"), named("type ipv4_addr; flags timeout;")]
        nft(named("type ipv4_addr; flags timeout;"))
        sets.commit([Add(wanted)])
        assert list(kernel()) == ["203.0.113.7"]


class Line:
    """A gateway with the example's ruleset and two hosts before it, who flood it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.gateway, self.outside = (stack.enter_context(Namespace(label, "sipt")) for label in ("gateway", "outside"))
        veth(
            self.gateway, "eth0", (f"{GATE4}/24", f"{GATE6}/64"), right=self.outside, right_name="net",
            right_addresses=(f"{VISITOR4}/24", f"{STRANGER4}/24", f"{VISITOR6}/64"),
        )  # fmt: skip
        self.gateway.run("nft", "-f", str(EXAMPLE))
        with self.gateway.entered():
            self.served = stack.enter_context(served())
            self.receiver = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            self.receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)  # its thread may be kept waiting
            self.receiver.bind(("::", 443))
        self.receiver.settimeout(0.05)
        self.received = {VISITOR4: 0, STRANGER4: 0, VISITOR6: 0}
        self.sent = dict(self.received)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._receive, daemon=True)]
        self._threads[0].start()
        stack.callback(self.end)

    def _receive(self) -> None:
        while True:
            ending = self._stop.is_set() and not any(sender.is_alive() for sender in self._threads[1:])
            try:
                self.received[self.receiver.recvfrom(10)[1][0].removeprefix("::ffff:")] += 1
            except TimeoutError:
                if ending:  # nobody sent any more when the wait began
                    return

    def flood(self, source: str) -> None:
        def send() -> None:
            family = socket.AF_INET6 if ":" in source else socket.AF_INET
            with self.outside.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.connect((GATE6 if ":" in source else GATE4, 443))
                while not self._stop.is_set():
                    sender.send(b"x")
                    self.sent[source] += 1
                    self._stop.wait(0.0002)

        self._threads.append(threading.Thread(target=send, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def line() -> Iterator[Line]:
    with contextlib.ExitStack() as stack:
        yield Line(stack)


def test_the_example_reloaded_under_a_flood_lets_no_stranger_in_and_the_visitor_in_again(line):
    """Its `flush ruleset` takes every grant away at one instant with the rules that ask for it."""
    assert line.served.grant()["ok"]
    assert line.served.grant(PREFIX)["ok"]
    for source in line.sent:
        line.flood(source)
    for _ in range(15):
        line.gateway.run("nft", "-f", str(EXAMPLE))
        before = dict(line.received)
        wait_for("the visitor, again", lambda before=before: all(line.received[who] > before[who] + 5 for who in (VISITOR4, VISITOR6)))
    sent = line.sent[STRANGER4]
    wait_for("more of the stranger's", lambda: line.sent[STRANGER4] > sent + 100)
    line.end()
    assert line.received[STRANGER4] == 0
    assert line.served.warnings == []


def test_the_example_with_the_tables_flush_loses_nothing_either(line, tmp_path):
    kept = tmp_path / "nftables.conf"
    kept.write_text(EXAMPLE.read_text().replace("\nflush ruleset\n", "\ntable inet filter\nflush table inet filter\n"))
    assert line.served.grant()["ok"]
    for source in (VISITOR4, STRANGER4):
        line.flood(source)
    wait_for("packets", lambda: line.received[VISITOR4] > 100)
    for _ in range(15):
        line.gateway.run("nft", "-f", str(kept))
    line.end()
    assert line.received[STRANGER4] == 0
    assert line.received[VISITOR4] == line.sent[VISITOR4]


@pytest.fixture(scope="module")
def place() -> Iterator[Gateway]:
    services = {"cloud": {"ports": ["tcp/80"], "max_duration": "30d"}}
    with Gateway(services=services, gate={"mode": "sets", "table": "inet filter"}, start=False, prefix="sipt") as made:
        yield made


WRONG = "flush ruleset\ntable inet filter {\n set cloud4 { type ipv4_addr; flags interval; }\n}"
RIGHT = """flush ruleset
table inet filter {
    set cloud4 { type ipv4_addr; flags timeout; elements = { 192.0.2.130 } }
    chain input { type filter hook input priority filter; ct direction original tcp dport 80 ip saddr != @cloud4 drop
    }
}"""


def test_check_and_the_daemon_agree_and_the_daemon_outlives_a_wrong_ruleset(place):
    place.nft(WRONG)
    checked = place.cli("check", check=False)
    daemon = place.launch()
    assert (checked.returncode, daemon.wait(20)) == (1, 1)
    sentence = re.search(r"set cloud4 of table inet filter .*", checked.stderr)[0]
    assert sentence in daemon.tail()
    place.nft(RIGHT)
    assert place.cli("check").returncode == 0
    place.start()
    url = "http://home.test/"
    assert place.second.reaches(url)
    assert not place.visitor.reaches(url, timeout=0.3)
    place.cli("grant", "cloud", place.visitor.ipv4)
    assert place.visitor.reaches(url)
    place.nft(WRONG)
    wait_for("its words", lambda: "until then nobody is let in" in place.daemon.tail())
    assert place.cli("grant", "cloud", "203.0.113.9", check=False).returncode == 1
    place.nft(RIGHT)
    wait_for("the visitor", lambda: place.visitor.reaches(url, timeout=0.5))
    assert not place.stranger.reaches(url, timeout=0.3)
    assert place.daemon.poll() is None
