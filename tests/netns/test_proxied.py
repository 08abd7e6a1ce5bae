"""The listener for PROXY headers in a real daemon, in its cell, and what the configuration is warned of."""

import signal

import pytest

from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.net import Namespace
from lab.process import wait_for

PORT = 8444
ASK = b"GET /auth?service=cloud HTTP/1.1\r\nHost: home.test\r\nConnection: close\r\n\r\n"
WIDE = "portal.trusted_proxies: 192.0.2.0/25 is wider than a host"
FAR = "portal.trusted_proxies: 2001:db8:1::10/128 is in the Internet"


@pytest.fixture
def gateway():
    portal = {"listen": [], "listen_proxy_protocol": [f"0.0.0.0:{PORT}", f"[::]:{PORT}"], "tls": "off", "trusted_proxies": ["192.0.2.0/25", "2001:db8:1::10"]}
    with Gateway(prefix="sipt", portal=portal) as made:
        yield made


def heard(namespace: Namespace, host: str, data: bytes) -> bytes:
    """What comes back, until the portal hangs up."""
    with namespace.connect(host, PORT, 30) as there:
        answer = b""
        try:
            there.sendall(data)
            while part := there.recv(4096):
                answer += part
        except ConnectionError:  # hung up on with something unread
            pass
        return answer


def line(source: str) -> bytes:
    return f"PROXY TCP{6 if ':' in source else 4} {source} {'2001:db8::9' if ':' in source else '192.0.2.9'} 40000 8444\r\n".encode()


def test_proxies_say_who_asks_and_strangers_say_nothing(gateway):
    for way in (GATEWAY4, GATEWAY6):
        for source, address in (("203.0.113.7", "203.0.113.7"), ("2001:db8:7::7", "2001:db8:7::/64")):
            proxy = gateway.visitor.namespace
            closed = heard(proxy, way, line(source) + ASK)
            assert closed.startswith(b"HTTP/1.1 401")
            assert address.encode() in closed
            gateway.cli("grant", "cloud", address, "--for", "2h")
            assert heard(proxy, way, line(source) + ASK).startswith(b"HTTP/1.1 204")
            gateway.cli("revoke", address)
            assert heard(gateway.stranger.namespace, way, line(source) + ASK) == b""
            assert heard(gateway.second.namespace, way, line(source) + ASK) == b""
        assert heard(proxy, way, ASK) == b""
        assert heard(proxy, way, b"PROXY UNKNOWN\r\n" + ASK).startswith(b"HTTP/1.1 400")
    log = gateway.log.read_text("utf-8")
    assert log.count("203.0.113.66 came to portal.listen_proxy_protocol and is not in portal.trusted_proxies") == 1
    assert log.count("192.0.2.10, a trusted proxy, was hung up on: it does not begin with a PROXY header") == 1


def test_the_kernel_bounds_who_comes_there_as_at_the_portals_other_ports(gateway):
    ports = gateway.host.run("nft", "list", "map", "inet", "safeip", "ports").stdout
    assert f"tcp . {PORT} : goto portal" in ports
    gateway.config.write_text(gateway.config.read_text("utf-8") + f'\n[services.extra]\nports = ["tcp/{PORT}"]\n', "utf-8")
    found = gateway.cli("check", check=False)
    assert found.returncode == 1
    assert "the portal's own port: portal.listen_proxy_protocol has" in found.stderr


def test_what_is_seldom_meant_is_told_at_check_start_and_reload(gateway):
    checked = gateway.cli("check")
    assert checked.returncode == 0
    warned = [text for text in checked.stdout.splitlines() if text.startswith("warning: ")]
    for words in (WIDE, FAR):
        assert any(text.startswith(f"warning: {words}") for text in warned)
        assert gateway.log.read_text("utf-8").count(f"safeip: warning: {words}") == 1
    gateway.daemon.signal(signal.SIGHUP)
    wait_for("the warnings of a reload", lambda: gateway.log.read_text("utf-8").count(f"safeip: warning: {FAR}") == 2)
    changed = gateway.config.read_text("utf-8").replace(f'"[::]:{PORT}"', f'"[::]:{PORT + 1}"')
    gateway.config.write_text(changed, "utf-8")
    gateway.daemon.signal(signal.SIGHUP)
    wait_for("a refusal", lambda: "portal.listen_proxy_protocol: has changed, which needs a restart" in gateway.log.read_text("utf-8"))
