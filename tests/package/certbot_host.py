"""A host with the real certbot and an ACME server that tests what such programs do (pebble), and the portal as it is seen there."""

import http.client
import json
import re
import ssl
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from e2e.container import Container
from lab.process import wait_for

TLS = "/etc/safeip/tls"
LIVE = "/etc/letsencrypt/live"
PEBBLE = "/run/pebble"
TRUSTED = f"REQUESTS_CA_BUNDLE={PEBBLE}/cert.pem"
SERVER = "https://localhost:14000/dir"


def start_pebble(host: Container) -> None:
    """Start it, and a name server that says that everything is here."""
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
    # the second: it asks each time, also for what it has seen a moment ago
    quick = [f"--setenv=PEBBLE_{name}" for name in ("VA_NOSLEEP=1", "AUTHZREUSE=0", "WFE_NONCEREJECT=0")]
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
    done = host.run("env", TRUSTED, "certbot", *words, check=False, timeout=120)
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


def renew_beside(host: Container, visit: Visit) -> None:
    """As certbot's timer does it, while a visitor's connection goes on: the portal ends one that falls silent."""
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(certbot, host, "renew", "--force-renewal", "--no-random-sleep-on-renew")
        while not renewing.done():
            assert visit.goes_on()
            wait([renewing], 5)
        renewing.result()


def served(host: Container) -> str:
    visit = Visit(host)
    visit.close()
    return visit.certificate


def first_of(path: Path) -> str:
    """The certificate itself, without its chain."""
    return path.read_text("utf-8").partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"


def live(host: Container, name: str) -> str:
    """What certbot has obtained under that name last."""
    return first_of(host.path(host.run("readlink", "-f", f"{LIVE}/{name}/fullchain.pem").stdout.strip()))


def shown(host: Container, name: str) -> str:
    return host.run("systemctl", "show", "--value", "--property", name, "safeip").stdout.strip()


def warnings(host: Container) -> list[str]:
    return re.findall(r"(?m)^warning: +(.*)$", host.run("safeip", "status").stdout)


def checked(host: Container) -> list[str]:
    return host.run("safeip", "check", check=False).stderr.splitlines()
