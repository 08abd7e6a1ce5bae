"""`safeip setup` at a terminal of a gateway with real programs on it: what it asks, what it writes, what works then."""

import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pyotp
import pytest

from lab.gateway import GATEWAY4, ROOT, Gateway
from lab.process import LabError, Process, wait_for
from lab.terminal import Terminal
from safeip.config import read_config
from safeip.privileges import portal_account

PROGRAM = str(ROOT / "bin" / "safeip")
PASSWORD = "vivid otter ladder 81"
RECOVERY = re.compile(r"(?m)^  (?:10|[1-9])-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}$")
QUESTIONS = (
    "as seen from the Internet", "Port on which the portal listens", "Numbers of those to close", "Other ports to close",
    "Name of the service", "Title, which people read", "URL to which people go", "Networks that are never closed [",
    "Name of the admin", "Password of yves", "The same again", "The six digits",
)  # fmt: skip


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway without SafeIP: nothing is configured, nothing runs."""
    with Gateway(prefix="sipu", start=False) as gateway:
        gateway.config.unlink()
        yield gateway


def command(gateway: Gateway, *words: str) -> list[str]:
    places = ("--state-dir", str(gateway.state_dir), "--runtime-dir", str(gateway.runtime))
    return [PROGRAM, "--config", str(gateway.config), "setup", *places, *words]


def setup(gateway: Gateway, *words: str, env: dict[str, str] | None = None) -> Terminal:
    return Terminal(gateway.host, *command(gateway, *words), env={**os.environ, **(env or {})})


def listen(gateway: Gateway, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A socket of this process, which waits in the gateway's namespace."""

    def bound() -> socket.socket:
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        one.bind((host, port))
        if kind is socket.SOCK_STREAM:
            one.listen()
        return one

    return gateway.host.call(bound)


def number_of(shown: str, port: str) -> str:
    """The number under which a port is offered."""
    found = re.search(rf"(?m)^ *(\d+) +(?:\S+, )*{re.escape(port)}\b", shown)
    assert found, shown
    return found[1]


def enrol(terminal: Terminal) -> pyotp.TOTP:
    """The first admin, yves; their app."""
    terminal.answer("Name of the admin, to sign in with [", "Yves")
    terminal.answer("Password of yves", PASSWORD)
    terminal.answer("The same again: ", PASSWORD)
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", terminal.read("The six digits that the app shows now: "))
    assert found
    totp = pyotp.TOTP(found[1])
    terminal.type(totp.now())
    return totp


def untouched(gateway: Gateway) -> None:
    left = {path.name for path in gateway.directory.iterdir()}
    assert left <= {"cloud.log", "films.log", "sshd", "sshd.log"}, left


def test_what_is_answered_is_what_runs_then(gateway: Gateway) -> None:
    with (
        listen(gateway, socket.SOCK_DGRAM, "0.0.0.0", 53),
        listen(gateway, socket.SOCK_STREAM, "::", 5222),
        listen(gateway, socket.SOCK_STREAM, "127.0.0.1", 6379),
        setup(gateway) as terminal,
    ):
        terminal.answer("as seen from the Internet [198.51.100.1]: ", "home.test")
        terminal.answer("Port on which the portal listens [8443]: ", "80")
        terminal.answer("Another program listens there", "")
        offered = terminal.read("Numbers of those to close, or none [")
        assert re.search(r"(?m)^ *\d+ +tcp/80 +python3?$", offered)
        assert re.search(r"(?m)^ *\d+ +udp/53 +\S+ +DNS$", offered)
        assert "6379" not in offered, "nobody but this host reaches it"
        web, chat = number_of(offered, "tcp/80"), number_of(offered, "tcp/5222")
        assert terminal.read("]: ") == f"{' '.join(sorted((web, chat)))}]: ", "DNS is not offered by default"
        terminal.type("99")
        terminal.answer("Write numbers from 1 to 3", web)
        terminal.answer("Other ports to close, such as tcp/8096 udp/30000-30010 [none]: ", "8096")
        terminal.answer("is not a port", "tcp/8000-9000")
        terminal.answer("tcp/8000-9000 is the portal's own, or chosen already", "tcp/70-90")
        terminal.answer("tcp/70-90 is the portal's own, or chosen already", "tcp/8096")
        terminal.answer("[port-80]: ", "Bad Name")
        terminal.answer("is not a service name", "cloud")
        terminal.answer("[Cloud]: ", 'Yves\' "Cloud"')
        terminal.answer("[http://home.test/]: ", "")
        terminal.answer("[port-8096]: ", "films")
        terminal.answer("[Films]: ", "")
        terminal.answer("[none]: ", "javascript:alert(1)")
        terminal.answer("is not an http(s) URL", "http://home.test:8096/")
        networks = terminal.read("Networks that are never closed [")
        assert "198.51.100.0/24 of wan is left out" in networks
        terminal.type("")
        assert not gateway.config.exists()
        totp = enrol(terminal)
        assert terminal.wait() == 0
        shown = terminal.shown
    told(gateway, shown)
    assert stat.S_IMODE(gateway.config.stat().st_mode) == 0o644
    written(gateway)
    works(gateway)
    signs_in(gateway, totp, shown)


def told(gateway: Gateway, shown: str) -> None:
    assert len(RECOVERY.findall(shown)) == 10
    assert PASSWORD not in shown
    assert f"Written: {gateway.config}\n" in shown
    assert f"1. Start it:  {PROGRAM} --config {gateway.config} run" in shown
    assert "now?" not in shown, "here is no systemd that could start it, or its service is another's"
    assert "forward tcp/8443" in shown
    assert "Sign in as yves:  https://home.test:8443/sign-in" in shown


def written(gateway: Gateway) -> None:
    config = read_config(str(gateway.config))
    assert config.settings.url == "https://home.test:8443"
    assert (config.state_dir, config.runtime_dir) == (str(gateway.state_dir), str(gateway.runtime))
    assert {name: service.ports for name, service in config.settings.services.items()} == {"cloud": ("tcp/80",), "films": ("tcp/8096",)}
    assert config.settings.services["cloud"].title == 'Yves\' "Cloud"'
    assert config.settings.services["films"].url == "http://home.test:8096/"
    assert ip_network("10.0.0.0/8") in config.policy.trusted
    assert gateway.cli("check").returncode == 0

    account = portal_account()
    assert {path.stat().st_uid for path in (gateway.state, *gateway.state.iterdir())} == {account.uid}
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in gateway.state.iterdir()} == {0}
    own = gateway.gate_state.stat()
    assert (own.st_uid, stat.S_IMODE(own.st_mode)) == (0, 0o700)


def works(gateway: Gateway) -> None:
    gateway.start()
    (yves,) = gateway.cli_json("person", "list")
    assert (yves["name"], yves["role"], yves["state"], yves["totp"], yves["recovery_left"]) == ("yves", "admin", "active", True, 10)
    assert not gateway.visitor.reaches("http://home.test/")
    assert not gateway.visitor.reaches("http://home.test:8096/")
    gateway.cli("grant", "cloud", gateway.visitor.ipv4)
    assert gateway.visitor.reaches("http://home.test/")
    said = gateway.cli("history", "--json").stdout + gateway.log.read_text("utf-8")
    assert "person-added" in said
    assert PASSWORD not in said


def signs_in(gateway: Gateway, totp: pyotp.TOTP, shown: str) -> None:
    recovery = [code.strip() for code in RECOVERY.findall(shown)]
    # the code of this half minute was used up by setup
    for code in (totp.at(int(time.time()), counter_offset=1), recovery[3]):
        visitor = gateway.second
        visitor.cookies.clear()
        page = visitor.fetch("https://home.test:8443/sign-in")
        answer = visitor.submit(page, {"name": "Yves", "password": PASSWORD, "code": code})
        assert (answer.status, answer.headers["Location"]) == (303, "/me")
    yves = gateway.cli_json("person", "show", "yves")
    assert [session["address"] for session in yves["sessions"]] == [gateway.second.ipv4] * 2
    assert yves["recovery_left"] == 9
    assert gateway.second.ipv4 in gateway.cli("person", "show", "yves").stdout
    gateway.cli("person", "sign-out", "yves")
    assert gateway.cli_json("person", "show", "yves")["sessions"] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_can_be_left_and_nothing_is_written(gateway: Gateway, question: str) -> None:
    with setup(gateway) as terminal:
        for asked in QUESTIONS:
            terminal.read(asked)
            if asked == question:
                break
            terminal.type({"Name of the admin": "yves", "Password of yves": PASSWORD, "The same again": PASSWORD}.get(asked, ""))
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.shown.endswith("\nNothing was written.\n")
    untouched(gateway)


def test_a_connection_that_breaks_off_leaves_nothing(gateway: Gateway) -> None:
    with setup(gateway) as terminal:
        for asked in QUESTIONS[:-1]:
            terminal.read(asked)
            terminal.type({"Name of the admin": "yves", "Password of yves": PASSWORD, "The same again": PASSWORD}.get(asked, ""))
        terminal.read(QUESTIONS[-1])
        assert gateway.state.exists(), "the admin's app is being set up"
        terminal.hang_up()
        assert terminal.wait() == 130
    untouched(gateway)


def test_setup_is_for_root_at_a_terminal(gateway: Gateway) -> None:
    done = gateway.host.run(*command(gateway), check=False, input="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "safeip: setup asks questions: run it at a terminal (over ssh with -t)\n"
    untouched(gateway)


def everything(terminal: Terminal) -> None:
    """Every answer about the configuration as it is suggested."""
    for asked in QUESTIONS[:8]:
        terminal.answer(asked, "")


def test_a_configuration_is_kept_and_gets_its_first_admin(gateway: Gateway) -> None:
    gateway.configure()
    before = gateway.config.read_bytes()
    with setup(gateway) as terminal:
        enrol(terminal)
        assert terminal.wait() == 0
        assert "is there and good, and stays as it is" in terminal.shown
    assert gateway.config.read_bytes() == before
    assert gateway.state.exists()
    with setup(gateway) as terminal:
        assert terminal.wait() == 0
        assert "There is an admin already: yves." in terminal.shown
    gateway.start()
    assert [person["name"] for person in gateway.cli_json("person", "list")] == ["yves"]
    with setup(gateway) as terminal:
        assert terminal.wait() == 0
        assert "There is an admin already: yves." in terminal.shown


def test_the_daemon_that_runs_is_asked(gateway: Gateway) -> None:
    gateway.configure()
    gateway.start()
    with setup(gateway) as terminal:
        terminal.answer("Name of the admin, to sign in with [", "yves")
        terminal.read("Password of yves")
        terminal.interrupt()
        assert terminal.wait() == 130
    assert gateway.cli_json("person", "list") == []
    with setup(gateway) as terminal:
        enrol(terminal)
        assert terminal.wait() == 0
    (yves,) = gateway.cli_json("person", "list")
    assert (yves["state"], yves["totp"]) == ("active", True)


def test_a_certificate_is_for_who_has_installed_the_package(gateway: Gateway) -> None:
    gateway.configure(portal={"url": "https://home.test:8443"})
    before = gateway.config.read_bytes()
    done = gateway.host.run(*command(gateway, "--certificate"), check=False, input="")
    assert (done.returncode, done.stderr) == (1, f"safeip: there is no {ROOT}/certbot-deploy-hook, which the package brings\n")
    assert gateway.config.read_bytes() == before


def test_a_bad_configuration_is_not_touched(gateway: Gateway) -> None:
    gateway.config.write_text("[portal]\nurl = 7\n", "utf-8")
    with setup(gateway) as terminal:
        assert terminal.wait() == 1
        assert "portal.url: 7 is not a text" in terminal.shown
    assert gateway.config.read_text("utf-8") == "[portal]\nurl = 7\n"
    assert not gateway.state_dir.exists()


def test_what_the_portals_account_left_leads_root_nowhere(gateway: Gateway) -> None:
    """Root works in a directory of somebody's who has fewer rights."""
    gateway.configure()
    account, victim = portal_account(), gateway.directory / "victim"
    victim.write_text("root's", "utf-8")
    for name in ("state.json", "secret.key", "history.jsonl"):
        gateway.state_dir.mkdir(mode=0o755)
        gateway.state.mkdir(mode=0o700)
        os.chown(gateway.state, account.uid, account.gid)
        (gateway.state / name).symlink_to(victim)
        with setup(gateway) as terminal:
            assert terminal.wait() == 1, name
            assert str(gateway.state / name) in terminal.shown
            assert "Traceback" not in terminal.shown
        assert (victim.stat().st_uid, victim.read_text("utf-8")) == (0, "root's")
        shutil.rmtree(gateway.state_dir)


def test_force_keeps_a_copy(gateway: Gateway) -> None:
    gateway.config.write_text("# the old one\n", "utf-8")
    for turn in (1, 2):
        with setup(gateway, "--force") as terminal:
            everything(terminal)
            if turn == 1:
                enrol(terminal)
            assert terminal.wait() == 0
        if turn == 1:
            gateway.start()  # the portal's own port is no other program's
        copies = sorted(gateway.directory.glob("safeip.toml.*"))
        assert len(copies) == turn
        assert f"as it was: {copies[-1]}" in terminal.shown
        assert copies[0].read_text("utf-8") == "# the old one\n"
        assert read_config(str(gateway.config)).settings.url == f"https://{GATEWAY4}:8443"


# over SSH


@pytest.fixture
def sshd(gateway: Gateway) -> Iterator[Path]:
    """A real sshd at port 22 of the gateway; the directory with the key that opens it."""
    place = gateway.directory / "sshd"
    place.mkdir(mode=0o700)
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    (place / "sshd_config").write_text(
        f"Port 22\nHostKey {place}/host\nAuthorizedKeysFile {place}/client.pub\nPidFile none\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nUseDNS no\n",
        "utf-8",
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts its unprivileged half in; empty
    server = gateway.host.start("/usr/sbin/sshd", "-D", "-e", "-f", str(place / "sshd_config"), log=gateway.directory / "sshd.log")
    wait_for("sshd", lambda: ssh_answers(gateway, server))
    yield place
    server.stop()


def ssh_answers(gateway: Gateway, server: Process) -> bool:
    if server.poll() is not None:
        raise LabError(server.tail())
    return greeted(gateway.local.namespace, "127.0.0.1")


def greeted(namespace: object, host: str = GATEWAY4, timeout: float = 1.0) -> bool:
    """Whether an SSH server says who it is."""
    try:
        with namespace.connect(host, 22, timeout) as connection:  # type: ignore[attr-defined]
            connection.settimeout(10)  # it starts a process before it says a word
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def log_in(gateway: Gateway, place: Path, host: str = GATEWAY4) -> Terminal:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ServerAliveInterval=0", "IdentitiesOnly=yes")
    words = [word for option in options for word in ("-o", option)]
    session = Terminal(
        gateway.visitor.namespace, "ssh", "-F", "none", "-tt", "-i", str(place / "client"), *words, f"root@{host}",
        "env", "TERM=dumb", "PS1=ready#", "bash", "--norc", "--noprofile",
    )  # fmt: skip
    session.read("ready#")
    return session


def close_ssh(gateway: Gateway, session: Terminal, *before: str, trust: bool) -> str:
    """Answer setup in an SSH session so that it closes port 22; what it said about that."""
    session.type(" ".join([*before, *command(gateway)]))
    session.answer("as seen from the Internet [", "home.test")
    session.answer("Port on which the portal listens [", "")
    offered = session.read("Numbers of those to close, or none [")
    assert re.search(r"(?m)^ *\d+ +tcp/22 +sshd +your own connection$", offered)
    ssh = number_of(offered, "tcp/22")
    assert ssh not in session.read("]: ").removesuffix("]: ").split(), "it is not offered by default"
    session.type(ssh)
    session.answer("Other ports to close", "")
    session.answer("Name of the service", "ssh")
    session.answer("Title, which people read", "")
    session.answer("URL to which people go", "")
    session.answer("Networks that are never closed [", "")
    session.answer("so that you are not locked out? (yes or no) [yes]: ", "" if trust else "no")
    said = session.read("Name of the admin")
    session.type("Yves")
    session.answer("Password of yves", PASSWORD)
    session.answer("The same again: ", PASSWORD)
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", session.read("The six digits that the app shows now: "))
    assert found
    session.type(pyotp.TOTP(found[1]).now())
    session.read("What comes next:")
    session.read("ready#")
    return said


def start_in(gateway: Gateway, session: Terminal) -> None:
    session.type(f"{PROGRAM} --config {gateway.config} run >/dev/null 2>&1 &")
    wait_for("the daemon", gateway.healthy, 20.0)


def goes_on(session: Terminal) -> None:
    """The session answers, and goes on answering: each answer is a new one."""
    for turn in range(3):
        session.type(f"echo alive-$((41 + {turn}))-$SECONDS")
        session.read(f"alive-{41 + turn}-", 10.0)
        time.sleep(0.3)  # beyond what was on its way


@pytest.mark.parametrize(
    "before", [(), ("env", "-u", "SSH_CONNECTION", "-u", "SSH_CLIENT")], ids=["SSH_CONNECTION", "as sudo leaves it"]
)
def test_whoever_closes_ssh_over_ssh_stays_in(gateway: Gateway, sshd: Path, before: tuple[str, ...]) -> None:
    assert greeted(gateway.stranger.namespace)
    with log_in(gateway, sshd) as session:
        close_ssh(gateway, session, *before, trust=True)
        config = read_config(str(gateway.config))
        assert ip_network(f"{gateway.visitor.ipv4}/32") in config.policy.trusted
        assert config.policy.services["ssh"].existing == "cut"
        start_in(gateway, session)
        goes_on(session)
        assert not greeted(gateway.stranger.namespace), "the stranger is kept out"
        assert greeted(gateway.visitor.namespace), "and the admin can come back"


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked before", "tracked from the daemon's start on"])
def test_whoever_is_not_trusted_keeps_the_connection_and_is_told_what_that_means(
    gateway: Gateway, sshd: Path, tracked: bool
) -> None:
    if not tracked:
        gateway.nft("delete table inet lab")  # without a NAT or a firewall of its own the kernel tracks no connection
    with log_in(gateway, sshd) as session:
        said = close_ssh(gateway, session, trust=False)
        assert "connections to ssh that stand go on until they end, this one too" in said
        assert "A NEW connection from there is refused" in said
        assert f"safeip grant ssh {gateway.visitor.ipv4}" in said
        config = read_config(str(gateway.config))
        assert ip_network(f"{gateway.visitor.ipv4}/32") not in config.policy.trusted
        assert config.policy.services["ssh"].existing == "keep"
        start_in(gateway, session)
        goes_on(session)
        assert not greeted(gateway.stranger.namespace), "the stranger is kept out"
        assert not greeted(gateway.visitor.namespace), "as setup said"
        gateway.cli("grant", "ssh", gateway.visitor.ipv4)
        assert greeted(gateway.visitor.namespace)


def test_over_ipv6_the_clients_home_is_trusted(gateway: Gateway, sshd: Path) -> None:
    with log_in(gateway, sshd, "2001:db8:100::1") as session:
        close_ssh(gateway, session, trust=True)
        assert ip_network("2001:db8:1::/64") in read_config(str(gateway.config)).policy.trusted
        start_in(gateway, session)
        goes_on(session)
        assert not greeted(gateway.stranger.namespace, "2001:db8:100::1")
