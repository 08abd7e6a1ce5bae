"""What the service is to its admin, under a real systemd."""

import re
import socket
import time
from collections.abc import Iterator

import pyotp
import pytest

from e2e.container import Container
from e2e.installed import installed
from lab.kernel import has_table
from lab.process import wait_for
from lab.terminal import Terminal

PASSWORD = "vivid otter ladder 81"
CONFIG = "/etc/safeip/safeip.toml"
START = "Start SafeIP now? (yes or no) [yes]: "


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    """With a program at tcp/80 that setup finds."""
    with installed("sips") as container, container.network.entered(), socket.create_server(("0.0.0.0", 80)):
        yield container


def shown(host: Container, name: str, unit: str = "safeip") -> str:
    return host.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()


def settled(host: Container, state: str) -> None:
    wait_for(f"the unit to be {state}", lambda: shown(host, "ActiveState") == state, 60)


def refused(host: Container, *words: str) -> str:
    """The one line with which a verb ends."""
    done = host.run("safeip", *words, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("safeip: ").rstrip("\n")


def journal(host: Container, *options: str) -> str:
    host.run("journalctl", "--sync")
    return host.run("journalctl", "--unit=safeip", "--output=cat", "--no-pager", *options).stdout


def setup(host: Container, *words: str) -> Terminal:
    # a session of its own within: Ctrl-C would end what leads into the container as well
    return host.terminal("setsid", "--ctty", "--wait", "safeip", "setup", *words)


def answer_everything(terminal: Terminal) -> None:
    terminal.answer("as seen from the Internet [", "home.test")
    terminal.answer("Port on which the portal listens [8443]: ", "")
    offered = terminal.read("Numbers of those to close, or none [")
    found = re.search(r"(?m)^ *(\d+) +tcp/80\b", offered)
    assert found, offered
    terminal.type(found[1])
    for question in ("Other ports to close", "Name of the service", "Title", "URL to which people go", "Networks that are never"):
        terminal.answer(question, "cloud" if question == "Name of the service" else "")


def enrol(terminal: Terminal) -> None:
    terminal.answer("Name of the admin", "yves")
    terminal.answer("Password of yves", PASSWORD)
    terminal.answer("The same again: ", PASSWORD)
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", terminal.read("The six digits that the app shows now: "))
    assert found
    terminal.type(pyotp.TOTP(found[1]).now())


def test_from_nothing_to_a_service_that_runs(host: Container) -> None:
    for words in (["status"], ["check"], ["grants"], ["link", "list"]):
        assert refused(host, *words) == f"there is no {CONFIG} yet: begin with 'safeip setup'"
    host.run("systemctl", "start", "safeip")
    assert shown(host, "ActiveState") == "inactive", "skipped, not failed"
    with setup(host) as terminal:
        answer_everything(terminal)
        enrol(terminal)
        before = terminal.read(START)
        assert before.index("Recovery codes.") < before.index(START)
        assert not has_table(host.network, "safeip"), "nothing is closed before the answer"
        terminal.type("")
        assert terminal.wait(60) == 0
        after = terminal.shown.partition(START)[2]
    assert "SafeIP runs.\n" in after
    assert "These are closed to everybody but" in after
    assert "systemctl" not in after, "nothing is left to start"
    assert "Sign in as yves:  https://home.test:8443/sign-in" in after
    assert "cloud holds tcp/80, to which the certificate's authority comes from anywhere" in after
    assert (shown(host, "ActiveState"), shown(host, "UnitFileState")) == ("active", "enabled")
    assert shown(host, "UnitFileState", "safeip-closed") == "enabled"
    assert has_table(host.network, "safeip")
    assert "cloud" in host.run("safeip", "status").stdout
    assert [line for line in journal(host).splitlines() if line.startswith("safeip: ")] == ["safeip: ready"], "nothing to complain about"


def test_the_status_line_follows_what_is_open(host: Container) -> None:
    assert shown(host, "StatusText") == "keeps 1 service closed, 0 grants"
    host.run("mkdir", "/run/systemd/system/safeip.service.d")
    host.path("/run/systemd/system/safeip.service.d/test.conf").write_text("[Service]\nWatchdogSec=10s\n", "utf-8")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "safeip")
    host.run("safeip", "grant", "cloud", "192.0.2.7")
    wait_for("the status line", lambda: shown(host, "StatusText") == "keeps 1 service closed, 1 grant", 60)
    host.run("safeip", "revoke", "--all")
    wait_for("the status line", lambda: shown(host, "StatusText") == "keeps 1 service closed, 0 grants", 60)


def test_the_status_line_tells_what_is_wrong(host: Container) -> None:
    disk = "/var/lib/safeip/gate"
    host.run("systemctl", "stop", "safeip")
    host.shell(f"mount -t tmpfs -o size=64k,mode=700,uid=safeip,gid=safeip gate {disk}")
    try:
        host.run("systemctl", "start", "safeip")
        host.run("systemctl", "stop", "safeip")
        host.shell(f"dd if=/dev/zero of={disk}/ballast bs=512", check=False)
        host.run("systemctl", "start", "safeip")  # which writes the record anew
        host.run("safeip", "grant", "cloud", "192.0.2.7")
        why = f"{disk}/grants.jsonl cannot be written (No space left on device): a reboot closes what is open"
        wait_for("the status line", lambda: shown(host, "StatusText") == f"keeps 1 service closed, 1 grant; {why}", 60)
        host.run("safeip", "revoke", "--all")
        assert f"warning: {why}\n" in re.sub(" +", " ", host.run("safeip", "status").stdout)
        host.run("systemctl", "stop", "safeip")
    finally:
        host.run("umount", disk)
    config = host.path(CONFIG)
    good = config.read_bytes()
    host.run("systemctl", "start", "safeip")
    config.write_text("[portal]\nurl = 7\n", "utf-8")
    assert host.run("systemctl", "reload", "safeip", check=False).returncode != 0
    host.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", "safeip")
    wrong = "keeps 1 service closed, 0 grants; the last reload changed nothing, see the log"
    wait_for("the status line", lambda: shown(host, "StatusText") == wrong, 30)
    config.write_bytes(good)
    host.run("systemctl", "reload", "safeip")
    wait_for("the status line", lambda: shown(host, "StatusText") == "keeps 1 service closed, 0 grants", 30)


def said(host: Container, since: float, level: str = "debug") -> list[str]:
    """What it said itself from a time of day on, at that level or above."""
    lines = journal(host, f"--since=@{since:.6f}", f"--priority={level}").splitlines()
    return [line for line in lines if "safeip: " in line]


def test_the_journal_knows_what_is_an_error_and_what_a_warning(host: Container) -> None:
    config, torn = host.path(CONFIG), host.path("/var/lib/safeip/portal/state.json")
    good, state = config.read_bytes(), torn.read_bytes()
    proxies = 'listen_proxy_protocol = ["127.0.0.1:9443"]\ntrusted_proxies = ["10.0.0.0/30"]'
    config.write_text(good.decode().replace("[portal]\n", f"[portal]\n{proxies}\n"), "utf-8")

    since = time.time()
    host.run("systemctl", "restart", "safeip")
    with host.network.entered(), socket.create_connection(("127.0.0.1", 9443), 30):
        told = "safeip: 127.0.0.1 came to portal.listen_proxy_protocol and is not in portal.trusted_proxies: hung up on"
        wait_for("the portal's complaint", lambda: told in said(host, since), 60)
    wide = "safeip: warning: portal.trusted_proxies: 10.0.0.0/30 is wider than a host"
    assert [line[: len(wide)] for line in said(host, since)] == [wide, "safeip: ready", told[: len(wide)]]
    assert [line[: len(wide)] for line in said(host, since, "warning")] == [wide, told[: len(wide)]]
    assert said(host, since, "err") == []
    config.write_bytes(good)
    since = time.time()
    host.run("systemctl", "restart", "safeip")
    host.run("systemctl", "reload", "safeip")
    wait_for("the reload", lambda: any(line.startswith("safeip: reloaded") for line in said(host, since)), 60)
    assert said(host, since, "notice") == []
    for file, text, words in ((config, "[portal]\nurl = 7\n", f"safeip: {CONFIG}: portal.url"), (torn, '{"version": 1,', "safeip: /var/lib")):
        since = time.time()
        file.write_text(text, "utf-8")
        host.run("systemctl", "restart", "safeip", check=False)
        settled(host, "failed")
        assert [line for line in said(host, since, "err") if line.startswith(words)], said(host, since)
        config.write_bytes(good)
        torn.write_bytes(state)
    host.run("systemctl", "start", "safeip")
    settled(host, "active")


def test_a_reload_that_needs_a_restart_fails_and_names_the_key(host: Container) -> None:
    config = host.path(CONFIG)
    good = config.read_text("utf-8")
    assert host.shell("stat -c '%U %a' /run/safeip/started.toml") == "safeip 600\n"
    for key, before, after in (
        ("portal.url", "home.test:8443", "home.test:8444"),
        ("gate.ipv6_prefix", "[gate]\n", "[gate]\nipv6_prefix = 60\n"),
        ("runtime_dir", "[portal]\n", 'runtime_dir = "/run/safeip/other"\n[portal]\n'),
    ):
        assert before in good
        since = time.time()
        config.write_text(good.replace(before, after, 1), "utf-8")
        assert host.run("safeip", "check").returncode == 0, "the file is good"
        assert host.run("systemctl", "reload", "safeip", check=False).returncode != 0, key
        [line] = said(host, since, "err")
        assert line.startswith(f"safeip: {CONFIG}: {key}: has changed, which needs a restart"), line
        assert "systemctl restart safeip" in line
    config.write_text(good.replace("[gate]\n", "[gate]\nmax_grants = 99\n", 1), "utf-8")
    for text in (None, good):
        if text:
            config.write_text(text, "utf-8")
        since = time.time()
        host.run("systemctl", "reload", "safeip")
        wait_for("the reload", lambda: any(line.startswith("safeip: reloaded") for line in said(host, since)), 60)  # noqa: B023 (at once)
    assert shown(host, "ActiveState") == "active"


def test_where_all_is_done_setup_asks_nothing(host: Container) -> None:
    with setup(host) as terminal:
        assert terminal.wait(60) == 0
        assert "There is an admin already: yves." in terminal.shown
        assert "now?" not in terminal.shown
        assert "These are closed" in terminal.shown


@pytest.mark.parametrize("answer", ["no", None])
def test_a_service_that_was_stopped_is_offered_to_start(host: Container, answer: str | None) -> None:
    host.run("systemctl", "stop", "safeip")
    assert refused(host, "status") == "SafeIP does not run: systemctl start safeip"
    with setup(host) as terminal:
        terminal.read(START)
        terminal.type(answer) if answer else terminal.interrupt()
        assert terminal.wait(60) == 0
        assert "1. Start it:  systemctl restart safeip\n" in terminal.shown
    assert shown(host, "ActiveState") == "inactive"
    with setup(host) as terminal:
        terminal.answer(START, "yes")
        assert terminal.wait(60) == 0
    settled(host, "active")


def test_a_start_that_fails_is_told_with_its_reason(host: Container) -> None:
    host.run("systemctl", "stop", "safeip")
    with host.network.entered(), socket.create_server(("0.0.0.0", 8443)):
        with setup(host) as terminal:
            terminal.answer(START, "")
            assert terminal.wait(90) == 1
            after = terminal.shown.partition(START)[2]
        assert "SafeIP does not run. It says:\n  cannot listen on 0.0.0.0:8443: another program has this port" in after
        assert "1. Start it:  systemctl restart safeip\n" in after
        wait_for("systemd to wait", lambda: shown(host, "SubState") == "auto-restart", 30)
        wait_for("what is told", lambda: refused(host, "status").endswith("tried again, systemctl status safeip says why"), 30)
    settled(host, "active")  # what mends itself is tried again


def test_what_only_a_person_can_mend_is_not_tried_again(host: Container) -> None:
    torn = "/var/lib/safeip/portal/state.json"
    for path, text, code in ((CONFIG, "[portal]\nurl = 7\n", 78), (torn, '{"version": 1,', 65)):
        host.run("systemctl", "stop", "safeip")
        file = host.path(path)
        good = file.read_bytes()
        file.write_text(text, "utf-8")
        host.run("systemctl", "restart", "safeip", check=False)
        settled(host, "failed")
        assert shown(host, "ExecMainStatus") == str(code)
        assert refused(host, "status").startswith("SafeIP does not run: its last start failed, systemctl status safeip says why")
        file.write_bytes(good)
        assert shown(host, "ActiveState") == "failed"
        assert shown(host, "NRestarts") == "0"
        host.run("systemctl", "start", "safeip")
        settled(host, "active")


def test_other_answers_need_a_restart_which_is_offered(host: Container) -> None:
    host.run("safeip", "grant", "cloud", "192.0.2.7")
    before = shown(host, "MainPID")
    with setup(host, "--force") as terminal:
        answer_everything(terminal)
        terminal.answer("SafeIP runs. Restart it now, so that it does what you answered? (yes or no) [yes]: ", "")
        assert terminal.wait(60) == 0
    assert shown(host, "MainPID") != before
    assert "192.0.2.7" in host.run("safeip", "grants").stdout


NOT_ROOT = {
    "status": "this user may not use /run/safeip/control.sock: run it as root (sudo safeip …)",
    "grants": "this user may not use /run/safeip/control.sock: run it as root (sudo safeip …)",
    "check": f"{CONFIG} is good, but the ruleset could not be tried: Operation not permitted: run it as root (sudo safeip check)",
    "run": "CAP_NET_ADMIN is missing: run it as root (sudo safeip …); the service is started by systemctl start safeip",
    "down": "CAP_NET_ADMIN is missing: run it as root (sudo safeip …); the service is started by systemctl start safeip",
    "setup": "setup looks at every program's ports and writes to /etc: run it as root (sudo safeip setup)",
}


@pytest.mark.parametrize("verb", NOT_ROOT)
def test_who_is_not_root_is_told_so(host: Container, verb: str) -> None:
    done = host.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "safeip", verb, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"safeip: {NOT_ROOT[verb]}\n")


def test_what_the_service_has_is_not_run_by_hand(host: Container) -> None:
    assert refused(host, "down") == "a daemon runs already on /var/lib/safeip: stop it first (systemctl stop safeip)"
    place = "/var/lib/safeip/gate belongs to the service's user"
    assert refused(host, "run") == f"{place}: systemctl start safeip, or name another state_dir"


def test_a_unit_that_is_masked_is_told(host: Container) -> None:
    host.run("systemctl", "mask", "--now", "safeip")
    assert refused(host, "status") == "SafeIP does not run, and its unit is masked: systemctl unmask safeip"
    host.run("systemctl", "unmask", "safeip")
    host.run("systemctl", "start", "safeip")


def test_a_configuration_that_the_service_may_not_read_is_told(host: Container) -> None:
    host.run("chmod", "600", CONFIG)
    host.run("systemctl", "restart", "safeip", check=False)
    settled(host, "failed")
    assert f"safeip: {CONFIG}: may not be read by this user; " in journal(host)
    assert f"; for the daemon, chmod 644 {CONFIG}" in journal(host)
    host.run("chmod", "644", CONFIG)
    host.run("systemctl", "start", "safeip")


def test_a_daemon_that_somebody_runs_by_hand_is_left_alone(host: Container) -> None:
    host.run("systemctl", "stop", "safeip")
    host.run("install", "-d", "-o", "safeip", "/run/safeip")
    rights = "+net_admin,+setuid,+setgid,+setpcap"
    user = ("setpriv", "--reuid=safeip", "--regid=safeip", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}")
    with host.terminal(*user, "safeip", "run") as daemon:
        daemon.read("safeip: ready", 60)
        with setup(host) as terminal:
            assert terminal.wait(60) == 0
            assert "There is an admin already: yves." in terminal.shown
            assert "now?" not in terminal.shown
        assert shown(host, "ActiveState") == "inactive"
        assert daemon.poll() is None
