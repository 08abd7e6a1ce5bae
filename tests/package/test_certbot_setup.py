"""`safeip setup` has the real certbot obtain the portal's certificate from a real ACME server; whatever fails leaves what was."""

import http.client
import json
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator

import pyotp
import pytest
from certbot_host import (
    SERVER,
    TLS,
    TRUSTED,
    Visit,
    anybody,
    certbot,
    live,
    renew_beside,
    served,
    shown,
    start_pebble,
    warnings,
)

from e2e.container import Container
from e2e.installed import installed
from lab.process import wait_for
from lab.terminal import Terminal

CONFIG = "/etc/safeip/safeip.toml"
LOG = "/var/log/letsencrypt/letsencrypt.log"
WRITTEN = f'tls = {{ certificate = "{TLS}/certificate.pem", key = "{TLS}/key.pem" }}'
OBTAIN = "Obtain it now, and agree to the authority's terms of use? (yes or no) [yes]: "
START = "Start SafeIP now? (yes or no) [yes]: "
PASSWORD = "vivid otter ladder 81"


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    """A host with nothing configured but where certbot's authority is."""
    with installed("sipj") as container:
        start_pebble(container)
        container.path("/etc/letsencrypt/cli.ini").write_text(f"server = {SERVER}\n", "utf-8")
        yield container


@pytest.fixture
def runs(host: Container) -> Iterator[Container]:
    """SafeIP runs with its own certificate, and certbot has none for it."""
    host.shell(f"rm -rf {TLS} {CONFIG}.* /etc/letsencrypt/live/* /etc/letsencrypt/archive/* /etc/letsencrypt/renewal/*")
    configure(host)
    host.run("systemctl", "restart", "safeip")
    yield host
    host.shell("nft delete table inet test; systemctl stop web; chmod 755 /etc/safeip", check=False)


def configure(host: Container, tls: str = 'tls = "auto"', ports: str = "tcp/8096", name: str = "home.test") -> None:
    text = f'[portal] # here\nurl = "https://{name}:8443"\n{tls}\n\n[services.films]\ntitle = "Films"\nports = ["{ports}"]\n'
    host.path(CONFIG).write_text(text, "utf-8")


def obtain(host: Container, *words: str) -> tuple[int, str, str]:
    """Unattended; the exit code, and what was said on both outputs."""
    done = host.run("env", TRUSTED, "safeip", "setup", "--certificate", *words, check=False, timeout=180)
    return done.returncode, done.stdout, done.stderr


def setup(host: Container) -> Terminal:
    return host.terminal("setsid", "--ctty", "--wait", "env", TRUSTED, "safeip", "setup")


def enrol(terminal: Terminal) -> None:
    terminal.answer("Name of the admin", "yves")
    terminal.answer("Password of yves", PASSWORD)
    terminal.answer("The same again: ", PASSWORD)
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", terminal.read("The six digits that the app shows now: "))
    assert found
    terminal.type(pyotp.TOTP(found[1]).now())


def leads(host: Container, name: str, address: str) -> None:
    """Have the name server say where a name leads."""
    asked = urllib.request.Request("http://127.0.0.1:8055/add-a", json.dumps({"host": f"{name}.", "addresses": [address]}).encode())
    with host.network.entered(), urllib.request.urlopen(asked, timeout=20) as answer:
        assert answer.status == 200


def page(host: Container, name: str = "home.test") -> str:
    """The portal's first page, as a browser gets it that trusts the authority and nobody else."""
    with host.network.entered():
        roots = http.client.HTTPSConnection("127.0.0.1", 15000, timeout=20, context=anybody())
        roots.request("GET", "/roots/0")
        trust = ssl.create_default_context(cadata=roots.getresponse().read().decode("ascii"))
        roots.close()
        connection = http.client.HTTPSConnection(name, 8443, timeout=20)
        connection.sock = trust.wrap_socket(socket.create_connection(("127.0.0.1", 8443), 20), server_hostname=name)
        connection.request("GET", "/")
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
    assert answer.status == 200
    return text


def state(host: Container) -> tuple[object, ...]:
    """What must not change where no certificate is obtained."""
    files = sorted(path.name for path in host.path("/etc/safeip").iterdir())
    return host.path(CONFIG).read_bytes(), files, shown(host, "MainPID"), shown(host, "ActiveState"), served(host)


def nobody_listens(host: Container) -> bool:
    return ":80 " not in host.run("ss", "--listening", "--tcp", "--numeric").stdout


def test_setup_asked_at_the_terminal_ends_with_a_portal_that_browsers_trust(host: Container) -> None:
    with setup(host) as terminal:
        terminal.answer("as seen from the Internet [", "home.test")
        terminal.answer("Port on which the portal listens [8443]: ", "")
        terminal.answer("Other ports to close", "tcp/8096")
        for question in ("Name of the service", "Title", "URL to which people go", "Networks that are never"):
            terminal.answer(question, "films" if question == "Name of the service" else "")
        enrol(terminal)
        before = terminal.read(OBTAIN)
        assert "trust for home.test, and renew it" in before
        assert "to tcp/80 from anywhere" in before
        terminal.type("")
        terminal.answer("E-mail address for the authority, or none [none]: ", "not an address")
        terminal.answer("Write an e-mail address, or none.", "")
        terminal.answer(START, "", 120)
        assert terminal.wait(60) == 0
        said = terminal.shown.partition(OBTAIN)[2]
    assert f"Written: portal.tls of {CONFIG}" in said
    assert "The browser warns" not in said
    assert WRITTEN in host.path(CONFIG).read_text("utf-8").splitlines()
    assert served(host) == live(host, "safeip")
    assert "SafeIP" in page(host)
    assert (host.run("safeip", "check", check=False).stderr, warnings(host)) == ("", [])
    modes = host.shell(f"stat -c '%U %G %a' {TLS} {TLS}/*").splitlines()
    assert modes == ["root safeip-portal 750", "root safeip-portal 640", "root safeip-portal 640"]


def test_it_is_renewed_by_itself_with_the_daemon_up(host: Container) -> None:
    """As certbot's timer does it: what setup asked for is what certbot remembers."""
    process, before = shown(host, "MainPID"), live(host, "safeip")
    visit = Visit(host)
    renew_beside(host, visit)
    assert served(host) == live(host, "safeip") != before
    assert visit.goes_on()
    visit.close()
    assert "SafeIP" in page(host)
    assert shown(host, "MainPID") == process
    assert warnings(host) == []


def test_another_name_is_taken_in_without_a_restart(host: Container) -> None:
    config = host.path(CONFIG)
    config.write_text(config.read_text("utf-8").replace("listen = ", 'url_ipv4 = "https://four.home.test:8443"\nlisten = ', 1), "utf-8")
    before, process = config.read_bytes(), shown(host, "MainPID")
    assert obtain(host)[0] == 0
    assert served(host) == live(host, "safeip")
    assert all("SafeIP" in page(host, name) for name in ("home.test", "four.home.test"))
    assert (config.read_bytes(), shown(host, "MainPID")) == (before, process)
    obtained = served(host)
    assert obtain(host)[0] == 0
    assert served(host) == obtained, "an authority is not asked twice for what is there"


def test_unattended_it_restarts_what_runs(runs: Container) -> None:
    runs.run("safeip", "grant", "films", "192.0.2.7")
    code, said, wrong = obtain(runs, "--email", "yves@home.test")
    assert (code, "Written: portal.tls" in said) == (0, True), said + wrong
    assert WRITTEN in runs.path(CONFIG).read_text("utf-8").splitlines()
    [copy] = runs.path("/etc/safeip").glob("safeip.toml.*")
    assert 'tls = "auto"' in copy.read_text("utf-8")
    assert served(runs) == live(runs, "safeip")
    assert "SafeIP" in page(runs)
    assert "192.0.2.7" in runs.run("safeip", "grants").stdout


def test_a_file_without_the_key_gets_it_under_portal(runs: Container) -> None:
    configure(runs, tls="")
    assert obtain(runs)[0] == 0
    assert runs.path(CONFIG).read_text("utf-8").splitlines()[:2] == ["[portal] # here", WRITTEN]
    assert served(runs) == live(runs, "safeip")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda host: leads(host, "wrong.test", "192.0.2.1") or configure(host, name="wrong.test"), "certbot obtained no certificate, as it says above"),
        (
            lambda host: host.shell("nft 'add table inet test { chain input { type filter hook input priority 0; tcp dport 80 reject with tcp reset; }; }'"),
            "certbot obtained no certificate, as it says above",
        ),
        (lambda host: configure(host, ports="tcp/70-90"), "films holds tcp/80, to which the certificate's authority comes from anywhere"),
        (lambda host: configure(host, name="203.0.113.7"), "have to have full names in them"),
        (lambda host: configure(host, name="home"), "have to have full names in them"),
        (lambda host: configure(host, tls='tls = "off"'), "is neither"),
        (lambda host: configure(host, tls='"tls" = "auto"'), f"the certificate is there; write in {CONFIG}, under [portal]: {WRITTEN}"),
        (lambda host: host.shell("chmod 700 /etc/safeip"), f'"{TLS}/certificate.pem" may not be read by the user safeip-portal'),
        (lambda host: host.shell(f"rm -rf {TLS}; touch {TLS}"), f"{TLS} could not be made; the portal keeps the certificate that it has"),
    ],
    ids=["a name that leads elsewhere", "tcp/80 closed", "a service at tcp/80", "an address", "no full name", "off", "another hand's file", "a closed place", "no place"],
)  # fmt: skip
def test_what_fails_leaves_what_was(runs: Container, spoil: object, says: str) -> None:
    spoil(runs)  # type: ignore[operator]
    before = state(runs)
    code, said, wrong = obtain(runs)
    assert (code, "Written" in said) == (1, False), said + wrong
    last = wrong.splitlines()[-1]
    assert says in last
    assert last.startswith("safeip: ")
    assert (LOG in last) == ("certbot obtained" in says)
    after = state(runs)
    if "write in" in says or "may not" in says:
        before, after = before[:1] + before[2:], after[:1] + after[2:]  # the pair is there by now, and not used
    assert after == before
    assert nobody_listens(runs)


def test_an_authority_is_not_asked_for_what_cannot_be(runs: Container) -> None:
    configure(runs, ports="tcp/80")
    runs.shell(f"rm -f {LOG}")
    assert obtain(runs)[0] == 1
    assert not runs.path(LOG).exists(), "certbot did not run"


def test_without_certbot_it_is_named(runs: Container) -> None:
    before = state(runs)
    done = runs.run("env", "PATH=/usr/sbin", "/usr/sbin/safeip", "setup", "--certificate", check=False)
    assert (done.returncode, done.stderr) == (1, "safeip: certbot is not there: apt install certbot, then safeip setup --certificate\n")
    assert obtain(runs, "--certbot", "/nowhere/certbot")[2] == "safeip: /nowhere/certbot cannot be run: No such file or directory\n"
    assert state(runs) == before
    assert obtain(runs, "--certbot", "/usr/bin/certbot")[0] == 0


def test_beside_a_web_server_it_is_laid_where_that_serves(runs: Container) -> None:
    runs.run("mkdir", "-p", "/srv/web")
    runs.run("systemd-run", "--quiet", "--unit=web", "/usr/bin/python3", "-m", "http.server", "80", "--directory", "/srv/web")
    wait_for("the web server", lambda: not nobody_listens(runs), 30)
    before = state(runs)
    code, _, wrong = obtain(runs)
    assert (code, wrong.startswith("safeip: a web server listens on tcp/80: name with --webroot")) == (1, True), wrong
    assert state(runs) == before
    code, said, wrong = obtain(runs, "--webroot", "/srv/web")
    assert code == 0, said + wrong
    assert served(runs) == live(runs, "safeip")
    certbot(runs, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert served(runs) == live(runs, "safeip")


def test_a_restart_that_fails_puts_back_what_was(runs: Container) -> None:
    before = runs.path(CONFIG).read_bytes()
    people = runs.path("/var/lib/safeip/portal/state.json")
    good = people.read_bytes()
    people.write_bytes(b"{")
    code, _, wrong = obtain(runs)
    people.write_bytes(good)
    assert code == 1
    assert f"safeip: SafeIP did not start with it, and {CONFIG} is as it was:\n" in wrong
    assert "state.json" in wrong, "what the daemon said"
    assert runs.path(CONFIG).read_bytes() == before
    assert not list(runs.path("/etc/safeip").glob("safeip.toml.*"))


def test_whoever_interrupts_certbot_has_what_they_had(runs: Container) -> None:
    runs.shell("nft 'add table inet test { chain input { type filter hook input priority 0; tcp dport 80 drop; }; }'")
    before = state(runs)
    with setup(runs) as terminal:
        if json.loads(runs.run("safeip", "person", "list", "--json").stdout) == []:
            enrol(terminal)
        terminal.answer(OBTAIN, "")
        terminal.answer("E-mail address", "")
        wait_for("certbot's own server", lambda: not nobody_listens(runs), 120)
        terminal.interrupt()
        assert terminal.wait(60) == 0
        assert "The browser warns" in terminal.shown.partition("What comes next:")[2]
    assert nobody_listens(runs)
    assert state(runs) == before
    runs.run("nft", "delete", "table", "inet", "test")
    with setup(runs) as terminal:
        terminal.answer(OBTAIN, "")
        terminal.answer("E-mail address", "")
        terminal.answer("SafeIP runs. Restart it now, so that it does what you answered? (yes or no) [yes]: ", "", 120)
        assert terminal.wait(60) == 0
    assert served(runs) == live(runs, "safeip")


@pytest.mark.parametrize("renewed", [True, False])
def test_what_nothing_would_renew_is_told(runs: Container, renewed: bool) -> None:
    runs.run("systemctl", "start" if renewed else "stop", "certbot.timer")
    said = obtain(runs)[1]
    assert ("Nothing renews it yet: systemctl enable --now certbot.timer" in said) is not renewed


def test_an_end_that_comes_near_is_told_wherever_somebody_looks(runs: Container) -> None:
    assert obtain(runs)[0] == 0
    for began_d, told in ((79, None), (81, " ends on "), (95, " ended on ")):
        runs.run(
            "faketime", "-f", f"-{began_d}d", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
            "-days", "90", "-subj", "/CN=home.test", "-keyout", f"{TLS}/key.pem", "-out", f"{TLS}/certificate.pem",
        )  # fmt: skip
        runs.shell(f"chgrp safeip-portal {TLS}/*; chmod 640 {TLS}/*")
        checked = runs.run("safeip", "check").stdout.splitlines()
        warned = [line.removeprefix("warning: ") for line in checked if line.startswith("warning: ")]
        assert warnings(runs) == warned
        if told is None:
            assert warned == []
        else:
            [warning] = warned
            assert warning.startswith(f'portal.tls.certificate: "{TLS}/certificate.pem"{told}')
            assert LOG in warning
