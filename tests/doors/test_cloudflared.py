"""The portal and a service through Cloudflare's tunnel: the example, with the real nginx and a stand-in for edge and cloudflared."""

import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_socket import add_link, close, close_all, grants, let_in

from lab.examples import EXAMPLES, example
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.nginx import Nginx
from lab.process import LabError, wait_for
from lab.visitor import Family, Visitor

HERE = EXAMPLES / "cloudflared"
CONFIG = tomllib.loads((HERE / "safeip.toml").read_text("utf-8"))
INGRESS: list[dict[str, Any]] = yaml.safe_load((HERE / "config.yml").read_text("utf-8"))["ingress"]
PORTAL, CLOUD = "https://open.example.org", "https://cloud.example.org/"
EDGE = ("198.51.100.254", "2001:db8:100::fe")
HOSTS = ("open.example.org", "cloud.example.org")
FAMILIES: tuple[Family, ...] = (4, 6)
WITHIN_S = 30.0
# Whatever may say where somebody comes from
SAYS_WHERE = (
    "CF-Connecting-IP", "cf-connecting-ip", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "CF_Connecting_IP", "True-Client-IP", "X-Forwarded-For",
    "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP", "X-Original-Forwarded-For", "Fastly-Client-IP",
)  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All of the example; every visitor finds the names at the edge."""
    with Gateway(prefix="sipc", services=CONFIG["services"], portal=CONFIG["portal"], gate=CONFIG["gate"]) as there:
        assert CONFIG.keys() == {"portal", "gate", "services"}, "then the rest has to be taken, too"
        program = there.host.start(sys.executable, str(Path(__file__).with_name("echo_service.py")), "8888", log=there.directory / "program.log")
        wait_for("the program", lambda: "ready" in program.tail(), WITHIN_S)
        certificate, key = at_the_edge(there, HERE / "config.yml")
        site = example(
            "cloudflared/nginx.conf",
            ("/etc/letsencrypt/live/cloud.example.org/fullchain.pem", certificate),
            ("/etc/letsencrypt/live/cloud.example.org/privkey.pem", key),
        )
        with Nginx(there.host, tmp_path_factory.mktemp("cloudflared"), site):
            yield there


def at_the_edge(gateway: Gateway, config: Path) -> tuple[str, str]:
    """Start edge and tunnel, and let every visitor find the names there; the certificate and its key."""
    files, tunnel = gateway._certificate(), str(gateway.directory / "tunnel")
    for namespace, arguments in ((gateway.host, ("tunnel", str(config), tunnel)), (gateway.internet, ("edge", tunnel, *files))):
        stand_in = str(Path(__file__).with_name("edge_stand_in.py"))
        process = namespace.start(sys.executable, stand_in, *arguments, log=gateway.directory / f"{arguments[0]}.log")
        wait_for(arguments[0], lambda process=process: "ready" in process.tail(), WITHIN_S)  # type: ignore[misc]
    for visitor in (gateway.visitor, gateway.second, gateway.stranger):
        visitor.names = {**visitor.names, **dict.fromkeys(HOSTS, EDGE), "open4.example.org": (GATEWAY4, "::1")}
    return files


@pytest.fixture(autouse=True)
def closed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "gateway" in request.fixturenames:
        close_all(request.getfixturevalue("gateway"))


@pytest.fixture
def both_ways(tmp_path: Path) -> Iterator[Gateway]:
    """A portal through the tunnel, and under a name for IPv4 directly; the service is direct, by IPv4 alone."""
    config = tmp_path / "config.yml"
    ingress = [{"hostname": "open.example.org", "service": "https://127.0.0.1:8443"}, {"service": "http_status:404"}]
    config.write_text(yaml.safe_dump({"ingress": ingress}), "utf-8")
    portal = {**CONFIG["portal"], "url_ipv4": "https://open4.example.org:8443", "listen": ["0.0.0.0:8443"], "tls": "auto"}
    with Gateway(prefix="sipd", services={"cloud": {"ports": ["tcp/80"], "families": ["ipv4"]}}, portal=portal) as there:
        at_the_edge(there, config)
        yield there


def status(visitor: Visitor, family: Family = 4, url: str = CLOUD, **more: Any) -> int:
    return visitor.fetch(url, family=family, timeout=WITHIN_S, **more).status


def granted(gateway: Gateway) -> list[str]:
    return sorted({grant["address"] for grant in grants(gateway)})


def directly(visitor: Visitor, ipv4: str = GATEWAY4, ipv6: str = GATEWAY6) -> Visitor:
    """The same, past the edge."""
    return Visitor(visitor.namespace, visitor.ipv4, visitor.ipv6, dict.fromkeys(HOSTS, (ipv4, ipv6)))


# Abuse.


@pytest.mark.parametrize("family", FAMILIES)
def test_no_header_of_a_visitors_brings_another_address_in_through_the_edge(gateway: Gateway, family: Family) -> None:
    visitor, stranger = gateway.visitor, gateway.stranger
    url = add_link(gateway)
    true = {4: stranger.ipv4, 6: "2001:db8:66::/64"}[family]
    let_in(gateway, "cloud", visitor.ipv4, visitor.ipv6)
    for claimed in (visitor.ipv4, visitor.ipv6, f"{visitor.ipv4}, 127.0.0.1", "127.0.0.1", "192.168.1.7", "254.252.239.103"):
        forged = {**dict.fromkeys(SAYS_WHERE, claimed), "Forwarded": f'for="{claimed}"'}
        assert status(stranger, family, headers=forged) == 401, claimed
        assert status(visitor, family, headers=forged) == 200, claimed
        page = stranger.fetch(url, family=family, headers=forged)
        opened = stranger.submit(page, headers=forged)
        assert opened.status == 200, opened.text
        assert granted(gateway) == sorted([visitor.ipv4, "2001:db8:1::/64", true])
        close(gateway, "cloud", true)


@pytest.mark.parametrize("header", SAYS_WHERE)
@pytest.mark.parametrize("family", FAMILIES)
def test_past_the_edge_the_header_is_not_believed(gateway: Gateway, family: Family, header: str) -> None:
    """From the Internet and from the LAN: there the address is the socket's."""
    visitor, stranger = gateway.visitor, directly(gateway.stranger)
    home = Visitor(gateway.server, "10.9.0.10", "fd00:9::10", dict.fromkeys(HOSTS, ("10.9.0.1", "fd00:9::1")))
    let_in(gateway, "cloud", visitor.ipv4, visitor.ipv6)
    for claimed in (visitor.ipv4, visitor.ipv6, "127.0.0.1", "192.168.1.7"):
        for who in (stranger, home):
            assert status(who, family, headers={header: claimed}) == 401, (who.ipv4, claimed)
    # who holds a grant is let in this way too, whatever is claimed
    assert status(directly(visitor), family, headers={header: stranger.ipv4}) == 200


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_gets_round_edge_and_nginx(gateway: Gateway, family: Family) -> None:
    for port in (8080, 8081, 8888):
        with pytest.raises((OSError, LabError)):
            directly(gateway.stranger).fetch(f"http://cloud.example.org:{port}/", family=family, timeout=1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_portal_does_not_answer_visitors_what_it_answers_nginx(gateway: Gateway, family: Family) -> None:
    let_in(gateway, "cloud", gateway.visitor.ipv4)
    for url in (f"{PORTAL}/auth?service=cloud", f"{CLOUD}.safeip", "https://other.example.org/"):
        gateway.visitor.names = {**gateway.visitor.names, "other.example.org": EDGE}
        assert status(gateway.visitor, family, url=url) in {401, 404}, url


@pytest.mark.parametrize(
    ("headers", "service"),
    [
        ({}, 500),  # "Remove visitor IP headers"
        ({"CF-Connecting-IP": ""}, 500),
        ({"CF-Connecting-IP": "127.0.0.1"}, 500),
        ({"CF-Connecting-IP": "nobody"}, 500),
        ({"CF-Connecting-IP": "254.252.239.103"}, 401),  # Pseudo IPv4, "Overwrite Headers"
        ({"X-Forwarded-For": "192.0.2.10", "X-Real-IP": "192.0.2.10", "CF-Connecting-IPv6": "2001:db8:1::10"}, 500),
    ],
)
def test_without_the_edges_word_nobody_is_let_in(gateway: Gateway, headers: dict[str, str], service: int) -> None:
    """What cloudflared would pass on of an edge that is set up otherwise."""
    here = gateway.local
    let_in(gateway, "cloud", gateway.visitor.ipv4, gateway.visitor.ipv6)
    sent = {"Host": "cloud.example.org", **headers}
    assert here.fetch("http://127.0.0.1:8081/", headers=sent).status == service
    before = granted(gateway)
    path = add_link(gateway).removeprefix(PORTAL)
    page = here.fetch(f"http://127.0.0.1:8080{path}", headers={"Host": "open.example.org", **headers})
    answer = here.submit(page, headers={"Host": "open.example.org", **headers}) if page.forms else page
    assert answer.status >= 400 or "Always open from here" in answer.text
    assert granted(gateway) == before


# Use.


@pytest.mark.parametrize("family", FAMILIES)
def test_a_link_through_the_tunnel_opens_for_the_true_address_until_it_is_taken_back(gateway: Gateway, family: Family) -> None:
    visitor, second, stranger = gateway.visitor, gateway.second, gateway.stranger
    url = add_link(gateway)
    assert url.startswith(f"{PORTAL}/l/")
    assert [status(who, family) for who in (visitor, second, stranger)] == [401, 401, 401]
    opened = visitor.open_link(url, family=family)
    assert opened.status == 200, opened.text
    assert granted(gateway) == [{4: visitor.ipv4, 6: "2001:db8:1::/64"}[family]]
    assert [status(who, family) for who in (visitor, second, stranger)] == [200, 401, 401]
    assert status(visitor, {4: 6, 6: 4}[family]) == 401, "the other family is another address"
    asked = json.loads(visitor.fetch(CLOUD, family=family).body)["headers"]
    true = {4: visitor.ipv4, 6: visitor.ipv6}[family]
    assert (asked["X-Forwarded-For"], asked["CF-Connecting-IP"], asked["X-Forwarded-Proto"]) == (true, true, "https")
    # the same grant counts directly
    assert status(directly(visitor), family) == 200
    close_all(gateway)
    assert [status(who, family) for who in (visitor, directly(visitor))] == [401, 401]


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_at_the_end(gateway: Gateway, family: Family) -> None:
    visitor = gateway.visitor
    url, begin = add_link(gateway, **{"for": "4s"}), time.monotonic()
    visitor.open_link(url, family=family)
    assert status(visitor, family) == 200 or time.monotonic() - begin > 4, "before its time was over"
    wait_for("the end", lambda: status(visitor, family) == 401, WITHIN_S)
    assert granted(gateway) == []


def test_who_comes_to_the_portal_by_a_family_that_the_game_has_not_is_told(gateway: Gateway) -> None:
    visitor, once = gateway.visitor, add_link(gateway, ("game",), uses=1)
    page = visitor.fetch(once)
    assert "Minetest can be reached by IPv6 only, and this page sees you by IPv4." in page.text
    assert "Try another network" in page.text
    assert (page.forms, granted(gateway)) == ((), [])
    assert visitor.open_link(once, family=6).status == 200
    assert granted(gateway) == ["2001:db8:1::/64"]


def test_a_name_past_the_tunnel_opens_the_family_that_the_service_has(both_ways: Gateway) -> None:
    """What comes through the tunnel is believed of its other end, what comes directly is the socket's."""
    visitor, service = both_ways.visitor, "http://home.test/"
    visitor.names = {**visitor.names, "home.test": (GATEWAY4, GATEWAY6)}
    opened = visitor.open_link(add_link(both_ways), family=6)
    assert granted(both_ways) == ["2001:db8:1::/64"]
    assert not visitor.reaches(service)
    [also] = re.findall(r'data-also="(https://open4[^"]+)"', opened.text)
    lies = {**dict.fromkeys(SAYS_WHERE, both_ways.stranger.ipv4), "Origin": PORTAL}
    assert status(visitor, url=also, method="POST", headers=lies) == 200
    assert granted(both_ways) == ["192.0.2.10", "2001:db8:1::/64"]
    assert visitor.reaches(service, timeout=WITHIN_S)
    # and a link that is good once, under that name alone
    close_all(both_ways)
    once = add_link(both_ways, uses=1)
    page = visitor.fetch(once, family=6)
    [there] = re.findall(r'href="(https://open4[^"]+)"', page.text)
    assert visitor.open_link(there).status == 200
    assert granted(both_ways) == ["192.0.2.10"]
    assert both_ways.stranger.fetch(there).status == 410, "it was used up"


def test_the_files_of_the_example_fit_together() -> None:
    [listen] = CONFIG["portal"]["listen"]
    site = (HERE / "nginx.conf").read_text("utf-8")
    [cloudflareds] = re.findall(r"listen (127\S+);", site)
    assert [(rule.get("hostname"), rule["service"]) for rule in INGRESS] == [
        ("open.example.org", "http_status:404"), ("open.example.org", f"http://{listen}"),
        ("cloud.example.org", f"http://{cloudflareds}"), (None, "http_status:404"),
    ]  # fmt: skip
    assert f"server {listen};" in site
    header = CONFIG["portal"]["client_ip_header"]
    assert re.findall(r"real_ip_header (\S+);", site) == [header]
    trusted = re.findall(r"set_real_ip_from (\S+);", site)
    assert [f"{one}/32" for one in trusted] == CONFIG["portal"]["trusted_proxies"]
    told = (HERE / "README").read_text("utf-8")
    assert {path.name for path in HERE.iterdir()} - {"README"} == set(re.findall(r"^([a-z]+\.[a-z]+)  ", told, re.MULTILINE))
