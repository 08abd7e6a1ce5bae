"""A gateway with two lines to the Internet, a LAN on a bridge and containers: what is closed, and what must pass."""

import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from lab.net import Namespace, veth
from lab.process import wait_for
from nft import rules
from nft.gate import Gate
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy, PortRange, ServiceRule
from nft.wire import Grant, Revoke

HOUR = 3600
GATE4, GATE6 = "192.0.2.1", "2001:db8:1::1"  # as the visitor's line sees the gateway
SECOND4, SECOND6 = "203.0.113.1", "2001:db8:66::1"  # and the stranger's
VISITOR4, VISITOR6, PREFIX = "192.0.2.10", "2001:db8:1::10", "2001:db8:1::/64"
STRANGER4, STRANGER6 = "203.0.113.66", "2001:db8:66::66"
SERVER4, SERVER6, CONTAINER4 = "10.9.0.10", "2001:db8:9::10", "172.17.0.2"
TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "fc00::/7", "fe80::/10", "2001:db8:9::/64")))


def rule(name: str, existing: str, *ports: str) -> ServiceRule:
    ranges = [(protocol, *map(int, numbers.split("-"))) for protocol, numbers in (port.split("/") for port in ports)]
    return ServiceRule(name, tuple(PortRange(r[0], r[1], r[-1]) for r in ranges), 12 * HOUR, existing)


POLICY = Policy(
    {
        one.name: one
        for one in (
            rule("cloud", "cut", "tcp/443", "udp/443"),  # on the gateway
            rule("films", "cut", "tcp/8096"),  # the server's port 80
            rule("keys", "keep", "tcp/444", "udp/444"),  # the server's port 444
            rule("web", "cut", "tcp/8080"),  # a container's port 80
            rule("voice", "keep", "udp/40000-60000"),  # on the gateway
        )
    },
    TRUSTED,
)
# another program's, as iptables-nft writes them for Docker, and the admin's
FOREIGN = """
table ip nat {
    chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local counter jump DOCKER; }
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade
        ip saddr 172.17.0.2 ip daddr 172.17.0.2 tcp dport 80 counter masquerade
    }
    chain OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local counter jump DOCKER; }
    chain DOCKER {
        iifname "docker0" counter return
        iifname != "docker0" tcp dport 8080 counter dnat to 172.17.0.2:80
    }
}
table ip filter {
    chain FORWARD { type filter hook forward priority filter; policy accept; counter jump DOCKER-USER; oifname "docker0" counter jump DOCKER; }
    chain DOCKER-USER { counter return; }
    chain DOCKER {
        ct state related,established counter accept
        iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 80 counter accept
        iifname != "docker0" oifname "docker0" counter drop
    }
}
table inet admin {
    chain forwarded {
        type nat hook prerouting priority dstnat;
        fib daddr type local meta nfproto ipv4 tcp dport 8096 dnat ip to 10.9.0.10:80
        fib daddr type local meta nfproto ipv4 meta l4proto { tcp, udp } th dport 444 dnat ip to 10.9.0.10:444
    }
    chain masqueraded {
        type nat hook postrouting priority srcnat;
        iifname "br0" oifname { "wan1", "wan2" } meta nfproto ipv4 masquerade
        ip saddr 10.9.0.0/24 ip daddr 10.9.0.0/24 masquerade
    }
}
table inet crowdsec {
    set countries { type ipv4_addr; flags interval; elements = { COUNTRIES }; }
    set crowdsec-blacklists { type ipv4_addr; flags timeout; elements = { 198.51.100.1 timeout 4h, 198.51.100.2 timeout 3h }; }
    chain input { type filter hook input priority filter - 10; policy accept; ip saddr @crowdsec-blacklists drop; ip saddr @countries drop; }
    chain forward { type filter hook forward priority filter - 10; policy accept; ip saddr @crowdsec-blacklists drop; }
}
table inet f2b-table {
    set addr-set-sshd { type ipv4_addr; elements = { 198.51.100.3 }; }
    chain f2b-chain { type filter hook input priority filter - 1; policy accept; tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable; }
}
"""


NOW = struct.pack("ii", 1, 0)  # a socket that lingers so is closed at once, and nothing is sent again


class Echo(threading.Thread):
    """Answers everything that reaches its ports in a namespace, by the name of the host and the address that asks."""

    def __init__(self, namespace: Namespace, name: str, *ports: int) -> None:
        super().__init__(name=name, daemon=True)
        self.label = name
        self.peers: dict[int, socket.socket] = {}  # by the visitor's port
        self._streams, self._datagrams = [], []
        self._over: list[socket.socket] = []
        self._woken, self._wake = socket.socketpair()
        with namespace.entered():
            for port in ports:
                self._streams.append(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
                for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                    datagrams = socket.socket(family, socket.SOCK_DGRAM)
                    if family == socket.AF_INET6:
                        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    datagrams.bind((host, port))
                    self._datagrams.append(datagrams)
        self.start()

    def run(self) -> None:
        while True:
            ready, _, _ = select.select([self._woken, *self._streams, *self._datagrams, *self.peers.values()], [], [])
            if self._woken in ready:
                if self._woken.recv(1) == b"x":
                    return
                self._over.pop().close()
                continue
            for one in ready:
                if one in self._streams:
                    peer, address = one.accept()
                    self.peers[address[1]] = peer
                elif one in self._datagrams:
                    data, address = one.recvfrom(65535)
                    with contextlib.suppress(OSError):
                        one.sendto(self._answer(data, address), address)
                else:
                    self._go_on(one)

    def _answer(self, data: bytes, address: tuple) -> bytes:
        return data if len(data) > 100 else f"{self.label} {address[0].removeprefix('::ffff:')}".encode()

    def _go_on(self, peer: socket.socket) -> None:
        try:
            address, data = peer.getpeername(), peer.recv(65536)
            if data:
                peer.sendall(self._answer(data, address))
                return
        except OSError:
            pass
        self.peers = {port: held for port, held in self.peers.items() if held is not peer}
        peer.close()

    def end(self, port: int) -> None:
        """Close the connection of a visitor's port, in the thread that waits for it."""
        over = self.peers[port]
        self.peers = {one: peer for one, peer in self.peers.items() if one != port}
        self._over.append(over)
        self._wake.send(b"-")
        wait_for("its end", lambda: over.fileno() < 0)

    def close(self) -> None:
        self._wake.send(b"x")
        self.join(5)
        for one in (*self._streams, *self._datagrams, *self.peers.values(), self._wake, self._woken):
            one.close()


class Place:
    """Everything of the module, made once; what a test grants is revoked after it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        def make(label: str) -> Namespace:
            return stack.enter_context(Namespace(label, "sipt"))

        self.gateway, self.visitor, self.stranger = make("gateway"), make("visitor"), make("stranger")
        self.server, self.client, self.container = make("server"), make("client"), make("container")
        lines = ((self.visitor, "wan1", GATE4, GATE6, VISITOR4, VISITOR6), (self.stranger, "wan2", SECOND4, SECOND6, STRANGER4, STRANGER6))
        for outside, name, here4, here6, there4, there6 in lines:
            veth(
                self.gateway, name, (f"{here4}/24", f"{here6}/64"),
                right=outside, right_name="eth0", right_addresses=(f"{there4}/24", f"{there6}/64"),
            )  # fmt: skip
            outside.configure(f"route add default via {here4}", f"route add default via {here6}")
        self.gateway.configure("link add br0 type bridge", "link set br0 up", "link add docker0 type bridge", "link set docker0 up")
        for inside, bridge, address4, address6 in (
            (self.server, "br0", f"{SERVER4}/24", f"{SERVER6}/64"),
            (self.client, "br0", "10.9.0.20/24", "2001:db8:9::20/64"),
            (self.container, "docker0", f"{CONTAINER4}/16", "fd00:17::2/64"),
        ):
            end = f"p-{inside.name[-8:]}"
            veth(self.gateway, end, (), right=inside, right_name="eth0", right_addresses=(address4, address6))
            self.gateway.configure(f"link set {end} master {bridge}")
        self.gateway.configure(
            *(f"addr add {address} dev br0" for address in ("10.9.0.1/24", "2001:db8:9::1/64 nodad")),
            *(f"addr add {address} dev docker0" for address in ("172.17.0.1/16", "fd00:17::1/64 nodad")),
            f"route add default via {VISITOR4}",
        )
        for inside, router4, router6 in (
            (self.server, "10.9.0.1", "2001:db8:9::1"), (self.client, "10.9.0.1", "2001:db8:9::1"), (self.container, "172.17.0.1", "fd00:17::1"),
        ):  # fmt: skip
            inside.configure(f"route add default via {router4}", f"route add default via {router6}")
        self.gateway.sysctl("net.ipv4.ip_forward", 1)
        self.gateway.sysctl("net.ipv6.conf.all.forwarding", 1)
        for name in ("all", "wan1", "wan2"):
            self.gateway.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)
        networks = ", ".join(f"{ip_address((100 << 24) + 512 * n)}/24" for n in range(100_000))
        self.gateway.run("nft", "-f", "-", input=FOREIGN.replace("COUNTRIES", networks))
        self.echoes = {
            label: stack.enter_context(contextlib.closing(Echo(namespace, label, *ports)))
            for label, namespace, ports in (
                ("gateway", self.gateway, (443, 444, 9, 50001)), ("server", self.server, (80, 443, 444, 8096, 9)), ("container", self.container, (80,)),
                ("visitor", self.visitor, (9,)), ("stranger", self.stranger, (9, 53)),
            )
        }  # fmt: skip
        with self.gateway.entered():
            self.gate = stack.enter_context(contextlib.closing(Gate(POLICY)))
            self.gate.start()

    def nft(self, script: str) -> str:
        return self.gateway.run("nft", "-f", "-", input=script).stdout

    def grant(self, service: str, address: str = VISITOR4) -> None:
        [answer] = self.gate.decide([Grant(1, {service: HOUR}, address, "cli", "", None)])
        assert "ok" in answer, answer

    def revoke(self) -> None:
        self.gate.decide([Revoke(1, None, None, None, everything=True)])

    def closed(self) -> int:
        """Packets that were dropped so far."""
        return self.gate._sets.counter("closed")[0]

    def connections(self) -> list[str]:
        """What the gateway's kernel tracks, a line each.

        The kernel tells it in parts of a page and counts from the beginning for each: where a connection ends between
        two parts, another is left out. Hence five looks.
        """
        with self.gateway.entered():
            looks = [Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines() for _ in range(5)]
        return list(dict.fromkeys(line for look in looks for line in look))


@pytest.fixture(scope="module")
def world() -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place(stack)


@pytest.fixture
def place(world: Place) -> Iterator[Place]:
    yield world
    world.revoke()


def dial(source: Namespace, host: str, port: int, kind: str = "tcp", own_port: int = 0, family: int = 0) -> socket.socket:
    """A socket that is connecting, or that is ready to send datagrams."""
    family = family or (socket.AF_INET6 if ":" in host else socket.AF_INET)
    with source.entered():
        made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", own_port))
    made.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        made.connect((host, port))
    return made


def answer(dialled: socket.socket, timeout: float = 5) -> str:
    """What the other side says, "" for nothing within `timeout` seconds."""
    dialled.settimeout(timeout)
    try:
        if not select.select([], [dialled], [], timeout)[1]:
            return ""
        dialled.send(b"?")
        return dialled.recv(65536).decode()
    except OSError:
        return ""


def ask(source: Namespace, host: str, port: int, kind: str = "tcp", own_port: int = 0) -> str:
    """Who answers, and which address it sees."""
    with dial(source, host, port, kind, own_port) as dialled:
        return answer(dialled)


def shut(place: Place, source: Namespace, host: str, port: int, kind: str = "tcp", own_port: int = 0) -> bool:
    """Whether the gate drops what begins a conversation."""
    before = place.closed()
    with dial(source, host, port, kind, own_port) as dialled:
        if kind == "udp":
            dialled.send(b"?")
        wait_for("the drop", lambda: place.closed() > before or bool(select.select([dialled], [], [], 0)[0]), 5)
        answered = select.select([dialled], [dialled] if kind == "tcp" else [], [], 0.05)
        return place.closed() > before and not any(answered)


WAYS = [
    ("cloud", GATE4, 443, "tcp", f"gateway {VISITOR4}"),
    ("cloud", GATE4, 443, "udp", f"gateway {VISITOR4}"),
    ("cloud", GATE6, 443, "tcp", f"gateway {VISITOR6}"),
    ("cloud", SECOND4, 443, "tcp", f"gateway {VISITOR4}"),
    ("films", GATE4, 8096, "tcp", f"server {VISITOR4}"),
    ("keys", GATE4, 444, "tcp", f"server {VISITOR4}"),
    ("keys", GATE4, 444, "udp", f"server {VISITOR4}"),
    ("keys", SECOND4, 444, "tcp", f"server {VISITOR4}"),
    ("cloud", SERVER6, 443, "tcp", f"server {VISITOR6}"),
    ("cloud", SERVER6, 443, "udp", f"server {VISITOR6}"),
    ("films", SERVER6, 8096, "tcp", f"server {VISITOR6}"),
    ("web", GATE4, 8080, "tcp", f"container {VISITOR4}"),
    ("web", SECOND4, 8080, "tcp", f"container {VISITOR4}"),
]


@pytest.mark.parametrize(("service", "host", "port", "kind", "says"), WAYS)
def test_closed_to_all_and_opened_to_one(place, service, host, port, kind, says):
    assert shut(place, place.visitor, host, port, kind)
    assert shut(place, place.stranger, host, port, kind)
    place.grant(service, PREFIX if ":" in host else VISITOR4)
    assert ask(place.visitor, host, port, kind) == says
    assert shut(place, place.stranger, host, port, kind)
    place.revoke()
    assert shut(place, place.visitor, host, port, kind)


@pytest.mark.parametrize("port", [80, 9])
def test_other_ports_of_what_is_behind_are_nobodys_business(place, port):
    assert ask(place.stranger, SERVER6, port) == f"server {STRANGER6}"


@pytest.mark.parametrize(("source", "host", "port", "says"), [
    ("client", GATE4, 8096, "server 10.9.0.1"),  # hairpin, masqueraded
    ("client", SECOND4, 443, "gateway 10.9.0.20"),
    ("client", SERVER4, 444, "server 10.9.0."),  # within the bridge; masqueraded where br_netfilter is on
    ("client", SERVER6, 443, "server 2001:db8:9::20"),
    ("client", GATE4, 8080, "container 10.9.0.20"),
    ("container", GATE4, 443, f"gateway {CONTAINER4}"),
    ("gateway", GATE4, 8080, f"container {GATE4}"),
    ("gateway", GATE4, 443, f"gateway {GATE4}"),
])  # fmt: skip
def test_the_lan_the_containers_and_the_gateway_are_not_shut_out(place, source, host, port, says):
    assert ask(getattr(place, source), host, port).startswith(says)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(("source", "own_port"), [("gateway", 50123), ("client", 443), ("client", 8096), ("client", 50123), ("server", 50123)])
def test_answers_to_what_the_inside_asked_from_a_protected_port_number_pass(place, source, own_port, kind):
    """As a DNS client does that picks such a port; through masquerade from the LAN."""
    assert ask(getattr(place, source), STRANGER4, 53, kind, own_port) == f"stranger {SECOND4}"
    if source != "gateway":
        assert ask(getattr(place, source), STRANGER6, 53, kind, own_port).startswith("stranger 2001:db8:9::")


def test_a_lan_with_addresses_that_nobody_named_is_trusted_by_its_interface(place):
    """Its provider gave it another prefix. examples/custom.nft says what to do."""
    place.client.configure("addr add 2001:db8:77::20/64 dev eth0 nodad")
    place.gateway.configure("route add 2001:db8:77::/64 dev br0")
    place.stranger.configure("route add 2001:db8:77::/64 via 2001:db8:66::1")

    def reaches() -> bool:
        with place.client.entered(), socket.socket(socket.AF_INET6) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            asking.bind(("2001:db8:77::20", 0))
            asking.settimeout(0.2)
            with place.stranger.entered(), socket.create_server(("::", 443), family=socket.AF_INET6):
                return asking.connect_ex((STRANGER6, 443)) == 0

    assert not reaches()
    custom = str(Path("examples/custom.nft").resolve())
    with place.gateway.entered(), contextlib.closing(Gate(POLICY, custom)) as second:
        assert rules.check(POLICY, custom) == []
        second.start()
    assert reaches()
    assert shut(place, place.stranger, SERVER6, 443)


def packet(kind: str, source: str, target: str, own_port: int, port: int, flags: int = 0, seq: int = 0, ack: int = 0, data: bytes = b"x") -> bytes:
    """A TCP or UDP packet without its IP header, with its checksum (RFC 9293, RFC 768)."""
    number = 6 if kind == "tcp" else 17
    head = struct.pack(">HHIIBBHHH", own_port, port, seq, ack, 0x50, flags, 65535, 0, 0) if kind == "tcp" else struct.pack(">HHHH", own_port, port, 8 + len(data), 0)
    whole = head + data
    pseudo = ip_address(source).packed + ip_address(target).packed + struct.pack(">II", len(whole), number)
    total = sum(struct.unpack(f">{(len(pseudo + whole) + 1) // 2}H", pseudo + whole + b"\0" * (len(whole) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    place = 16 if kind == "tcp" else 6
    return whole[:place] + struct.pack(">H", ~total & 0xFFFF) + whole[place + 2 :]


FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def throw(namespace: Namespace, target: str, number: int, *payloads: bytes) -> None:
    """Send payloads of an IP protocol, with the kernel's IP header."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with namespace.entered(), socket.socket(family, socket.SOCK_RAW, number) as raw:
        for payload in payloads:
            raw.sendto(payload, (target, 0))


def throw_whole(namespace: Namespace, target: str, *packets: bytes) -> None:
    """Send packets with IP headers of their own."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with namespace.entered(), socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for one in packets:
            raw.sendto(one, (target, 0))


@contextlib.contextmanager
def connected(place: Place, service: str, host: str, port: int, kind: str = "tcp") -> Iterator[socket.socket]:
    """A visitor's connection that stands under a grant."""
    place.grant(service, PREFIX if ":" in host else VISITOR4)
    with dial(place.visitor, host, port, kind) as held:
        assert answer(held)
        yield held


KEPT = [("keys", GATE4, 444, "tcp"), ("keys", GATE4, 444, "udp"), ("keys", SERVER6, 444, "tcp"), ("voice", GATE6, 50001, "udp")]
CUT = [("cloud", GATE4, 443, "tcp"), ("cloud", GATE6, 443, "udp"), ("films", GATE4, 8096, "tcp"), ("cloud", SERVER6, 443, "tcp"), ("web", GATE4, 8080, "tcp")]


@pytest.mark.parametrize(("service", "host", "port", "kind", "kept"), [(*way, True) for way in KEPT] + [(*way, False) for way in CUT])
def test_what_stands_is_kept_or_cut_when_the_grant_is_over(place, service, host, port, kind, kept):
    with connected(place, service, host, port, kind) as held:
        place.revoke()
        for _ in range(3):
            assert bool(answer(held, timeout=5 if kept else 0.1)) == kept
        assert shut(place, place.visitor, host, port, kind)


def sequence(held: socket.socket) -> tuple[int, int]:
    """The numbers of a connection's next byte each way (TCP_REPAIR, tcp(7))."""
    found = []
    held.setsockopt(socket.IPPROTO_TCP, 19, 1)
    for queue in (2, 1):  # sent, received
        held.setsockopt(socket.IPPROTO_TCP, 20, queue)
        found.append(held.getsockopt(socket.IPPROTO_TCP, 21) & 0xFFFFFFFF)
    held.setsockopt(socket.IPPROTO_TCP, 19, -1)  # without a window probe
    return found[0], found[1]


@pytest.mark.parametrize(("host", "echo"), [(GATE4, "gateway"), (GATE6, "gateway"), (SERVER6, "server")])
def test_who_makes_the_kernel_forget_a_connection_is_not_taken_for_one_who_was_asked(place, host, echo):
    """A revoked visitor resets the connection in the gateway's eyes; the server, whom no reset reached, goes on sending."""
    with connected(place, "cloud", host, 443) as held:
        own_port = held.getsockname()[1]
        place.revoke()
        place.gateway.sysctl("net.netfilter.nf_conntrack_tcp_timeout_close", 1)
        source = VISITOR6 if ":" in host else VISITOR4
        seq, ack = sequence(held)
        throw(place.visitor, host, socket.IPPROTO_TCP, packet("tcp", source, host, own_port, 443, RST | ACK, seq, ack, b""))
        wait_for("the kernel to forget", lambda: not any(f"sport={own_port} " in line and "dport=443 " in line for line in place.connections()))
        server_side = place.echoes[echo].peers[own_port]
        server_side.send(b"pushed")
        assert answer(held, timeout=0.3) == ""
        assert answer(held, timeout=0.3) == "", "neither what the server pushes nor what the visitor says gets through"


def test_a_syn_under_a_connection_that_is_kept_begins_nothing(place):
    """The server has forgotten it (its host restarted, say), the gateway's kernel has not."""
    for _ in range(8):  # whether the kernel ignores the SYN or calls it invalid depends on its number
        with connected(place, "keys", SERVER6, 444) as held:
            own_port = held.getsockname()[1]
            server_side = place.echoes["server"].peers[own_port]
            wait_for("its acknowledgement", lambda one=server_side: fcntl.ioctl(one, termios.TIOCOUTQ, bytes(4)) == bytes(4))
            for one in (held, server_side):  # closed without a word (TCP_REPAIR)
                one.setsockopt(socket.IPPROTO_TCP, 19, 1)
            place.echoes["server"].end(own_port)
        place.revoke()
        assert any(f"sport={own_port} " in line and "ESTABLISHED" in line for line in place.connections())
        assert shut(place, place.visitor, SERVER6, 444, own_port=own_port)


def test_no_helper_lets_a_stranger_in_to_a_service_whose_connections_are_kept(place):
    """What a protocol announces (FTP's PASV, and what others make a browser send) is no connection that stands."""
    place.nft(
        'table inet helped { ct helper ftp { type "ftp" protocol tcp; }\n'
        'chain prerouting { type filter hook prerouting priority filter; tcp dport 21 ct helper set "ftp"\n}\n}'
    )
    try:
        with place.gateway.entered():
            listening = socket.create_server((SECOND4, 21))
        with listening, dial(place.stranger, SECOND4, 21) as control:
            listening.settimeout(5)
            peer, _ = listening.accept()
            with peer:
                control.settimeout(5)
                peer.sendall(b"220 Here\r\n")
                assert control.recv(100)
                control.sendall(b"PASV\r\n")
                assert peer.recv(100) == b"PASV\r\n"
                peer.sendall(b"227 Entering Passive Mode (203,0,113,1,1,188)\r\n")  # port 444
                assert control.recv(100)
                with place.gateway.entered():
                    assert "dport=444" in Path("/proc/thread-self/net/nf_conntrack_expect").read_text()
                assert shut(place, place.stranger, SECOND4, 444)
    finally:
        place.nft("delete table inet helped")


@pytest.mark.parametrize("flags", [SYN | ACK, ACK, PSH | ACK, RST, RST | ACK, FIN | ACK, FIN, 0, SYN | FIN, 0xFF])
@pytest.mark.parametrize(("source", "target", "port"), [(STRANGER4, SECOND4, 443), (STRANGER6, SERVER6, 444)])
def test_no_packet_of_a_strangers_looks_like_an_answer(place, source, target, port, flags):
    before, tracked = place.closed(), place.connections()
    throw(place.stranger, target, socket.IPPROTO_TCP, *(packet("tcp", source, target, 1000 + n, port, flags, 5, 7) for n in range(3)))
    wait_for("the drops", lambda: place.closed() == before + 3)
    assert not any(f"sport={port} dport=100" in line for line in set(place.connections()) - set(tracked))


@pytest.mark.parametrize("asker", ["gateway", "client"])
def test_whom_the_inside_asked_may_answer_that_and_nothing_else(place, asker):
    """From a port number that is a service's."""
    own_port = 50200 if asker == "gateway" else 443
    with dial(getattr(place, asker), STRANGER4, 53, "udp", own_port) as asking:
        assert answer(asking)
        with dial(place.stranger, SECOND4, own_port, "udp", 54) as other:
            before = place.closed()
            other.send(b"x")
            wait_for("the drop", lambda: place.closed() > before)
        before = place.closed()
        throw(place.stranger, SECOND4, socket.IPPROTO_TCP, packet("tcp", STRANGER4, SECOND4, 53, 443 if asker == "client" else 444, SYN))
        wait_for("the drop", lambda: place.closed() > before)


@contextlib.contextmanager
def table(place: Place, text: str) -> Iterator[None]:
    """Another program's table while the block runs."""
    place.nft(f"table inet other {{\n{text}\n}}")
    try:
        yield
    finally:
        place.nft("delete table inet other")


@pytest.mark.parametrize("priority", [-300, -450])
def test_where_another_program_tracks_nothing_all_stays_closed(place, priority):
    hooks = ("prerouting", "output")
    with table(place, "\n".join(f"chain {hook} {{ type filter hook {hook} priority {priority}; notrack\n}}" for hook in hooks)):
        for host in (SECOND4, SECOND6):
            assert shut(place, place.stranger, host, 443)
            assert shut(place, place.stranger, host, 50001, "udp")
        place.grant("cloud")
        assert ask(place.visitor, GATE4, 443) == f"gateway {VISITOR4}"
        for source, target in ((STRANGER4, SECOND4), (STRANGER6, SECOND6)):
            pieces = pieces_of_a_datagram(source, target)
            assert arrived(place, target, pieces) == arrived(place, target, pieces[::-1]) == []
        assert arrived(place, SECOND6, headless(STRANGER6, SECOND6)) == []


@pytest.mark.parametrize(("source", "target", "network"), [(STRANGER4, SECOND4, STRANGER4), (STRANGER6, SECOND6, "2001:db8:66::/64")])
def test_pieces_are_put_together_before_they_are_looked_at(place, source, target, network):
    pieces = pieces_of_a_datagram(source, target)
    before = place.closed()
    assert arrived(place, target, pieces) == arrived(place, target, pieces[::-1]) == []
    wait_for("the drops", lambda: place.closed() == before + 2)
    place.grant("cloud", network)
    assert arrived(place, target, pieces) == [443]


def pieces_of_a_datagram(source: str, target: str) -> list[bytes]:
    """To port 443, in the smallest pieces that there can be."""
    datagram = packet("udp", source, target, 5555, 443, data=b"y" * 32)
    addresses = ip_address(source).packed + ip_address(target).packed
    if ":" not in target:
        return [
            struct.pack(">BBHHHBBH", 0x45, 0, 0, 77, (0x2000 if at < 32 else 0) | at // 8, 64, 17, 0) + addresses + datagram[at : at + 8]
            for at in range(0, 40, 8)
        ]
    return [
        struct.pack(">IHBB", 0x6000_0000, 16, 44, 64) + addresses + struct.pack(">BBHI", 17, 0, at | (at < 32), 99) + datagram[at : at + 8]
        for at in range(0, 40, 8)
    ]


def headless(source: str, target: str) -> list[bytes]:
    """A datagram to port 443 whose first piece ends before its UDP header (RFC 7112 forbids it)."""
    head, datagram = bytes((17, 0, 1, 4, 0, 0, 0, 0)), packet("udp", source, target, 5555, 443)
    addresses = ip_address(source).packed + ip_address(target).packed
    return [
        struct.pack(">IHBB", 0x6000_0000, 8 + len(data), 44, 64) + addresses + struct.pack(">BBHI", 60, 0, offset | more, 98) + data
        for data, offset, more in ((head, 0, 1), (datagram, 8, 0))
    ]


def arrived(place: Place, target: str, packets: list[bytes]) -> list[int]:
    """The ports that answer to a stranger who sends these, and then a word to a port that nobody closed."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with place.stranger.entered(), socket.socket(family, socket.SOCK_DGRAM) as own:
        own.bind(("", 5555))
        own.settimeout(5)
        throw_whole(place.stranger, target, *packets)
        own.sendto(b"last", (target, 9))
        ports = []
        while 9 not in ports:
            ports.append(own.recvfrom(1000)[1][1])
        return ports[:-1]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("option", [54, 59])  # IPV6_HOPOPTS, IPV6_DSTOPTS (RFC 3542)
def test_headers_before_the_port_hide_nothing(place, option, kind):
    for source, granted in ((place.stranger, False), (place.visitor, True)):
        if granted:
            place.grant("cloud", PREFIX)
        before = place.closed()
        with source.entered(), socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            asking.setsockopt(socket.IPPROTO_IPV6, option, bytes((0, 0, 1, 4, 0, 0, 0, 0)))
            asking.settimeout(5 if granted else 0.1)
            with contextlib.suppress(TimeoutError):
                asking.connect((GATE6 if granted else SECOND6, 443))
            said = answer(asking, timeout=5 if granted else 0.1)
        assert said == (f"gateway {VISITOR6}" if granted else "")
        assert (place.closed() > before) != granted


COUNT = """
counter seen {
}
chain input {
    type filter hook input priority 10; policy accept;
    meta l4proto { 33, 47, 50, 51, 132, 136 } counter name seen
}
"""


def test_other_protocols_are_nobodys_business(place):
    head, before = struct.pack(">HHIIIII", 1000, 443, 12, 0, 0, 0, 0), place.closed()
    with table(place, COUNT), place.gateway.entered(), contextlib.closing(NetlinkSets("inet", "other")) as other:
        for number in (33, 47, 50, 51, 132, 136):  # DCCP, GRE, ESP, AH, SCTP, UDP-Lite
            seen = other.counter("seen")[0]
            throw(place.stranger, SECOND4, number, head)
            throw(place.stranger, SECOND6, number, head)
            wait_for("the packets", lambda seen=seen: other.counter("seen")[0] == seen + 2)
    assert place.closed() == before


@pytest.mark.parametrize("target", ["203.0.113.255", "255.255.255.255", "224.0.0.251", "ff02::fb", "127.0.0.1"])
def test_what_goes_to_many_or_to_loopback_is_closed_too(place, target):
    """127.0.0.1 from outside, on a gateway that routes it (route_localnet)."""
    place.gateway.sysctl("net.ipv4.conf.all.route_localnet", 1)
    before = place.closed()
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    if target == "127.0.0.1":
        place.stranger.configure("route add local 127.0.0.0/8 dev lo table 99", "route del local 127.0.0.0/8 dev lo table local",
                                 "route del local 127.0.0.1 dev lo table local", f"route add 127.0.0.1 via {SECOND4}")
        place.stranger.sysctl("net.ipv4.conf.all.route_localnet", 1)
    with place.stranger.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.bind((STRANGER6 if ":" in target else STRANGER4, 0))
        if target.startswith("ff"):
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
        sender.sendto(b"x", (target, 443))
    wait_for("the drop", lambda: place.closed() == before + 1)


def test_errors_about_a_connection_reach_it(place):
    """From a router on the way, which nobody let in: that a packet was too large, that a port is closed."""
    place.grant("voice")
    with place.gateway.entered():
        serving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with serving, dial(place.visitor, GATE4, 50002, "udp") as visitor:
        serving.bind((GATE4, 50002))
        visitor.send(b"x")
        serving.settimeout(5)
        serving.connect(serving.recvfrom(10)[1])
        serving.send(b"y")
        inner = struct.pack(">BBHHHBBH", 0x45, 0, 1400, 0, 0x4000, 64, 17, 0) + ip_address(GATE4).packed + ip_address(VISITOR4).packed
        inner += struct.pack(">HHHH", 50002, visitor.getsockname()[1], 1380, 0)
        error = bytearray(struct.pack(">BBHHH", 3, 4, 0, 0, 1280) + inner)
        total = sum(struct.unpack(f">{len(error) // 2}H", error))
        total = (total & 0xFFFF) + (total >> 16)
        error[2:4] = struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
        throw(place.stranger, GATE4, socket.IPPROTO_ICMP, bytes(error))
        wait_for("the smaller size", lambda: serving.getsockopt(socket.IPPROTO_IP, 14) == 1280)  # IP_MTU
        visitor.close()
        for _ in range(2):
            with contextlib.suppress(OSError):  # what waits for it: first that it was too large
                serving.send(b"y")
        with pytest.raises(ConnectionRefusedError):
            serving.recv(1)

