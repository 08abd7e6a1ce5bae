"""What the gate refuses whoever asks, so that a portal taken over by an attacker widens nothing."""

from ipaddress import ip_network

import pytest

from nft import checks
from nft.checks import Refusal
from nft.policy import Policy, PortRange, ServiceRule

CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443),), 30 * 86400)
TRUSTED = tuple(ip_network(text) for text in ("10.0.0.0/8", "192.168.1.0/24", "fc00::/7", "2001:db8:5:5::10/128"))
POLICY = Policy({"cloud": CLOUD}, TRUSTED)


def code(check, *arguments) -> str:
    with pytest.raises(Refusal) as refused:
        check(*arguments)
    assert str(refused.value)
    return refused.value.code


@pytest.mark.parametrize("text", ["203.0.113.7", "8.8.8.8", "100.64.0.1", "2001:db8:1::/64", "2a01:e0a:1:2::/64"])
def test_takes_hosts_and_prefixes_of_the_internet(text):
    key = checks.key(POLICY, text)
    checks.open_to(POLICY, key)
    assert checks.address(POLICY, key) == text


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0/0", "203.0.113.0/24", "203.0.113.7/32", "::/0", "2001:db8::/32", "2001:db8:1::/63",
        "2001:db8:1::/65", "2001:db8:1::5/64", "2001:db8:1::5", "2001:db8:1::5/128", "2001:DB8:1::/64",
        "2001:db8:1:0::/64", "::ffff:203.0.113.7", "::ffff:203.0.113.7/64", "fe80::%eth0/64", "203.0.113.07",
        "3405803783", "0xcb007107", "203.0.113", " 203.0.113.7", "203.0.113.7\n", "", "cloud", "203.0.113.7 ",
        "2001:db8:1::/064", "2001:db8:1::/ffff:ffff:ffff:ffff::", "٢٠٣.0.113.7", "203.0.113.7, 0.0.0.0/0",
    ],
)  # fmt: skip
def test_takes_an_address_in_its_one_spelling_and_size_only(text):
    assert code(checks.key, POLICY, text) == "bad-address"


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.1.1", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "::/64", "fe80::/64", "ff02::/64", "fec0::/64", "64:ff9b::/64", "100::/64",
    ],
)  # fmt: skip
def test_refuses_what_is_nobodys_home(text):
    assert code(checks.open_to, POLICY, checks.key(POLICY, text)) == "special-address"


@pytest.mark.parametrize("text", ["10.1.2.3", "192.168.1.255", "fd00:1:2:3::/64", "2001:db8:5:5::/64"])
def test_refuses_what_is_trusted_anyway(text):
    """The last one holds a trusted host among 2^64 strangers: in doubt, closed."""
    assert code(checks.open_to, POLICY, checks.key(POLICY, text)) == "trusted-address"


def test_a_wider_prefix_where_the_configuration_says_so():
    wide = Policy({"cloud": CLOUD}, TRUSTED, ipv6_prefix=56)
    assert checks.address(wide, checks.key(wide, "2001:db8:1:100::/56")) == "2001:db8:1:100::/56"
    assert code(checks.key, wide, "2001:db8:1::/64") == "bad-address"
    assert code(checks.key, wide, "2001:db8:1:101::/56") == "bad-address"


@pytest.mark.parametrize("seconds", [0, -1, 30 * 86400 + 1, 1 << 52])
def test_refuses_a_time_beyond_the_services_own(seconds):
    """0 would be for ever."""
    assert code(checks.duration, CLOUD, seconds) == "bad-duration"


@pytest.mark.parametrize("seconds", [1, 7200, 30 * 86400])
def test_takes_a_time_up_to_the_services_own(seconds):
    checks.duration(CLOUD, seconds)


@pytest.mark.parametrize("name", ["", "cloud4", "Cloud", "ports", "banned"])
def test_refuses_a_service_that_is_not_configured(name):
    assert code(checks.service, POLICY, name) == "unknown-service"


@pytest.mark.parametrize("text", ["cli", "link:k3v9aa", "person:anne-marie", "token:a.b_c"])
def test_takes_the_four_kinds_of_holder(text):
    checks.holder(text)


@pytest.mark.parametrize(
    "text", ["", "root", "cli:1", "link:", "link:A", "link:a b", "link:" + "a" * 33, 'link:"', "link:a\n", "ban:x", "link:é"]
)
def test_refuses_other_holders(text):
    assert code(checks.holder, text) == "bad-holder"


@pytest.mark.parametrize("text", ["", "Mamie", "Mémé & Pépé's télé", "x" * 64, "é" * 32, "日本"])
def test_takes_a_note_that_nft_can_list(text):
    checks.note(text)
    assert checks.read_comment(checks.comment("link:k3v9aa", text)) == ("link:k3v9aa", text)


@pytest.mark.parametrize("text", ["x" * 65, "é" * 33, 'a"b', "a\\b", "a\nb", "a\0b", "\x1b[31m", "\u202e", "\u2028"])
def test_refuses_a_note_that_could_break_a_listing(text):
    assert code(checks.note, text) == "bad-note"


@pytest.mark.parametrize("text", ["", "put by hand", "link:", 'link:a "', "person:Bob hi"])
def test_what_somebody_put_by_hand_is_the_command_lines(text):
    assert checks.read_comment(text) == ("cli", "")
