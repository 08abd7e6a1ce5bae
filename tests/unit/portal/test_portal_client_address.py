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
        ("192.0.2.1", ["203.0.113.7" + ", 192.0.2.9" * 31], "203.0.113.7"),
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
        ["192.0.2.5, 192.0.2.9"], ["192.0.2.5"], ["fe80::1%eth0"], ["[fe80::1%25eth0]"], ["203.0.113.7\xa0"], ["203.0.113.7" + ", 192.0.2.9" * 32],
    ],
    ids=str,
)  # fmt: skip
def test_a_proxy_that_does_not_say(lines: list[str]) -> None:
    with pytest.raises(BadClientAddress):
        visitor("192.0.2.1", *lines)


@pytest.mark.parametrize("header", ["X-Real-IP", "CF-Connecting-IP"])
def test_a_header_of_one_address(header: str) -> None:
    assert visitor("192.0.2.1", " 203.0.113.7 ", header=header) == ("203.0.113.7", False)
    for lines in (["203.0.113.7", "203.0.113.7"], ["203.0.113.7, 203.0.113.8"], [], [""], ["203.0.113.7:80"], ["192.0.2.9"], ["unknown"], ["fe80::1%1"]):
        with pytest.raises(BadClientAddress):
            visitor("192.0.2.1", *lines, header=header)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["for=203.0.113.7"], "203.0.113.7"),
        (["For=203.0.113.7;proto=https;by=192.0.2.1"], "203.0.113.7"),
        (['proto=https;FOR="203.0.113.7:1234"'], "203.0.113.7"),
        (['for="203.0.113.7:_port"'], "203.0.113.7"),
        (['for="[2001:db8:1::5]"'], "2001:db8:1::/64"),
        (['for="[2001:db8:1::5]:4711";host="a.example:443"'], "2001:db8:1::/64"),
        (['for="[::ffff:203.0.113.7]"'], "203.0.113.7"),
        (["for=198.51.100.1, for=203.0.113.7"], "203.0.113.7"),
        (["for=198.51.100.1", "for=203.0.113.7"], "203.0.113.7"),
        (["for=198.51.100.1,for=203.0.113.7 ,\tfor=192.0.2.9", 'for="[2001:db8:ff::2]"'], "203.0.113.7"),
        (["for=unknown, for=203.0.113.7"], "203.0.113.7"),
        # what a client left open does not swallow what the proxy wrote behind it
        (['for="198.51.100.1, for=203.0.113.7'], "203.0.113.7"),
        (['for=198.51.100.1;by=", for=203.0.113.7;host="a"'], "203.0.113.7"),
        (['x="', "for=203.0.113.7"], "203.0.113.7"),
        (['for=198.51.100.1;x="\\', "for=203.0.113.7"], "203.0.113.7"),
    ],
    ids=str,
)
def test_forwarded(lines: list[str], address: str) -> None:
    assert visitor("192.0.2.1", *lines, header="Forwarded") == (address, False)
    assert visitor("198.51.100.9", *lines, header="Forwarded") == ("198.51.100.9", False)


@pytest.mark.parametrize(
    "lines",
    [
        [], [""], [","], ["for="], ["for"], ["203.0.113.7"], ["by=203.0.113.7"], ["for=unknown"], ['for="unknown"'], ["for=_hidden"], ['for="_hidden:1"'],
        ["for=203.0.113.7, for=unknown"], ["for=203.0.113.7", "for=_x"], ["for=203.0.113.7,"], ["for=203.0.113.7, by=192.0.2.9"],
        ["for=203.0.113.7;for=198.51.100.1"], ["for=203.0.113.7;For=203.0.113.7"], ["for=203.0.113.7:80"], ["for=[2001:db8:1::5]"],
        ['for="2001:db8:1::5"'], ["for=2001:db8:1::5"], ['for="[2001:db8:1::5"'], ['for="[203.0.113.7]"'], ['for="[fe80::1%eth0]"'],
        ['for="203.0.113.7'], ['for=203.0.113.7"'], ["for='203.0.113.7'"], ["for = 203.0.113.7"], ["for=203.0.113.7; proto=https"],
        ["for=203.0.113.7;"], [";for=203.0.113.7"], ["for=203.0.113.7;;by=x"], ['for="203\\.0.113.7"'], ['for="203.0.113.7";host="a\\"b"'],
        ["for=0203.0.113.7"], ["for=203.0.113.256"], ["for=203.113"], ["for=3405803783"], ["for=0xcb007107"], ['for=""'], ['for="203.0.113.7:123456"'],
        ['for="203.0.113.7:"'], ["for=192.0.2.5, for=192.0.2.9"], ['for=198.51.100.1, for=203.0.113.7;host="a,b"'],
        ['for=198.51.100.1;host="x,for=192.0.2.9"'], ["for=203.0.113.7 for=198.51.100.1"], ["for=\u0661.2.3.4"], ["for=203.0.113.7\xa0"], ["for=203.0.113.7\0"],
    ],
    ids=str,
)  # fmt: skip
def test_forwarded_that_does_not_say(lines: list[str]) -> None:
    with pytest.raises(BadClientAddress):
        visitor("192.0.2.1", *lines, header="Forwarded")


def test_an_unlisted_proxy_on_the_gateway_makes_nobody_a_trusted_visitor() -> None:
    clients = ClientAddress((), "X-Forwarded-For", (ip_network("127.0.0.0/8"), ip_network("::1/128"), *TRUSTED), 64)
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert clients.visitor(Peer(peer), ()).trusted
        with pytest.raises(BadClientAddress, match=r"is not in portal\.trusted_proxies"):
            clients.visitor(Peer(peer), ("203.0.113.7",))
    assert clients.visitor(Peer("10.1.2.3"), ("203.0.113.7",)).trusted


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
