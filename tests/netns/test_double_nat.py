"""A router in front that masquerades in both directions: the danger, what tells of it, and wan_interfaces against it."""

import base64
import re
import socket
from collections.abc import Iterator

import pyotp
import pytest

from lab.gateway import Gateway
from lab.net import Namespace, veth
from lab.visitor import Family, Visitor
from safeip.control import Control

OUTER4, OUTER6 = "198.51.101.1", "2001:db8:101::1"  # what the Internet sees of the router
ROUTER4, ROUTER6 = "192.168.1.1", "fd00:1::1"  # and what the gateway sees
PASSWORD = "four words nobody guesses"
URL, CLOUD = "https://home.test:8443", "http://home.test/"
# what is forwarded to the gateway comes from the router's own address, so that it need not have a way back
NAT = """
table inet nat {
    chain pre {
        type nat hook prerouting priority dstnat;
        ip daddr 198.51.101.1 tcp dport { 80, 8443 } dnat ip to 192.168.1.2
        ip6 daddr 2001:db8:101::1 tcp dport { 80, 8443 } dnat ip6 to fd00:1::2
    }
    chain post { type nat hook postrouting priority srcnat; oifname "br0" ct status dnat masquerade; }
}
"""


class Scene:
    """The lab's gateway with one more line, `outer`, to a router with neighbours of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.router, self.near = Namespace("router", "sipt"), Namespace("near", "sipt")
        veth(gateway.internet, "outer", ("198.51.101.254/24", "2001:db8:101::fe/64"), right=self.router, right_name="net", right_addresses=(f"{OUTER4}/24", f"{OUTER6}/64"))
        self.router.configure("link add br0 type bridge", "link set br0 up", f"addr add {ROUTER4}/24 dev br0", f"addr add {ROUTER6}/64 dev br0 nodad")
        veth(self.router, "one", (), right=gateway.host, right_name="outer", right_addresses=("192.168.1.2/24", "fd00:1::2/64"))
        veth(self.router, "two", (), right=self.near, right_name="eth0", right_addresses=("192.168.1.50/24", "fd00:1::50/64"))
        self.router.configure("link set one master br0", "link set two master br0", "route add default via 198.51.101.254", "route add default via 2001:db8:101::fe")
        self.near.configure(f"route add default via {ROUTER4}", f"route add default via {ROUTER6}")
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.router.sysctl(name, 1)
        self.router.run("nft", "-f", "-", input=NAT)
        self.stranger = self.visitor(gateway.stranger.namespace, OUTER4, OUTER6)
        # a stranger is some networks away; the lab's is two
        self.stranger.namespace.sysctl("net.ipv4.ip_default_ttl", 54)
        self.stranger.namespace.sysctl("net.ipv6.conf.eth0.hop_limit", 54)
        self.hairpin = self.visitor(self.near, OUTER4, OUTER6)
        self.neighbour = self.visitor(self.near, "192.168.1.2", "fd00:1::2")
        self.lan = self.visitor(gateway.server, "10.9.0.1", "fd00:9::1")

    @staticmethod
    def visitor(namespace: Namespace, ipv4: str, ipv6: str) -> Visitor:
        return Visitor(namespace, "", "", {"home.test": (ipv4, ipv6)})

    def close(self) -> None:
        self.router.close()
        self.near.close()

    def masks(self) -> set[str]:
        return {one["address"] for one in self.gateway.cli_json("status")["masks"]["latest"]}

    def start(self, *wan: str, **more: object) -> None:
        """The daemon anew, without a memory of who came or was let in; `wan`: gate.wan_interfaces."""
        if self.gateway.daemon is not None and self.gateway.daemon.poll() is None:
            self.gateway.stop()
        self.gateway.host.run("nft", "delete table inet safeip", check=False)
        self.gateway.configure(gate={"wan_interfaces": list(wan), **more}, portal={"metrics_networks": ["192.168.0.0/16", "fd00::/8"]})
        self.gateway.start()
        self.gateway.cli("revoke", "--all")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Gateway(prefix="sipt", start=False) as gateway:
        scene = Scene(gateway)
        yield scene
        scene.close()


def admin(scene: Scene) -> Visitor:
    """An admin in the LAN, signed in."""
    door = Control(str(scene.gateway.runtime / "control.sock"))
    invited = door.ask("POST", "/people", body={"name": "yves", "role": "admin", "invite": True})
    browser = scene.visitor(scene.gateway.server, "10.9.0.1", "fd00:9::1")
    page = browser.fetch(invited["url"])
    key = re.search(r'class="secret">([A-Z2-7 ]+)<', page.text)
    assert key
    code = pyotp.TOTP(key[1].replace(" ", "")).now()
    assert browser.submit(page, {"password": PASSWORD, "again": PASSWORD, "code": code}).status == 200
    return browser


@pytest.mark.parametrize("family", [4, 6])
def test_without_wan_interfaces_a_stranger_gets_in_and_one_connection_tells(scene: Scene, family: Family) -> None:
    scene.start()
    router = ROUTER4 if family == 4 else ROUTER6
    gateway = scene.gateway
    assert scene.lan.reaches(CLOUD, family=family, timeout=10)
    assert gateway.cli_json("status")["warnings"] == []
    assert "warning" not in gateway.cli("check").stdout
    assert scene.stranger.fetch(CLOUD, family=family).status == 200, "this is the danger"
    assert scene.masks() == {router}
    [told] = gateway.cli_json("status")["warnings"]
    assert router in told
    assert "gate.wan_interfaces" in told
    assert f"warning: {told}\n" in gateway.cli("check").stdout
    assert told in gateway.cli("status").stdout
    if family == 4:
        page = admin(scene).fetch(f"{URL}/admin")
        assert page.status == 200
        assert "Strangers may be let in" in page.text
        assert router in page.text
        assert "wan_interfaces" in page.text


def test_neighbours_and_their_own_way_back_by_the_router_tell_nothing(scene: Scene) -> None:
    scene.start()
    for visitor in (scene.lan, scene.neighbour, scene.hairpin):
        for family in (4, 6):
            assert visitor.fetch(CLOUD, family=family).status == 200
            assert visitor.fetch(f"{URL}/healthz", family=family).status == 200
    assert scene.masks() == set()


@pytest.mark.parametrize("family", [4, 6])
def test_with_wan_interfaces_who_comes_so_is_closed_out_and_told(scene: Scene, family: Family) -> None:
    scene.start("outer")
    gateway, stranger = scene.gateway, scene.stranger
    router = ROUTER4 if family == 4 else ROUTER6
    link = gateway.add_link()
    token = gateway.add_token("Router", "grant:any")
    assert not stranger.reaches(CLOUD, family=family)
    assert stranger.fetch(f"{URL}/sign-in", family=family).status == 200, "a form to fill in, that nobody takes"
    for path in ("/", link.removeprefix(URL)):
        page = stranger.fetch(URL + path, family=family)
        assert page.status == 403, path
        assert "a router in front of the gateway hides where visitors come from" in page.text
    fields = {"form": "x", "services": "cloud"}
    for path in (link.removeprefix(URL), "/sign-in", "/me/open", "/also/x", "/stay", "/forget", "/me/move"):
        answer = stranger.fetch(URL + path, "POST", fields=fields, family=family, headers={"Origin": URL, "Sec-Fetch-Site": "same-origin"})
        assert answer.status in {403, 404, 405}, path
    bearer = {"Authorization": f"Bearer {token}"}
    for method, path in (("GET", "/api/v1/token"), ("PUT", "/api/v1/grants/cloud/self"), ("PUT", f"/api/v1/grants/cloud/{router}")):
        answer = stranger.fetch(URL + path, method, headers=bearer, family=family)
        assert answer.status in {403, 404, 405}, (path, answer.text)
    assert "hidden-address" in stranger.fetch(f"{URL}/api/v1/status", headers=bearer, family=family).text
    assert stranger.fetch(f"{URL}/auth?service=cloud", family=family).status == 400
    assert stranger.fetch(f"{URL}/metrics", family=family).status == 403
    basic = {"Authorization": f"Basic {base64.b64encode(f'x:{token}'.encode()).decode()}", "User-Agent": "curl/8"}
    router_of_theirs = scene.visitor(stranger.namespace, OUTER4, OUTER6)  # a program, without cookies
    assert router_of_theirs.fetch(f"{URL}/nic/update", headers=basic, family=family).text.strip() == "911"
    # whoever says to be somebody else's proxy is not asked
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert stranger.fetch(f"{URL}/", headers={name: "203.0.113.66"}, family=family).status == 403
    assert gateway.cli_json("grants") == []
    assert scene.masks() == {router}
    [told] = gateway.cli_json("status")["warnings"]
    assert router in told
    assert "closed out" in told
    assert scene.neighbour.fetch(f"{URL}/", family=family).status == 403, "between the two routers nobody is trusted either"
    for visitor in (scene.lan, gateway.local):
        assert visitor.fetch(CLOUD, family=family).status == 200
        page = visitor.fetch(f"{URL}/", family=family)
        assert page.status == 200
        assert "never closed" in page.text
    assert gateway.visitor.open_link(link, family=family).status == 200, "who comes by the other line, with an address of the Internet's"
    assert gateway.visitor.reaches(CLOUD, family=family, timeout=10)


def test_a_visitor_of_the_internet_by_such_an_interface_is_let_in_like_anybody(scene: Scene) -> None:
    scene.start("w*", "outer")
    link = scene.gateway.add_link()
    for family in (4, 6):
        assert not scene.gateway.visitor.reaches(CLOUD, family=family)
        assert scene.gateway.visitor.open_link(link, family=family).status == 200
        assert scene.gateway.visitor.reaches(CLOUD, family=family, timeout=10)


def test_a_forged_neighbour_from_the_internet_is_recorded_and_gets_nothing(scene: Scene) -> None:
    scene.start("wan")
    scene.gateway.host.sysctl("net.ipv4.conf.all.rp_filter", 0)
    scene.gateway.host.sysctl("net.ipv4.conf.wan.rp_filter", 0)
    forger = scene.gateway.internet
    forger.configure("addr add 10.9.0.10/32 dev home")
    try:
        with forger.entered(), socket.socket() as one:
            one.bind(("10.9.0.10", 0))
            one.settimeout(1)
            with pytest.raises(TimeoutError):
                one.connect(("198.51.100.1", 80))
    finally:
        forger.configure("addr del 10.9.0.10/32 dev home")
    assert scene.masks() == {"10.9.0.10"}
    assert scene.lan.reaches(CLOUD, timeout=10)


def test_an_interface_that_comes_later_and_goes_is_outside_while_it_is_there(scene: Scene) -> None:
    scene.start("ppp*")
    host = scene.gateway.host
    for _ in range(2):
        with Namespace("far", "sipt") as far:
            veth(host, "ppp3", ("192.168.77.2/24", "fd00:77::2/64"), right=far, right_name="eth0", right_addresses=("192.168.77.1/24", "fd00:77::1/64"))
            visitor = scene.visitor(far, "192.168.77.2", "fd00:77::2")
            for family in (4, 6):
                assert visitor.fetch(f"{URL}/", family=family).status == 403
                assert not visitor.reaches(CLOUD, family=family)
            with visitor.connect(URL) as held:
                held.sendall(b"GET / HTTP/1.1\r\nHost: home.test:8443\r\n\r\n")
                assert b"403" in held.recv(100)
            host.configure("link del ppp3")
    assert scene.neighbour.fetch(f"{URL}/").status == 200
    assert scene.neighbour.reaches(CLOUD, timeout=10)


def test_a_host_with_one_interface_leaves_the_router_out_of_its_trusted_networks(scene: Scene) -> None:
    scene.start(trusted_networks=["127.0.0.0/8", "::1/128", "10.0.0.0/8", "192.168.1.50/32", "fd00:1::50/128"])
    link = scene.gateway.add_link()
    assert scene.neighbour.reaches(CLOUD, timeout=10)
    assert not scene.stranger.reaches(CLOUD)
    assert "never closed" not in scene.stranger.fetch(link).text
    assert scene.masks() == set()


def test_check_tells_of_a_trusted_router_on_the_way_to_the_internet(scene: Scene) -> None:
    scene.start()
    host = scene.gateway.host
    host.configure("route replace default via 192.168.1.1 dev outer")
    try:
        lines = scene.gateway.cli("check").stdout.splitlines()
        assert lines[0].startswith("warning: gate.trusted_networks: 192.168.1.1, on the way to the Internet (outer), is in it")
        assert 'gate.wan_interfaces = ["outer"]' in lines[0]
        scene.gateway.configure(gate={"wan_interfaces": ["outer"]})
        assert "warning" not in scene.gateway.cli("check").stdout
        scene.gateway.configure(gate={"trusted_networks": ["127.0.0.0/8", "10.0.0.0/8"]})
        assert "warning" not in scene.gateway.cli("check").stdout
    finally:
        host.configure("route replace default via 198.51.100.254 dev wan")


def test_in_mode_sets_the_portal_looks_at_the_interface_all_the_same(scene: Scene) -> None:
    scene.gateway.host.run("nft", "-f", "-", input="table inet mine { }")
    scene.start("outer", mode="sets", table="inet mine")
    link = scene.gateway.add_link()
    assert scene.stranger.fetch(link).status == 403
    assert scene.lan.fetch(f"{URL}/").status == 200
    assert scene.gateway.visitor.open_link(link).status == 200
    assert scene.masks() == set()
