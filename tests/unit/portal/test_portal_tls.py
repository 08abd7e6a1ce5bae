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
from portal.tls import TlsError, server_context


def settings(tmp_path: Path, **values: Any) -> Settings:
    base = Settings(
        url="https://open.example.org:8443", listen=(), services=SERVICES, state_dir=str(tmp_path)
    )
    return replace(base, **values)


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


@in_loop
async def test_files_are_taken_up_again_and_a_wrong_pair_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = make_pair(tmp_path / "live", "one.example")
    two, three = make_pair(tmp_path / "two", "two.example"), make_pair(tmp_path / "three", "three.example")
    async with await listen(server_context(settings(tmp_path, tls=live))) as server:
        port = server.sockets[0].getsockname()[1]
        one = pem(live.certificate)
        assert await served_name(port) == one
        # Half of a renewal: the certificate is there, its key is not yet
        shutil.copy(two.certificate, live.certificate)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await served_name(port) == one
        assert len(caplog.records) == 1, "told once"
        assert "stays in use" in caplog.text
        shutil.copy(two.key, live.key)
        assert await served_name(port) == pem(two.certificate)
        assert await served_name(port, sni=None) == pem(two.certificate)
        os.unlink(live.key)  # noqa: PTH108 - nothing else runs in this loop
        assert await served_name(port) == pem(two.certificate)
        shutil.copy(three.certificate, live.certificate)
        shutil.copy(three.key, live.key)
        assert await served_name(port) == pem(three.certificate)


def test_files_that_will_not_do_at_start(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path / "one", "one.example"), make_pair(tmp_path / "two", "two.example")
    encrypted = tmp_path / "encrypted.pem"
    command = [
        "openssl",
        "pkey",
        "-in",
        one.key,
        "-aes128",
        "-passout",
        "pass:secret",
        "-out",
        str(encrypted),
    ]
    subprocess.run(command, check=True)
    torn = tmp_path / "torn.pem"
    torn.write_text("-----BEGIN CERTIFICATE-----\n")
    for certificate, key, words in [
        (one.certificate, two.key, "no pair"),
        (str(torn), one.key, "no pair"),
        (one.certificate, str(encrypted), "no pair"),
        (str(tmp_path / "none.pem"), one.key, "none.pem: No such file"),
    ]:
        began = time.monotonic()
        with pytest.raises(TlsError, match=words):
            server_context(settings(tmp_path, tls=Files(certificate, key)))
        assert time.monotonic() - began < 5, "asked nobody for a password"


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
