"""The real certbot, an ACME server that tests what such programs do (pebble), and the portal that takes the certificate up."""

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.container import Container
from e2e.installed import installed
from lab.process import wait_for

HOOK = "/usr/share/safeip/certbot-deploy-hook"
TLS = "/etc/safeip/tls"
LIVE = "/etc/letsencrypt/live/home.test"
PEBBLE = "/run/pebble"
CONFIG = f"""\
[portal]
url = "https://home.test:8443"
tls = {{ certificate = "{TLS}/certificate.pem", key = "{TLS}/key.pem" }}

[services.cloud]
title = "Cloud"
ports = ["tcp/443"]
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    """A host that is configured for files that are not there yet. Its name server says that everything is here."""
    with installed("sipc") as container:
        container.path("/etc/safeip/safeip.toml").write_text(CONFIG, "utf-8")
        drop_in = container.path("/run/systemd/system/safeip.service.d")
        drop_in.mkdir()
        (drop_in / "test.conf").write_text("[Service]\nWatchdogSec=10s\n", "utf-8")
        start_pebble(container)
        yield container


def start_pebble(host: Container) -> None:
    place = host.path(PEBBLE)
    place.mkdir()
    host.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", f"{PEBBLE}/key.pem", "-out", f"{PEBBLE}/cert.pem",
    )  # fmt: skip
    settings = {
        "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": f"{PEBBLE}/cert.pem",
        "privateKey": f"{PEBBLE}/key.pem", "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps({"pebble": settings}), "utf-8")
    quick = ("--setenv=PEBBLE_VA_NOSLEEP=1", "--setenv=PEBBLE_WFE_NONCEREJECT=0")
    names = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-dns01", "127.0.0.1:8053", "-management", "127.0.0.1:8055")
    host.run("systemd-run", "--quiet", "--unit=names", "pebble-challtestsrv", *names, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
    host.run("systemd-run", "--quiet", "--unit=pebble", *quick, "pebble", "-config", f"{PEBBLE}/config.json", "-dnsserver", "127.0.0.1:8053")

    def answers() -> bool:
        with host.network.entered():
            connection = http.client.HTTPSConnection("127.0.0.1", 14000, timeout=5, context=anybody())
            try:
                connection.request("GET", "/dir")
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

    wait_for("pebble", answers, 30, 0.1)


def certbot(host: Container, *words: str) -> str:
    done = host.run("env", f"REQUESTS_CA_BUNDLE={PEBBLE}/cert.pem", "certbot", *words, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr + host.shell("tail -50 /var/log/letsencrypt/letsencrypt.log; journalctl -u pebble | tail -50", check=False)
    return done.stdout + done.stderr


def anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Visit:
    """A connection to the portal that stays."""

    def __init__(self, host: Container) -> None:
        with host.network.entered():
            self._connection = http.client.HTTPSConnection("127.0.0.1", 8443, timeout=20, context=anybody())
            self._connection.connect()
        held = self._connection.sock
        assert isinstance(held, ssl.SSLSocket)
        self.port = held.getsockname()[1]
        self.certificate = ssl.DER_cert_to_PEM_cert(held.getpeercert(binary_form=True) or b"")

    def goes_on(self) -> bool:
        self._connection.request("GET", "/healthz", headers={"Host": "home.test:8443"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status == 200 and self._connection.sock is not None and self._connection.sock.getsockname()[1] == self.port

    def close(self) -> None:
        self._connection.close()


def served(host: Container) -> str:
    visit = Visit(host)
    visit.close()
    return visit.certificate


def first_of(path: Path) -> str:
    """The certificate itself, without its chain."""
    return path.read_text("utf-8").partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"


def live(host: Container) -> str:
    return first_of(host.path(host.run("readlink", "-f", f"{LIVE}/fullchain.pem").stdout.strip()))


def shown(host: Container, name: str) -> str:
    return host.run("systemctl", "show", "--value", "--property", name, "safeip").stdout.strip()


def warnings(host: Container) -> list[str]:
    return re.findall(r"(?m)^warning: +(.*)$", host.run("safeip", "status").stdout)


def checked(host: Container) -> list[str]:
    return host.run("safeip", "check", check=False).stderr.splitlines()


def ends_for_good(host: Container) -> str:
    """The start fails and is not tried again; what the daemon said."""
    host.run("systemctl", "restart", "safeip", check=False)
    assert (shown(host, "ActiveState"), shown(host, "ExecMainStatus"), shown(host, "NRestarts")) == ("failed", "78", "0")
    return host.run("journalctl", "--sync", "--unit=safeip", "--output=cat", "--no-pager", check=False).stdout + host.run(
        "journalctl", "--unit=safeip", "--output=cat", "--no-pager").stdout


def test_files_that_are_not_there_yet_are_told_by_check_and_by_the_start(host: Container) -> None:
    wanted = [
        f'safeip: /etc/safeip/safeip.toml: portal.tls.{key}: "{TLS}/{key}.pem": there is no such file; name one, or write tls = "auto"'
        for key in ("certificate", "key")
    ]
    assert checked(host) == wanted
    assert all(line in ends_for_good(host) for line in wanted)


def test_a_certificate_is_obtained_served_and_renewed_without_a_restart(host: Container) -> None:
    obtained = certbot(
        host, "certonly", "--standalone", "--non-interactive", "--agree-tos", "--register-unsafely-without-email",
        "--server", "https://localhost:14000/dir", "--domain", "home.test", "--deploy-hook", HOOK,
    )  # fmt: skip
    assert "safeip: the portal has the certificate of home.test" in obtained
    assert checked(host) == []
    host.run("systemctl", "start", "safeip")
    process = shown(host, "MainPID")
    first = live(host)
    assert served(host) == first
    visit = Visit(host)
    for _ in range(2):
        before = live(host)
        certbot(host, "renew", "--force-renewal", "--no-random-sleep-on-renew")
        now = live(host)
        assert now != before
        assert served(host) == now
        assert visit.goes_on(), "what was begun with the old certificate goes on"
        assert visit.certificate == first
    visit.close()
    assert shown(host, "MainPID") == process
    assert warnings(host) == []


def test_a_wrong_pair_is_not_taken_up_and_is_told_wherever_somebody_looks(host: Container) -> None:
    good = live(host)
    assert served(host) == good
    key, kept = host.path(f"{TLS}/key.pem"), host.path(f"{TLS}/key.pem").read_bytes()
    host.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "/run/other.pem")
    key.write_bytes(host.path("/run/other.pem").read_bytes())
    wrong = f'portal.tls.key: "{TLS}/key.pem" is not the key of "{TLS}/certificate.pem"; '
    [warning] = warnings(host)
    assert warning.startswith(wrong)
    assert warning.endswith("; the certificate read before stays in use")
    assert host.run("safeip", "status", "--json").stdout.count("is not the key of") == 1
    assert served(host) == good
    host.run("journalctl", "--sync")
    assert host.run("journalctl", "--unit=safeip", "--output=cat", "--no-pager").stdout.count(warning) == 1
    wait_for("the status line", lambda: "newer certificate files are not taken up" in shown(host, "StatusText"), 60)
    assert checked(host) == [f"safeip: /etc/safeip/safeip.toml: {warning.removesuffix('; the certificate read before stays in use')}"]
    reloaded = host.run("systemctl", "reload", "safeip", check=False)
    assert reloaded.returncode != 0, "safeip check stands before it"
    host.run("env", f"RENEWED_LINEAGE={LIVE}", HOOK)
    assert key.read_bytes() == kept
    assert warnings(host) == []
    wait_for("the status line", lambda: "newer" not in shown(host, "StatusText"), 60)
    host.run("systemctl", "reload", "safeip")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (f"chmod 600 {TLS}/key.pem", f'portal.tls.key: "{TLS}/key.pem" may not be read by the user safeip-portal; '),
        (f"chgrp root {TLS}", f'portal.tls.certificate: "{TLS}/certificate.pem" may not be read by the user safeip-portal; '),
        (f"cp /run/other.pem {TLS}/key.pem", f'portal.tls.key: "{TLS}/key.pem" is not the key of "{TLS}/certificate.pem"; '),
        (f"echo hello >{TLS}/certificate.pem", f'portal.tls.certificate: "{TLS}/certificate.pem" is no certificate in PEM; '),
    ],
)
def test_what_the_portal_cannot_begin_with_is_told_by_check_and_by_the_start(host: Container, spoil: str, says: str) -> None:
    host.shell(spoil)
    [line] = checked(host)
    assert line.startswith(f"safeip: /etc/safeip/safeip.toml: {says}")
    assert f"safeip: {says}" in ends_for_good(host)
    host.run("env", f"RENEWED_LINEAGE={LIVE}", HOOK)
    assert checked(host) == []
    host.run("systemctl", "start", "safeip")
    assert served(host) == live(host)


def test_a_directory_that_was_made_anew_needs_a_restart_and_says_so(host: Container) -> None:
    """The portal's cell holds the directory that it was given."""
    good = served(host)
    host.run("rm", "-r", TLS)
    host.run("env", f"RENEWED_LINEAGE={LIVE}", HOOK)
    certbot(host, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert served(host) == good
    [warning] = warnings(host)
    assert "may not be read by the user safeip-portal; " in warning
    assert "restart SafeIP" in warning
    assert checked(host) == []
    host.run("systemctl", "restart", "safeip")
    assert served(host) == live(host) != good
