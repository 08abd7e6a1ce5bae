"""The rules as text: what a policy asks for is in them, and nothing that it does not."""

import re
from ipaddress import ip_network

import pytest

from nft.policy import Policy, PortRange, ServiceRule
from nft.render import AT_BOOT, BASE, BASE_CHAINS, Present, ahead, closed, script, service_sets

CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443), PortRange("udp", 443, 443)), 3600)
GAME = ServiceRule("game", (PortRange("tcp", 25565, 25570), PortRange("udp", 30000, 30010)), 3600, "keep")
POLICY = Policy({"cloud": CLOUD, "game": GAME}, (ip_network("10.0.0.0/8"), ip_network("fc00::/7")), ipv6_prefix=56)


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain, from all places where it is written."""
    found = re.findall(rf"^\tchain {name} {{\n(.*?)\t}}$", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for part in found for line in part.splitlines()]


def test_each_chain_of_the_base_is_known_as_such():
    assert set(re.findall(r"^\tchain (\S+) {", BASE.read_text(), re.MULTILINE)) == BASE_CHAINS


def test_a_service_is_looked_up_and_else_closed_and_only_keep_keeps():
    text = script(POLICY, Present())
    assert chain(text, "service-cloud") == [
        "ip saddr @cloud4 accept",
        "ip6 saddr & ffff:ffff:ffff:ff00:: @cloud6 accept",
        "counter name blocked-cloud goto closed",
    ]
    assert chain(text, "service-game")[0] == "jump kept"
    assert "ffff:ffff:ffff:ffff::" not in text, "every prefix is as long as the policy says"


def test_a_service_has_a_counter_that_goes_with_it():
    text = script(POLICY, Present(chains=["service-old"], counters=["closed", "blocked-cloud", "blocked-old", "mine"]))
    assert re.findall(r"^\tcounter (\S+) {", text, re.MULTILINE) == ["closed", "flooded", "blocked-cloud", "blocked-game"]
    assert re.findall(r"^delete \w+ inet safeip (\S+)", text, re.MULTILINE) == ["service-old", "blocked-old"]
    assert "counter blocked-cloud" in ahead(POLICY, Present())
    assert "counter blocked-cloud" not in ahead(POLICY, Present(chains=["service-cloud"]))


def test_what_leaves_in_the_middle_of_a_connection_is_each_tcp_port_of_a_service():
    assert chain(script(POLICY, Present()), "unasked") == [
        'oifname "lo" accept',
        "ip daddr 10.0.0.0/8 accept",
        "ip6 daddr fc00::/7 accept",
        "tcp sport 443 drop",
        "tcp sport 25565-25570 drop",
    ]


@pytest.mark.parametrize(("family", "sets"), [("inet", ["cloud4", "cloud6"]), ("ip", ["cloud4"]), ("ip6", ["cloud6"])])
def test_in_mode_sets_only_what_is_missing_is_made(family, sets):
    policy = Policy({"cloud": CLOUD}, (), mode="sets", family=family, table="mine")
    assert service_sets(policy) == sets
    text = script(policy, Present())
    assert text.startswith(f"table {family} mine {{\n")
    assert re.findall(r"set (\S+)", text) == sets
    assert "chain" not in text
    assert "flush" not in text
    assert re.findall(r"set (\S+)", script(policy, Present(sets[:1]))) == sets[1:]
    assert script(policy, Present(sets)) == ""


def test_the_closed_ruleset_includes_no_file_and_is_nobodys_in_mode_sets():
    assert "include" in script(POLICY, Present(), "/etc/safeip/custom.nft")
    assert "include" not in closed(POLICY)
    assert closed(POLICY).endswith(f"add chain inet safeip {AT_BOOT}\n")
    assert closed(Policy({"cloud": CLOUD}, (), mode="sets")) == ""
