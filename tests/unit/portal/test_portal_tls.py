"""TLS with real certificates and the real openssl program."""

import asyncio
import logging
import os
import shutil
import ssl
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from portal_house import SERVICES, in_loop

from portal import tls
from portal.settings import Files, Settings
from portal.tls import Certificate, FilesError, TlsError, server_certificate


def settings(tmp_path: Path, **values: Any) -> Settings:
    base = Settings(
        url="https://open.example.org:8443", listen=(), services=SERVICES, state_dir=str(tmp_path)
    )
    return replace(base, **values)


def server_context(chosen: Settings) -> ssl.SSLContext | None:
    certificate = server_certificate(chosen)
    return None if certificate is None else certificate.context


def make_pair(folder: Path, name: str) -> Files:
    folder.mkdir(exist_ok=True)
    files = Files(str(folder / "cert.pem"), str(folder / "key.pem"))
    tls._make(files, {f"DNS:{name}"})
    return files


def names(certificate: str) -> str:
    command = ["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName,basicConstraints"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def served_name(port: int, *, sni: str | None = "any.example") -> str:
    """The certificate that a new connection meets, as the file it must be equal to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=sni or "")
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    version = writer.get_extra_info("ssl_object").version()
    assert version in {"TLSv1.2", "TLSv1.3"}
    writer.close()
    await writer.wait_closed()
    return ssl.DER_cert_to_PEM_cert(found)


def pem(path: str) -> str:
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(Path(path).read_text()))


async def listen(context: ssl.SSLContext | None) -> asyncio.Server:
    return await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)


@in_loop
async def test_auto_is_made_once_and_kept(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    context = server_context(chosen)
    certificate, key = tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert sorted(file.name for file in key.parent.iterdir()) == ["certificate.pem", "key.pem"]
    assert "DNS:open.example.org" in names(str(certificate))
    assert "CA:FALSE" in names(str(certificate))
    before = certificate.read_bytes(), key.read_bytes()
    server_context(chosen)
    assert (certificate.read_bytes(), key.read_bytes()) == before
    async with await listen(context) as server:
        assert await served_name(server.sockets[0].getsockname()[1]) == pem(str(certificate))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.1", "IP Address:192.0.2.1"),
        ("[2001:db8::1]", "IP Address:2001:DB8:0:0:0:0:0:1"),
        ("x.test", "DNS:x.test"),
    ],
)
def test_auto_is_made_anew_for_another_host(tmp_path: Path, host: str, name: str) -> None:
    server_context(settings(tmp_path))
    chosen = settings(tmp_path, url=f"https://{host}:8443")
    server_context(chosen)
    certificate = tmp_path / "tls" / "certificate.pem"
    assert name in names(str(certificate))
    before = certificate.read_bytes()
    server_context(chosen)
    assert certificate.read_bytes() == before


def test_auto_names_every_name_of_the_portal(tmp_path: Path) -> None:
    """A browser asks about a certificate for a page, not for what the page's script asks another name."""
    server_context(settings(tmp_path))
    chosen = settings(tmp_path, url_ipv4="https://192.0.2.1:8443", url_ipv6="https://open6.example.org:8443")
    server_context(chosen)
    certificate = tmp_path / "tls" / "certificate.pem"
    named = names(str(certificate))
    assert all(f in named for f in ("DNS:open.example.org", "DNS:open6.example.org", "IP Address:192.0.2.1"))
    before = certificate.read_bytes()
    server_context(chosen)
    assert certificate.read_bytes() == before


def test_auto_is_made_anew_where_it_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tls, "_DAYS", 20)
        server_context(chosen)
    certificate, key = tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "key.pem"
    for spoil in (lambda: None, key.unlink, lambda: certificate.write_text("torn")):
        spoil()
        before = certificate.read_bytes()
        assert server_context(chosen) is not None
        assert certificate.read_bytes() != before
        assert "DNS:open.example.org" in names(str(certificate))


def test_off(tmp_path: Path) -> None:
    assert server_context(settings(tmp_path, tls="off")) is None


def test_an_end_is_told_with_what_to_do(tmp_path: Path) -> None:
    now = time.time()
    own = server_certificate(settings(tmp_path))
    theirs = Certificate(make_pair(tmp_path / "live", "one.example"))
    for certificate, remedy in ((own, "systemctl restart safeip makes another"), (theirs, "/var/log/letsencrypt/letsencrypt.log says why")):
        assert certificate is not None
        assert certificate.ends_at is not None
        assert abs(certificate.ends_at - now - tls._DAYS * 86400) < 600
        assert certificate.ending(now) is None
        for later, word in ((certificate.ends_at - 9 * 86400, " ends on "), (certificate.ends_at + 60, " ended on ")):
            said = str(certificate.ending(later))
            assert said.startswith("portal.tls.certificate: ")
            assert word in said
            assert remedy in said


@in_loop
async def test_files_are_taken_up_again_and_a_wrong_pair_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = make_pair(tmp_path / "live", "one.example")
    two, three = make_pair(tmp_path / "two", "two.example"), make_pair(tmp_path / "three", "three.example")
    told: list[str | None] = []
    certificate = Certificate(live, told.append)
    async with await listen(certificate.context) as server:
        port = server.sockets[0].getsockname()[1]
        one = pem(live.certificate)
        assert await served_name(port) == one
        assert certificate.trouble is None
        # Half of a renewal: the certificate is there, its key is not yet
        shutil.copy(two.certificate, live.certificate)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await served_name(port) == one
        assert len(caplog.records) == len(told) == 1, "told once"
        assert "stays in use" in caplog.text
        assert certificate.trouble == told[0]
        assert str(told[0]).startswith(f'portal.tls.key: "{live.key}" is not the key of "{live.certificate}"; ')
        shutil.copy(two.key, live.key)
        assert await served_name(port) == pem(two.certificate)
        assert (certificate.trouble, told[1:]) == (None, [None])
        assert await served_name(port, sni=None) == pem(two.certificate)
        os.unlink(live.key)  # noqa: PTH108 - nothing else runs in this loop
        assert await served_name(port) == pem(two.certificate)
        assert f'portal.tls.key: "{live.key}" is not there; ' in str(certificate.trouble)
        shutil.copy(three.certificate, live.certificate)
        shutil.copy(three.key, live.key)
        certificate.look()  # nobody needs to come
        assert certificate.trouble is None
        assert await served_name(port) == pem(three.certificate)


def test_files_that_will_not_do_at_start(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path / "one", "one.example"), make_pair(tmp_path / "two", "two.example")
    rsa, weak = tmp_path / "rsa.pem", tmp_path / "weak.pem"
    encrypted, torn, none = tmp_path / "encrypted.pem", tmp_path / "torn.pem", str(tmp_path / "none.pem")
    for command in (
        f"pkey -in {one.key} -aes128 -passout pass:secret -out {encrypted}",
        f"genrsa -out {rsa} 2048",
        f"req -x509 -newkey rsa:1024 -noenc -subj /CN=weak -keyout {weak}.key -out {weak}",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    torn.write_text(Path(one.certificate).read_text() + "-----BEGIN CERTIFICATE-----\n")
    no_key, no_certificate = "is no private key in PEM without a password; ", "is no certificate in PEM; "
    for certificate, key, blamed, words in [
        (one.certificate, two.key, "key", f'is not the key of "{one.certificate}"; '),
        (one.certificate, str(rsa), "key", f'is not the key of "{one.certificate}"; '),
        (str(torn), one.key, "certificate", no_certificate),
        (one.key, one.key, "certificate", no_certificate),
        (one.certificate, one.certificate, "key", no_key),
        (one.certificate, str(encrypted), "key", no_key),
        (str(weak), f"{weak}.key", "certificate", "is not taken by OpenSSL (EE_KEY_TOO_SMALL); "),
        (none, one.key, "certificate", "is not there; "),
        (one.certificate, none, "key", "is not there; "),
        (one.certificate, f"{one.key}/x", "key", "is not there; "),
        (one.certificate, str(tmp_path), "key", "cannot be read (Is a directory); "),
    ]:
        began = time.monotonic()
        with pytest.raises(FilesError) as caught:
            server_context(settings(tmp_path, tls=Files(certificate, key)))
        assert time.monotonic() - began < 5, "asked nobody for a password"
        path = certificate if blamed == "certificate" else key
        assert str(caught.value).startswith(f'portal.tls.{blamed}: "{path}" {words}')


def test_without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TlsError, match="openssl"):
        server_context(settings(tmp_path))


@in_loop
async def test_old_protocols_are_refused(tmp_path: Path) -> None:
    context = server_context(settings(tmp_path))
    assert context is not None
    async with await listen(context) as server:
        done = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "-tls1_1",
             "-cipher", "ALL:@SECLEVEL=0"],
            input="", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
