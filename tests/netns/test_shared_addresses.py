"""Shared addresses through a real daemon and a real kernel: a carrier's, and two people behind one."""

import base64
from collections.abc import Iterator

import pytest

from lab.gateway import GATEWAY4, GATEWAY6, NAME, Gateway
from lab.visitor import Answer, Visitor

PORTAL = f"https://{NAME}:8443"
HOUR = 3600
CARRIER = "100.64.0.9"
SERVICES = {
    "cloud": {"ports": ["tcp/80"], "url": f"http://{NAME}/", "default_duration": "4h", "max_duration": "30d", "shared_max_duration": "1h"},
    "films": {"ports": ["tcp/8096"], "default_duration": "4h", "max_duration": "30d", "shared_pin": True},
}


@pytest.fixture(scope="module")
def house() -> Iterator[Gateway]:
    with Gateway(services=SERVICES, portal={"url_ipv4": f"https://four.{NAME}:8443", "url_ipv6": f"https://six.{NAME}:8443"}, prefix="siph") as gateway:
        names = gateway.stranger.namespace
        names.configure(f"addr add {CARRIER}/32 dev eth0", f"route replace default via 203.0.113.1 src {CARRIER}")
        gateway.internet.configure(f"route add {CARRIER}/32 via 203.0.113.66")
        yield gateway


@pytest.fixture
def gateway(house: Gateway) -> Iterator[Gateway]:
    yield house
    house.cli("revoke", "--all")


def browser(visitor: Visitor) -> Visitor:
    """Somebody at the same address, with cookies of their own."""
    names = {NAME: (GATEWAY4, GATEWAY6), f"four.{NAME}": (GATEWAY4, GATEWAY6), f"six.{NAME}": (GATEWAY4, GATEWAY6)}
    return Visitor(visitor.namespace, visitor.ipv4, visitor.ipv6, names)


def left(gateway: Gateway, name: str = "cloud4") -> dict[str, int]:
    """What the kernel holds, in whole hours and rounded up."""
    return {element.value: -(-round(element.expires_s) // HOUR) for element in gateway.elements(name)}


def data(page: Answer, name: str) -> str:
    _, _, rest = page.text.partition(f'data-{name}="')
    return rest.partition('"')[0]


def also(who: Visitor, page: Answer, *, family: int) -> Answer:
    return who.fetch(data(page, "also"), "POST", headers={"Origin": PORTAL}, family=6 if family == 6 else 4)


def test_a_carriers_address_opens_for_the_cap_and_everybody_is_told(gateway: Gateway) -> None:
    mamie, url = browser(gateway.stranger), gateway.add_link("Mamie", ["cloud"])
    page = mamie.fetch(url)
    for shown in (page, mamie.submit(page)):
        assert "Your provider gives it to many customers at once, and all of them get in too." in shown.text
        assert "That is why the time is shorter here." in shown.text
    assert left(gateway) == {CARRIER: 1}
    assert mamie.reaches(f"http://{NAME}/")
    assert [grant["shared"] for grant in gateway.cli_json("grants")] == ["carrier"]
    heading, row = gateway.cli("grants").stdout.splitlines()
    assert row[heading.index("SHARED") :].startswith("carrier")


def test_who_comes_second_is_capped_and_the_first_renews_no_further(gateway: Gateway) -> None:
    first, second = gateway.add_link("Mamie", ["cloud"]), gateway.add_link("Jean", ["cloud"])
    mamie, jean = browser(gateway.visitor), browser(gateway.visitor)
    assert "the time is shorter" not in mamie.open_link(first, family=4).text
    assert left(gateway) == {gateway.visitor.ipv4: 4}
    opened = jean.open_link(second)
    assert "Others have opened the way from it too: whoever uses it gets in." in opened.text
    assert left(gateway) == {gateway.visitor.ipv4: 4}, "his visit takes no time from her"
    assert [grant["shared"] for grant in gateway.cli_json("grants")] == ["others"]
    assert "the time is shorter" in mamie.open_link(first).text
    held = gateway.elements("cloud4")[0]
    assert held.expires_s < held.timeout_s, "hers has not begun anew"
    assert "Others have opened the way from it too" in mamie.fetch(first).text


def test_alone_again_it_is_nobodys_but_theirs(gateway: Gateway) -> None:
    first, second = gateway.add_link("Mamie", ["films"]), gateway.add_link("Jean", ["cloud"])
    mamie, jean = browser(gateway.visitor), browser(gateway.visitor)
    mamie.open_link(first)
    assert "the time is shorter" in jean.open_link(second).text
    assert left(gateway) == {gateway.visitor.ipv4: 1}
    gateway.cli("link", "pause", first.rpartition("/")[2].partition("-")[0])
    assert "the time is shorter" not in jean.open_link(second).text
    assert left(gateway) == {gateway.visitor.ipv4: 4}
    assert [grant["shared"] for grant in gateway.cli_json("grants")] == [None]


def test_the_other_family_of_a_carriers_address_is_capped(gateway: Gateway) -> None:
    mamie = browser(gateway.stranger)
    page = mamie.open_link(gateway.add_link("Mamie", ["cloud"]))
    assert also(mamie, page, family=6).status == 200
    assert left(gateway, "cloud6") == {"2001:db8:66::": 1}


def test_without_a_pin_nothing_is_opened_by_no_way(gateway: Gateway) -> None:
    done = gateway.cli("link", "add", "Mamie", "--service", "cloud", "--service", "films")
    url = done.stdout.strip()
    assert url.startswith(f"{PORTAL}/l/")
    assert "\n" not in url
    assert done.stderr == "safeip: warning: at shared addresses this link opens nothing: films wants a PIN there, see --pin\n"
    mamie = browser(gateway.stranger)
    page = mamie.fetch(url)
    assert (page.status, page.forms) == (403, ())
    assert "A PIN is needed here" in page.text
    home = mamie.fetch(url, family=6)
    assert mamie.submit(home, headers={"Host": f"{NAME}:8443"}).status == 200, "from her own line"
    at_home = mamie.open_link(url, family=6)
    refused = also(mamie, at_home, family=4)
    assert (refused.status, b"shared-address" in refused.body) == (403, True)
    stay = mamie.fetch(f"{PORTAL}{data(at_home, 'stay')}", "POST", fields={"form": data(at_home, "form")}, headers={"Origin": PORTAL})
    assert (stay.status, b"shared-address" in stay.body) == (403, True)
    forced = mamie.fetch(url, "POST", fields={**home.forms[0].fields, "pin": "4711"}, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})
    assert forced.status == 403
    assert left(gateway) == left(gateway, "films4") == {}


def test_with_its_pin_a_link_opens_there(gateway: Gateway) -> None:
    done = gateway.cli("link", "add", "Mamie", "--service", "films", "--pin", "4711")
    assert done.stderr == ""
    mamie = browser(gateway.stranger)
    page = mamie.open_link(done.stdout.strip(), pin="4711", family=6)
    assert also(mamie, page, family=4).status == 200, "the PIN was given a moment ago"
    assert left(gateway, "films4") == {CARRIER: 4}
    stay = mamie.fetch(f"{PORTAL}{data(page, 'stay')}", "POST", fields={"form": data(page, "form")}, headers={"Origin": PORTAL})
    assert stay.status == 200, "open by this link already"


def test_a_routers_token_is_capped_and_the_admins_hand_is_not(gateway: Gateway) -> None:
    text = gateway.add_token("Router", "grant:self", service="cloud", args=("--for", "3d"))
    user, secret = text.split("_")[1:]
    proof = base64.b64encode(f"{user}:{secret}".encode()).decode()
    router = browser(gateway.stranger)
    for word in ("good", "nochg"):
        answer = router.fetch(f"{PORTAL}/nic/update?hostname=cloud", headers={"Authorization": f"Basic {proof}", "User-Agent": "router/1"})
        assert answer.text == f"{word} {CARRIER}\n"
        assert left(gateway) == {CARRIER: 1}
    opened = router.fetch(
        f"{PORTAL}/api/v1/grants/cloud/self", "PUT", headers={"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
    )
    assert (opened.status, b'"shared": "carrier"' in opened.body) == (200, True)
    assert left(gateway) == {CARRIER: 1}
    gateway.cli("grant", "cloud", CARRIER, "--for", "5h")
    assert left(gateway) == {CARRIER: 5}
