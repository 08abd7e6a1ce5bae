"""A portal behind real proxies: who opens a link is let in and nobody else, and no visitor can say to come from elsewhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import FAMILIES, SHOWN, WITHIN_S, address, element, granted, shown, try_all
from by_socket import add_link, close, close_all
from forged import FORGED
from fronts import CHAINS, HEADERS, NAME, PROXIED, URL, Arrangement

from lab.front import Front
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.process import wait_for

CLOUD = "http://home.test/"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipt", start=False) as there:
        for visitor in (there.visitor, there.second, there.stranger):
            visitor.names = {**visitor.names, NAME: (GATEWAY4, GATEWAY6)}
        yield there


@pytest.fixture(scope="module")
def front(gateway: Gateway) -> Iterator[Front]:
    with Front(gateway, "sipt") as there:
        yield there


# those for which the portal is configured alike after each other
ARRANGEMENTS = sorted(HEADERS + PROXIED + CHAINS, key=lambda arrangement: str(arrangement.portal()))


@pytest.fixture(scope="module", params=ARRANGEMENTS, ids=lambda arrangement: arrangement.name)
def arrangement(
    request: pytest.FixtureRequest, gateway: Gateway, front: Front, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arrangement]:
    """The portal configured for the proxies, and these standing. It runs on from one to the next where nothing changes for it."""
    this: Arrangement = request.param
    before = gateway.config.read_text("utf-8")
    gateway.configure(portal=this.portal())
    runs = gateway.daemon is not None and gateway.daemon.poll() is None
    if runs and gateway.config.read_text("utf-8") != before:
        gateway.stop()
        runs = False
    if not runs:
        gateway.start()
    certificate, key = gateway._certificate()
    with this.standing(front, tmp_path_factory.mktemp("front"), certificate, key):
        yield this


@pytest.fixture(autouse=True)
def closed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "arrangement" in request.fixturenames:
        close_all(request.getfixturevalue("gateway"))


def test_whoever_opens_a_link_is_let_in_until_it_is_closed_again(gateway: Gateway, arrangement: Arrangement) -> None:
    url = add_link(gateway)
    assert url.startswith(f"{URL}/l/")
    visitor = gateway.visitor
    assert granted(gateway) == set()
    with ThreadPoolExecutor() as pool:  # whoever is not let in asks for a second, while the others go on
        outside = []
        for turn, family in enumerate(FAMILIES):
            opened = visitor.open_link(url, family=family)
            assert opened.status == 200, opened.text
            assert f"{SHOWN}{shown(visitor, family)}." in opened.text
            assert granted(gateway) == {element(visitor, one) for one in FAMILIES[: turn + 1]}
            outside.append(pool.submit(gateway.stranger.reaches, CLOUD, family=family))
            assert visitor.reaches(CLOUD, family=family, timeout=WITHIN_S)
        for turn, family in enumerate(FAMILIES):
            with visitor.download(f"{CLOUD}endless", family) as download:
                wait_for("the download", lambda: download.received > 0, WITHIN_S)
                close(gateway, "cloud", address(visitor, family))
                assert granted(gateway) == {element(visitor, one) for one in FAMILIES[turn + 1 :]}
            outside.append(pool.submit(visitor.reaches, CLOUD, family=family))
        assert [one.result() for one in outside] == [False] * 4


def test_each_of_many_at_once_is_itself(gateway: Gateway, arrangement: Arrangement) -> None:
    """On connections that the proxy keeps and shares."""
    for _ in range(8):
        for visitor in (gateway.visitor, gateway.second, gateway.stranger):
            for family in FAMILIES:
                page = visitor.fetch(f"{URL}/", family=family, headers={"Connection": "keep-alive"}, timeout=WITHIN_S)
                assert (page.status, f"{SHOWN}{shown(visitor, family)}." in page.text) == (200, True), page.text


def test_nothing_forged_grants_or_tells_of_another_address(gateway: Gateway, arrangement: Arrangement) -> None:
    pages, opened = try_all(gateway, URL)
    print(f"{arrangement.name}: {len(FORGED)} forged, {pages} pages, {opened} opened for who asked")
    # most is ignored, so that the true address counts; then this sends what is answered
    assert pages > len(FORGED)
    assert opened > len(FORGED) / 2
