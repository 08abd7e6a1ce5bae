"""The rules as text: what a policy asks for is in them, and nothing that it does not."""

import re
from dataclasses import replace
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
    text = script(POLICY, Present())
    assert chain(text, "unasked") == ['oifname "lo" accept', "ip daddr 10.0.0.0/8 accept", "ip6 daddr fc00::/7 accept", "goto middle"]
    assert chain(text, "middle") == ["tcp sport 443 drop", "tcp sport 25565-25570 drop"]


def test_by_a_wan_interface_nothing_is_trusted_and_a_trusted_source_is_recorded():
    text = script(replace(POLICY, wan_interfaces=("eth0", "ppp*"), portal_ports=(8443,)), Present())
    assert chain(text, "trusted") == [
        'iifname "lo" accept',
        'iifname "eth0" goto outside',
        'iifname "ppp*" goto outside',
        "ip saddr 10.0.0.0/8 goto inside",
        "ip6 saddr fc00::/7 goto inside",
    ]
    assert chain(text, "unasked")[:3] == ['oifname "lo" accept', 'oifname "eth0" goto middle', 'oifname "ppp*" goto middle']
    assert chain(text, "outside")[1:] == ["ip saddr 10.0.0.0/8 goto masked", "ip6 saddr fc00::/7 goto masked"]
    ports = "tcp dport { 8443, 443, 25565-25570 }"
    assert chain(text, "masked") == [f"{ports} update @masks4 {{ ip saddr }}", f"{ports} update @masks6 {{ ip6 saddr }}"]


def test_a_trusted_network_of_the_internets_may_be_far_away():
    networks = tuple(map(ip_network, ("127.0.0.0/8", "192.168.1.0/24", "100.64.0.0/10", "203.0.113.0/24", "2001:db8::/64", "fe80::/10")))
    assert [rule.split()[2:] for rule in chain(script(replace(POLICY, trusted=networks), Present()), "trusted")[1:]] == [
        ["127.0.0.0/8", "accept"],
        ["192.168.1.0/24", "goto", "inside"],
        ["100.64.0.0/10", "goto", "inside"],
        ["203.0.113.0/24", "accept"],
        ["2001:db8::/64", "accept"],
        ["fe80::/10", "goto", "inside"],
    ]


def test_without_a_tcp_port_of_ours_nothing_is_recorded():
    game = ServiceRule("game", (PortRange("udp", 30000, 30010),), 3600)
    assert chain(script(Policy({"game": game}, POLICY.trusted), Present()), "masked") == []


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
