"""The examples with a proxy before the portal on the gateway itself: HAProxy that passes on TLS, and Caddy."""

import contextlib
import os
import re
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import FAMILIES, SHOWN, WITHIN_S, element, granted, shown
from by_socket import add_link, close_all, let_in

from lab.caddy import Caddy
from lab.examples import EXAMPLES, example
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.haproxy import HAProxy
from lab.nginx import Nginx
from lab.process import wait_for
from lab.visitor import Family, Visitor

ROOT = EXAMPLES.parent
# another proxy in the place of the right one
LIAR = "table inet liar { chain other { type nat hook prerouting priority dstnat; tcp dport 8443 redirect to :9443; }; }"
NAMES = dict.fromkeys(
    ("open.example.org", "cloud.example.org", "films.example.org", "www.example.org"), (GATEWAY4, GATEWAY6)
)


def standing(config: str) -> Gateway:
    """A gateway that is configured as an example has it."""
    tables = tomllib.loads((EXAMPLES / config).read_text("utf-8"))
    assert tables.keys() == {"portal", "services"}, "then the rest has to be taken, too"
    gateway = Gateway(prefix="sipt", start=False)
    try:
        gateway.configure(services=tables["services"], portal=tables["portal"])
        gateway.start()
    except BaseException:
        gateway.close()
        raise
    for visitor in (gateway.visitor, gateway.second, gateway.stranger):
        visitor.names = {**visitor.names, **NAMES}
    return gateway


def opened_and_closed(gateway: Gateway, portal: str, service: str, url: str, family: Family) -> None:
    """A link opens a service for whoever posts its form, forged headers or not, until it is revoked."""
    link = add_link(gateway, (service,))
    assert link.startswith(f"{portal}/l/")
    visitor, stranger = gateway.visitor, gateway.stranger
    assert not visitor.reaches(url, family=family)
    page = visitor.fetch(link, family=family, timeout=WITHIN_S)
    opened = visitor.submit(page, headers={"X-Forwarded-For": stranger.ipv4})
    assert opened.status == 200, opened.text
    assert f"{SHOWN}{shown(visitor, family)}." in opened.text
    sets = gateway.sets()
    assert {one.value for name in (f"{service}4", f"{service}6") for one in sets[name]} == {element(visitor, family)}
    assert visitor.reaches(url, family=family, timeout=WITHIN_S)
    assert not stranger.reaches(url, family=family)
    close_all(gateway)
    assert not visitor.reaches(url, family=family)


# HAProxy


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """HAProxy, and a web server that is set up as the example says."""
    text = example("haproxy.cfg")
    directory = tmp_path_factory.mktemp("front")
    with standing("safeip-haproxy.toml") as gateway:
        certificate, key = gateway._certificate()
        lines = ["listen 127.0.0.1:4443 ssl proxy_protocol;", "set_real_ip_from 127.0.0.1;", "real_ip_header proxy_protocol;"]
        assert [line for line in lines if f"#     {line}\n" not in text] == []
        site = f"""server {{
            {" ".join(lines)}
            ssl_certificate {certificate}; ssl_certificate_key {key};
            location / {{ return 200 "the web server, $remote_addr"; }}
        }}"""
        gateway.serve(gateway.host, "films", 8920, tls=True)
        with Nginx(gateway.host, directory / "web", site), HAProxy(gateway.host, directory / "haproxy", text):
            yield gateway


@pytest.mark.parametrize("family", FAMILIES)
def test_haproxy_passes_on_tls_to_the_portal(passed: Gateway, family: Family) -> None:
    opened_and_closed(passed, "https://open.example.org", "films", "https://films.example.org:8920/", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_haproxy_passes_on_every_other_name_to_the_web_server(passed: Gateway, family: Family) -> None:
    visitor = passed.visitor
    answer = visitor.fetch("https://www.example.org/", family=family, timeout=WITHIN_S)
    assert answer.text == f"the web server, {visitor.ipv4 if family == 4 else visitor.ipv6}"


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_gets_round_haproxy(passed: Gateway, family: Family) -> None:
    """What is no TLS goes no further, and the portal's own port is this host's alone."""
    for port in (8444, 4443):
        with pytest.raises(OSError, match=r"refused|timed out"):
            passed.stranger.namespace.connect((GATEWAY4, GATEWAY6)[FAMILIES.index(family)], port, 1.0)
    with contextlib.closing(passed.stranger.connect("http://home.test:443/", family, WITHIN_S)) as plain:
        plain.settimeout(WITHIN_S)
        plain.sendall(b"PROXY TCP4 192.0.2.10 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: open.example.org\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert plain.recv(4096) == b""


# Caddy


@pytest.fixture(scope="module")
def fronted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    path = EXAMPLES / "caddy.Caddyfile"
    assert subprocess.run(["caddy", "fmt", path], capture_output=True, text=True, check=True).stdout == path.read_text("utf-8")
    with standing("safeip-behind-nginx.toml") as gateway:
        certificate, key = gateway._certificate()
        gateway.serve(gateway.host, "program", 8888)
        sites = ("open.example.org:8443 {\n", "cloud.example.org {\n")
        text = example(path.name, *((f"\n{site}", f"\n{site}\ttls {certificate} {key}\n") for site in sites))
        with Caddy(gateway.host, tmp_path_factory.mktemp("front"), text):
            yield gateway


@pytest.mark.parametrize("family", FAMILIES)
def test_caddy_tells_the_portal_who_asks(fronted: Gateway, family: Family) -> None:
    opened_and_closed(fronted, "https://open.example.org:8443", "cloud", "https://cloud.example.org/", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_gets_round_caddy(fronted: Gateway, family: Family) -> None:
    with pytest.raises(OSError, match=r"refused|timed out"):
        fronted.stranger.namespace.connect((GATEWAY4, GATEWAY6)[FAMILIES.index(family)], 8080, 1.0)


def test_the_man_pages_command_tells_a_proxy_that_lies_from_one_that_does_not(fronted: Gateway, tmp_path: Path) -> None:
    """And by default there are visitors who are told in English."""
    page = (ROOT / "man" / "safeip.8").read_text("utf-8")
    [command] = re.findall(r"^curl .*X-Forwarded-For.*$", page, re.MULTILINE)
    stranger = fronted.stranger
    (tmp_path / ".curlrc").write_text(f"insecure\nresolve = open.example.org:8443:{GATEWAY4}\n", "utf-8")

    def said() -> str:
        return stranger.namespace.run("env", f"CURL_HOME={tmp_path}", "sh", "-c", command, timeout=WITHIN_S).stdout

    assert f"{SHOWN}{stranger.ipv4}." in said()
    fronted.host.run("nft", "-f", "-", input=LIAR)
    certificate, key = fronted._certificate()
    site = f"""server {{
        listen 9443 ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
        location / {{ proxy_pass http://127.0.0.1:8080; proxy_set_header Host $http_host; }}
    }}"""
    try:
        with Nginx(fronted.host, tmp_path / "liar", site):
            assert f"{SHOWN}192.0.2.1." in said()
    finally:
        fronted.host.run("nft", "delete", "table", "inet", "liar")


@pytest.mark.parametrize("family", FAMILIES)
def test_http3_is_closed_as_well(fronted: Gateway, family: Family) -> None:
    """Caddy speaks it by itself on udp/443; it answers a version that there is not with those that there are (RFC 9000, 6)."""
    visitor, stranger = fronted.visitor, fronted.stranger
    assert not speaks_quic(visitor, family)
    let_in(fronted, "cloud", visitor.ipv4 if family == 4 else visitor.ipv6)
    wait_for("an answer", lambda: speaks_quic(visitor, family), WITHIN_S)
    assert not speaks_quic(stranger, family)
    close_all(fronted)
    assert granted(fronted) == set()
    assert not speaks_quic(visitor, family)


def speaks_quic(visitor: Visitor, family: Family) -> bool:
    """Whether anything answers a QUIC packet within a second."""
    packet = b"\xc0\x1a\x2a\x3a\x4a\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with visitor.namespace.entered(), socket.socket(kind, socket.SOCK_DGRAM) as asked:
        asked.settimeout(1)
        asked.connect(((GATEWAY4, GATEWAY6)[FAMILIES.index(family)], 443))
        asked.send(packet.ljust(1200, b"\0"))
        try:
            return asked.recv(2048)[1:5] == b"\0\0\0\0"
        except OSError:
            return False
