"""What packets see: who is shut out, who gets in, and that no change of the gate's loses or leaks one."""

import contextlib
import re
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from lab.net import Namespace, veth
from lab.process import wait_for
from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.wire import Ban, Grant, List, Revoke

HOUR = 3600
VISITOR4, VISITOR6 = "192.0.2.10", "2001:db8:1::10"
GATEWAY4, GATEWAY6 = "192.0.2.1", "2001:db8:1::1"
PREFIX = "2001:db8:1::/64"
CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443), PortRange("udp", 443, 443)), 12 * HOUR)
GAME = ServiceRule("game", (PortRange("udp", 25565, 25570),), 12 * HOUR, "keep")
POLICY = Policy({"cloud": CLOUD, "game": GAME}, ())
# counts what arrives before SafeIP's chain and what is left after it; answers nothing
COUNT = """
table inet count {
    counter arrived { }
    counter accepted { }
    chain before { type filter hook prerouting priority raw; udp dport { 443, 25565-25570, 9 } counter name arrived; }
    chain after { type filter hook input priority filter; udp dport { 443, 25565-25570, 9 } counter name accepted drop; }
}
"""


class Field:
    """A gateway with the gate in it, and a visitor who sends."""

    def __init__(self, gateway: Namespace, visitor: Namespace) -> None:
        self.gateway, self.visitor = gateway, visitor
        with gateway.entered():
            self.gate = Gate(POLICY)
            self.gate.start()
        gateway.run("nft", "-f", "-", input=COUNT)

    def decide(self, *requests) -> list[dict]:
        answers = self.gate.decide(requests)
        assert all("ok" in answer for answer in answers), answers
        return answers

    def grant(self, address: str = VISITOR4, seconds: int = HOUR, service: str = "cloud") -> None:
        self.decide(Grant(1, {service: seconds}, address, "cli", "", None))

    def revoke(self, address: str = VISITOR4) -> None:
        self.decide(Revoke(1, None, address, None, everything=False))

    def counts(self) -> tuple[int, int]:
        text = self.gateway.run("nft", "list counters table inet count").stdout
        found = dict(re.findall(r"counter (\w+) \{\s+packets (\d+)", text))
        return int(found["arrived"]), int(found["accepted"])

    def send(self, count: int = 10, port: int = 443, to: str = GATEWAY4) -> int:
        """How many of `count` packets got past the gate."""
        arrived, accepted = self.counts()
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with self.visitor.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
            for _ in range(count):
                sender.sendto(b"x", (to, port))
        wait_for("the packets", lambda: self.counts()[0] - arrived >= count)
        after = self.counts()
        assert after[0] - arrived == count
        return after[1] - accepted

    @contextlib.contextmanager
    def flow(self, *sources: str) -> Iterator[dict[str, int]]:
        """A flood from each source while the block runs; how many packets were sent, when it is over."""
        stop, sent = threading.Event(), dict.fromkeys(sources, 0)

        def flood(source: str) -> None:
            with self.visitor.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.connect((GATEWAY4, 443))
                while not stop.is_set():
                    sender.send(b"x")
                    sent[source] += 1

        threads = [threading.Thread(target=flood, args=(source,)) for source in sources]
        for thread in threads:
            thread.start()
        try:
            yield sent
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def field() -> Iterator[Field]:
    with Namespace("gateway", "sipt") as gateway, Namespace("visitor", "sipt") as visitor:
        veth(
            gateway, "wan", (f"{GATEWAY4}/24", f"{GATEWAY6}/64"),
            right=visitor, right_name="net", right_addresses=(f"{VISITOR4}/24", "192.0.2.11/24", f"{VISITOR6}/64"),
        )  # fmt: skip
        made = Field(gateway, visitor)
        # both neighbours are known before anything is counted
        assert made.send(1, 9) == made.send(1, 9, GATEWAY6) == 1
        yield made
        made.gate.close()


@pytest.mark.parametrize(("to", "address"), [(GATEWAY4, VISITOR4), (GATEWAY6, PREFIX)])
def test_closed_opened_and_closed_again(field, to, address):
    assert field.send(to=to) == 0
    field.grant(address)
    assert field.send(to=to) == 10
    field.revoke(address)
    assert field.send(to=to) == 0


@pytest.mark.parametrize("port", [25565, 25568, 25570])
def test_a_range_of_ports_is_closed_from_end_to_end(field, port):
    assert field.send(port=port) == 0
    field.grant(service="game")
    assert field.send(port=port) == 10


@pytest.mark.parametrize("port", [25564, 25571, 442, 444, 9])
def test_other_ports_are_nobodys_business(field, port):
    with field.gateway.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        field.gateway.run("nft", "flush chain inet count after")
        receiver.bind((GATEWAY4, port))
        receiver.settimeout(5)
        with field.visitor.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (GATEWAY4, port))
        assert receiver.recv(1) == b"x"


def test_a_grant_opens_its_service_and_its_family_only(field):
    field.grant(VISITOR4)
    assert field.send(to=GATEWAY6) == 0
    assert field.send(port=25565) == 0


def test_the_whole_prefix_gets_in_and_its_neighbour_does_not(field):
    field.visitor.configure("addr add 2001:db8:1:0:ffff::1/64 dev net nodad", "addr add 2001:db8:1:1::1/64 dev net nodad")
    field.gateway.configure("route add 2001:db8:1:1::/64 dev wan")
    field.grant(PREFIX)
    for source, through in (("2001:db8:1:0:ffff::1", 1), ("2001:db8:1:1::1", 0)):
        before = field.counts()
        with field.visitor.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            sender.sendto(b"x", (GATEWAY6, 443))
        wait_for("the packet", lambda before=before: field.counts()[0] > before[0])
        assert field.counts()[1] - before[1] == through


def test_the_kernel_forgets_by_itself(field):
    field.grant(seconds=3)
    assert field.send() == 10
    field.gate.close()  # nobody is there any more
    wait_for("the end", lambda: field.send(1) == 0)
    assert field.send() == 0


def test_a_banned_address_reaches_nothing_at_all(field):
    field.grant()
    field.decide(Ban(2, VISITOR4, HOUR))
    assert field.send() == field.send(port=9) == 0
    field.decide(Ban(2, VISITOR4, 0))
    assert field.send() == field.send(port=9) == 10


def test_who_knocks_is_recorded(field):
    field.send(3)
    field.send(2, to=GATEWAY6)
    field.send(1, 25567)
    with field.gateway.entered():
        parts = list(field.gate.tell(List(1, "blocked", None, None, None)))
    found = [item for part in parts for item in part]
    assert {(item["address"], item["protocol"], item["port"], item["packets"]) for item in found} == {
        (VISITOR4, "udp", 443, 3),
        (PREFIX, "udp", 443, 2),
        (VISITOR4, "udp", 25567, 1),
    }
    assert all(0 <= item["last_ms"] < 60_000 for item in found)
    [[status]] = field.gate.tell(List(1, "status", None, None, None))
    assert status["closed_packets"] == 6


def test_a_full_record_lets_nobody_in(field):
    """The set of blocked sources is bounded; a source that finds no room in it is dropped all the same."""
    field.gateway.run(
        "nft", "-f", "-",
        input="flush chain inet safeip closed\ndelete set inet safeip blocked4\n"
        "add set inet safeip blocked4 { type ipv4_addr . inet_proto . inet_service; flags dynamic,timeout;"
        " timeout 1d; size 1; counter; }\n"
        "add rule inet safeip closed update @blocked4 { ip saddr . meta l4proto . th dport }\n"
        "add rule inet safeip closed counter name closed drop\n",
    )  # fmt: skip
    assert field.send(5) == field.send(5, 25566) == field.send(5, 25567) == 0
    listed = field.gateway.run("nft", "list set inet safeip blocked4").stdout
    assert listed.count("udp") == 1


def test_answers_to_what_the_gateway_itself_asks_come_in(field):
    """The gateway's own traffic from a protected port is not shut out."""
    field.gateway.run("nft", "delete table inet count")
    with contextlib.ExitStack() as stack:
        with field.gateway.entered():
            asking = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with field.visitor.entered():
            answering = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        asking.bind((GATEWAY4, 443))
        answering.bind((VISITOR4, 5353))
        asking.settimeout(5)
        answering.settimeout(5)
        asking.sendto(b"?", (VISITOR4, 5353))
        _, peer = answering.recvfrom(1)
        answering.sendto(b"!", peer)
        assert asking.recv(1) == b"!"


def test_the_gateway_reaches_its_own_services_by_its_public_address(field):
    field.gateway.run("nft", "delete table inet count")
    with field.gateway.entered(), socket.socket() as listening, socket.socket() as asking:
        listening.bind((GATEWAY4, 443))
        listening.listen()
        asking.settimeout(5)
        asking.connect((GATEWAY4, 443))


@pytest.mark.parametrize(("service", "port", "after"), [("cloud", 443, 0), ("game", 25565, 10)])
def test_what_is_established_ends_with_the_grant_unless_it_may_be_kept(field, service, port, after):
    field.gateway.run("nft", "flush chain inet count after")
    field.gateway.run("nft", "add rule inet count after udp dport { 443, 25565 } counter name accepted")
    with contextlib.ExitStack() as stack:
        with field.gateway.entered():
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with field.visitor.entered():
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind((GATEWAY4, port))
        client.connect((GATEWAY4, port))
        server.settimeout(5)
        client.settimeout(5)
        field.grant(service=service)
        client.send(b"?")
        server.sendto(b"!", server.recvfrom(1)[1])
        assert client.recv(1) == b"!"  # the connection is established
        field.revoke()
        arrived, before = field.counts()
        for _ in range(10):
            client.send(b"?")
        wait_for("the packets", lambda: field.counts()[0] - arrived == 10)
        assert field.counts()[1] - before == after
        assert field.send(port=port) == 0  # a new one is not


@pytest.mark.parametrize("port", [443, 444])
def test_what_stood_before_there_was_a_table_is_cut_whoever_speaks_first(port):
    """The kernel tracks nothing until then, and takes the server, who goes on sending, for the one who asked."""
    keep = ServiceRule("keys", (PortRange("tcp", 444, 444),), HOUR, "keep")
    with contextlib.ExitStack() as stack:
        gateway, visitor = (stack.enter_context(Namespace(label, "sipt")) for label in ("gateway", "visitor"))
        veth(gateway, "wan", (f"{GATEWAY4}/24",), right=visitor, right_name="net", right_addresses=(f"{VISITOR4}/24",))
        with gateway.entered():
            listening = stack.enter_context(socket.create_server((GATEWAY4, port)))
        client = stack.enter_context(visitor.connect(GATEWAY4, port))
        server = stack.enter_context(listening.accept()[0])
        client.settimeout(0.3)
        server.settimeout(0.3)
        with gateway.entered():
            gate = stack.enter_context(contextlib.closing(Gate(Policy({"cloud": CLOUD, "keys": keep}, ()))))
            gate.start()
        server.send(b"on I go")
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.send(b"me too")
        with pytest.raises(TimeoutError):
            server.recv(10)


@contextlib.contextmanager
def unharmed_flow(field: Field) -> Iterator[None]:
    """A flood of one who is let in and of a stranger: every packet of the one gets through, none of the other."""
    field.grant()
    field.send(1)
    before = field.counts()
    with field.flow(VISITOR4, "192.0.2.11") as sent:
        yield
        wait_for("packets", lambda: min(sent.values()) > 20_000, 60)
    arrived, accepted = (after - earlier for after, earlier in zip(field.counts(), before, strict=True))
    assert arrived == sum(sent.values())
    assert accepted == sent[VISITOR4]


def test_a_thousand_renewals_under_a_flow_of_packets_lose_none_and_let_no_stranger_in(field):
    with unharmed_flow(field):
        for number in range(1000):
            field.grant(seconds=HOUR + number + 1)


def test_after_the_answer_to_a_revocation_not_one_packet_more(field):
    for _ in range(50):
        field.grant()
        with field.flow(VISITOR4) as sent:
            wait_for("packets", lambda sent=sent: sent[VISITOR4] > 200, every=0.001)
            field.revoke()
            at_the_answer = field.counts()[1]
            more = sent[VISITOR4] + 200
            wait_for("more packets", lambda sent=sent, more=more: sent[VISITOR4] > more, every=0.001)
        assert field.counts()[1] == at_the_answer


def test_loading_the_rules_again_under_a_flow_loses_and_leaks_nothing(field):
    with unharmed_flow(field):
        for _ in range(200):
            field.gateway.call(lambda: field.gate.reload(POLICY))


def test_the_base_ruleset_is_a_file_that_nft_takes(field):
    done = subprocess.run(["nft", "-c", "-f", "nft/safeip.nft"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
