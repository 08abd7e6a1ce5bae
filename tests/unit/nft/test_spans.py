"""Spans answer as the networks themselves would, and addresses are spelt as the standard library spells them."""

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from nft import checks
from nft.checks import Refusal
from nft.policy import Policy


def trusted(policy: Policy, key: bytes) -> bool:
    try:
        checks.open_to(policy, key)
    except Refusal as refusal:
        return refusal.code == "trusted-address"
    return False


def near(chance, kind):
    """A network that may overlap, touch or hold others of its kind, or none of them."""
    number = chance.getrandbits(16)
    if kind is IPv4Network:
        return IPv4Network((0x0B000000 + number, chance.randint(17, 32)), strict=False)
    return IPv6Network(((0x20010DB8 << 96) + (number << 64) + chance.getrandbits(8), chance.randint(49, 128)), strict=False)


@pytest.mark.parametrize(("kind", "size"), [(IPv4Network, 32), (IPv6Network, 64)])
def test_agree_with_the_networks_that_they_were_made_of(kind, size):
    """Invariant: an address, or a /64, is trusted where one of the trusted networks overlaps it."""
    chance = random.Random(20261121)
    for _ in range(200):
        networks = [near(chance, kind) for _ in range(chance.randint(0, 8))]
        policy = Policy({}, tuple(networks))
        for one in [near(chance, kind) for _ in range(20)] + networks:
            asked = kind((one.network_address, size), strict=False)
            is_trusted = any(asked.overlaps(network) for network in networks)
            assert trusted(policy, asked.network_address.packed) == is_trusted, (asked, networks)


def test_the_neighbours_of_a_network_are_strangers():
    policy = Policy({}, (IPv4Network("203.0.113.64/26"), IPv6Network("2001:db8:5:8::/61")))
    shown = {"203.0.113.63": False, "203.0.113.64": True, "203.0.113.127": True, "203.0.113.128": False}
    shown |= {"2001:db8:5:7::": False, "2001:db8:5:8::": True, "2001:db8:5:f::": True, "2001:db8:5:10::": False}
    for text, is_trusted in shown.items():
        key = (IPv6Address if ":" in text else IPv4Address)(text).packed
        assert trusted(policy, key) is is_trusted, text


def test_both_families_are_asked_of_their_own_networks_only():
    policy = Policy({}, (IPv4Network("0.0.0.0/1"), IPv6Network("8000::/1")))
    assert trusted(policy, IPv4Address("11.0.0.1").packed)
    assert not trusted(policy, IPv4Address("203.0.113.1").packed)
    assert not trusted(policy, IPv6Address("2001:db8::").packed)


@pytest.mark.parametrize("prefix", [48, 56, 64])
def test_a_spelling_is_taken_where_the_standard_library_has_the_same(prefix):
    """Invariant: a text is an address of the wire where ipaddress reads it, and writes it the same way."""
    chance, policy = random.Random(prefix), Policy({}, (), ipv6_prefix=prefix)
    for _ in range(3000):
        groups = [chance.choice((0, 0, 0, chance.getrandbits(4), chance.getrandbits(16))) for _ in range(4)]
        number = sum(group << 112 - 16 * place for place, group in enumerate(groups))
        network = IPv6Network((number, chance.choice((prefix, prefix, 40, 64, 128))), strict=False)
        text = chance.choice((str(network), network.exploded, str(network).upper(), f"{network.network_address}/{prefix}"))
        try:
            key = checks.key(policy, text)
        except Refusal:
            key = None
        try:
            meant = IPv6Network(text)
        except ValueError:
            meant = None
        wanted = meant is not None and str(meant) == text and meant.prefixlen == prefix
        assert (key is not None) == wanted, text
        if key is not None:
            assert key == meant.network_address.packed
            assert checks.address(policy, key) == text
            assert checks.key_of_network(policy, (int.from_bytes(key, "big") | chance.getrandbits(64)).to_bytes(16, "big")) == (
                IPv6Network((int.from_bytes(key, "big"), prefix)).network_address.packed
            )


@pytest.mark.parametrize("text", ["203.0.113.7\0", "203.0.113.7/", "203.0.113.7/64", "2001:db8::/64/64", "/64", "/", "2001:db8::\0/64"])
def test_what_a_c_function_would_cut_short_is_no_address(text):
    with pytest.raises(Refusal):
        checks.key(Policy({}, ()), text)
