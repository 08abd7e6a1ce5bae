"""The teller's unit under a real systemd: shut in as it is, it sends; it comes and goes with the daemon; its user changes nothing."""

import re
from collections.abc import Iterator

import pytest

from e2e.container import Container
from e2e.installed import installed
from lab.inbox import Inbox
from lab.process import wait_for

CONFIG = """[portal]
url = "https://home.test:8443"
[services.cloud]
ports = ["tcp/80"]
"""
TELLER = "safeip-teller"


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    with installed("sipt") as container, container.network.entered():
        container.path("/etc/safeip/safeip.toml").write_text(CONFIG, "utf-8")
        container.run("systemctl", "enable", "safeip", TELLER)
        container.run("systemctl", "start", "safeip")
        yield container


@pytest.fixture(scope="module")
def inbox(host: Container) -> Iterator[Inbox]:
    with Inbox(9902) as server:
        yield server


def shown(host: Container, name: str, unit: str = TELLER) -> str:
    return host.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()


def journal(host: Container) -> str:
    host.run("journalctl", "--sync")
    return host.run("journalctl", f"--unit={TELLER}", "--output=cat", "--no-pager").stdout


def until(host: Container, what: str, condition) -> None:
    try:
        wait_for(what, condition, 90, every=0.2)
    except Exception as error:
        raise AssertionError(f"{error}\n{journal(host)}\n{host.run('systemctl', 'status', TELLER, check=False).stdout}") from error


def configured(host: Container) -> None:
    host.path("/etc/safeip/notifications").write_text("json://127.0.0.1:9902/s3cret\n", "utf-8")
    host.shell("chown root:safeip-teller /etc/safeip/notifications; chmod 640 /etc/safeip/notifications")
    host.path("/etc/safeip/safeip.toml").write_text(CONFIG + '[notifications]\nurls_file = "/etc/safeip/notifications"\n', "utf-8")


def test_with_nothing_to_tell_it_is_skipped(host: Container) -> None:
    until(host, "the teller's end", lambda: (shown(host, "ActiveState"), shown(host, "Result")) == ("inactive", "exec-condition"))


def test_shut_in_as_it_is_it_tells(host: Container, inbox: Inbox) -> None:
    configured(host)
    host.run("systemctl", "restart", "safeip")
    until(host, "the teller", lambda: shown(host, "ActiveState") == "active" and host.path("/var/lib/safeip/teller/teller.json").exists())
    host.run("safeip", "ban", "203.0.113.9")
    until(host, "the message", lambda: [one["message"] for one in inbox.messages] == ["203.0.113.9 was banned by cli."])
    assert inbox.paths == ["/s3cret"]
    assert "s3cret" not in journal(host)
    assert host.shell("stat -c '%n %U:%G %a' /var/lib/safeip/teller /var/lib/safeip/teller/*").splitlines() == [
        "/var/lib/safeip/teller safeip-teller:safeip-teller 700",
        "/var/lib/safeip/teller/granted.json safeip-teller:safeip-teller 600",
        "/var/lib/safeip/teller/teller.json safeip-teller:safeip-teller 600",
    ]


def test_it_has_no_capability_and_sees_no_state_of_others(host: Container) -> None:
    pid = shown(host, "MainPID")
    status = host.shell(f"cat /proc/{pid}/status")
    assert set(re.findall(r"(?m)^Cap(?:Inh|Prm|Eff|Bnd|Amb):\t(\w+)$", status)) == {"0" * 16}
    seen = host.shell(f"ls -ld /proc/{pid}/root/var/lib/safeip/portal /proc/{pid}/root/var/lib/safeip/gate")
    assert seen.count("d---------") == 2


def test_over_a_crash_of_both_it_misses_nothing(host: Container, inbox: Inbox) -> None:
    before = len(inbox.messages)
    host.run("systemctl", "kill", "--signal=KILL", TELLER)
    host.run("safeip", "ban", "203.0.113.12")
    host.run("systemctl", "kill", "--signal=KILL", "safeip")
    until(host, "the daemon", lambda: shown(host, "NRestarts", "safeip") == "1" and shown(host, "ActiveState", "safeip") == "active")
    host.run("safeip", "ban", "203.0.113.10")
    until(host, "the message", lambda: len(inbox.messages) >= before + 2)
    assert [one["message"] for one in inbox.messages[before:]] == [f"203.0.113.{n} was banned by cli." for n in (12, 10)]


def test_it_goes_and_comes_with_the_daemon_and_reloads_with_it(host: Container, inbox: Inbox) -> None:
    before = len(inbox.messages)
    host.run("systemctl", "stop", "safeip")
    assert (shown(host, "ActiveState"), shown(host, "Result")) == ("inactive", "success")
    host.run("systemctl", "start", "safeip")
    until(host, "the teller", lambda: shown(host, "ActiveState") == "active")
    for _ in range(3):
        host.run("systemctl", "reload", "safeip")
    host.run("safeip", "ban", "203.0.113.11")
    until(host, "the message", lambda: len(inbox.messages) == before + 1)
    assert shown(host, "ActiveState") == "active"


def test_its_user_reads_and_changes_nothing(host: Container) -> None:
    def as_teller(*words: str) -> tuple[int, str]:
        done = host.run("runuser", "-u", TELLER, "--", "safeip", *words, check=False)
        return done.returncode, done.stderr

    for words in (["grants"], ["blocked"], ["history"], ["status"]):
        assert as_teller(*words) == (0, "")
    for words in (["ban", "203.0.113.66"], ["unban", "203.0.113.9"], ["grant", "cloud", "203.0.113.66"], ["revoke", "--all"],
                  ["link", "list"], ["person", "list"], ["token", "list"], ["link", "add", "x", "--service", "cloud"]):  # fmt: skip
        code, said = as_teller(*words)
        assert code == 1, words
        assert said.count("\n") == 1
    assert "203.0.113.66" not in host.run("safeip", "bans").stdout
    # by hand as root it is the same user
    assert host.run("safeip", "tell", "--try").stdout == "notification URL 1 (json): sent\n"
    assert "message: 203.0.113.9 was banned by cli." in host.run("safeip", "tell", "--dry-run").stdout
