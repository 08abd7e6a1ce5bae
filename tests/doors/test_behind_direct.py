"""Around the proxies, straight to the portal's listeners: a header is nobody's word then, and who is no proxy says nothing by PROXY."""

import contextlib
import re
import ssl
from collections.abc import Iterator

import pytest
from asking import FAMILIES, FRESH, HELD, HOME, SHOWN, WITHIN_S, element, granted, shown, try_all
from by_socket import add_link, close_all, grants, let_in
from forged import FORGED, Claim
from fronts import NAME, PORTAL, URL, Arrangement, Make, caddy, haproxy, nginx, stream

from lab.front import INNER4, NEAR4, NEAR6, Front
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.net import Namespace
from lab.nginx import Nginx
from lab.visitor import Family
from safeip.control import ControlError

LISTENERS = {"listen_proxy_protocol": ["0.0.0.0:8444", "[::]:8444"]}
HEADS = [(forged.reason, forged) for forged in FORGED if "PROXY" in forged.reason and forged.where != "first"]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipt", portal={**PORTAL, **LISTENERS}) as there:
        for visitor in (there.visitor, there.second, there.stranger):
            visitor.names = {**visitor.names, NAME: (GATEWAY4, GATEWAY6)}
        yield there


@pytest.fixture(scope="module")
def front(gateway: Gateway) -> Iterator[Front]:
    with Front(gateway, "sipt") as there:
        yield there


@pytest.fixture(autouse=True)
def closed(gateway: Gateway) -> Iterator[None]:
    yield
    with contextlib.suppress(ControlError):
        close_all(gateway)


def sent(namespace: Namespace, host: str, data: bytes, *, port: int = 8444, tls: bool = False) -> bytes | None:
    """What is answered to bytes before it is hung up on; None where it was not, and no word came."""
    found = b""
    try:
        with contextlib.closing(namespace.connect(host, port, WITHIN_S)) as plain:
            plain.settimeout(WITHIN_S)
            plain.sendall(data)
            context = ssl._create_unverified_context()
            connection = context.wrap_socket(plain, server_hostname=NAME) if tls else plain
            while part := connection.recv(65536):
                found += part
    except TimeoutError:
        return found or None
    except OSError:
        pass  # reset, which is an end as well
    return found


def request(claim: Claim) -> bytes:
    names = ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP")
    lines = "".join(f"{name}: {claim.ipv4}\r\n" for name in names)
    return f"GET / HTTP/1.1\r\nHost: {NAME}:8443\r\nAccept-Language: en\r\nConnection: close\r\n{lines}\r\n".encode()


def test_a_header_is_not_believed_from_who_is_no_proxy(gateway: Gateway) -> None:
    """Each that is forged, by both families."""
    pages, opened = try_all(gateway, "http://home.test:8080")
    print(f"direct: {len(FORGED)} forged, {pages} pages, {opened} opened for who asked")
    assert pages > len(FORGED)
    assert opened > len(FORGED) / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_who_is_no_proxy_is_hung_up_on_by_the_listener_for_proxies(gateway: Gateway, front: Front, family: Family) -> None:
    """Strangers, who is at home, and the gateway itself: with each PROXY header, with none, and with TLS."""
    let_in(gateway, "cloud", HELD.ipv4)
    places = [
        (gateway.stranger.namespace, (GATEWAY4, GATEWAY6)),
        (gateway.server, ("10.9.0.1", "fd00:9::1")),
        (gateway.host, ("127.0.0.1", "::1")),
        (front.outer, (NEAR4, NEAR6)),
    ]
    for namespace, hosts in places:
        host = hosts[FAMILIES.index(family)]
        for _, forged in HEADS:
            for claim in (HELD, HOME):
                assert sent(namespace, host, forged.bytes(claim, b"") + request(claim)) == b"", forged
        assert sent(namespace, host, request(HELD)) == b""
        assert sent(namespace, host, b"") == b""
        assert sent(namespace, host, b"", tls=True) == b""
    assert granted(gateway) == {HELD.ipv4}


@pytest.mark.parametrize("family", FAMILIES)
def test_who_is_a_proxy_names_whom_it_brings_and_nothing_else(gateway: Gateway, front: Front, family: Family) -> None:
    """So that the test above tries what would work otherwise."""
    host = (NEAR4, NEAR6)[FAMILIES.index(family)]
    heads = dict(HEADS)
    answer = sent(front.inner, host, heads["PROXY before TLS"].bytes(FRESH, b"") + request(HELD))
    assert answer is not None
    assert f"{SHOWN}{FRESH.ipv4}.".encode() in answer
    answer = sent(front.inner, host, heads["PROXY v2 before TLS"].bytes(FRESH, b"") + request(HELD))
    assert answer is not None
    assert f"{SHOWN}{FRESH.ipv4}.".encode() in answer
    # who brings nobody is nobody, whatever the request says: its headers are a visitor's own
    for reason in ("PROXY before TLS, unknown", "PROXY v2 before TLS, local"):
        nobody = sent(front.inner, host, heads[reason].bytes(FRESH, b"") + request(HELD))
        assert nobody is not None
        assert nobody.startswith(b"HTTP/1.1 400 "), reason
        assert SHOWN.encode() not in nobody
    # two, or what is none
    two = heads["PROXY before TLS"].bytes(FRESH, b"")
    assert sent(front.inner, host, two + two + request(HELD)).startswith(b"HTTP/1.1 400 ")  # type: ignore[union-attr]
    for junk in (b"PROXY TCP4 192.0.2.130\r\n", b"PROXY TCP4 a b 1 2\r\n", b"proxy " + two[6:], b"\0" * 64, b"x" * 4000):
        assert sent(front.inner, host, junk + request(HELD)) == b"", junk
    assert granted(gateway) == set()


def test_a_proxy_that_does_not_say_who_asks_opens_nothing_and_the_page_says_so(
    gateway: Gateway, front: Front, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """nginx whose configuration forgets the header: for each visitor, on the page and in the log."""
    url = add_link(gateway)
    forgetful = Arrangement("nginx, forgetful", (nginx(),))
    certificate, key = gateway._certificate()
    with forgetful.standing(front, tmp_path_factory.mktemp("front"), certificate, key):
        for family in FAMILIES:
            for path in (url, f"{URL}/"):
                page = gateway.visitor.fetch(path, family=family, timeout=WITHIN_S)
                assert page.status == 400
                assert "Your address cannot be told" in page.text
                assert SHOWN not in page.text
                assert [form for form in page.forms if form.method == "POST"] == []
            posted = gateway.visitor.fetch(url, "POST", fields={"form": "x"}, family=family, timeout=WITHIN_S)
            assert posted.status >= 400
            # and what visitors write there themselves
            for turn in range(20):
                garbled = {"X-Forwarded-For": f"gibberish-{turn}"}
                assert gateway.visitor.fetch(url, family=family, headers=garbled, timeout=WITHIN_S).status == 400
    lines = [line for line in gateway.log.read_text("utf-8").splitlines() if "X-Forwarded-For" in line]
    assert [("sent no" in line, "holds no address" in line) for line in lines] == [(True, False), (False, True)], "once, and no more"
    assert all(f" {INNER4}" in line and "gibberish" not in line for line in lines)
    assert granted(gateway) == set()
    assert grants(gateway) == []


@pytest.mark.parametrize("make", [haproxy("option forwardfor"), caddy()], ids=["HAProxy", "Caddy"])
def test_nothing_forged_is_believed_by_http2(
    gateway: Gateway, front: Front, tmp_path_factory: pytest.TempPathFactory, make: Make
) -> None:
    let_in(gateway, "cloud", HELD.ipv4)
    certificate, key = gateway._certificate()
    stranger, directory = gateway.stranger, tmp_path_factory.mktemp("front")
    heads = [forged.bytes(HELD, b"").decode() for forged in FORGED if forged.where == "headers"]
    plain = [head for head in heads if re.fullmatch(r"[\x20-\x7e]{1,4000}(\r\n[A-Za-z-]+: [\x20-\x7e]*)*", head) and "Connection" not in head]
    assert len(plain) > 60
    with Arrangement("by HTTP/2", (make,)).standing(front, directory, certificate, key):
        for family in FAMILIES:
            host = GATEWAY4 if family == 4 else f"[{GATEWAY6}]"
            wanted = ["insecure", "silent", "http2", f'resolve = "{NAME}:8443:{host}"', 'header = "Accept-Language: en"', f'url = "{URL}/"']
            quoted = [[line.replace("\\", "\\\\").replace('"', '\\"') for line in head.split("\r\n")] for head in plain]
            each = ["\n".join([*wanted, *(f'header = "{line}"' for line in lines), 'write-out = "\\nby HTTP/%{http_version} %{http_code}\\n"']) for lines in quoted]
            (directory / "asked").write_text("\nnext\n".join(each), "utf-8")
            told = stranger.namespace.run("curl", "--config", str(directory / "asked"), check=False, timeout=60).stdout
            assert told.count("by HTTP/2 200") > 60, told[-2000:]
            assert set(re.findall(rf"{SHOWN}(\S+?)\.(?=[\s<])", told)) == {shown(stranger, family)}
            assert HELD.ipv4 not in told
            assert "Cloud" not in told


def test_who_comes_through_a_proxy_that_does_not_know_whom_it_brings_is_nobody(
    gateway: Gateway, front: Front, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """nginx's stream says UNKNOWN of what came to it by a Unix socket; the rest is the stranger's own word."""
    directory = tmp_path_factory.mktemp("front")
    let_in(gateway, "cloud", HELD.ipv4)
    hidden = f"""
        server {{ listen 8443; listen [::]:8443; proxy_pass unix:{directory}/between; }}
        server {{ listen unix:{directory}/between; proxy_pass {NEAR4}:8444; proxy_protocol on; }}
    """
    front.through_inner()
    with Nginx(front.inner, directory, stream=hidden):
        for host in (GATEWAY4, GATEWAY6):
            for claim in (HELD, HOME):
                answer = sent(gateway.stranger.namespace, host, request(claim), port=8443)
                assert answer is not None
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert SHOWN.encode() not in answer
                assert b"Cloud" not in answer


@pytest.mark.parametrize("family", FAMILIES)
def test_around_the_outer_of_two_proxies_the_inner_tells_the_truth(
    gateway: Gateway, front: Front, tmp_path_factory: pytest.TempPathFactory, family: Family
) -> None:
    """Who claims that the outer one stands behind them."""
    stranger = gateway.stranger
    let_in(gateway, "cloud", HELD.ipv4)
    certificate, key = gateway._certificate()
    for make in (nginx("X-Forwarded-For $proxy_add_x_forwarded_for"), stream()):
        streaming = make.__qualname__.startswith("stream")
        more = {**LISTENERS, "tls": "auto"} if streaming else {}
        chain = Arrangement("a chain", (make, nginx("X-Forwarded-For $proxy_add_x_forwarded_for", secure=True)), more=more)
        gateway.stop()
        gateway.configure(portal=chain.portal())
        gateway.start()
        with chain.standing(front, tmp_path_factory.mktemp("front"), certificate, key):
            for claimed in (f"{HELD.ipv4}, 10.7.0.20", "10.9.0.10, 10.7.0.20, 10.8.0.10", "10.7.0.20"):
                for through in (front.through_outer, front.through_inner):
                    through()
                    page = stranger.fetch(f"{URL}/", family=family, headers={"X-Forwarded-For": claimed}, timeout=WITHIN_S)
                    assert (page.status, f"{SHOWN}{shown(stranger, family)}." in page.text) == (200, True), page.text
    gateway.stop()
    gateway.configure(portal={**PORTAL, **LISTENERS})
    gateway.start()
    assert element(stranger, family) not in granted(gateway)
