"""The main job on real parts: shut out, let in by a link, shut out again."""

import contextlib
import re
import threading
import time
from pathlib import Path

import pytest

from lab.gateway import Gateway
from lab.process import often, wait_for
from lab.visitor import Visitor

CLOUD = "http://home.test/"
FILMS = "http://home.test:8096/"  # forwarded to the LAN by the admin's own table


@pytest.fixture(scope="module")
def shared():
    with Gateway(prefix="sipt") as made:
        yield made


@pytest.fixture
def gateway(shared):
    yield shared
    for link in shared.cli_json("link", "list"):
        shared.cli("link", "remove", link["id"])
    shared.cli("revoke", "--all")
    for visitor in (shared.visitor, shared.second, shared.stranger):
        visitor.cookies.clear()


def opened(gateway: Gateway) -> dict[str, list[str]]:
    names = ("cloud4", "cloud6", "films4", "films6", "game4", "game6")
    return {name: held for name in names if (held := [element.value for element in gateway.elements(name)])}


def test_a_link_is_a_url_alone_and_fetching_it_opens_nothing(gateway):
    done = gateway.cli("link", "add", "Mamie", "--service", "cloud", "--for", "2h")
    assert re.fullmatch(r"https://home\.test:8443/l/[a-z2-7]{6}-[a-z2-7]{32}\n", done.stdout)
    assert done.stderr == ""
    url = done.stdout.strip()
    previews = [
        {"User-Agent": "WhatsApp/2.0"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"User-Agent": "Mozilla/5.0 (compatible; bingbot/2.0)", "Sec-Fetch-Mode": "navigate"},
    ]
    for number in range(often(500)):
        assert gateway.visitor.fetch(url, "GET", headers=previews[number % 4]).status == 200
        assert gateway.visitor.fetch(url, "HEAD", family=6 if number % 2 else 4).status == 200
    assert opened(gateway) == {}
    assert not gateway.visitor.reaches(CLOUD, timeout=0.5)


def test_one_post_through_the_pages_own_form_puts_exactly_one_element(gateway):
    url = gateway.add_link("Mamie", ("cloud",), "--for", "2h")
    link_id = url.rpartition("/")[2][:6]
    assert gateway.visitor.open_link(url).status == 200
    [element] = gateway.elements("cloud4")
    assert (element.value, element.timeout_s, element.comment) == ("192.0.2.10", 7200, f"link:{link_id} Mamie")
    assert opened(gateway) == {"cloud4": ["192.0.2.10"]}
    assert gateway.visitor.reaches(CLOUD)
    assert not gateway.stranger.reaches(CLOUD, timeout=0.5)
    assert not gateway.visitor.reaches(FILMS, timeout=0.5)


def test_over_ipv6_it_is_the_networks_address(gateway):
    assert gateway.visitor.open_link(gateway.add_link("Mamie", ("cloud",), "--for", "2h"), family=6).status == 200
    assert opened(gateway) == {"cloud6": ["2001:db8:1::"]}
    assert gateway.visitor.reaches(CLOUD, family=6)
    assert not gateway.visitor.reaches(CLOUD, family=4, timeout=0.5)
    assert not gateway.stranger.reaches(CLOUD, family=6, timeout=0.5)


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_forwarded_to_the_lan_is_closed_and_opened_alike(gateway, family):
    assert not gateway.visitor.reaches(FILMS, family=family, timeout=0.5)
    gateway.visitor.open_link(gateway.add_link("Films", ("films",)), family=family)
    assert gateway.visitor.reaches(FILMS, family=family)
    assert not gateway.stranger.reaches(FILMS, family=family, timeout=0.5)


def test_the_page_moves_on_to_the_service(gateway):
    page = gateway.visitor.open_link(gateway.add_link())
    assert page.next_url == CLOUD
    page = gateway.visitor.open_link(gateway.add_link("Box", ("cloud",), "--to", "https://elsewhere.test/box?a=1&b=2"))
    assert page.next_url == "https://elsewhere.test/box?a=1&b=2"


@pytest.mark.parametrize("by", [("revoke", "192.0.2.10"), ("revoke", "--holder"), ("link", "pause"), ("link", "remove")])
def test_revoking_cuts_a_running_download_and_not_one_packet_more_is_accepted(gateway, by):
    url = gateway.add_link()
    link_id = url.rpartition("/")[2][:6]
    gateway.visitor.open_link(url)
    gateway.nft(
        "table inet count { counter accepted { }\n"
        "chain c { type filter hook input priority filter; ip saddr 192.0.2.10 tcp dport 80 counter name accepted; }\n}\n"
    )
    try:
        with gateway.visitor.download("http://home.test/endless") as download:
            wait_for("the download", lambda: download.received > 1_000_000)
            gateway.cli(*by, *{"--holder": [f"link:{link_id}"], "192.0.2.10": []}.get(by[1], [link_id]))
            at_the_answer = counted(gateway)
            assert at_the_answer > 10
            # what was under way dries up, and the server's own timer sends again into the void
            wait_for("an end", lambda: not flowing(download, gateway), 20)
            assert counted(gateway) == at_the_answer
    finally:
        gateway.nft("delete table inet count")
    assert not gateway.visitor.reaches(CLOUD, timeout=0.5)


def counted(gateway: Gateway) -> int:
    return int(re.search(r"packets (\d+)", gateway.host.run("nft", "list counter inet count accepted").stdout)[1])


def flowing(download, gateway: Gateway) -> bool:
    """Whether anything arrives while a stranger's connection is refused for half a second."""
    before = download.received
    gateway.stranger.reaches(CLOUD, timeout=0.5)
    return download.received != before


def test_the_kernel_forgets_by_itself(gateway):
    gateway.visitor.open_link(gateway.add_link("Short", ("cloud",), "--for", "3s"))
    assert gateway.visitor.reaches(CLOUD)
    wait_for("the end", lambda: opened(gateway) == {})
    assert not gateway.visitor.reaches(CLOUD, timeout=0.5)
    wait_for("the book", lambda: gateway.cli_json("grants") == [])


def test_opening_again_renews_and_is_one_element_still(gateway):
    url = gateway.add_link("Mamie", ("cloud",), "--for", "2h")
    for _ in range(3):
        begin = time.monotonic()
        assert gateway.visitor.open_link(url).status == 200
    [element] = gateway.elements("cloud4")
    assert element.expires_s >= 7199 - (time.monotonic() - begin)


def test_the_last_use_is_one_persons_however_many_ask_at_once(gateway):
    url = gateway.add_link("Once", ("cloud",), "--uses", "1")
    pages = {visitor: visitor.fetch(url) for visitor in (gateway.visitor, gateway.second, gateway.stranger)}
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda v=visitor, p=page: statuses.append(v.submit(p).status))
        for visitor, page in pages.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 410, 410]
    assert len(gateway.elements("cloud4")) == 1


def test_of_a_links_addresses_the_oldest_leaves(gateway):
    url = gateway.add_link("Two", ("cloud",), "--addresses", "2")
    for visitor in (gateway.visitor, gateway.second, gateway.stranger):
        assert visitor.open_link(url).status == 200
    assert {element.value for element in gateway.elements("cloud4")} == {gateway.second.ipv4, gateway.stranger.ipv4}
    assert not gateway.visitor.reaches(CLOUD, timeout=0.5)


def test_a_link_that_no_longer_opens_says_so_and_opens_nothing(gateway):
    url = gateway.add_link()
    link_id = url.rpartition("/")[2][:6]
    page = gateway.visitor.fetch(url)
    gateway.cli("link", "pause", link_id)
    assert gateway.visitor.submit(page).status == 410
    assert gateway.visitor.fetch(url).status == 410
    gateway.cli("link", "resume", link_id)
    assert gateway.visitor.submit(page).status == 200
    fresh = gateway.cli("link", "rotate", link_id).stdout.strip()
    assert gateway.visitor.fetch(url).status == 404
    assert opened(gateway) == {}
    assert gateway.visitor.open_link(fresh).status == 200
    gateway.cli("link", "remove", link_id)
    assert gateway.visitor.fetch(fresh).status == 404
    assert opened(gateway) == {}


def test_a_pin_is_asked_for_and_guesses_are_bounded(gateway):
    url = gateway.add_link("Safe", ("cloud",), "--pin", "4711")
    statuses = [gateway.visitor.open_link(url, pin=f"{guess:04}").status for guess in range(8)]
    assert statuses[:5] == [403] * 5
    assert statuses[5:] == [429] * 3
    assert gateway.visitor.open_link(url, pin="4711").status == 429  # even with the right one, for a while
    assert gateway.second.open_link(url, pin="4711").status == 200
    assert opened(gateway) == {"cloud4": [gateway.second.ipv4]}


def test_nothing_secret_is_in_logs_history_or_arguments(gateway):
    url = gateway.add_link("Safe", ("cloud",), "--pin", "815147")
    gateway.visitor.open_link(url, pin="815147")
    gateway.visitor.fetch(url + "x")
    token = url.rpartition("/")[2]
    said = {}
    for path in gateway.state.rglob("*"):
        if path.is_file() and path.name != "secret.key":
            with contextlib.suppress(FileNotFoundError):  # it was being written, and has another name now
                said[path] = path.read_bytes()
    for pid in (gateway.gate_pid(), gateway.portal_pid()):
        said |= {path: path.read_bytes() for path in (Path(f"/proc/{pid}/cmdline"), Path(f"/proc/{pid}/environ"))}
    said[gateway.log] = gateway.log.read_bytes()
    for path, content in said.items():
        assert token.encode() not in content, path
        assert token.partition("-")[2].encode() not in content, path
        assert b"815147" not in content, path


def test_a_body_that_is_too_large_is_refused(gateway):
    url = gateway.add_link()
    page = gateway.visitor.fetch(url)
    assert gateway.visitor.submit(page, {"padding": "x" * 20_000}).status == 413
    assert opened(gateway) == {}


@pytest.mark.parametrize("family", [4, 6])
def test_from_the_lan_nothing_needs_opening(gateway, family):
    names = {"home.test": ("10.9.0.1", "fd00:9::1")}
    at_home = Visitor(gateway.server, "10.9.0.10", "fd00:9::10", names)
    page = at_home.fetch(gateway.add_link(), family=family)
    assert "Always open from here" in page.text
    assert not any(form.method == "POST" for form in page.forms)
    assert at_home.reaches(CLOUD, family=family)
    assert opened(gateway) == {}
