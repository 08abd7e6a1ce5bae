"""The daemon as it is run: two processes, their rights, their deaths, and starts that must fail."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from lab.checkout import copy_program
from lab.gateway import Gateway
from lab.process import Process, ended, often, wait_for
from safeip.privileges import portal_account

GATE = 54321  # a user of its own
NET_ADMIN = 1 << 12
_libc = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438  # the same number on every architecture that has it


@pytest.fixture
def gateway():
    with Gateway(prefix="sipt") as made:
        yield made


@pytest.fixture
def stopped():
    with Gateway(prefix="sipt", start=False) as made:
        yield made


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def descriptors(pid: int) -> set[str]:
    """What the descriptors of a process lead to; one may go while they are looked at."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return found


def listening(pid: int) -> list[str]:
    """The sockets of a process that take something from outside: inet ones of any kind, Unix ones that listen."""
    own = descriptors(pid)
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        lines = Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]
        found += [kind for line in lines if f"socket:[{line.split()[9]}]" in own]
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[6]}]" in own and int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
            found.append("unix")
    return found


def refused(gateway: Gateway, code: int = 1) -> str:
    """The one line of a start that fails."""
    process = gateway.launch()
    assert process.wait(20) == code
    lines = process.tail(50).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("safeip: ")
    return lines[0]


# rights


def test_the_portal_has_no_rights_and_the_gate_no_listener(gateway):
    gate, portal = gateway.gate_pid(), gateway.portal_pid()
    theirs = status(portal)
    assert {theirs[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert theirs["NoNewPrivs"] == "1"
    assert "0" not in theirs["Uid"].split() + theirs["Gid"].split()
    assert theirs["Groups"] == ""
    assert int(status(gate)["CapEff"], 16) & NET_ADMIN
    assert listening(gate) == []
    # what asked whether it had started may not have hung up yet
    wait_for("its listeners alone", lambda: sorted(listening(portal)) == ["tcp", "tcp6", "unix"])
    assert not any("netlink" in name or "/lock" in name for name in descriptors(portal))


def test_the_gate_imports_nothing_that_speaks_http(gateway):
    maps = Path(f"/proc/{gateway.gate_pid()}/maps").read_text()
    assert "libnftables" in maps
    assert "libssl" not in maps
    assert "aiohttp" not in maps
    assert "libnftables" not in Path(f"/proc/{gateway.portal_pid()}/maps").read_text()


def test_state_is_the_portals_and_the_gates_and_nobody_elses(gateway):
    gateway.add_link()
    portal = int(status(gateway.portal_pid())["Uid"].split()[0])
    own, theirs = gateway.gate_state.stat(), gateway.state.stat()
    assert (own.st_mode & 0o777, own.st_uid) == (0o700, 0)
    assert (theirs.st_mode & 0o777, theirs.st_uid) == (0o700, portal)
    files = {}
    for path in gateway.state_dir.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # one that is being written gets another name
            if path.is_file():
                files[path] = path.stat()
    assert {found.st_mode & 0o777 for found in files.values()} == {0o600}, files
    assert {found.st_uid for path, found in files.items() if path.is_relative_to(gateway.state)} == {portal}
    assert {found.st_uid for path, found in files.items() if not path.is_relative_to(gateway.state)} == {0}
    assert (gateway.runtime / "control.sock").stat().st_mode & 0o777 == 0o600


def wire_of(pid: int) -> socket.socket:
    """The portal's end of the wire, taken out of the running process as somebody who took it over has it."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    number = int(arguments[arguments.index(next(a for a in arguments if a.startswith(b"/proc/self/fd/"))) + 1])
    process = os.pidfd_open(pid)
    try:
        taken = _libc.syscall(PIDFD_GETFD, process, number, 0)
        assert taken >= 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(process)
    return socket.socket(fileno=taken)


def test_a_portal_that_breaks_the_wires_rules_ends_the_daemon_and_the_table_stays(gateway):
    gateway.cli("grant", "cloud", "203.0.113.7", "--for", "2h")
    portal = gateway.portal_pid()
    with wire_of(portal) as wire:
        wire.send(b'{"id":1,"verb":"load","script":"flush ruleset"}\n')
    assert gateway.daemon.wait(10) == 1
    assert "broke the wire's rules" in gateway.daemon.tail()
    wait_for("the portal's end", lambda: ended(portal))
    assert [element.value for element in gateway.elements("cloud4")] == ["203.0.113.7"]
    assert not gateway.stranger.reaches("http://home.test/", timeout=0.5)


# deaths


@pytest.mark.parametrize("victim", ["gate", "portal"])
def test_killed_time_and_again_during_grants_loses_none_that_was_answered(gateway, victim):
    answered: dict[str, float] = {}
    over = threading.Event()

    def keep_granting() -> None:
        number = 0
        while not over.is_set():
            number += 1
            address = f"203.0.{113 + number // 250}.{number % 250 + 1}"
            done = gateway.cli("grant", "cloud", address, "--for", "2h", check=False)
            if done.returncode == 0:
                answered[address] = time.monotonic()

    granting = threading.Thread(target=keep_granting)
    granting.start()
    try:
        for turn in range(often(12)):
            known = len(answered)
            wait_for("more grants", lambda known=known: len(answered) > known + 1, 20)
            gate, portal = gateway.gate_pid(), gateway.portal_pid()
            os.kill(gate if victim == "gate" else portal, signal.SIGKILL)
            gateway.daemon.wait(10)
            wait_for("the portal's end", lambda portal=portal: ended(portal))
            held = {element.value for element in gateway.elements("cloud4")}
            assert set(answered) <= held, f"turn {turn}"
            gateway.start()
    finally:
        over.set()
        granting.join()
    before = {element.value: element.expires_s for element in gateway.elements("cloud4")}
    shown = gateway.cli_json("grants")
    held = {element.value: element for element in gateway.elements("cloud4")}
    assert {grant["address"] for grant in shown} == held.keys()
    assert set(answered) <= held.keys()
    assert len(answered) >= 2 * often(12)
    for grant in shown:
        assert held[grant["address"]].expires_s - 1 <= grant["remaining_s"] <= before[grant["address"]] + 1
        assert grant["holder"] == held[grant["address"]].comment == "cli"


def test_a_stopped_daemon_leaves_what_is_open_open_and_what_is_closed_closed(gateway):
    gateway.visitor.open_link(gateway.add_link())
    assert gateway.stop() == 0
    assert gateway.visitor.reaches("http://home.test/")
    assert not gateway.stranger.reaches("http://home.test/", timeout=0.5)
    gateway.start()
    assert gateway.visitor.reaches("http://home.test/")


def test_ctrl_c_ends_both_cleanly(gateway):
    portal = gateway.portal_pid()
    gateway.daemon.signal(signal.SIGINT)
    assert gateway.daemon.wait(10) == 0
    assert ended(portal)
    assert gateway.daemon.tail() == "safeip: ready"


def test_a_beat_of_the_watchdog_at_the_end_is_no_failure(gateway, monkeypatch):
    gateway.stop()
    monkeypatch.setenv("WATCHDOG_USEC", "4000")  # a beat every 2 ms: one comes as Python ends
    for _ in range(3):
        gateway.start()
        assert gateway.stop() == 0


def test_flushed_time_and_again_table_and_grants_are_back_each_time(gateway):
    gateway.visitor.open_link(gateway.add_link())
    gateway.visitor.open_link(gateway.add_link(), family=6)
    before = {name: gateway.elements(name) for name in ("cloud4", "cloud6")}
    for _ in range(often(100)):
        gateway.nft("flush ruleset")
        wait_for("the grants", lambda: len(gateway.sets().get("cloud6", [])) == 1)
    for name, [first] in before.items():
        [now] = gateway.elements(name)
        assert (now.value, now.comment, now.timeout_s) == (first.value, first.comment, first.timeout_s)
        assert now.expires_s <= first.expires_s
    # a flush that comes before a repair has been counted belongs to it
    assert often(100) * 0.8 <= gateway.cli_json("status")["repairs"] <= often(100)
    assert not gateway.stranger.reaches("http://home.test/", timeout=0.5)
    assert gateway.visitor.reaches("http://home.test/")


# starts that must fail


def test_a_second_daemon_on_the_same_state_is_refused(gateway, tmp_path):
    config = tmp_path / "second.toml"
    config.write_text(gateway.config.read_text().replace(":8443", ":9443"))
    done = gateway.host.run("bin/safeip", "--config", str(config), "run", check=False)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert gateway.healthy()


def test_a_port_in_use_is_named(stopped):
    with stopped.host.entered(), socket.socket() as other:
        other.bind(("0.0.0.0", 8443))
        other.listen()
        line = refused(stopped)
    assert "0.0.0.0:8443" in line
    assert "another program has this port" in line
    assert not stopped.visitor.reaches("http://home.test/", timeout=0.5)  # and what is closed is closed


def test_an_address_that_the_host_does_not_have_is_named(stopped):
    stopped.configure(portal={"listen": ["192.0.2.99:8443"]})
    assert "192.0.2.99:8443: this host has no such address" in refused(stopped)


def test_without_the_capability_it_says_what_to_do(stopped):
    done = stopped.host.run(
        "setpriv", "--bounding-set=-net_admin", "--inh-caps=-all",
        "bin/safeip", "--config", str(stopped.config), "run", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "CAP_NET_ADMIN is missing" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("state.json", '{"version": 1, "links": {', "line 1, column 26"),
        ("state.json", "", "state.json"),
        ("state.json", '{"version": 99, "links": {}, "people": {}, "tokens": {}}', "version"),
        ("secret.key", "c2hvcnQ=\n", "secret.key"),
    ],
)
def test_state_that_cannot_be_read_is_named_and_kept(stopped, name, content, says):
    stopped.start()
    stopped.visitor.open_link(stopped.add_link())
    stopped.stop()
    stopped.log.write_text("")
    path = stopped.state / name
    path.write_text(content)
    line = refused(stopped, os.EX_DATAERR)
    assert str(path) in line
    assert says in line
    assert path.read_text() == content
    assert stopped.visitor.reaches("http://home.test/")  # what was open stays open until its end
    assert not stopped.stranger.reaches("http://home.test/", timeout=0.5)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: os.chown(it.state_dir, 12345, 12345), "state belongs to user 12345, and the gate runs as "),
        (lambda it: os.chown(it.gate_state, 12345, 12345), "gate belongs to user 12345, and the gate runs as "),
        (lambda it: os.chown(it.state, 12345, 12345), "belongs to user 12345, and the portal runs as "),
        (lambda it: os.chown(it.state, 0, 0), "belongs to user 0, and the portal runs as "),
        (lambda it: it.state_dir.chmod(0o777), "has mode 777 and needs 755: chmod 755 "),
        (lambda it: it.state_dir.chmod(0o700), "has mode 700 and needs 755: chmod 755 "),
        (lambda it: it.state_dir.chmod(0o775), "has mode 775 and needs 755: chmod 755 "),
        (lambda it: it.gate_state.chmod(0o755), "has mode 755 and needs 700: chmod 700 "),
        (lambda it: it.state.chmod(0o750), "has mode 750 and needs 700: chmod 700 "),
        (lambda it: (it.state.rename(it.state_dir / "old"), it.state.symlink_to("old")), "is no directory: move it away"),
        (lambda it: (it.state.rename(it.state_dir / "old"), it.state.write_text("")), "is no directory: move it away"),
        (lambda it: (it.gate_state.rename(it.state_dir / "old"), it.gate_state.symlink_to("old")), "is no directory: move it away"),
    ],
)
def test_a_state_directory_of_somebody_elses_is_refused(stopped, spoil, says):
    account = portal_account()
    lay(stopped, 0, account.uid)
    spoil(stopped)
    assert says in refused(stopped)


@contextlib.contextmanager
def owned(gateway: Gateway):
    """The table belongs to another program."""
    ready, owner_up = threading.Event(), threading.Event()

    def own() -> None:
        import nftables

        with gateway.host.entered():
            nft = nftables.Nftables()
            assert nft.cmd("add table inet safeip\ndelete table inet safeip\nadd table inet safeip { flags owner; }")[0] == 0
            owner_up.set()
            ready.wait()

    owner = threading.Thread(target=own)
    owner.start()
    try:
        assert owner_up.wait(10)
        yield
    finally:
        ready.set()
        owner.join()


def test_a_table_that_belongs_to_another_program_is_told(stopped):
    """Another program's table stands in the way and cannot be taken away: it belongs to that program."""
    with owned(stopped):
        process = stopped.launch()
        assert process.wait(20) == 1
        assert "another program keeps table inet safeip" in process.tail().splitlines()[-1]


def test_the_journal_hears_of_each_line_what_it_is(stopped, monkeypatch):
    """Errors, warnings, what is over again, and what is usual; the level stands before each line."""
    stopped.log.touch()
    file = stopped.log.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino}")
    stopped.configure(portal={"listen_proxy_protocol": ["127.0.0.1:9443"], "trusted_proxies": ["10.0.0.0/30"]})
    expected: list[str] = []

    def said(*lines: str) -> None:
        expected.extend(lines)
        wait_for(lines[-1], lambda: len(stopped.log.read_text().splitlines()) >= len(expected))
        found = stopped.log.read_text().splitlines()
        assert [line[: len(begin)] for line, begin in zip(found, expected, strict=True)] == expected, found

    wide = "<4>safeip: warning: portal.trusted_proxies: 10.0.0.0/30 is wider"
    stopped.start()
    said(wide, "<6>safeip: ready")
    with owned(stopped):
        said("<3>safeip: table inet safeip cannot be put right")
    said("<4>safeip: table inet safeip is as it should be again")
    stopped.daemon.signal(signal.SIGHUP)
    said("<6>safeip: reloaded ", wide)
    stopped.config.write_text(stopped.config.read_text() + "\n[nonsense]\n")
    stopped.daemon.signal(signal.SIGHUP)
    said(f"<3>safeip: {stopped.config}: nonsense", "<3>safeip: not reloaded: nothing was changed")


def test_down_opens_everything_but_not_behind_a_daemons_back(gateway):
    done = gateway.cli("down", check=False)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert gateway.sets()
    gateway.stop()
    gateway.cli("down")
    assert gateway.sets() == {}
    assert gateway.stranger.reaches("http://home.test/")


def copied(tree: Path) -> Path:
    """The program in another place."""
    copy_program(tree)
    return tree


def lay(gateway: Gateway, gate: int, portal: int) -> None:
    """The state's directories as the package makes them, for these users."""
    for path, mode, uid in ((gateway.state_dir, 0o755, 0), (gateway.gate_state, 0o700, gate), (gateway.state, 0o700, portal)):
        path.mkdir(mode=mode)
        os.chown(path, uid, uid)


def start_as(gateway: Gateway, user: int, *capabilities: str) -> Process:
    """As a unit does it: a user with ambient capabilities (capabilities(7))."""
    tree = copied(gateway.directory / "program")
    gateway.runtime.mkdir(mode=0o755)
    os.chown(gateway.runtime, user, user)
    held = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    gateway.daemon = gateway.host.start(
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps={held}", f"--ambient-caps={held}",
        f"--bounding-set={held}", str(tree / "bin/safeip"), "--config", str(gateway.config), "run", log=gateway.log,
    )  # fmt: skip
    return gateway.daemon


def runs_without_root(gateway: Gateway, gate: int, portal: int) -> None:
    daemon = gateway.daemon
    wait_for("the daemon's start", lambda: daemon.poll() is not None or gateway.healthy(), 20)
    assert daemon.poll() is None, daemon.tail()
    own, theirs = status(gateway.gate_pid()), status(gateway.portal_pid())
    assert {int(own[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {NET_ADMIN}
    assert {int(own[name], 16) for name in ("CapInh", "CapAmb")} == {0}
    assert {theirs[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (own["NoNewPrivs"], theirs["NoNewPrivs"], own["Groups"], theirs["Groups"]) == ("1", "1", "", "")
    assert own["Uid"].split()[1:] == [str(gate)] * 3  # the real one may be the portal's, to end it
    assert theirs["Uid"].split() == [str(portal)] * 4
    assert listening(gateway.gate_pid()) == []
    assert gateway.visitor.open_link(gateway.add_link()).status == 200
    assert gateway.visitor.reaches("http://home.test/")


def test_as_the_unit_starts_it_gate_and_portal_are_two_users_and_neither_is_root(stopped):
    portal = portal_account().uid
    lay(stopped, GATE, portal)
    start_as(stopped, GATE, "net_admin", "setuid", "setgid", "setpcap", "net_bind_service")
    runs_without_root(stopped, GATE, portal)
    assert status(stopped.portal_pid())["CapBnd"] == "0" * 16
    # the kernel tells the portal of the gate's end, though it is another user's
    stopped.kill()
    assert not stopped.stranger.reaches("http://home.test/", timeout=0.5)
    shutil.rmtree(stopped.directory / "program")
    shutil.rmtree(stopped.runtime)
    start_as(stopped, GATE, "net_admin", "setuid", "setgid", "setpcap", "net_bind_service")
    runs_without_root(stopped, GATE, portal)
    stopped.configure(services={"cloud": {"ports": ["tcp/80", "tcp/9999"]}})
    stopped.daemon.signal(signal.SIGHUP)
    wait_for("the reload", lambda: "reloaded" in stopped.log.read_text())
    assert "9999" in (stopped.gate_state / "closed.nft").read_text()
    assert stopped.stop() == 0


def test_one_capability_is_enough_where_gate_and_portal_are_one_user(stopped):
    lay(stopped, GATE, GATE)
    start_as(stopped, GATE, "net_admin")
    runs_without_root(stopped, GATE, GATE)
    assert stopped.stop() == 0


@pytest.mark.parametrize("missing", ["gate", "portal"])
def test_without_root_a_missing_directory_is_named_with_what_makes_it(stopped, missing):
    lay(stopped, GATE, portal_account().uid)
    (stopped.state_dir / missing).rmdir()
    daemon = start_as(stopped, GATE, "net_admin", "setuid", "setgid")
    assert daemon.wait(20) == 1
    assert daemon.tail() == (
        f"safeip: {stopped.state_dir / missing} cannot be made (Permission denied): systemd-tmpfiles --create safeip.conf"
    )


def test_the_daemon_starts_where_its_user_cannot_read_the_way_to_the_program(stopped, tmp_path):
    """A checkout under /root: the portal's user cannot enter the directories above it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tree = copied(closed / "safeip")
    process = stopped.host.start(str(tree / "bin/safeip"), "--config", str(stopped.config), "run", log=stopped.log)
    wait_for("the daemon's start", lambda: process.poll() is not None or stopped.healthy(), 20)
    assert process.poll() is None, process.tail()
    assert "Mamie" in stopped.visitor.fetch(stopped.add_link()).text
    assert process.stop() == 0


def test_the_wire_is_not_left_to_programs_that_the_portal_starts(gateway):
    """Whatever the portal opens is closed on exec, but the descriptors that it was given."""
    portal = gateway.portal_pid()
    flags = {}
    for info in Path(f"/proc/{portal}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in info.read_text().splitlines() if ":\t" in line)
            flags[int(info.name)] = int(fields["flags"], 8)
    leaking = [number for number, flag in flags.items() if number > 2 and not flag & os.O_CLOEXEC]
    assert leaking == [], [Path(f"/proc/{portal}/fd/{number}").readlink() for number in leaking]
