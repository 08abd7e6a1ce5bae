"""Services that share port 443 with the portal and are told apart by name: the examples, with the real nginx and the real Caddy."""

import contextlib
import json
import re
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_socket import add_link, close, close_all, grants, let_in
from test_examples import LIES

from lab.caddy import Caddy
from lab.examples import EXAMPLES, example
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.nginx import Nginx
from lab.process import LabError, wait_for
from lab.visitor import Answer, Family, Visitor
from safeip.control import ControlError

PORTAL, CLOUD = "https://open.example.org", "https://cloud.example.org/"
NAMES = dict.fromkeys(("open.example.org", "cloud.example.org"), (GATEWAY4, GATEWAY6))
CONFIG = tomllib.loads((EXAMPLES / "safeip-by-name.toml").read_text("utf-8"))
FAMILIES: tuple[Family, ...] = (4, 6)
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """As the example of the configuration has it, with one more service by name, and a program to protect."""
    game = {"closed_by": "proxy", "default_duration": "1h"}
    with Gateway(prefix="sipt", services={**CONFIG["services"], "game": game}, portal=CONFIG["portal"]) as there:
        program = there.host.start(
            sys.executable, str(Path(__file__).with_name("echo_service.py")), "8888", log=there.directory / "program.log"
        )
        wait_for("the program", lambda: "ready" in program.tail(), WITHIN_S)
        for visitor in (there.visitor, there.second, there.stranger, there.local):
            visitor.names = {**visitor.names, **NAMES}
        yield there


def nginx(gateway: Gateway, directory: Path) -> Nginx:
    certificate, key = gateway._certificate()
    site = example(
        "nginx-auth.conf",
        ("/etc/letsencrypt/live/open.example.org/fullchain.pem", certificate),
        ("/etc/letsencrypt/live/open.example.org/privkey.pem", key),
    )
    return Nginx(gateway.host, directory, site, workers=2)


def caddy(gateway: Gateway, directory: Path) -> Caddy:
    certificate, key = gateway._certificate()
    tls = f"\ttls {certificate} {key}\n"
    path = EXAMPLES / "caddy-auth.Caddyfile"
    assert subprocess.run(["caddy", "fmt", path], capture_output=True, text=True, check=True).stdout == path.read_text("utf-8")
    text = example(
        path.name,
        ("\nopen.example.org {\n", f"\nopen.example.org {{\n{tls}"),
        ("\ncloud.example.org {\n", f"\ncloud.example.org {{\n{tls}"),
    )
    return Caddy(gateway.host, directory, text)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    make: Callable[[Gateway, Path], Nginx | Caddy] = request.param
    with make(gateway, tmp_path_factory.mktemp("proxy")):
        yield make.__name__


@pytest.fixture(autouse=True)
def closed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "gateway" in request.fixturenames:
        with contextlib.suppress(ControlError):
            close_all(request.getfixturevalue("gateway"))


def status(visitor: Visitor, family: Family = 4, url: str = CLOUD, **more: Any) -> int:
    return visitor.fetch(url, family=family, timeout=WITHIN_S, **more).status


def asked(answer: Answer) -> dict[str, Any]:
    """What the program was asked."""
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_then_opened_by_a_link_then_closed_by_a_revocation(gateway: Gateway, proxy: str, family: Family) -> None:
    visitor, second, stranger = gateway.visitor, gateway.second, gateway.stranger
    url = add_link(gateway)
    assert url.startswith(f"{PORTAL}/l/")
    assert [status(who, family) for who in (visitor, second, stranger)] == [401, 401, 401]
    opened = visitor.open_link(url, family=family)
    assert opened.status == 200, opened.text
    assert asked(visitor.fetch(CLOUD, family=family))["path"] == "/"
    assert [status(who, family) for who in (visitor, second, stranger)] == [200, 401, 401]
    assert status(visitor, {4: 6, 6: 4}[family]) == 401, "the other family is another address"
    close(gateway, "cloud", {4: visitor.ipv4, 6: visitor.ipv6}[family])
    assert status(visitor, family) == 401


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_at_the_end(gateway: Gateway, proxy: str, family: Family) -> None:
    visitor = gateway.visitor
    url, begin = add_link(gateway, **{"for": "3s"}), time.monotonic()
    visitor.open_link(url, family=family)
    assert status(visitor, family) == 200 or time.monotonic() - begin > 3, "before its time was over"
    wait_for("the end", lambda: status(visitor, family) == 401, WITHIN_S)
    assert grants(gateway) == []


def test_a_grant_of_another_service_opens_nothing(gateway: Gateway, proxy: str) -> None:
    visitor = gateway.visitor
    let_in(gateway, "game", visitor.ipv4)
    for url in (CLOUD, f"{CLOUD}?service=game", f"{CLOUD}auth?service=game", f"{CLOUD}.safeip?service=game", f"{CLOUD}.safeip"):
        assert status(visitor, url=url) in {401, 404}, url


def test_the_portal_does_not_answer_visitors_what_it_answers_proxies(gateway: Gateway, proxy: str) -> None:
    let_in(gateway, "cloud", gateway.visitor.ipv4)
    for visitor in (gateway.visitor, gateway.stranger):
        assert status(visitor, url=f"{PORTAL}/auth?service=cloud") == 404
    assert status(gateway.stranger, url=f"{PORTAL}/") == 200


@pytest.mark.parametrize("lie", [*LIES, "10.9.0.10", "127.0.0.1", "192.0.2.10, 127.0.0.1"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_forged_address_lets_nobody_in_or_out(gateway: Gateway, proxy: str, lie: str, family: Family) -> None:
    visitor, stranger = gateway.visitor, gateway.stranger
    let_in(gateway, "cloud", visitor.ipv4, visitor.ipv6)
    for claimed in (lie, visitor.ipv4, visitor.ipv6):
        names = ("X-Forwarded-For", "x-forwarded-for", "X-Real-IP", "CF-Connecting-IP", "Client-IP", "X-Original-Forwarded-For")
        forged = {**dict.fromkeys(names, claimed), "Forwarded": f"for={claimed}", "X-Forwarded-Host": "open.example.org"}
        assert status(stranger, family, headers=forged) == 401
        assert status(visitor, family, headers=forged) == 200
        # and one that says which header is not to be passed on
        assert status(stranger, family, headers={**forged, "Connection": "close, X-Forwarded-For"}) in {400, 401, 500}


@pytest.mark.parametrize("host", ["cloud.example.org", "CLOUD.EXAMPLE.ORG", "cloud.example.org.", "cloud.example.org:443", "cloud.example.org:8888", "x"])
def test_no_other_way_to_say_the_name_gets_round_the_question(gateway: Gateway, proxy: str, host: str) -> None:
    """The name of TLS and that of the request need not be the same."""
    for url in (f"{PORTAL}/", CLOUD, f"{CLOUD}%2e%2e/", f"{CLOUD}.safeip/../", f"{CLOUD}/a//..%2f"):
        answer = gateway.stranger.fetch(url, headers={"Host": host}, timeout=WITHIN_S)
        assert "application/json" not in answer.headers.get("Content-Type", ""), (url, answer.status)
        assert answer.status in {400, 401, 404, 421} or "SafeIP" in answer.text or not answer.body


def test_the_page_tells_people_where_to_go(gateway: Gateway, proxy: str) -> None:
    page = gateway.stranger.fetch(CLOUD, headers={"Accept-Language": "de", "Accept": "text/html"})
    assert page.status == 401
    assert page.headers["WWW-Authenticate"] == f'SafeIP realm="{PORTAL}/"'
    assert f'href="{PORTAL}/"' in page.text
    assert "Von hier aus ist das geschlossen" in page.text
    assert gateway.stranger.ipv4 in page.text
    assert page.headers.get("Location") is None
    assert "no-store" in page.headers["Cache-Control"]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_what_is_the_services_reaches_it_whole(gateway: Gateway, proxy: str) -> None:
    visitor = gateway.visitor
    let_in(gateway, "cloud", visitor.ipv4)
    mine = {"Cookie": "session=mine", "Authorization": "Basic bWU6bWU="}
    posted = asked(visitor.fetch(f"{CLOUD}a/b?service=x&y", "POST", fields={"text": "x" * 20_000}, headers=mine))
    assert (posted["method"], posted["path"], posted["body"]) == ("POST", "/a/b?service=x&y", "text=" + "x" * 20_000)
    for name, value in mine.items():
        assert posted["headers"][name] == value
    assert visitor.ipv4 in posted["headers"]["X-Forwarded-For"]
    assert status(visitor, method="HEAD") == 200
    assert status(gateway.stranger, method="HEAD") == 401
    assert status(gateway.stranger, method="POST", fields={"text": "x" * 20_000}) == 401
    assert status(gateway.stranger, method="PUT", fields={}) == 401


def test_a_websocket_is_let_through_and_refused_alike(gateway: Gateway, proxy: str) -> None:
    """And many of them: none spoils a connection on which the proxy asks for the others."""
    let_in(gateway, "cloud", gateway.visitor.ipv4)
    for _ in range(10):
        for visitor, wanted in ((gateway.visitor, b"101"), (gateway.stranger, b"401")):
            with contextlib.closing(visitor.connect(CLOUD, timeout=WITHIN_S)) as sock:
                sock.sendall(
                    b"GET /ws HTTP/1.1\r\nHost: cloud.example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                head = b""
                while b"\r\n\r\n" not in head:
                    part = sock.recv(4096)
                    assert part, head
                    head += part
                assert head.split()[1] == wanted
                if wanted == b"101":
                    sock.sendall(b"ping")
                    assert sock.recv(4) == b"ping"
            assert status(visitor) == {b"101": 200, b"401": 401}[wanted]


def test_many_at_once_each_get_the_right_answer(gateway: Gateway, proxy: str) -> None:
    """Hundreds, from who is in and who is not, by both families; and from the moment that a revocation is answered on, no one."""
    visitor, second, stranger = gateway.visitor, gateway.second, gateway.stranger
    let_in(gateway, "cloud", visitor.ipv4, visitor.ipv6, second.ipv6)
    wanted = {(visitor, 4): 200, (visitor, 6): 200, (second, 4): 401, (second, 6): 200, (stranger, 4): 401, (stranger, 6): 401}

    def one(case: tuple[Visitor, Family]) -> tuple[tuple[Visitor, Family], int]:
        return case, status(*case)

    with ThreadPoolExecutor(120) as pool:
        found = Counter(pool.map(one, [*wanted] * 100))
        assert {case: number for (case, _), number in found.items()} == dict.fromkeys(wanted, 100)
        assert dict(list(found)) == wanted
        # again, while what is open changes
        going = [pool.submit(one, case) for case in [(visitor, 4), (second, 4), (stranger, 6)] * 60]
        close(gateway, "cloud", visitor.ipv4)
        after = [pool.submit(one, case) for case in [(visitor, 4), (visitor, 6)] * 60]
        for future in going:
            case, code = future.result()
            assert code == 401 or case == (visitor, 4)
        assert Counter(future.result()[1] for future in after) == {401: 60, 200: 60}
        assert {future.result()[1] for future in after[::2]} == {401}


def test_who_is_at_home_passes(gateway: Gateway, proxy: str) -> None:
    home = Visitor(gateway.server, "10.9.0.10", "fd00:9::10", dict.fromkeys(NAMES, ("10.9.0.1", "fd00:9::1")))
    assert [status(home, family) for family in FAMILIES] == [200, 200]
    # the gateway's own programs cannot be told from what a proxy before this one would pass on
    here = Visitor(gateway.host, "127.0.0.1", "::1", dict.fromkeys(NAMES, ("127.0.0.1", "::1")))
    assert status(here) >= 400


def test_the_daemon_goes_away_nobody_passes_until_it_is_back(gateway: Gateway, proxy: str) -> None:
    visitor = gateway.visitor
    let_in(gateway, "cloud", visitor.ipv4)
    assert status(visitor) == 200
    gateway.kill()
    try:
        for away in (visitor, gateway.stranger):
            answer = away.fetch(CLOUD, timeout=WITHIN_S)
            # Caddy answers an empty 200 where it takes the visitor to have gone while it asked; the program was not asked then
            assert answer.status >= 500 or (proxy == "caddy" and not answer.body), answer
    finally:
        gateway.start()
    assert status(visitor) == 200
    assert status(gateway.stranger) == 401


def test_a_forgotten_trusted_proxies_lets_nobody_in(gateway: Gateway, proxy: str) -> None:
    """Everybody would come from 127.0.0.1, which is never closed."""
    gateway.stop()
    services = {**CONFIG["services"], "game": {"closed_by": "proxy"}}
    gateway.configure(services=services, portal={**CONFIG["portal"], "trusted_proxies": []})
    try:
        gateway.start()
        let_in(gateway, "cloud", gateway.visitor.ipv4)
        for visitor in (gateway.visitor, gateway.stranger):
            for family in FAMILIES:
                assert status(visitor, family) >= 400
                assert "trusted_proxies" in visitor.fetch(CLOUD, family=family).text or proxy == "nginx"
    finally:
        gateway.stop()
        gateway.configure(services=services, portal=CONFIG["portal"])
        gateway.start()
    assert status(gateway.visitor) == 200


# Traefik is in no release of Debian's: its file is read as it would, and what it sends is sent


def test_traefiks_example_asks_the_portal_before_the_service() -> None:
    http = yaml.safe_load((EXAMPLES / "traefik-auth.yml").read_text("utf-8"))["http"]
    assert http.keys() == {"routers", "middlewares", "services"}
    for router in http["routers"].values():
        assert router.keys() <= {"rule", "entryPoints", "service", "tls", "middlewares"}
        assert router["service"] in http["services"]
    [middleware] = http["routers"]["cloud"]["middlewares"]
    forward = http["middlewares"][middleware]["forwardAuth"]
    # v3: pkg/config/dynamic, ForwardAuth; trustForwardHeader is false where it is not written
    assert forward.keys() == {"address", "authRequestHeaders"}
    [listen] = CONFIG["portal"]["listen"]
    [service] = CONFIG["services"]
    assert forward["address"] == f"http://{listen}/auth?service={service}"
    assert "X-Forwarded-For" not in forward["authRequestHeaders"]
    assert http["services"]["portal"]["loadBalancer"]["servers"] == [{"url": f"http://{listen}"}]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_portal_answers_what_traefik_sends(gateway: Gateway, family: Family) -> None:
    visitor, stranger = gateway.visitor, gateway.stranger
    addresses = {visitor: (visitor.ipv4, visitor.ipv6), stranger: (stranger.ipv4, stranger.ipv6)}
    let_in(gateway, "cloud", addresses[visitor][FAMILIES.index(family)])
    for who, wanted in ((visitor, 204), (stranger, 401)):
        headers = {
            "X-Forwarded-For": addresses[who][FAMILIES.index(family)], "X-Forwarded-Host": "cloud.example.org",
            "X-Forwarded-Method": "POST", "X-Forwarded-Proto": "https", "X-Forwarded-Uri": "/a?b=c", "Accept-Language": "fr",
        }  # fmt: skip
        assert gateway.local.fetch("http://127.0.0.1:8080/auth?service=cloud", headers=headers).status == wanted


def test_the_kernel_leaves_the_port_alone_and_status_says_who_closes(gateway: Gateway) -> None:
    """The proxy is reached, and the program only through it."""
    assert re.search(r"^cloud +Nextcloud +by its proxy +0$", gateway.cli("status").stdout, re.MULTILINE)
    assert "tcp . 443" not in gateway.host.run("nft", "list", "map", "inet", "safeip", "ports").stdout
    for family in FAMILIES:
        with pytest.raises((OSError, LabError)):
            gateway.stranger.fetch("http://home.test:8888/", family=family, timeout=1.0)
