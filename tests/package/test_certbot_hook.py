"""The deploy hook as certbot calls it, with pairs of the real openssl: what it takes, what it refuses, what stays."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.container import Container
from e2e.installed import installed

HOOK = "/usr/share/safeip/certbot-deploy-hook"
TLS = "/etc/safeip/tls"
LIVE = "/etc/letsencrypt/live"


@pytest.fixture(scope="module")
def host() -> Iterator[Container]:
    with installed("siph") as container:
        container.run("mkdir", "-p", LIVE)
        for name in ("one", "two"):
            pair(container, name)
        yield container


@pytest.fixture
def held(host: Container) -> Iterator[Container]:
    """The portal has the pair `one`."""
    host.run("rm", "-rf", TLS)
    assert hook(host, "one").returncode == 0
    yield host
    host.run("umount", TLS, check=False)


def pair(host: Container, name: str) -> None:
    host.run("mkdir", f"{LIVE}/{name}")
    host.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
        "-subj", f"/CN={name}.test", "-keyout", f"{LIVE}/{name}/privkey.pem", "-out", f"{LIVE}/{name}/fullchain.pem",
    )  # fmt: skip


def hook(host: Container, name: str | None, *around: str) -> "subprocess.CompletedProcess[str]":
    lineage = [] if name is None else [f"RENEWED_LINEAGE={LIVE}/{name}"]
    return host.run(*around, "env", *lineage, f"RENEWED_DOMAINS={name}.test www.{name}.test", HOOK, check=False)


def content(host: Container) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in host.path(TLS).iterdir()}


def of(host: Container, name: str) -> dict[str, str]:
    live = host.path(f"{LIVE}/{name}")
    return {"certificate.pem": (live / "fullchain.pem").read_text("utf-8"), "key.pem": (live / "privkey.pem").read_text("utf-8")}


def test_a_pair_is_taken_and_is_the_portals_alone(host: Container) -> None:
    host.run("rm", "-rf", TLS)
    for name in ("one", "two", "two"):
        done = hook(host, name, "sh", "-c", 'umask 000; exec "$@"', "sh")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"safeip: the portal has the certificate of {name}.test www.{name}.test\n"
        assert content(host) == of(host, name)
        told = host.run("stat", "-c", "%n %U:%G %a", TLS, f"{TLS}/certificate.pem", f"{TLS}/key.pem").stdout
        assert told == (
            f"{TLS} root:safeip-portal 750\n{TLS}/certificate.pem root:safeip-portal 640\n{TLS}/key.pem root:safeip-portal 640\n"
        )
    for user, may in (("safeip-portal", True), ("safeip", False), ("nobody", False)):
        done = host.run("setpriv", f"--reuid={user}", "--regid", user if may else "nogroup", "--clear-groups", "cat", f"{TLS}/key.pem", check=False)
        assert (done.returncode == 0) == may


def broken(change: Callable[[Path], object]) -> Callable[[Container], None]:
    def do(host: Container) -> None:
        host.run("rm", "-rf", f"{LIVE}/bad")
        host.run("cp", "-r", f"{LIVE}/two", f"{LIVE}/bad")
        change(host.path(f"{LIVE}/bad"))

    return do


def encrypt(bad: Path) -> None:
    command = ["openssl", "pkey", "-in", bad / "privkey.pem", "-aes128", "-passout", "pass:secret", "-out", bad / "new"]
    subprocess.run(command, check=True)
    (bad / "new").rename(bad / "privkey.pem")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda bad: (bad / "privkey.pem").write_bytes((bad.parent / "one/privkey.pem").read_bytes()), "privkey.pem is not the key of"),
        (lambda bad: (bad / "privkey.pem").unlink(), "privkey.pem is missing or empty"),
        (lambda bad: (bad / "fullchain.pem").unlink(), "fullchain.pem is missing or empty"),
        (lambda bad: (bad / "fullchain.pem").write_text(""), "fullchain.pem is missing or empty"),
        (lambda bad: (bad / "fullchain.pem").write_text("hello\n"), "fullchain.pem is no certificate"),
        (lambda bad: (bad / "privkey.pem").write_text("hello\n"), "privkey.pem is no key without a password"),
        (encrypt, "privkey.pem is no key without a password"),
    ],
)
def test_what_is_no_pair_is_refused_and_the_old_one_stays(held: Container, change: Callable[[Path], object], says: str) -> None:
    broken(change)(held)
    before = content(held)
    done = hook(held, "bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.endswith("; the portal keeps the certificate that it has\n")
    assert done.stderr.count("\n") == 1
    assert content(held) == before == of(held, "one")


def test_by_hand_it_says_what_it_is(held: Container) -> None:
    done = hook(held, None)
    assert done.returncode == 1
    assert done.stderr.startswith("safeip: RENEWED_LINEAGE is not set; this is a deploy hook of certbot; ")
    assert content(held) == of(held, "one")


@pytest.mark.parametrize(("pages", "missing"), [(2, "key"), (3, "certificate")])
def test_a_full_disk_keeps_the_old_pair(held: Container, pages: int, missing: str) -> None:
    # a disk of its own, where each file takes a page of 4 KiB
    disk = f"mount -t tmpfs -o size={4 * pages}k,mode=750 tls {TLS}"
    held.shell(f"mv {TLS} {TLS}.old && mkdir {TLS} && {disk} && cp -a {TLS}.old/. {TLS} && rm -rf {TLS}.old")
    before = content(held)
    done = hook(held, "two")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.endswith(f"safeip: {TLS}/{missing}.pem could not be written; the portal keeps the certificate that it has\n")
    assert content(held) == before == of(held, "one")
    held.run("mount", "-o", "remount,size=16k", TLS)
    assert hook(held, "two").returncode == 0
    assert content(held) == of(held, "two")


@pytest.mark.parametrize("there", [True, False])
def test_a_certificate_that_cannot_be_replaced_leaves_the_old_key(held: Container, there: bool) -> None:
    """Between the two renames: a directory stands where the certificate goes."""
    held.shell(f"rm {TLS}/certificate.pem; mkdir -p {TLS}/certificate.pem/.certificate.pem.new/x" + ("" if there else f"; rm {TLS}/key.pem"))
    done = hook(held, "two")
    assert done.returncode == 1
    assert f"{TLS}/certificate.pem could not be replaced" in done.stderr
    assert {path.name for path in held.path(TLS).iterdir()} == {"certificate.pem", *(["key.pem"] if there else [])}
    if there:
        assert held.path(f"{TLS}/key.pem").read_text("utf-8") == of(held, "one")["key.pem"]
