"""The kernel's limits at the portal's port: a flood does not reach Python, and nobody else is held up by it."""

import asyncio
import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.net import Namespace, veth
from lab.process import PATIENCE, wait_for
from lab.visitor import Visitor
from nft import render
from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.wire import Grant, List

HOUR = 3600
RATE, BURST, HELD = 20, 100, 200
PORT = 8443
URL = f"http://home.test:{PORT}/healthz"
ASK = b"GET /healthz HTTP/1.1\r\nHost: home.test\r\nConnection: close\r\n\r\n"
PORTAL = {"url": f"http://home.test:{PORT}", "tls": "off", "trusted_proxies": ["203.0.113.66/32"]}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(portal=PORTAL, prefix="sipt") as made:
        made.visitor.namespace.configure("addr add 2001:db8:1::11/64 dev eth0 nodad")
        yield made


@pytest.fixture(autouse=True)
def rested(request: pytest.FixtureRequest) -> None:
    """Every source begins with its whole burst."""
    if "gateway" in request.fixturenames:
        made = request.getfixturevalue("gateway")
        for name in ("arrivals4", "arrivals6"):
            made.host.run("nft", f"flush set inet safeip {name}")


async def flood(seconds: float, at_once: int = 50, source: str | None = None, *, whole: bool = False) -> tuple[int, int]:
    """Ask for as many pages as can be had, each on a connection of its own: how many tries, how many answers.

    `whole`: on until the burst was answered and as much refused, for which a slow machine needs more time.
    """
    host = GATEWAY6 if source and ":" in source else GATEWAY4
    end = time.monotonic() + seconds
    bound = end + 10 * PATIENCE
    tries = answers = 0

    def goes_on() -> bool:
        now = time.monotonic()
        return now < end or (whole and now < bound and not (answers >= BURST and tries > 2 * answers))

    async def keep_trying() -> None:
        nonlocal tries, answers
        while goes_on():
            tries += 1
            writer = None
            with contextlib.suppress(OSError, TimeoutError):
                try:
                    async with asyncio.timeout(0.3):  # before the kernel would send its SYN again
                        reader, writer = await asyncio.open_connection(
                            host, PORT, local_addr=(source, 0) if source else None
                        )
                    writer.write(ASK)
                    async with asyncio.timeout(5):
                        line = await reader.readline()
                    answers += b"200" in line
                finally:
                    if writer is not None:
                        writer.transport.abort()

    await asyncio.gather(*(keep_trying() for _ in range(at_once)))
    return tries, answers


def flooded_by(visitor: Visitor, seconds: float, **how) -> tuple[int, int]:
    with visitor.namespace.entered():
        return asyncio.run(flood(seconds, **how))


def dropped(gateway: Gateway) -> int:
    return int(gateway.cli_json("status")["flooded_packets"])


def connects(namespace: Namespace, host: str = GATEWAY4, port: int = PORT, timeout: float = 0.4) -> socket.socket | None:
    try:
        return namespace.connect(host, port, timeout)
    except TimeoutError:
        return None


@contextlib.contextmanager
def many(namespace: Namespace, number: int, host: str = GATEWAY4, port: int = PORT) -> Iterator[list[socket.socket]]:
    """So many connections begun at the same time; those that were accepted."""
    with contextlib.ExitStack() as stack:
        begun = []
        with namespace.entered():
            for _ in range(number):
                one = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
                one.setblocking(False)
                assert one.connect_ex((host, port)) == errno.EINPROGRESS
                begun.append(one)
        time_is_up = time.monotonic() + 0.5
        wait_for("the answers", lambda: time.monotonic() > time_is_up or all(map(established, begun)))
        yield [one for one in begun if established(one)]


def established(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return True


# with the real daemon


def test_a_flood_reaches_python_at_the_rate_and_others_are_served(gateway):
    slowest, over = [0.0], threading.Event()

    def another() -> None:
        while not over.wait(0.1):
            begin = time.monotonic()
            assert gateway.second.fetch(URL).status == 200
            slowest[0] = max(slowest[0], time.monotonic() - begin)

    before = dropped(gateway)
    beside = threading.Thread(target=another)
    beside.start()
    begin = time.monotonic()
    tries, answers = flooded_by(gateway.visitor, 5, whole=True)
    took = time.monotonic() - begin
    over.set()
    beside.join()
    assert tries > 2 * answers, "it was no flood"
    assert BURST <= answers <= BURST + RATE * took + 1
    assert 0 < slowest[0] < 2 * PATIENCE
    # each was dropped, or passed within the limit; a slow machine gives up some of these before it hears of them
    assert tries <= dropped(gateway) - before + BURST + RATE * took + 1
    assert f"{dropped(gateway):,} packets" in gateway.cli("status").stdout


def test_who_shares_a_prefix_shares_its_limit_and_neighbours_do_not(gateway):
    begin = time.monotonic()
    _, first = flooded_by(gateway.visitor, 2, source="2001:db8:1::10", whole=True)
    _, second = flooded_by(gateway.visitor, 2, source="2001:db8:1::11")
    took = time.monotonic() - begin
    assert first >= BURST
    assert first + second <= BURST + RATE * took + 1
    assert gateway.second.fetch(URL, family=6).status == 200
    assert gateway.visitor.fetch(URL).status == 200, "its IPv4 address is another source"


@pytest.mark.parametrize("who", ["the LAN", "a trusted proxy"])
def test_trusted_sources_and_proxies_are_not_limited(gateway, who):
    namespace, host = (gateway.server, "10.9.0.1") if who == "the LAN" else (gateway.stranger.namespace, GATEWAY4)
    before = dropped(gateway)
    with many(namespace, HELD + 100, host) as accepted:
        assert len(accepted) == HELD + 100
    assert dropped(gateway) == before


def test_so_many_are_held_at_once_and_they_come_back_when_they_close(gateway):
    with contextlib.ExitStack() as stack:
        held: list[socket.socket] = []

        def one_more() -> bool:
            made = connects(gateway.visitor.namespace)
            if made is not None:
                held.append(stack.enter_context(made))
            return made is not None

        # faster than the 20 s after which the portal ends who asks nothing
        wait_for("the most that can be held", lambda: one_more() and len(held) == HELD, 15)
        for _ in range(4):
            assert not one_more(), "no rate stands in the way any more, the number does"
        assert gateway.second.fetch(URL).status == 200
        assert gateway.visitor.fetch(URL, family=6).status == 200
        for one in held[:50]:
            one.close()
        wait_for("the way back", one_more)
        wait_for("all that were closed", lambda: one_more() and len(held) == HELD + 50, 10)
        assert not one_more()
    wait_for("the portal's ends", lambda: gateway.visitor.reaches(URL), 10)


def test_services_are_not_limited(gateway):
    gateway.cli("grant", "cloud", gateway.visitor.ipv4, "--for", "1h")
    flooded_by(gateway.visitor, 0.5)
    before = dropped(gateway)
    with many(gateway.visitor.namespace, 60, port=80) as accepted:
        assert len(accepted) == 60
    assert dropped(gateway) == before


def test_limits_survive_a_restart_and_come_back_after_a_flush(gateway):
    _, answers = flooded_by(gateway.visitor, 1, whole=True)
    assert answers >= BURST
    begin = time.monotonic()
    gateway.restart()
    _, more = flooded_by(gateway.visitor, 1)
    assert more <= RATE * (time.monotonic() - begin + 1), "the burst is used up as before"
    gateway.nft("flush ruleset")
    wait_for("the table", lambda: gateway.host.run("nft", "list chain inet safeip portal", check=False).returncode == 0)
    gateway.admin_rules()
    begin = time.monotonic()
    tries, again = flooded_by(gateway.visitor, 3, whole=True)
    assert tries > 2 * again
    assert again <= BURST + RATE * (time.monotonic() - begin) + 1


def test_what_the_kernel_recorded_may_be_swept_by_hand_without_a_repair(gateway):
    repairs = gateway.cli_json("status")["repairs"]
    with many(gateway.visitor.namespace, 5):
        for name in sorted(render.RECORDS):
            gateway.host.run("nft", f"flush set inet safeip {name}")
        assert gateway.visitor.reaches(URL)
    assert gateway.cli_json("status")["repairs"] == repairs


def test_a_banned_source_does_not_even_reach_the_limit(gateway):
    gateway.cli("ban", gateway.second.ipv4)
    before = dropped(gateway)
    with many(gateway.second.namespace, BURST + 50) as accepted:
        assert accepted == []
    assert dropped(gateway) == before
    gateway.cli("unban", gateway.second.ipv4)


# on the gate alone, where the rules can be bent


GATE4, ASKER4 = "192.0.2.1", "192.0.2.10"
CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)
POLICY = Policy({"cloud": CLOUD}, (ip_network("10.0.0.0/8"),), portal_ports=(PORT,))


class Field:
    """A gate, and a listener where the portal would be."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.host = stack.enter_context(Namespace("gateway", "sipt"))
        self.asker = stack.enter_context(Namespace("asker", "sipt"))
        more = tuple(f"192.0.2.{number}/24" for number in range(11, 15))
        veth(
            self.host, "wan", (f"{GATE4}/24",),
            right=self.asker, right_name="net", right_addresses=(f"{ASKER4}/24", *more),
        )  # fmt: skip
        with self.host.entered():
            self.gate = stack.enter_context(contextlib.closing(Gate(POLICY)))
            self.gate.start()
            self.listener = stack.enter_context(socket.create_server((GATE4, PORT), backlog=1000))

    def reload(self) -> None:
        self.host.call(lambda: self.gate.reload(POLICY))

    def nft(self, text: str) -> None:
        self.host.run("nft", "-f", "-", input=text)

    def flooded(self) -> int:
        [[status]] = self.host.call(lambda: list(self.gate.tell(List(1, "status", None, None, None))))
        return int(status["flooded_packets"])

    def known(self, name: str) -> int:
        listed = json.loads(self.host.run("nft", "-j", f"list set inet safeip {name}").stdout)["nftables"]
        return len(next(entry["set"].get("elem", []) for entry in listed if "set" in entry))


@pytest.fixture
def field() -> Iterator[Field]:
    with contextlib.ExitStack() as stack:
        yield Field(stack)


def test_a_burst_and_no_more_gets_through_at_once(field):
    begin = time.monotonic()
    with many(field.asker, BURST + 50, GATE4) as accepted:
        assert BURST <= len(accepted) <= BURST + RATE * (time.monotonic() - begin) + 1
        assert field.flooded() >= BURST + 50 - len(accepted)


def test_rules_loaded_again_forget_neither_the_rate_nor_what_is_held_nor_a_grant(field):
    [answer] = field.gate.decide([Grant(1, {"cloud": HOUR}, ASKER4, "cli", "", None)])
    assert "ok" in answer
    begin = time.monotonic()
    with many(field.asker, BURST, GATE4) as accepted:
        assert len(accepted) == BURST
        for _ in range(20):
            field.reload()
        with many(field.asker, BURST, GATE4) as more:
            assert len(more) <= RATE * (time.monotonic() - begin) + 1
        assert field.known("held4") == field.known("arrivals4") == 1
    assert field.known("cloud4") == 1
    field.listener.close()  # nobody took them from it; this ends them
    wait_for("the kernel to forget", lambda: field.known("held4") == 0, 10)


def test_a_full_record_shuts_nobody_out(field):
    """Who fills it with forged sources must not be able to lock out the others."""
    field.nft(
        "flush chain inet safeip portal\nflush chain inet safeip holding\n"
        "delete set inet safeip arrivals4\ndelete set inet safeip held4\n"
        "add set inet safeip arrivals4 { type ipv4_addr; flags dynamic,timeout; timeout 10s; size 1; }\n"
        "add set inet safeip held4 { type ipv4_addr; flags dynamic; size 1; }\n"
    )
    text = render.BASE.read_text()
    rules = {name: text.partition(f"chain {name} {{")[2].partition("}\n\t}")[0].partition("\n\t}")[0] for name in ("portal", "holding")}
    field.nft("table inet safeip {" + "".join(f"chain {name} {{ {rule}\n}}\n" for name, rule in rules.items()) + "}")
    with many(field.asker, 1, GATE4) as first, field.asker.entered(), contextlib.ExitStack() as stack:
        assert len(first) == 1
        assert field.known("arrivals4") == field.known("held4") == 1
        for number in range(11, 14):
            one = stack.enter_context(socket.create_connection((GATE4, PORT), 1, (f"192.0.2.{number}", 0)))
            assert established(one)
        assert field.known("arrivals4") == field.known("held4") == 1
    begin = time.monotonic()
    with many(field.asker, BURST + 50, GATE4) as accepted:
        assert len(accepted) <= BURST + RATE * (time.monotonic() - begin) + 1, "who is known is limited as ever"


def test_sets_of_an_admins_own_table_get_no_limit():
    sets = Policy({"cloud": CLOUD}, (), mode="sets", table="mine", portal_ports=(PORT,))
    script = render.script(sets, render.Present())
    assert "cloud4" in script
    assert not any(word in script for word in ("portal", "arrivals4", str(PORT)))
