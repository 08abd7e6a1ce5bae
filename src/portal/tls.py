"""TLS: a certificate from files that is taken up again when they change, or a self-signed one made once."""

import logging
import os
import ssl
import subprocess
import tempfile
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from portal.settings import Files, Settings

log = logging.getLogger(__name__)

# Apple's devices refuse certificates that live longer than 825 days.
_DAYS = 820
_RENEW_BEFORE_S = 30 * 86400
_OPENSSL_WITHIN_S = 30

_Stamp = tuple[tuple[int, int, int], tuple[int, int, int]]


class TlsError(Exception):
    """No TLS with these files. The message names them and says what is wrong."""


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What listeners speak; None for plain HTTP. Blocks. Raises TlsError."""
    if settings.tls == "off":
        return None
    files = settings.tls if isinstance(settings.tls, Files) else self_signed(settings)
    return _Certificate(files).context


class _Certificate:
    """A pair of files, looked at with each handshake: two stat calls, some microseconds."""

    def __init__(self, files: Files) -> None:
        self._files = files
        try:
            self._seen: _Stamp | None = self._stamp()
        except OSError as error:
            raise TlsError(f"{error.filename}: {error.strerror}") from None
        self.context = self._current = self._load()
        # A context that handshakes go on with cannot change its certificate; the callback puts another in its place.
        self.context.sni_callback = self._choose

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _asked: ssl.SSLContext
    ) -> None:
        try:
            stamp: _Stamp | None = self._stamp()
        except OSError:
            stamp = None  # away for the moment in which it is replaced
        if stamp is not None and stamp != self._seen:
            self._seen = stamp
            try:
                self._current = self._load()
            except TlsError as error:
                log.warning("%s; the certificate read before stays in use", error)
        if self._current is not self.context:
            connection.context = self._current

    def _stamp(self) -> _Stamp:
        certificate, key = (os.stat(path) for path in (self._files.certificate, self._files.key))  # noqa: PTH116 - twice a handshake
        return (
            (certificate.st_mtime_ns, certificate.st_size, certificate.st_ino),
            (key.st_mtime_ns, key.st_size, key.st_ino),
        )

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # The empty password: an encrypted key must fail, not ask at a terminal.
            context.load_cert_chain(self._files.certificate, self._files.key, password="")
        except OSError as error:  # ssl.SSLError is one
            what = getattr(error, "reason", None) or error.strerror or "cannot be read"
            raise TlsError(f"{self._files.certificate} and {self._files.key} are no pair: {what}") from None
        return context


def self_signed(settings: Settings) -> Files:
    """The pair in state_dir/tls, made by the openssl program where there is none, or none that will do.

    One that ends within 30 days, or names other hosts than portal.url, url_ipv4 and url_ipv6 do, is made anew.
    Raises TlsError.
    """
    folder = Path(settings.state_dir, "tls")
    files = Files(str(folder / "certificate.pem"), str(folder / "key.pem"))
    urls = (settings.url, settings.url_ipv4, settings.url_ipv6)
    names = {_subject_name(urlsplit(url).hostname or "localhost") for url in urls if url is not None}
    if _will_do(files, names):
        return files
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            made = Files(f"{new}/certificate.pem", f"{new}/key.pem")
            _make(made, names)
            Path(made.key).replace(files.key)
            Path(made.certificate).replace(files.certificate)
    except OSError as error:
        raise TlsError(f"{folder}: no certificate could be made ({error.strerror})") from None
    return files


def _subject_name(host: str) -> str:
    try:
        return f"IP:{ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _make(files: Files, names: set[str]) -> None:
    joined = ",".join(sorted(names))
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-noenc",
    ]
    command += ["-days", str(_DAYS), "-subj", "/CN=SafeIP", "-addext", f"subjectAltName={joined}"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"]
    command += ["-keyout", files.key, "-out", files.certificate]
    done = _openssl(command)
    if done.returncode:
        raise TlsError(f"openssl could not make a certificate for {joined}: {_last_line(done.stderr)}")
    Path(files.key).chmod(0o600)


def _will_do(files: Files, names: set[str]) -> bool:
    if not (Path(files.certificate).is_file() and Path(files.key).is_file()):
        return False
    looked = ["openssl", "x509", "-in", files.certificate, "-noout"]
    if _openssl([*looked, "-checkend", str(_RENEW_BEFORE_S)]).returncode:
        return False
    told = _openssl([*looked, "-ext", "subjectAltName"]).stdout.strip().rpartition("\n")[2]
    # openssl prints "IP Address:2001:DB8:0:0:0:0:0:1" for what it takes as IP:2001:db8::1
    found = {name.strip().removeprefix("DNS:").removeprefix("IP Address:") for name in told.split(",")}
    return {_subject_name(name) for name in found} == names


def _openssl(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_OPENSSL_WITHIN_S, umask=0o077
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TlsError(f"the openssl program cannot be run ({error})") from None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
