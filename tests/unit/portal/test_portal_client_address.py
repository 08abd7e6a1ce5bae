from ipaddress import ip_network

import pytest

from portal.client_address import BadClientAddress, ClientAddress, Peer

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fe80::/10"))
PROXIES = (ip_network("192.0.2.0/24"), ip_network("2001:db8:ff::/48"))


def visitor(
    peer: str | None, *lines: str, header: str = "X-Forwarded-For", trusted: bool = True
) -> tuple[str, bool]:
    clients = ClientAddress(PROXIES, header, TRUSTED if trusted else (), 64)
    found = clients.visitor(Peer(peer), lines)
    return str(found.address), found.trusted


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("2001:db8:1::5", [], "2001:db8:1::/64"),
        ("192.0.2.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:192.0.2.1", ["203.0.113.7"], "203.0.113.7"),
        ("2001:db8:ff::1", ["2001:db8:1::5"], "2001:db8:1::/64"),
        ("192.0.2.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("192.0.2.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("192.0.2.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("192.0.2.1", ["203.0.113.7, 192.0.2.9, 2001:db8:ff::2"], "203.0.113.7"),
        ("192.0.2.1", ["garbage, 203.0.113.7 ,192.0.2.9"], "203.0.113.7"),
        ("192.0.2.1", ["192.0.2.5, 192.0.2.9"], "192.0.2.5"),
        ("192.0.2.1", ["203.0.113.7:1234"], "203.0.113.7"),
        ("192.0.2.1", ["[2001:db8:1::5]:1234"], "2001:db8:1::/64"),
        ("192.0.2.1", ["[2001:db8:1::5]"], "2001:db8:1::/64"),
    ],
)
def test_who_asks(peer: str, lines: list[str], address: str) -> None:
    assert visitor(peer, *lines) == (address, False)


@pytest.mark.parametrize(
    "lines",
    [
        [], [""], [","], ["203.0.113.7,"], ["unknown"], ["_hidden"], ["203.0.113.7;x"], ["203.0.113.256"], ["garbage, 192.0.2.9"],
        ["[2001:db8:1::5"], ["[2001:db8:1::5]x"], ["203.0.113.7:"], ["203.0.113.7:x"], ["2001:db8:1::5:99999"], ["203.0.113.7/32"],
        ["203.0.113.7, "], ["0x7f.1"], ["010.1.1.1"], ["for=203.0.113.7"], ["203.0.113.7 198.51.100.1"], ["²03.0.113.7"],
    ],
    ids=str,
)  # fmt: skip
def test_a_proxy_that_does_not_say(lines: list[str]) -> None:
    with pytest.raises(BadClientAddress):
        visitor("192.0.2.1", *lines)


@pytest.mark.parametrize("header", ["X-Real-IP", "CF-Connecting-IP"])
def test_a_header_of_one_address(header: str) -> None:
    assert visitor("192.0.2.1", " 203.0.113.7 ", header=header) == ("203.0.113.7", False)
    for lines in (["203.0.113.7", "203.0.113.7"], ["203.0.113.7, 203.0.113.8"], [], [""], ["203.0.113.7:80"]):
        with pytest.raises(BadClientAddress):
            visitor("192.0.2.1", *lines, header=header)


def test_scoped_and_missing_peers() -> None:
    assert visitor("fe80::1%eth0") == ("fe80::/64", True)
    with pytest.raises(BadClientAddress, match="link-local"):
        visitor("fe80::1%eth0", trusted=False)
    for peer in (None, "", "not", "127.0.0.1:80"):
        with pytest.raises(BadClientAddress):
            visitor(peer)


def test_trusted() -> None:
    assert visitor("10.1.2.3") == ("10.1.2.3", True)
    assert visitor("::ffff:10.1.2.3") == ("10.1.2.3", True)
