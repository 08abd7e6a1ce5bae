"""The relay of examples/relay: a host in the Internet with the gate and nginx, a home behind a neighbour's line that opens `ssh -R` to it."""

import contextlib
import json
import os
import re
import signal
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from by_socket import add_link, close_all, let_in
from relay_scene import NAMES, NAT, WITHIN_S, Relay

from lab.examples import example
from lab.gateway import GATEWAY4, Gateway
from lab.nginx import Nginx
from lab.process import wait_for
from lab.visitor import Download, Family, Visitor

CLOUD, FILMS, OPEN = "https://cloud.example.org/", "https://films.example.org/", "https://open.example.org:8443"
FAMILIES: tuple[Family, ...] = (4, 6)


@pytest.fixture(scope="module")
def scene() -> Iterator[Relay]:
    with contextlib.ExitStack() as stack:
        relay = Relay(stack)
        relay.start_tunnel()
        yield relay


@pytest.fixture
def relay(scene: Relay) -> Iterator[Relay]:
    """With the tunnel up, and nobody let in."""
    wait_for("the tunnel", scene.up, WITHIN_S)
    yield scene
    close_all(scene.gateway)


def status(visitor: Visitor, url: str, family: Family = 4) -> int:
    """What a visitor is answered; 0: nothing."""
    try:
        return visitor.fetch(url, family=family).status
    except OSError:
        return 0


@pytest.mark.parametrize("family", FAMILIES)
def test_whoever_opens_a_link_reaches_home_and_a_stranger_not_even_nginx(relay: Relay, family: Family) -> None:
    gateway, visitor, stranger = relay.gateway, relay.gateway.visitor, relay.gateway.stranger
    url = add_link(gateway, ("home",))
    assert url.startswith(f"{OPEN}/l/")
    assert not visitor.reaches(CLOUD, family=family)
    before, seen = relay.arrived("visitor"), blocked(gateway, stranger)
    opened = visitor.open_link(url, family=family)
    assert (opened.status, opened.next_url) == (200, CLOUD), opened.text
    assert relay.arrived("visitor") == before, "the portal has a port of its own"
    assert "program" in visitor.fetch(CLOUD, family=family).text
    assert relay.arrived("visitor") > before
    films = json.loads(visitor.fetch(f"{FILMS}a?b=c", family=family, headers={"X-Forwarded-For": "203.0.113.99"}).text)
    own = {4: visitor.ipv4, 6: visitor.ipv6}[family]
    assert (films["path"], films["headers"]["Host"], films["headers"]["X-Forwarded-For"]) == ("/a?b=c", "films.example.org", own)
    for way in FAMILIES:
        assert visitor.reaches(CLOUD, family=way, timeout=WITHIN_S if way == family else 1.0) is (way == family), "the other family is another address"

    def unheard(way: Family, name: str) -> None:
        with pytest.raises(OSError, match="timed out"):
            stranger.fetch(name, family=way, timeout=0.5)

    with ThreadPoolExecutor() as pool:
        for asked in [pool.submit(unheard, way, name) for way in FAMILIES for name in (CLOUD, FILMS, "https://other.example.org/")]:
            asked.result()
    assert relay.arrived("stranger") == 0
    assert blocked(gateway, stranger) > seen
    logs = {**relay.nginx.logs(), "sshd": relay.sshd.tail(1000), "daemon": gateway.log.read_text("utf-8")}
    assert own in logs["access.log"], "then no log is kept at all"
    assert [name for name, text in logs.items() if stranger.ipv4 in text or stranger.ipv6 in text] == []


def blocked(gateway: Gateway, visitor: Visitor) -> int:
    """How many of somebody's packets were blocked, of both families."""
    prefix = visitor.ipv6.rpartition("::")[0] + "::/64"
    return sum(entry["packets"] for entry in gateway.cli_json("blocked") if entry["address"] in (visitor.ipv4, prefix))


def test_uploads_and_websockets_reach_home(relay: Relay) -> None:
    visitor = relay.gateway.visitor
    let_in(relay.gateway, "home", visitor.ipv4)
    sent = visitor.fetch(FILMS, "POST", fields={"x": "x" * 3_000_000}, timeout=WITHIN_S)
    assert (sent.status, len(json.loads(sent.text)["body"])) == (200, 3_000_002)
    with visitor.connect(FILMS) as held:
        held.settimeout(WITHIN_S)
        held.sendall(b"GET / HTTP/1.1\r\nHost: films.example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += held.recv(4096) or b"\r\n\r\n"
        assert answer.startswith(b"HTTP/1.1 101 ")
        for word in (b"once", b"again"):
            held.sendall(word)
            assert held.recv(4096) == word
        close_all(relay.gateway)
        held.settimeout(1.0)
        held.sendall(b"over")
        with pytest.raises(OSError, match="timed out"):
            held.recv(4096)


def test_home_has_no_address_that_anybody_could_reach(relay: Relay) -> None:
    relay.home.connect(GATEWAY4, 22).close()
    relay.gateway.internet.configure("route add 100.64.7.0/24 via 198.51.101.7")
    for host in ("198.51.101.7", "100.64.7.2"):
        with pytest.raises(OSError, match=r"refused|timed out"):
            relay.gateway.visitor.namespace.connect(host, 80, 0.5)


def test_another_name_is_told_nothing(relay: Relay) -> None:
    visitor = relay.gateway.visitor
    let_in(relay.gateway, "home", visitor.ipv4)
    assert visitor.reaches(CLOUD, timeout=WITHIN_S)
    with pytest.raises(OSError, match="unrecognized name"):
        visitor.fetch("https://other.example.org/")
    with pytest.raises(OSError, match=r"closed connection|reset"):
        visitor.fetch(CLOUD, headers={"Host": "other.example.org"})
    with pytest.raises(OSError, match="unrecognized name"):
        visitor.fetch(f"https://{GATEWAY4}/")


# the tunnel drops


def line_down(relay: Relay) -> None:
    relay.home.configure("link set eth0 down")


def line_up(relay: Relay) -> None:
    relay.home.configure("link set eth0 up", "route replace default via 100.64.7.1")


def ssh_killed(relay: Relay) -> None:
    """And for a while it cannot come back."""
    relay.neighbour.run("nft", "insert rule inet nat through drop")
    for pid in relay.home.pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text("ascii").strip() == "ssh":
                os.kill(pid, signal.SIGKILL)


def let_through(relay: Relay) -> None:
    relay.neighbour.run("nft", f"flush table inet nat; {NAT}")


def state_lost(relay: Relay) -> None:
    """The neighbour's line is dialled anew: it has forgotten every connection, and will have another address."""
    relay.neighbour.configure("addr flush dev wan")


def another_address(relay: Relay) -> None:
    relay.neighbour.configure("addr add 198.51.101.8/24 dev wan", "route replace default via 198.51.101.254")


def relay_gone(relay: Relay) -> None:
    relay.sshd.kill()
    for pid in relay.gateway.host.pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended with the one before
            if Path(f"/proc/{pid}/comm").read_text("ascii").startswith("sshd"):  # sshd-session, from OpenSSH 9.8 on
                os.kill(pid, signal.SIGKILL)


def relay_back(relay: Relay) -> None:
    relay.start_sshd()


@pytest.mark.parametrize(
    ("cut", "mend"), [(line_down, line_up), (ssh_killed, let_through), (state_lost, another_address), (relay_gone, relay_back)],
    ids=["line", "ssh", "state", "sshd"],
)  # fmt: skip
def test_a_tunnel_that_drops_says_so_and_comes_back_by_itself(
    relay: Relay, cut: Callable[[Relay], None], mend: Callable[[Relay], None]
) -> None:
    visitor, stranger = relay.gateway.visitor, relay.gateway.stranger
    let_in(relay.gateway, "home", visitor.ipv4)
    assert visitor.reaches(CLOUD, timeout=WITHIN_S)
    cut(relay)
    wait_for("the page that says so", lambda: status(visitor, CLOUD) == 503, WITHIN_S)
    page = visitor.fetch(CLOUD)
    assert "Home does not answer" in page.text
    assert (page.headers["Retry-After"], page.headers["Cache-Control"]) == ("15", "no-store")
    with pytest.raises(OSError, match="timed out"):
        stranger.fetch(CLOUD, timeout=0.5)
    mend(relay)
    wait_for("home", lambda: status(visitor, CLOUD) == 200, 2 * WITHIN_S)
    wait_for("its other port", lambda: status(visitor, FILMS) == 200, WITHIN_S)
    assert relay.arrived("stranger") == 0


def test_a_dead_tunnel_is_noticed_while_visitors_keep_asking(relay: Relay) -> None:
    """sshd's own questions wait for a pause of a second, which there is none of."""
    visitor = relay.gateway.visitor
    let_in(relay.gateway, "home", visitor.ipv4)

    def asked() -> int:
        try:
            return visitor.fetch(CLOUD, timeout=0.4).status
        except OSError:
            return 0

    line_down(relay)
    try:
        wait_for("the page that says so", lambda: asked() == 503, WITHIN_S)
    finally:
        line_up(relay)
    wait_for("home", lambda: status(visitor, CLOUD) == 200, WITHIN_S)


# the grant is over


def stopped(download: Download, other: Download) -> bool:
    """Whether nothing came for a second in which something came to the other."""
    return other.last_at - download.last_at > 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["end", "revocation"])
def test_the_end_of_a_grant_cuts_a_running_download(relay: Relay, family: Family, how: str) -> None:
    gateway, visitor, second = relay.gateway, relay.gateway.visitor, relay.gateway.second
    addresses = {who: {4: who.ipv4, 6: who.ipv6}[family] for who in (visitor, second)}
    let_in(gateway, "home", addresses[second])
    gateway.cli("grant", "home", addresses[visitor], *(("--for", "5s") if how == "end" else ()))
    with visitor.download(f"{CLOUD}endless", family) as download, second.download(f"{CLOUD}endless", family) as other:
        wait_for("the downloads", lambda: download.received > 100_000 < other.received, WITHIN_S)
        if how == "revocation":
            gateway.cli("revoke", addresses[visitor])
        wait_for("the cut", lambda: stopped(download, other), WITHIN_S)
        had = other.received
        wait_for("the other, who goes on", lambda: other.received > had, WITHIN_S)
    assert not visitor.reaches(CLOUD, family=family)
    assert second.reaches(CLOUD, family=family, timeout=WITHIN_S)


# TLS ends at home


def another_certificate(relay: Relay) -> tuple[str, str]:
    """Home's own, which the relay has not."""
    certificate, key = str(relay.place / "home.pem"), str(relay.place / "home.key")
    relay.home.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
        "-subj", "/CN=cloud.example.org", "-days", "2", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def unopened(relay: Relay) -> Iterator[str]:
    """The relay as it passes connections on unopened; the certificate of home's nginx."""
    certificate, key = another_certificate(relay)
    site = example(
        "relay/nginx-home.conf",
        ("/etc/letsencrypt/live/cloud.example.org/fullchain.pem", certificate), ("/etc/letsencrypt/live/cloud.example.org/privkey.pem", key),
    )  # fmt: skip
    stream = re.search(r"(?ms)^stream \{\n(.*)^\}$", example("relay/nginx-stream.conf"))
    assert stream
    readme = re.search(r"(?s)one -R remains, (\S+)\. ", example("relay/README"))
    assert readme
    relay.stop_tunnel()
    relay.nginx.stop()
    with (
        relay.other_ssh("-R", readme[1]),
        Nginx(relay.home, relay.place / "nginx-home", site),
        Nginx(relay.gateway.host, relay.place / "nginx-stream", stream=stream[1]),
    ):
        wait_for("the tunnel", lambda: 8001 in relay.listening(), WITHIN_S)
        yield certificate
    relay.nginx.start()
    relay.start_tunnel()


@pytest.mark.parametrize("family", FAMILIES)
def test_where_tls_ends_at_home_the_relay_passes_on_what_it_cannot_read(relay: Relay, unopened: str, family: Family) -> None:
    visitor, stranger = relay.gateway.visitor, relay.gateway.stranger
    own = {4: visitor.ipv4, 6: visitor.ipv6}[family]
    assert not visitor.reaches(CLOUD, family=family)
    let_in(relay.gateway, "home", own)
    with visitor.connect(CLOUD, family) as held:
        assert isinstance(held, ssl.SSLSocket)
        served = ssl.DER_cert_to_PEM_cert(held.getpeercert(binary_form=True) or b"")
    assert served == Path(unopened).read_text("ascii")
    assert "program" in visitor.fetch(CLOUD, family=family).text
    films = json.loads(visitor.fetch(FILMS, family=family, headers={"X-Forwarded-For": "203.0.113.99"}).text)
    assert (films["headers"]["Host"], films["headers"]["X-Forwarded-For"]) == ("films.example.org", own)
    with pytest.raises(OSError, match=r"EOF|reset|closed"):
        visitor.fetch("https://other.example.org/", family=family)
    # who says themselves where they come from says no name that would be known
    lie = b"PROXY TCP4 203.0.113.99 198.51.100.1 4711 443\r\n"
    with visitor.namespace.connect(NAMES["cloud.example.org"][FAMILIES.index(family)], 443) as plain:
        plain.sendall(lie)
        plain.settimeout(WITHIN_S)
        with contextlib.suppress(ConnectionError):
            assert plain.recv(1) == b""
    with pytest.raises(OSError, match="timed out"):
        stranger.fetch(CLOUD, family=family, timeout=0.5)
    assert relay.arrived("stranger") == 0
