"""The real certbot, an ACME server that tests what such programs do (pebble), and the portal that takes the certificate up."""

from collections.abc import Iterator

import pytest
from certbot_host import (
    LIVE,
    SERVER,
    TLS,
    Visit,
    certbot,
    checked,
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

HOOK = "/usr/share/safeip/certbot-deploy-hook"
NAME = "home.test"
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
    """A host that is configured for files that are not there yet."""
    with installed("sipc") as container:
        container.path("/etc/safeip/safeip.toml").write_text(CONFIG, "utf-8")
        drop_in = container.path("/run/systemd/system/safeip.service.d")
        drop_in.mkdir()
        (drop_in / "test.conf").write_text("[Service]\nWatchdogSec=10s\n", "utf-8")
        start_pebble(container)
        yield container


def ends_for_good(host: Container) -> str:
    """The start fails and is not tried again; what the daemon said."""
    host.run("systemctl", "restart", "safeip", check=False)
    wait_for("the end", lambda: shown(host, "ActiveState") == "failed", 60)
    assert (shown(host, "ExecMainStatus"), shown(host, "NRestarts")) == ("78", "0")
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
        "--server", SERVER, "--domain", NAME, "--deploy-hook", HOOK,
    )  # fmt: skip
    assert "safeip: the portal has the certificate of home.test" in obtained
    assert checked(host) == []
    host.run("systemctl", "start", "safeip")
    process = shown(host, "MainPID")
    first = live(host, NAME)
    assert served(host) == first
    visit = Visit(host)
    for _ in range(2):
        before = live(host, NAME)
        renew_beside(host, visit)
        now = live(host, NAME)
        assert now != before
        assert served(host) == now
        assert visit.goes_on(), "what was begun with the old certificate goes on"
        assert visit.certificate == first
    visit.close()
    assert shown(host, "MainPID") == process
    assert warnings(host) == []


def test_a_wrong_pair_is_not_taken_up_and_is_told_wherever_somebody_looks(host: Container) -> None:
    good = live(host, NAME)
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
    host.run("env", f"RENEWED_LINEAGE={LIVE}/{NAME}", HOOK)
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
    host.run("env", f"RENEWED_LINEAGE={LIVE}/{NAME}", HOOK)
    assert checked(host) == []
    host.run("systemctl", "start", "safeip")
    assert served(host) == live(host, NAME)


def test_a_directory_that_was_made_anew_needs_a_restart_and_says_so(host: Container) -> None:
    """The portal's cell holds the directory that it was given."""
    good = served(host)
    host.run("rm", "-r", TLS)
    host.run("env", f"RENEWED_LINEAGE={LIVE}/{NAME}", HOOK)
    certbot(host, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert served(host) == good
    [warning] = warnings(host)
    assert "may not be read by the user safeip-portal; " in warning
    assert "restart SafeIP" in warning
    assert checked(host) == []
    host.run("systemctl", "restart", "safeip")
    assert served(host) == live(host, NAME) != good
