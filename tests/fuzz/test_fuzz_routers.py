"""What a router sends: the address that it believes to have, and its credential."""

import base64
import re
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_from_bytes

from aiohttp.test_utils import make_mocked_request
from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st

from access.token import Token
from portal.client_address import ClientAddress, Visitor
from portal.nic_update import NicUpdate, _Answer, _credentials

TRUSTED = tuple(map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "fe80::/10", "fc00::/7", "::1/128")))
SITE: Any = SimpleNamespace(
    clients=ClientAddress((ip_network("198.51.100.1/32"),), "X-Forwarded-For", TRUSTED, 64),
    settings=SimpleNamespace(url="https://open.example.org", url_ipv4=None, url_ipv6=None, services={}),
)
ROUTER = NicUpdate(SITE)
SEEN = ip_address("203.0.113.9")
BELIEVED = Token("k3v7aa", "Mamie", ("grant:any",), "", 0)
PARTS = [b"203.0.113.7", b"2001:db8:1::5", b"2001:db8:1:100::/56", b"::ffff:192.0.2.1", b"10.1.2.3", b"198.51.100.1", b"::", b"fe80::1%25eth0"]


@fuzzed("router-sent", st.one_of(spoilt(PARTS, [b",", b"/", b":", b"%00", b"/64", b"255"]), st.lists(st.sampled_from(PARTS)).map(b",".join), st.binary(max_size=60)))
def test_what_is_believed_is_one_address_of_a_family_that_can_be_anybodys_home(data: bytes) -> None:
    """At most one IPv4 host and one /64, none of them trusted, special or a proxy's; else where the call comes from; said in plain characters."""
    for key in ("myip", "myipv6", "ip6lanprefix"):
        request = make_mocked_request("GET", f"/nic/update?{key}={quote_from_bytes(data, safe='')}")
        found = ROUTER._addresses(request, BELIEVED, Visitor(IPv4Address("203.0.113.9"), trusted=False), SEEN)
        assert found
        assert len({address.version for address in found.values()}) == len(found)
        for text, address in found.items():
            assert re.fullmatch(r"[0-9a-f.:]+(?:/64)?", text)
            assert isinstance(address, IPv4Address) or (isinstance(address, IPv6Network) and address.prefixlen == 64)
            first = address if isinstance(address, IPv4Address) else address.network_address
            assert not any(first in network for network in (*TRUSTED, ip_network("198.51.100.1/32")))
            assert not first.is_multicast
            assert text in {str(address), str(SEEN)} or ip_address(text) in ip_network(address)


GIVEN = [b"Basic " + base64.b64encode(text) for text in (b"k3v7aa:safeip_k3v7aa_abc", b"k3v7aa:abc", b":", b"a:b:c")]


@fuzzed("router-credentials", st.one_of(spoilt(GIVEN, [b"Basic ", b"=", b" ", b"\t"]), st.binary(max_size=60)))
def test_a_credential_is_a_name_and_a_secret_or_none(data: bytes) -> None:
    """Whatever stands in Authorization is a pair of texts, or is refused as nobody's."""
    request = make_mocked_request("GET", "/nic/update", {"Authorization": data.decode("latin-1")})
    try:
        user, secret = _credentials(request)
    except _Answer:
        return
    plain = base64.b64decode(data.strip()[5:].strip()).decode()
    assert plain.startswith(f"{user}:")
    assert plain.endswith(secret)
