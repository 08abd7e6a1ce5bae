"""What the kernel records of trusted sources: those from afar and those from outside, at ports of ours, and nothing else."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from lab.net import Namespace, veth
from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.wire import Ban, Grant, List
from portal.arrival import Arrivals
from portal.client_address import Peer

HERE4, HERE6 = "192.168.1.2", "fd00:1::2"
ROUTER4, ROUTER6 = "192.168.1.1", "fd00:1::1"
CLOUD = ServiceRule("cloud", (PortRange("tcp", 80, 80), PortRange("tcp", 8000, 8010), PortRange("udp", 80, 80)), 3600)
TRUSTED = tuple(map(ip_network, ("127.0.0.0/8", "192.168.0.0/16", "fd00::/8", "fe80::/10", "203.0.113.0/24", "2001:db8:9::/64")))
POLICY = Policy({"cloud": CLOUD}, TRUSTED, portal_ports=(8443,))
OUTSIDE = replace(POLICY, wan_interfaces=("ppp*", "wan"))
NEAR = (64, 63, 60, 128, 124, 255, 251, 65, 23)
FAR = (59, 52, 24, 123, 88, 250, 215)


class Field:
    """A gateway, the router in front of it, and a gate that starts with `begin`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.host = stack.enter_context(Namespace("gateway", "sipt"))
        self.router = stack.enter_context(Namespace("router", "sipt"))
        veth(
            self.host, "wan", (f"{HERE4}/24", f"{HERE6}/64", "203.0.113.1/24", "2001:db8:9::1/64"),
            right=self.router, right_name="lan", right_addresses=(f"{ROUTER4}/24", f"{ROUTER6}/64", "203.0.113.9/24", "2001:db8:9::9/64"),
        )  # fmt: skip
        with self.host.entered():
            for port in (80, 8005, 8443, 9):
                stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100))
        self._stack = stack

    def begin(self, policy: Policy) -> None:
        with self.host.entered():
            self.gate = self._stack.enter_context(contextlib.closing(Gate(policy)))
            self.gate.start()

    def masks(self) -> dict[str, int]:
        [[status]] = self.host.call(lambda: list(self.gate.tell(List(1, "status", None, None, None))))
        return {one["address"]: one["connections"] for one in status["masks"]["latest"]}

    def connects(self, to: str, port: int = 80, hops: int = 64, source: str = "", *, within: float = 10) -> bool:
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with self.router.entered(), socket.socket(family) as one:
            one.settimeout(within)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            else:
                one.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            if source:
                one.bind((source, 0))
            try:
                one.connect((to, port))
            except TimeoutError:
                return False
            return True

    def is_closed(self, to: str, source: str = "") -> bool:
        """Whether nothing answers before the kernel would send its SYN again."""
        return not self.connects(to, source=source, within=0.5)


@pytest.fixture
def field() -> Iterator[Field]:
    with contextlib.ExitStack() as stack:
        yield Field(stack)


@pytest.mark.parametrize(("to", "source"), [(HERE4, ROUTER4), (HERE6, ROUTER6)])
def test_a_neighbour_is_not_recorded_and_who_comes_from_afar_is_at_the_first_connection(field, to, source):
    field.begin(POLICY)
    for hops in NEAR:
        assert field.connects(to, hops=hops)
    assert field.masks() == {}
    for number, hops in enumerate(FAR, 1):
        assert field.connects(to, hops=hops), "what is recorded is not closed"
        assert field.masks() == {source: number}


def test_only_ports_of_ours_count_a_range_and_the_portals_among_them(field):
    field.begin(POLICY)
    assert field.connects(HERE4, 9, hops=50)
    with field.router.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 50)
        one.sendto(b"x", (HERE4, 80))
    assert field.masks() == {}
    assert field.connects(HERE4, 8005, hops=50)
    assert field.connects(HERE4, 8443, hops=50)
    assert field.masks() == {ROUTER4: 2}


@pytest.mark.parametrize(("to", "source"), [("203.0.113.1", "203.0.113.9"), ("2001:db8:9::1", "2001:db8:9::9")])
def test_a_trusted_network_of_the_internets_may_come_from_afar(field, to, source):
    field.begin(POLICY)
    assert field.connects(to, hops=50, source=source)
    assert field.masks() == {}


@pytest.mark.parametrize(
    ("to", "source"),
    [(HERE4, ROUTER4), (HERE6, ROUTER6), ("203.0.113.1", "203.0.113.9"), ("2001:db8:9::1", "2001:db8:9::9")],
)
def test_from_outside_no_source_is_trusted_however_near_and_none_can_be_let_in(field, to, source):
    field.begin(OUTSIDE)
    assert field.is_closed(to, source=source)
    assert field.masks() == {source: 1}
    assert field.connects(to, 8443, source=source), "the portal is there for everybody"
    assert field.masks() == {source: 2}
    address = str(ip_network(f"{source}/64", strict=False)) if ":" in source else source
    for request in (Grant(1, {"cloud": 60}, address, "cli", "", None), Ban(2, address, 60)):
        [answer] = field.host.call(lambda request=request: field.gate.decide([request]))
        assert answer["error"]["code"] == "trusted-address"
    assert field.connects(to, 9, source=source), "what is not ours is not ours to close"


def test_an_interface_that_comes_later_is_outside_too_and_the_others_are_not(field):
    field.begin(replace(POLICY, wan_interfaces=("ppp*",)))
    assert field.connects(HERE4)
    assert field.masks() == {}
    for _ in range(2):
        veth(
            field.host, "ppp7", ("192.168.77.2/24",), right=field.router, right_name="line", right_addresses=("192.168.77.1/24",)
        )
        assert field.is_closed("192.168.77.2")
        assert field.masks().keys() == {"192.168.77.1"}
        field.host.configure("link del ppp7")
    assert field.connects(HERE4)


def test_the_own_host_is_trusted_whatever_leads_outside(field):
    field.begin(replace(POLICY, wan_interfaces=("l*", "wan")))
    for address in ("127.0.0.1", HERE4, "::1"):
        field.host.connect(address, 80, 1).close()
    assert field.masks() == {}


@pytest.mark.parametrize(("policy", "goes_on"), [(POLICY, True), (OUTSIDE, False)])
def test_who_was_cut_off_is_not_back_once_the_kernel_forgets_the_connection(field, policy, goes_on):
    """The service's own packets would begin it anew from within, and the answers to those are not looked up."""
    with contextlib.ExitStack() as stack:
        with field.host.entered():
            server = stack.enter_context(socket.create_server((HERE4, 8007)))
        visitor = stack.enter_context(field.router.connect(HERE4, 8007))
        served, _ = server.accept()
        stack.enter_context(served)
        field.begin(policy)  # only now the kernel begins to track connections: it knows nothing of this one
        served.sendall(b"more")
        visitor.settimeout(5 if goes_on else 1)
        with contextlib.nullcontext() if goes_on else pytest.raises(TimeoutError):
            assert visitor.recv(4) == b"more"


@pytest.mark.parametrize(("to", "family"), [(HERE4, socket.AF_INET), (HERE6, socket.AF_INET6)])
@pytest.mark.parametrize("wan", [("wan",), ("w*", "ppp*"), ("eth0", "wa", "wan0", "x*"), ()])
def test_a_connection_tells_the_portal_by_which_interface_it_came_in(field, to, family, wan):
    arrivals = Arrivals(wan)
    outside = wan in {("wan",), ("w*", "ppp*")}
    with field.host.entered(), socket.socket(family) as listener:
        arrivals.heed(listener)
        listener.bind((to, 8100))
        listener.listen()
        for namespace, far in ((field.router, True), (field.host, False)):
            with namespace.connect(to, 8100, 10) as asker, listener.accept()[0] as served:
                asker.sendall(b"x")
                assert served.recv(1) == b"x"
                assert arrivals.peer(served) == Peer(asker.getsockname()[0], far and outside)


def test_an_interface_that_went_is_outside(field):
    arrivals = Arrivals(["ppp*"])
    for to, family in (("192.168.77.2", socket.AF_INET), ("fd00:77::2", socket.AF_INET6)):
        veth(
            field.host, "eth7", ("192.168.77.2/24", "fd00:77::2/64"),
            right=field.router, right_name="line", right_addresses=("192.168.77.1/24", "fd00:77::1/64"),
        )  # fmt: skip
        with field.host.entered(), socket.socket(family) as listener:
            arrivals.heed(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", 8100))
            listener.listen()
            with field.router.connect(to, 8100, 10), listener.accept()[0] as served:
                field.host.configure("link del eth7")
                assert arrivals.peer(served).outside


def test_a_listener_that_was_not_heeded_tells_nothing_and_so_all_are_outside(field):
    with (
        field.host.entered(),
        socket.create_server((HERE4, 8100)) as listener,
        field.router.connect(HERE4, 8100, 10),
        listener.accept()[0] as served,
    ):
        assert Arrivals(["eth0"]).peer(served).outside
        assert not Arrivals().peer(served).outside


def test_a_full_record_lets_nobody_in_and_shuts_nobody_out(field):
    field.begin(POLICY)
    field.host.run("nft", "-f", "-", input=(
        "flush chain inet safeip masked\ndelete set inet safeip masks4\n"
        "add set inet safeip masks4 { type ipv4_addr; flags dynamic,timeout; timeout 1d; size 1; counter; }\n"
        "add rule inet safeip masked tcp dport 80 update @masks4 { ip saddr }\n"
    ))  # fmt: skip
    field.router.configure("addr add 192.168.1.50/24 dev lan")
    assert field.connects(HERE4, hops=50)
    assert field.connects(HERE4, hops=50, source="192.168.1.50")
    assert field.masks().keys() == {ROUTER4}


def test_rules_loaded_again_and_a_restart_keep_what_was_recorded(field):
    field.begin(POLICY)
    field.connects(HERE4, hops=50)
    field.host.call(lambda: field.gate.reload(POLICY))
    field.begin(OUTSIDE)
    assert field.masks() == {ROUTER4: 1}
    assert field.is_closed(HERE4)


def test_sets_of_an_admins_own_table_record_nothing(field):
    with field.host.entered():
        field.host.run("nft", "add table inet mine")
        field.begin(replace(OUTSIDE, mode="sets", table="mine"))
    assert field.connects(HERE4, hops=50)
    assert field.masks() == {}
    assert "masks" not in field.host.run("nft", "list ruleset").stdout
