"""fail2ban both ways, Debian's own service under a real systemd: failures at the portal ban, and a line of a log opens."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from e2e.container import Container
from e2e.installed import installed
from lab.config import PORTAL, render
from lab.kernel import Element, read_set
from lab.net import Namespace, veth
from lab.process import wait_for
from lab.visitor import Family, Visitor

HOST = {"home.test": ("198.51.100.1", "2001:db8:100::1")}
JAILS = """
[sshd]
enabled = false

[safeip]
enabled = true
maxretry = 3
bantime = 1h

# the same failures from the file, and no action
[safeip-file]
enabled = true
backend = auto
logpath = /var/lib/safeip/portal/history.jsonl
filter = safeip
action =
maxretry = 3

[safeip-open]
enabled = true
logpath = /var/log/opener.log
bantime = 10s
"""
HOUR_S = 3600
OTHER: dict[Family, Family] = {4: 6, 6: 4}


class Scene:
    def __init__(self, host: Container, visitors: list[Visitor]) -> None:
        self.host = host
        self.visitors = iter(visitors)

    def reaches_game(self, visitor: Visitor, family: Family) -> bool:
        with suppress(OSError):
            visitor.connect("http://home.test:51160/", family, 1).close()
            return True
        return False

    def opens(self, address: str) -> None:
        """The line of a log that opens."""
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        with self.host.path("/var/log/opener.log").open("a", encoding="ascii") as log:
            log.write(f'{address} - mamie [{stamp}] "GET /open HTTP/1.1" 200 12 "-" "curl"\n')

    def client(self, *words: str) -> str:
        return self.host.run("fail2ban-client", *words).stdout.strip()

    def elements(self, name: str) -> dict[str, Element]:
        return {element.value: element for element in read_set(self.host.network, name)}

    def told(self, event: str, address: str) -> int:
        return self.host.run("safeip", "history", "--json", "--event", event, "--address", address).stdout.count('"at"')

    def ends(self) -> dict[str, int]:
        """Who is banned, and for how many seconds yet."""
        return {address: found.expires_s for name in ("banned4", "banned6") for address, found in self.elements(name).items()}


def fail(visitor: Visitor, family: Family, times: int = 3) -> None:
    for _ in range(times):
        answer = visitor.submit(visitor.fetch("https://home.test:8443/sign-in", family=family), {"name": "yves", "password": "wrong"})
        assert answer.status == 403


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        host = stack.enter_context(installed("sipf"))
        visitors = []
        for number in range(1, 7):
            namespace = stack.enter_context(Namespace(f"visitor{number}", "sipf"))
            ipv4, ipv6 = f"192.0.{number}.10", f"2001:db8:{number}::10"
            veth(
                host.network, f"wan{number}", (f"192.0.{number}.1/24", f"2001:db8:{number}::1/64"),
                right=namespace, right_name="eth0", right_addresses=(f"{ipv4}/24", f"{ipv6}/64"),
            )  # fmt: skip
            namespace.configure(f"route add default via 192.0.{number}.1", f"route add default via 2001:db8:{number}::1")
            visitors.append(Visitor(namespace, ipv4, ipv6, HOST))
        host.network.configure("addr add 198.51.100.1/32 dev lo", "addr add 2001:db8:100::1/128 dev lo")
        services = {"game": {"ports": ["tcp/51160"], "default_duration": "6h", "max_duration": "7d"}}
        config = render({}, {"portal": PORTAL, **{f"services.{name}": table for name, table in services.items()}})
        host.path("/etc/safeip/safeip.toml").write_text(config, "utf-8")
        assert host.shell("systemctl start safeip || journalctl -u safeip -o cat") == ""
        host.run("safeip", "person", "add", "yves", "--password-stdin", input="four words nobody guesses")
        host.path("/etc/fail2ban/jail.local").write_text(JAILS, "utf-8")
        host.path("/var/log/opener.log").touch()
        host.run("systemctl", "start", "fail2ban")
        there = Scene(host, visitors)
        wait_for("fail2ban", lambda: "pong" in host.shell("fail2ban-client ping", check=False), 60)
        with host.network.entered():
            game = stack.enter_context(socket.create_server(("::", 51160), family=socket.AF_INET6, dualstack_ipv6=True))
            game.listen()
        yield there


@pytest.mark.parametrize("family", [4, 6])
def test_failures_at_the_portal_ban_in_the_kernel(scene: Scene, family: Family) -> None:
    visitor = next(scene.visitors)
    known = {4: visitor.ipv4, 6: visitor.ipv6.replace("::10", "::/64")}[family]
    key = known.removesuffix("/64")
    fail(visitor, family, 2)
    assert scene.ends() == {}
    fail(visitor, family, 1)
    wait_for("the ban", lambda: key in scene.ends(), 60)
    assert HOUR_S * 0.9 < scene.ends()[key] <= HOUR_S
    assert not visitor.reaches("https://home.test:8443/healthz", family=family)
    assert visitor.reaches("https://home.test:8443/healthz", family=OTHER[family], timeout=30)
    wait_for("the other jail", lambda: known in scene.client("get", "safeip-file", "banip"), 60)
    assert known in scene.client("get", "safeip", "banip")
    # who is banned stays so over a restart, and no longer than before
    before = scene.ends()[key]
    scene.host.run("systemctl", "stop", "fail2ban")
    assert key in scene.ends()
    assert scene.told("unbanned", known) == 0
    scene.host.run("systemctl", "start", "fail2ban")
    wait_for("the ban anew", lambda: scene.told("banned", known) == 2, 60)
    assert 0 < scene.ends()[key] <= before
    scene.client("set", "safeip", "unbanip", known)
    wait_for("the unban", lambda: key not in scene.ends(), 60)
    assert visitor.reaches("https://home.test:8443/healthz", family=family, timeout=30)


def test_what_somebody_bans_for_longer_outlives_the_jails_ban(scene: Scene) -> None:
    visitor = next(scene.visitors)
    scene.client("set", "safeip", "bantime", "8")
    fail(visitor, 4)
    wait_for("the ban", lambda: visitor.ipv4 in scene.ends(), 60)
    scene.host.run("safeip", "ban", visitor.ipv4, "--for", "1d")
    wait_for("its end for fail2ban", lambda: visitor.ipv4 not in scene.client("get", "safeip", "banip"), 60)
    wait_for("what fail2ban does", lambda: f"Unban {visitor.ipv4}" in scene.host.path("/var/log/fail2ban.log").read_text(), 60)
    assert scene.ends()[visitor.ipv4] > 20 * HOUR_S
    assert scene.told("unbanned", visitor.ipv4) == 0
    scene.client("set", "safeip", "bantime", "-1")  # for ever: what SafeIP can do
    fail(visitor, 6)
    wait_for("the ban", lambda: visitor.ipv6[:-2] in scene.ends(), 60)
    assert 29 * 24 * HOUR_S < scene.ends()[visitor.ipv6[:-2]] <= 30 * 24 * HOUR_S
    scene.client("set", "safeip", "unbanip", visitor.ipv6[:-2] + "/64")
    wait_for("the unban", lambda: visitor.ipv6[:-2] not in scene.ends(), 60)
    scene.client("set", "safeip", "bantime", "1h")


@pytest.mark.parametrize("family", [4, 6])
def test_a_line_of_a_log_opens_for_three_hours(scene: Scene, family: Family) -> None:
    visitor = next(scene.visitors)
    address, sets = {4: (visitor.ipv4, "game4"), 6: (visitor.ipv6, "game6")}[family]
    key = {4: address, 6: address[:-2]}[family]
    known = {4: address, 6: f"{key}/64"}[family]
    assert not scene.reaches_game(visitor, family)
    scene.opens(address)
    wait_for("the way", lambda: key in scene.elements(sets), 60)
    found, begin = scene.elements(sets)[key], time.monotonic()
    assert found.comment == "cli fail2ban safeip-open"
    assert (found.timeout_s, found.expires_s > 3 * HOUR_S - 120) == (3 * HOUR_S, True)
    assert scene.reaches_game(visitor, family)
    assert not scene.reaches_game(visitor, OTHER[family])
    wait_for("fail2ban to take notice again", lambda: address not in scene.client("get", "safeip-open", "banip"), 60)
    scene.opens(address)
    wait_for("the next line", lambda: scene.told("granted", known) == 2, 60)
    not_renewed_s = found.expires_s - (time.monotonic() - begin)
    assert scene.elements(sets)[key].expires_s > not_renewed_s + 5
    # an unban closes nothing: neither this, nor what somebody else opened
    scene.host.run("safeip", "revoke", address)
    assert not scene.reaches_game(visitor, family)
    url = scene.host.run("safeip", "link", "add", "Mamie", "--service", "game").stdout.strip()
    assert visitor.open_link(url, family=family).status == 200
    wait_for("fail2ban to take notice once more", lambda: address not in scene.client("get", "safeip-open", "banip"), 60)
    scene.opens(address)
    wait_for("the third line", lambda: scene.told("granted", known) == 3, 60)
    scene.client("set", "safeip-open", "unbanip", address)
    assert scene.elements(sets)[key].comment.startswith("link:"), "it lasts longer"
    assert scene.elements(sets)[key].expires_s > 5 * HOUR_S


def test_what_was_closed_by_hand_stays_closed_over_a_restart(scene: Scene) -> None:
    scene.opens("203.0.113.7")
    wait_for("the way", lambda: "203.0.113.7" in scene.elements("game4"), 60)
    scene.host.run("safeip", "revoke", "203.0.113.7")
    scene.host.run("systemctl", "restart", "fail2ban")
    log = scene.host.path("/var/log/fail2ban.log")
    wait_for("what was known", lambda: "[safeip-open] Restore Ban 203.0.113.7" in log.read_text(), 60)
    scene.opens("203.0.113.8")
    wait_for("the next", lambda: "203.0.113.8" in scene.elements("game4"), 60)
    assert "203.0.113.7" not in scene.elements("game4")


def test_the_journal_itself_and_its_text_are_read_and_nobody_forges_a_line(scene: Scene) -> None:
    host, visitor, victim = scene.host, next(scene.visitors), "198.51.100.99"
    said = f"link-refused address={victim} outcome=refused reason=unknown"
    url = host.run("safeip", "link", "add", f"x {said.partition(' ')[2]}", "--service", "game", "--pin", "2468").stdout.strip()
    assert visitor.open_link(url, pin="1357").status == 403
    host.run("setpriv", "--reuid=nobody", "--clear-groups", "systemd-cat", "--identifier=safeip", "echo", said)
    wait_for("the pin", lambda: scene.told("link-refused", visitor.ipv4) == 1, 60)
    host.run("journalctl", "--sync")
    assert said in host.run("journalctl", "--identifier=safeip", "--output=cat").stdout.splitlines(), "anybody may write that"
    host.shell("journalctl --unit=safeip --output=short --no-hostname --no-pager | sed 's/safeip/gateway safeip/' >/root/text")
    file = "/var/lib/safeip/portal/history.jsonl"
    for log in ("systemd-journal", "/root/text", file):
        found = host.run("fail2ban-regex", "--out", "id", log, "/etc/fail2ban/filter.d/safeip.conf").stdout.split()
        assert found[-1] == visitor.ipv4, log
        assert len(found) == 13, log
        assert victim not in found, log


def test_nothing_went_wrong(scene: Scene) -> None:
    log = scene.host.path("/var/log/fail2ban.log").read_text()
    wrong = [line for line in log.splitlines() if "ERROR" in line or "WARNING" in line]
    assert [line for line in wrong if "New database created" not in line] == []
