"""SIGHUP: services come, go and change under traffic; a file that is no good changes nothing; what a boot leaves is taken up."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab.config import SERVICES
from lab.gateway import GATEWAY4, Gateway
from lab.process import PATIENCE, ended, wait_for
from lab.visitor import Visitor

EXTRA = {"title": "Extra", "ports": ["tcp/9999"]}
PORTS = (25565, 9999)  # of the game, and of a service that is another each time: both always closed
# counts what arrives before SafeIP's chain and what is left after it
COUNT = """
table inet count {
    counter visitor_arrived { }
    counter visitor_accepted { }
    counter stranger_arrived { }
    counter stranger_accepted { }
    chain before {
        type filter hook prerouting priority raw
        ip saddr 192.0.2.10 udp dport 25565 counter name visitor_arrived
        ip saddr 203.0.113.66 udp dport { 25565, 9999 } counter name stranger_arrived
    }
    chain after {
        type filter hook input priority filter
        ip saddr 192.0.2.10 udp dport 25565 counter name visitor_accepted drop
        ip saddr 203.0.113.66 udp dport { 25565, 9999 } counter name stranger_accepted drop
    }
}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    with Gateway(prefix="sipr") as made:
        yield made


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """A daemon that runs with the lab's own services and nobody in."""
    shared.configure()
    reload(shared)
    shared.cli("revoke", "--all", check=False)
    return shared


@pytest.fixture
def stopped() -> Iterator[Gateway]:
    with Gateway(prefix="sipr", start=False) as made:
        yield made


def lines(gateway: Gateway) -> list[str]:
    return gateway.log.read_text("utf-8").splitlines()


def hup(gateway: Gateway) -> list[str]:
    """SIGHUP, and what the daemon says until that reload is over."""
    before = len(lines(gateway))
    gateway.daemon.signal(signal.SIGHUP)

    def over() -> bool:
        assert gateway.daemon.poll() is None, gateway.daemon.tail()
        return any(line.startswith(("safeip: reloaded", "safeip: not reloaded")) for line in lines(gateway)[before:])

    wait_for("the end of a reload", over, every=0.002)
    return lines(gateway)[before:]


def reload(gateway: Gateway) -> str:
    """A reload that must succeed; what it says has changed."""
    said = hup(gateway)
    assert len(said) == 1, said
    return said[0].removeprefix(f"safeip: reloaded {gateway.config}: ")


def ruleset(gateway: Gateway) -> str:
    """SafeIP's table without what is counted or runs down, and without who came to the portal in the last seconds."""
    text = gateway.host.run("nft", "-s", "list", "table", "inet", "safeip").stdout
    text, sets = re.subn(r"(?ms)^\tset (arrivals|held)[46] \{.*?^\t\}\n", "", text)
    assert sets == 4
    return re.sub(r" (timeout|expires) \w+", "", text)


def services(change: Mapping[str, object]) -> dict[str, object]:
    """The lab's services, of which some are others or, with None, none."""
    return {name: table for name, table in {**SERVICES, **change}.items() if table is not None}


# what changes


def test_a_service_that_is_added_is_closed_and_one_that_is_removed_is_open(gateway):
    with serving(gateway, "tcp", 9999):
        assert reaches(gateway.stranger, "tcp", 9999)
        gateway.configure(services=services({"extra": EXTRA}))
        assert reload(gateway) == "extra is closed from now on"
        assert not reaches(gateway.stranger, "tcp", 9999)
        assert "tcp . 9999" in (gateway.gate_state / "closed.nft").read_text("utf-8")
        gateway.cli("grant", "extra", gateway.visitor.ipv4)
        assert reaches(gateway.visitor, "tcp", 9999)
        gateway.configure()
        assert reload(gateway) == "extra is open to everybody from now on"
        assert reaches(gateway.stranger, "tcp", 9999)
        assert "9999" not in (gateway.gate_state / "closed.nft").read_text("utf-8")
    assert gateway.cli_json("grants") == []
    assert "extra4" not in gateway.sets()


@pytest.mark.parametrize(
    ("before", "after", "closed", "opened"),
    [
        (["tcp/9999"], ["tcp/9998"], ("tcp", 9998), ("tcp", 9999)),
        (["tcp/9999"], ["udp/9999"], ("udp", 9999), ("tcp", 9999)),
        (["tcp/9999"], ["tcp/9990-9999"], ("tcp", 9991), None),
        (["tcp/9990-9999"], ["tcp/9999"], ("tcp", 9999), ("tcp", 9991)),
    ],
)
def test_ports_that_change_are_closed_and_opened_and_nobody_is_cut_off(gateway, before, after, closed, opened):
    gateway.configure(services=services({"extra": {**EXTRA, "ports": before}}))
    reload(gateway)
    gateway.cli("grant", "extra", gateway.visitor.ipv4, "--for", "2h")
    granted = gateway.elements("extra4")
    gateway.configure(services=services({"extra": {**EXTRA, "ports": after}}))
    assert reload(gateway) == "extra has other ports"
    with serving(gateway, *closed):
        assert reaches(gateway.visitor, *closed)
        assert not reaches(gateway.stranger, *closed)
    if opened is not None:
        with serving(gateway, *opened):
            assert reaches(gateway.stranger, *opened)
    [now], [then] = gateway.elements("extra4"), granted
    assert (now.value, now.timeout_s, now.comment) == (then.value, then.timeout_s, then.comment)
    assert gateway.cli_json("status")["services"]["extra"]["ports"] == after


def test_a_shorter_maximum_cuts_what_is_longer(gateway):
    gateway.cli("grant", "cloud", "203.0.113.7", "--for", "2d")
    gateway.cli("grant", "cloud", "203.0.113.8", "--for", "1h")
    gateway.configure(services=services({"cloud": {**SERVICES["cloud"], "max_duration": "3h"}}))
    assert reload(gateway) == "cloud has other max_duration"
    wait_for("the cut", lambda: max(element.expires_s for element in gateway.elements("cloud4")) <= 3 * 3600)
    left = {element.value: element.expires_s for element in gateway.elements("cloud4")}
    assert left["203.0.113.7"] >= 3 * 3600 - 30
    assert 3600 - 30 <= left["203.0.113.8"] <= 3600
    done = gateway.cli("grant", "cloud", "203.0.113.9", "--for", "4h", check=False)
    assert done.returncode == 1
    assert "maximum" in done.stderr


def test_a_link_whose_service_goes_opens_nothing_until_it_is_back(gateway):
    gateway.configure(services=services({"extra": EXTRA}))
    reload(gateway)
    url = gateway.add_link("Mamie", ("extra",))
    assert gateway.visitor.open_link(url).status == 200
    gateway.configure()
    reload(gateway)
    page = gateway.visitor.fetch(url)
    assert (page.status, "opens nothing any more" in page.text) == (410, True)
    assert "extra" not in gateway.cli_json("status")["services"]
    assert gateway.cli("grant", "extra", "203.0.113.7", check=False).returncode == 1
    gateway.configure(services=services({"extra": {**EXTRA, "title": "Anew"}}))
    reload(gateway)
    page = gateway.visitor.open_link(url)
    assert (page.status, "Anew" in page.text) == (200, True)
    assert [element.value for element in gateway.elements("extra4")] == [gateway.visitor.ipv4]


def test_a_service_that_goes_and_is_back_while_its_many_grants_are_struck_out(gateway):
    gateway.configure(services=services({"extra": EXTRA}))
    reload(gateway)
    many = ", ".join(f"10.7.{n // 250}.{n % 250} timeout 1h" for n in range(5000))
    gateway.host.run("nft", "-f", "-", input=f"add element inet safeip extra4 {{ {many} }}")
    wait_for("what was put by hand", lambda: gateway.cli_json("status")["grants"] == 5000)
    gateway.configure()
    reload(gateway)
    gateway.configure(services=services({"extra": EXTRA}))
    assert reload(gateway) == "extra is closed from now on"
    assert gateway.cli_json("status")["grants"] == 0
    gateway.cli("grant", "extra", gateway.visitor.ipv4)
    assert [element.value for element in gateway.elements("extra4")] == [gateway.visitor.ipv4]


def test_a_network_that_is_trusted_from_now_on_needs_nothing_opened(gateway):
    url = gateway.add_link()
    assert not gateway.second.reaches("http://home.test/", timeout=0.5)
    gateway.configure(gate={"trusted_networks": ["127.0.0.0/8", "192.0.2.128/25"], "max_grants": 7})
    assert reload(gateway) == "other trusted_networks; max_grants is 7"
    assert gateway.second.reaches("http://home.test/")
    assert "Always open from here" in gateway.second.fetch(url).text
    assert not gateway.visitor.reaches("http://home.test/", timeout=0.5)
    gateway.configure()
    reload(gateway)
    assert not gateway.second.reaches("http://home.test/", timeout=0.5)
    assert "Always open from here" not in gateway.second.fetch(url).text


def test_many_services_reach_the_portal_in_parts(gateway):
    many = {f"s{number}": {"title": "é" * 64, "ports": [f"tcp/{10000 + number}"], "url": f"https://home.test/{'x' * 900}"} for number in range(100)}
    gateway.configure(services=services(many))
    reload(gateway)
    status = gateway.cli_json("status")["services"]
    assert list(status) == [*SERVICES, *many]
    assert {status[name]["title"] for name in many} == {"é" * 64}
    gateway.add_link("Mamie", ("s99",))


# what must not change


def test_the_admins_own_rules_are_read_anew_and_bad_ones_change_nothing(gateway):
    custom = gateway.directory / "custom.nft"
    custom.write_text("ip saddr 203.0.113.66 tcp dport 80 accept\n", "utf-8")
    try:
        assert reload(gateway) == "it says what it said before"
        assert gateway.stranger.reaches("http://home.test/")
        before = ruleset(gateway)
        custom.write_text("ip saddr 203.0.113.66 tcp dport nowhere accept\n", "utf-8")
        gateway.configure(services=services({"extra": EXTRA}))
        said = hup(gateway)
        assert "not reloaded: the kernel refuses" in said[-1]
        assert ruleset(gateway) == before
        assert "9999" not in (gateway.gate_state / "closed.nft").read_text("utf-8")
        assert "extra" not in gateway.cli_json("status")["services"]
    finally:
        custom.unlink()


BAD = {
    "no TOML": (lambda text: text + "\n[services.cloud\n", "is not TOML"),
    "an unknown key": (lambda text: text.replace("max_duration", "max_durations", 1), 'did you mean "max_duration"?'),
    "a wrong type": (lambda text: text + '\n[services.extra]\nports = "tcp/1"\n', "services.extra.ports"),
    "a port twice": (lambda text: text + '\n[services.extra]\nports = ["tcp/80"]\n', "overlaps"),
    "the portal's port": (lambda text: text + '\n[services.extra]\nports = ["tcp/8443"]\n', "the portal's own port"),
    "no service": (lambda text: text.partition("[services")[0], "names no service"),
    "empty": (lambda _: "", "is empty"),
    "no UTF-8": (lambda text: text.encode() + b"# \xff\n", "is not UTF-8"),
    "too large": (lambda text: text + "#" * (1 << 20), "is larger than 1 MiB"),
    "another URL": (lambda text: text.replace("https://home.test:8443", "https://house.test:8443"), "portal.url: has changed, which needs a restart; systemctl restart safeip"),
    "another port": (lambda text: text.replace(":8443", ":9443"), "portal.listen: has changed, which needs a restart"),
    "another place": (lambda text: text.replace("/state", "/other"), "state_dir: has changed, which needs a restart"),
    "another mode": (lambda text: text + '\n[gate]\nmode = "sets"\ntable = "inet filter"\nipv6_prefix = 56\n', "gate.mode: has changed"),
}  # fmt: skip


def test_a_bad_file_changes_nothing_and_is_told(gateway):
    gateway.cli("grant", "cloud", "203.0.113.7", "--for", "2h")
    good, before, status = gateway.config.read_text("utf-8"), ruleset(gateway), gateway.cli_json("status")["services"]
    closed = gateway.gate_state / "closed.nft"
    written = closed.read_bytes(), closed.stat().st_ino
    for name, (spoil, says) in BAD.items():
        bad = spoil(good)
        assert bad not in (good, good.encode()), name
        gateway.config.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        *problems, last = hup(gateway)
        assert last == "safeip: not reloaded: nothing was changed", name
        assert says in "\n".join(problems), name
        assert all(line.startswith(f"safeip: {gateway.config}") for line in problems), name
    gateway.config.unlink()
    assert "there is no such file" in hup(gateway)[0]
    gateway.config.mkdir()
    assert "is a directory" in hup(gateway)[0]
    gateway.config.rmdir()
    assert ruleset(gateway) == before
    assert (closed.read_bytes(), closed.stat().st_ino) == written
    gateway.config.write_text(good, "utf-8")
    assert reload(gateway) == "it says what it said before"
    assert (closed.read_bytes(), closed.stat().st_ino) == written, "written without need"
    assert gateway.cli_json("status")["services"] == status


def test_every_key_that_needs_a_restart_is_named(gateway):
    gateway.configure(
        portal={"url": "https://house.test:8443", "session_idle": "1h", "trusted_proxies": ["192.0.2.0/24"], "registration": "approval"},
        gate={"ipv6_prefix": 56, "table": "inet other"}, top={"runtime_dir": str(gateway.directory / "other")},
    )  # fmt: skip
    *problems, _ = hup(gateway)
    named = [line.removeprefix(f"safeip: {gateway.config}: ").partition(":")[0] for line in problems]
    assert sorted(named) == [
        "gate.ipv6_prefix", "gate.table", "portal.registration", "portal.session_idle", "portal.trusted_proxies", "portal.url", "runtime_dir",
    ]  # fmt: skip


# traffic


@contextlib.contextmanager
def serving(gateway: Gateway, protocol: str, port: int) -> Iterator[None]:
    """Something on the gateway that answers at a port."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with gateway.host.entered(), socket.socket(socket.AF_INET, kind) as there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        there.bind(("0.0.0.0", port))
        if protocol == "tcp":
            there.listen()
            yield
            return

        def echo() -> None:
            with contextlib.suppress(OSError):
                while (got := there.recvfrom(100))[0]:  # nothing comes from nobody once it is shut down
                    there.sendto(*got)

        answering = threading.Thread(target=echo)
        answering.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            answering.join()


def reaches(visitor: Visitor, protocol: str, port: int) -> bool:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with visitor.namespace.entered(), socket.socket(socket.AF_INET, kind) as there:
        there.settimeout(0.5)
        try:
            there.connect((GATEWAY4, port))
            if protocol == "udp":
                there.send(b"x")
                there.recv(1)
        except TimeoutError:
            return False
        return True


def counted(gateway: Gateway) -> dict[str, int]:
    text = gateway.host.run("nft", "list counters table inet count").stdout
    return {name: int(packets) for name, packets in re.findall(r"counter (\w+) \{\s+packets (\d+)", text)}


@contextlib.contextmanager
def flood(*visitors: Visitor) -> Iterator[None]:
    """Packets from each to both ports, thousands a second, while the block runs."""
    over = threading.Event()

    def send(visitor: Visitor) -> None:
        with visitor.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not over.wait(0.0002):
                for port in PORTS * 5:
                    sender.sendto(b"x", (GATEWAY4, port))

    senders = [threading.Thread(target=send, args=(visitor,)) for visitor in visitors]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        over.set()
        for sender in senders:
            sender.join()


def test_a_hundred_reloads_under_a_flood_lose_and_leak_nothing(gateway):
    game = {"title": "Game", "default_duration": "2h"}
    turns = [
        {"game": {**game, "ports": ["udp/25565"]}, "extra": {"ports": ["udp/9999"]}},
        {"game": {**game, "ports": ["udp/25565-25570"]}, "other": {"ports": ["udp/9999"]}},
        {"game": {**game, "ports": ["udp/25560-25565", "tcp/25565"]}, "cloud": None, "other": {"ports": ["udp/9990-9999"]}},
        {"game": {**game, "ports": ["udp/25565"], "max_duration": "3h"}, "extra": {"ports": ["udp/9999"]}, "films": None},
    ]
    gateway.configure(services=services(turns[0]))
    reload(gateway)
    for visitor in (gateway.visitor.ipv4, "203.0.113.7", "2001:db8:1::10"):
        gateway.cli("grant", "game", visitor, "--for", "2h")
    before = {name: gateway.elements(name) for name in ("game4", "game6")}
    gateway.nft(COUNT)
    try:
        with flood(gateway.visitor, gateway.stranger):
            for turn in range(100):
                gateway.configure(services=services(turns[turn % len(turns)]))
                reload(gateway)
        found = counted(gateway)
    finally:
        gateway.nft("delete table inet count")
    assert found["visitor_arrived"] == found["visitor_accepted"] > 1000
    assert found["stranger_arrived"] > 1000
    assert found["stranger_accepted"] == 0
    for name, elements in before.items():
        now = gateway.elements(name)
        assert [(one.value, one.timeout_s, one.comment) for one in now] == [(one.value, one.timeout_s, one.comment) for one in elements]
    assert {grant["address"] for grant in gateway.cli_json("grants")} == {gateway.visitor.ipv4, "203.0.113.7", "2001:db8:1::/64"}


def test_many_signals_at_once_end_in_what_the_file_says_last(stopped):
    """In a daemon of its own: the last signal's reload may still be under way then."""
    stopped.start()
    for turn in range(20):
        stopped.configure(services=services({"extra": {**EXTRA, "ports": [f"tcp/{9900 + turn}"]}}))
        stopped.daemon.signal(signal.SIGHUP)
    wait_for("the last file", lambda: stopped.cli_json("status")["services"].get("extra", {}).get("ports") == ["tcp/9919"])


def test_links_are_opened_while_it_reloads(gateway):
    url = gateway.add_link()
    over, answers = threading.Event(), []

    def keep_opening() -> None:
        while not over.is_set():
            answers.append(gateway.visitor.open_link(url).status)

    opening = threading.Thread(target=keep_opening)
    opening.start()
    try:
        for turn in range(20):
            gateway.configure(services=services({"extra": EXTRA} if turn % 2 == 0 else {}))
            reload(gateway)
        wait_for("some openings", lambda: len(answers) > 3)
    finally:
        over.set()
        opening.join()
    assert set(answers) == {200}


# faults


@contextlib.contextmanager
def small_disk(gateway: Gateway) -> Iterator[None]:
    """The daemon's state on a disk of its own."""
    gateway.state_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", gateway.state_dir], check=True)
    try:
        yield
        gateway.stop()
    finally:
        subprocess.run(["umount", "-l", gateway.state_dir], check=True)


def fill(gateway: Gateway) -> Path:
    """Leave no room on it; the file that takes it all."""
    ballast = gateway.state_dir / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 512)
    return ballast


def test_a_full_disk_refuses_the_reload_and_what_is_open_stays_open(stopped):
    with small_disk(stopped):
        stopped.start()
        stopped.cli("grant", "cloud", "203.0.113.7", "--for", "2h")
        before, closed = ruleset(stopped), (stopped.gate_state / "closed.nft").read_bytes()
        ballast = fill(stopped)
        stopped.configure(services=services({"extra": EXTRA}))
        problem, last = [line for line in hup(stopped) if "grants.jsonl" not in line]
        assert "closed.nft: could not be written (No space left on device)" in problem
        assert last == "safeip: not reloaded: nothing was changed"
        assert ruleset(stopped) == before
        assert (stopped.gate_state / "closed.nft").read_bytes() == closed
        ballast.unlink()
        assert any("extra is closed from now on" in line for line in hup(stopped))
        assert "9999" in (stopped.gate_state / "closed.nft").read_text("utf-8")


def test_what_a_full_disk_cannot_record_is_told_where_an_admin_looks(stopped):
    with small_disk(stopped):
        stopped.start()
        for number in range(7, 9):
            stopped.cli("grant", "cloud", f"203.0.113.{number}", "--for", "2h")
        assert "warning" not in stopped.cli("status").stdout
        fill(stopped)
        for number in range(100, 140):  # until the file's last page is full
            stopped.cli("grant", "cloud", f"203.0.113.{number}", "--for", "2h", "--note", "a" * 60)
        stopped.cli("revoke", "203.0.113.7")
        record = stopped.gate_state / "grants.jsonl"
        warning = f"\nwarning: {record} cannot be written (No space left on device): a reboot closes what is open\n"
        wait_for("the warning", lambda: warning in stopped.cli("status").stdout)
        assert not record.exists()
        assert len(stopped.elements("cloud4")) == 41


def test_killed_in_the_middle_of_a_reload_it_starts_with_what_the_file_says(stopped):
    stopped.start()
    stopped.cli("grant", "cloud", stopped.visitor.ipv4, "--for", "2h")
    for turn in range(4):
        extra = turn % 2 == 0
        stopped.configure(services=services({"extra": EXTRA} if extra else {}))
        portal = stopped.portal_pid()
        stopped.daemon.signal(signal.SIGHUP)
        time.sleep(turn * 0.006)  # another moment of it each time
        os.kill(stopped.gate_pid(), signal.SIGKILL)
        stopped.daemon.wait(10)
        wait_for("the portal's end", lambda portal=portal: ended(portal))
        assert not stopped.stranger.reaches("http://home.test/", timeout=0.3)
        assert stopped.visitor.reaches("http://home.test/")
        stopped.start()
        assert ("extra" in stopped.cli_json("status")["services"]) == extra
        assert ("9999" in (stopped.gate_state / "closed.nft").read_text("utf-8")) == extra
        assert [element.value for element in stopped.elements("cloud4")] == [stopped.visitor.ipv4]


def test_sigterm_during_a_reload_ends_it_well(stopped):
    stopped.start()
    stopped.configure(services=services({"extra": EXTRA}))
    stopped.daemon.signal(signal.SIGHUP)
    assert stopped.stop() == 0
    assert lines(stopped)[0] == "safeip: ready"
    assert not any("Traceback" in line for line in lines(stopped))
    assert not stopped.stranger.reaches("http://home.test/", timeout=0.3)
    stopped.start()
    assert "extra" in stopped.cli_json("status")["services"]


# starts


def held(gateway):
    """Grants and bans by set and address; not who knocked."""
    return {(name, one.value): one for name, found in gateway.sets().items() for one in found if not name.startswith("blocked")}


@pytest.mark.parametrize("leaves", ["the table", "what was loaded at boot", "nothing", "the table, and closed.nft over it"])
def test_a_start_takes_up_what_it_finds(stopped, leaves):
    """After a reboot grants are back with the time that they had left, and what was revoked stays away."""
    stopped.start()
    stopped.cli("grant", "cloud", stopped.visitor.ipv4, "--for", "2h")
    stopped.cli("grant", "cloud", "2001:db8:1::10", "--for", "1h")
    stopped.cli("grant", "cloud", stopped.second.ipv4, "--for", "2h")
    stopped.cli("ban", "203.0.113.99", "--for", "1h")
    stopped.cli("revoke", stopped.second.ipv4)
    stopped.stop()
    before = held(stopped)
    assert {value for _, value in before} >= {stopped.visitor.ipv4, "2001:db8:1::", "203.0.113.99"}
    if leaves in ("what was loaded at boot", "nothing"):
        stopped.nft("flush ruleset")
        stopped.admin_rules()
    if leaves in ("what was loaded at boot", "the table, and closed.nft over it"):
        stopped.host.run("nft", "-f", str(stopped.gate_state / "closed.nft"))
        assert "chain at-boot" in ruleset(stopped)
    if leaves == "what was loaded at boot":
        assert not stopped.stranger.reaches("http://home.test/", timeout=0.3)
        assert not stopped.visitor.reaches("http://home.test/", timeout=0.3)
    stopped.start()
    after = held(stopped)
    assert after.keys() == before.keys()
    for place, element in after.items():
        assert (element.timeout_s, element.comment) == (before[place].timeout_s, before[place].comment)
        assert before[place].expires_s - 60 * PATIENCE <= element.expires_s <= before[place].expires_s
    assert "at-boot" not in ruleset(stopped)
    assert stopped.visitor.reaches("http://home.test/")
    assert not stopped.second.reaches("http://home.test/", timeout=0.3)


def test_down_takes_away_what_is_loaded_at_boot(stopped):
    stopped.start()
    stopped.stop()
    assert (stopped.gate_state / "closed.nft").exists()
    stopped.cli("down")
    assert not (stopped.gate_state / "closed.nft").exists()
    assert stopped.stranger.reaches("http://home.test/")


def test_a_disk_that_takes_nothing_at_start_is_told_and_the_daemon_runs(stopped):
    stopped.start()
    stopped.stop()
    closed = stopped.gate_state / "closed.nft"
    closed.unlink()
    closed.mkdir()  # what no file can be put in the place of
    stopped.start()
    assert any("closed.nft: could not be written" in line and "at the next boot" in line for line in lines(stopped))
    assert not stopped.stranger.reaches("http://home.test/", timeout=0.3)


def test_a_family_that_a_service_has_no_more_is_said_on_its_pages_at_once(gateway: Gateway) -> None:
    url = gateway.add_link("Mamie", ("films",))
    says = "Films can be reached by IPv6 only, and this page sees you by IPv4."
    assert says not in gateway.visitor.fetch(url).text
    gateway.configure(services={**SERVICES, "films": {**SERVICES["films"], "families": ["ipv6"]}})
    reload(gateway)
    assert says in gateway.visitor.fetch(url).text
    assert says not in gateway.visitor.fetch(url, family=6).text
