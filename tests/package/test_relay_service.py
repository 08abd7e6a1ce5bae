"""examples/relay where Debian has its files, under a real systemd, by the README's commands: the unit dials again however the tunnel ended."""

import http.client
import re
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certbot_host import LIVE, SERVER, anybody, certbot, first_of, live, start_pebble

from e2e.container import Container
from e2e.installed import installed
from lab.examples import EXAMPLES, example
from lab.process import wait_for

WITHIN_S = 30.0
UNIT = "relay-tunnel.service"
README = example("relay/README")


def commands(part: str) -> list[str]:
    """What the README has people type in one of its parts, without what is about other programs."""
    text = README.partition(f"\nSteps {part}")[2].partition("\n\n")[0]
    return [line.strip() for line in text.splitlines() if line.startswith(" " * 8)]


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    """Relay and home in one, which each find the other at 127.0.0.1."""
    with installed("sips") as container:
        for account in ("userdel relay-tunnel", "groupdel relay-tunnel"):
            container.shell(account, check=False)
        relay(container)
        home(container)
        yield container


def relay(host: Container) -> None:
    """Debian's sshd and its unit, with the example's file beside Debian's own."""
    host.shell("rm -f /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d/*; ssh-keygen -A")
    shutil.copy(EXAMPLES / "relay/sshd.conf", host.path("/etc/ssh/sshd_config.d/relay-tunnel.conf"))
    shutil.copy(EXAMPLES / "relay/sysctl.conf", host.path("/etc/sysctl.d/relay-tunnel.conf"))
    (add, reload, sysctl) = commands("on the relay")
    host.shell(add)
    # the second: a host that has booted only so far lets nobody in but root (pam_nologin)
    host.run("systemctl", "start", "ssh", "systemd-user-sessions")
    host.shell(reload)
    host.shell(sysctl, check=False)  # not everything may be set in a container
    assert host.run("sysctl", "-n", "net.ipv4.tcp_retries2").stdout.strip() == "8"


def home(host: Container) -> None:
    host.shell("echo 127.0.0.1 relay.example.org >>/etc/hosts")
    shutil.copy(EXAMPLES / "relay" / UNIT, host.path(f"/etc/systemd/system/{UNIT}"))
    *steps, start = commands("at home")
    for step in steps:
        if not step.startswith("useradd"):  # the relay's, here
            host.shell(step)
    key, own = (host.path(name).read_text("ascii").strip() for name in ("/etc/relay-tunnel/key.pub", "/etc/ssh/ssh_host_ed25519_key.pub"))
    line = example("relay/authorized_keys", ("ssh-ed25519 AAAA... home", key))
    files = {"/etc/ssh/relay-tunnel.keys": line, "/etc/relay-tunnel/known_hosts": f"relay.example.org {own}\n"}
    for name, text in files.items():
        host.path(name).write_text(text, "ascii")
        host.path(name).chmod(0o644)
    serve(host)
    host.shell(start)


def answers(host: Container, port: int = 8001) -> bool:
    """Whether the program at home answers at the tunnel's end on the relay."""
    with host.network.entered():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def shown(host: Container, name: str) -> str:
    return host.run("systemctl", "show", "--value", "--property", name, UNIT).stdout.strip()


def test_the_unit_runs_as_an_account_of_its_own_with_a_key_that_only_root_reads(host: Container) -> None:
    wait_for("home", lambda: answers(host), WITHIN_S)
    assert (shown(host, "User"), shown(host, "ActiveState")) == ("relay-tunnel", "active")
    assert host.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    kept = host.path("/etc/relay-tunnel/key").stat()
    assert (kept.st_mode & 0o777, kept.st_uid) == (0o600, 0)
    pid = host.host_pid(int(shown(host, "MainPID")))
    rights = dict(re.findall(r"(?m)^(\w+):\t(.*)$", Path(f"/proc/{pid}/status").read_text("utf-8")))
    assert rights["Uid"].split()[0] != "0"
    assert (rights["CapEff"], rights["CapBnd"], rights["NoNewPrivs"], rights["Seccomp"]) == ("0" * 16, "0" * 16, "1", "2")


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_systemd_starts_it_again_however_it_ended(host: Container, signal: str) -> None:
    wait_for("home", lambda: answers(host), WITHIN_S)
    before = shown(host, "MainPID")
    host.run("systemctl", "kill", f"--signal={signal}", UNIT)
    wait_for("another ssh", lambda: shown(host, "MainPID") not in {before, "0"} and answers(host), WITHIN_S)


def test_a_relay_that_is_away_for_long_is_dialled_until_it_is_back(host: Container) -> None:
    wait_for("home", lambda: answers(host), WITHIN_S)
    begin = int(shown(host, "NRestarts"))
    # and the connection that stands
    host.shell("systemctl stop ssh; pkill -KILL --exact sshd", check=False)
    wait_for("more tries", lambda: int(shown(host, "NRestarts")) >= begin + 2, 2 * WITHIN_S, 0.1)
    assert not answers(host)
    host.run("systemctl", "start", "ssh")
    wait_for("home", lambda: answers(host), WITHIN_S)


def test_while_an_old_tunnel_holds_a_port_a_new_one_is_none(host: Container) -> None:
    """ExitOnForwardFailure: it ends, and is tried again, until the port is free."""
    wait_for("home", lambda: answers(host), WITHIN_S)
    host.run("systemctl", "stop", UNIT)
    wait_for("the port to be free", lambda: not answers(host), WITHIN_S)
    host.shell("systemd-run --quiet --unit=old python3 -m http.server --bind 127.0.0.1 8002")
    wait_for("the one that holds it", lambda: answers(host, 8002), WITHIN_S)
    host.run("systemctl", "start", "--no-block", UNIT)
    begin = int(shown(host, "NRestarts"))
    wait_for("two tries", lambda: int(shown(host, "NRestarts")) >= begin + 2, WITHIN_S, 0.1)
    assert "remote port forwarding failed for listen port 8002" in host.run("journalctl", "--unit", UNIT, "--output=cat").stdout
    host.run("systemctl", "stop", "old")
    wait_for("home", lambda: answers(host), WITHIN_S)


# nginx at its place


NAME = "open.example.org"
NAMES = ("cloud.example.org", "films.example.org")


def serve(host: Container) -> None:
    """The program at home, which has the port that certbot needs on the relay."""
    host.shell("systemctl stop program", check=False)
    host.shell("systemd-run --quiet --unit=program python3 -m http.server --bind 127.0.0.1 80")


@pytest.fixture(scope="module")
def certified(host: Container) -> Container:
    """The real certbot has got the certificate from an authority by the command of certbot.ini; nginx does not run yet."""
    start_pebble(host)
    host.path("/root/certbot.ini").write_text(example("relay/certbot.ini"), "utf-8")
    found = re.search(r"(?m)^# +certbot (.*)$", example("relay/certbot.ini"))
    assert found
    host.run("systemctl", "stop", "program")
    said = certbot(host, *found[1].split(), "--server", SERVER, "--non-interactive")
    assert "safeip: the portal has the certificate of open.example.org" in said
    serve(host)
    return host


def renew(host: Container) -> None:
    """What certbot's timer does, with nothing but what certbot has kept."""
    host.run("systemctl", "stop", "program")
    certbot(host, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    serve(host)


def served(host: Container, name: str, port: int = 443) -> str:
    """The certificate that nginx shows for a name; empty where it shows none."""
    try:
        with host.network.connect("127.0.0.1", port) as plain, anybody().wrap_socket(plain, server_hostname=name) as held:
            return ssl.DER_cert_to_PEM_cert(held.getpeercert(binary_form=True) or b"")
    except OSError:
        return ""


def test_nginx_serves_what_certbot_brings_and_the_portal_gets_it_too(certified: Container) -> None:
    host = certified
    host.shell("rm /etc/nginx/sites-enabled/default")
    shutil.copy(EXAMPLES / "relay/nginx.conf", host.path("/etc/nginx/sites-available/relay"))
    host.shell("ln -s ../sites-available/relay /etc/nginx/sites-enabled/relay")
    assert "[warn]" not in host.run("nginx", "-t").stderr
    host.run("systemctl", "restart", "nginx")
    first = live(host, NAME)
    assert [served(host, name) for name in (*NAMES, NAME)] == [first, first, ""]
    with pytest.raises(OSError, match="refused"):  # nobody's but certbot's; the program at home is not nginx
        host.network.connect("127.0.0.2", 80)
    renew(host)
    assert live(host, NAME) != first
    wait_for("the new certificate", lambda: served(host, NAMES[0]) == live(host, NAME), WITHIN_S)
    assert first_of(host.path("/etc/safeip/tls/certificate.pem")) == live(host, NAME)


def test_nginx_takes_what_passes_connections_on_unopened(certified: Container) -> None:
    host = certified
    host.shell("rm -f /etc/nginx/sites-enabled/*")
    host.path("/etc/nginx/modules-enabled/80-relay.conf").write_text(example("relay/nginx-stream.conf"), "ascii")
    site = example("relay/nginx-home.conf", ("/etc/letsencrypt/live/cloud.example.org", f"{LIVE}/{NAME}"))
    host.path("/etc/nginx/sites-available/home").write_text(site, "ascii")
    host.shell("ln -s ../sites-available/home /etc/nginx/sites-enabled/home")
    assert "[warn]" not in host.run("nginx", "-t").stderr
    # the tunnel's end is here as well
    unit = host.path(f"/etc/systemd/system/{UNIT}")
    unit.write_text(example(f"relay/{UNIT}", ("127.0.0.1:8001:127.0.0.1:80 ", "127.0.0.1:8001:127.0.0.1:8444 ")), "ascii")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "nginx", UNIT)
    wait_for("home's certificate", lambda: served(host, NAMES[0]) == live(host, NAME), WITHIN_S)
    assert [served(host, name) for name in (NAMES[1], NAME)] == [live(host, NAME), ""]
