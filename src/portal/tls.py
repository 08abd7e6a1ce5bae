"""TLS: a certificate from files that is taken up again when they change, or a self-signed one made once."""

import logging
import os
import pwd
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from portal.certificate_end import ending, validity
from portal.settings import Files, Settings

log = logging.getLogger(__name__)

# Apple's devices refuse certificates that live longer than 825 days.
_DAYS = 820
_RENEW_BEFORE_S = 30 * 86400
_OPENSSL_WITHIN_S = 30
_LOG = "/var/log/letsencrypt/letsencrypt.log"

# OpenSSL's names for its reasons
_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_WEAK = ("CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL")

_Stamp = tuple[tuple[int, int, int], tuple[int, int, int]]


class TlsError(Exception):
    """No TLS. The message says what is wrong."""


class FilesError(TlsError):
    """The files under portal.tls will not do: the key to blame, its file, what is wrong and what would be right."""

    def __init__(self, key: str, path: str, wrong: str, right: str) -> None:
        super().__init__(f'portal.tls.{key}: "{path}" {wrong}; {right}')


def server_certificate(settings: Settings, tell: Callable[[str | None], None] | None = None) -> "Certificate | None":
    """What listeners speak TLS with; None for plain HTTP. Blocks. Raises TlsError, and its FilesError for an admin's own files.

    `tell` hears later why newer files are not taken up, and None once they are.
    """
    if settings.tls == "off":
        return None
    if isinstance(settings.tls, Files):
        return Certificate(settings.tls, tell)
    return Certificate(self_signed(settings), tell, "systemctl restart safeip makes another")


class Certificate:
    """A pair of files, looked at with each handshake: two stat calls, some microseconds.

    `context` is for listeners. `trouble` says why newer files are not taken up; the pair read before is in use then.
    `remedy`: what to do about one that comes to its end.
    """

    def __init__(
        self, files: Files, tell: Callable[[str | None], None] | None = None, remedy: str = f"where certbot renews it, {_LOG} says why it does not"
    ) -> None:
        """Raises FilesError."""
        self._files = files
        self._tell = tell
        self._remedy = remedy
        self._user = _own_name()
        self.trouble: str | None = None
        self._validity: tuple[float, float] | None = None
        self._seen = self._stamp()
        self.context = self._current = self._load()
        # A context that handshakes go on with cannot change its certificate; the callback puts another in its place.
        self.context.sni_callback = self._choose

    @property
    def ends_at(self) -> float | None:
        """When the one in use ends, in seconds since 1970, as far as it can be told."""
        return self._validity and self._validity[1]

    def ending(self, now: float) -> str | None:
        """A sentence on the one in use where it ends soon or has ended; `now` in seconds since 1970."""
        if self._validity is None or (when := ending(*self._validity, now)) is None:
            return None
        return f'portal.tls.certificate: "{self._files.certificate}" {when} and has not been renewed; {self._remedy}'

    def look(self) -> None:
        """Take up the files if they have changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._current = self._load()
        except FilesError as error:
            self._tell_of(f"{error}; the certificate read before stays in use")
        else:
            self._tell_of(None)

    def _tell_of(self, trouble: str | None) -> None:
        if trouble is not None:
            log.warning("%s", trouble)
        if trouble != self.trouble and self._tell is not None:
            self._tell(trouble)
        self.trouble = trouble

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _asked: ssl.SSLContext
    ) -> None:
        self.look()
        if self._current is not self.context:
            connection.context = self._current

    def _stamp(self) -> _Stamp | None:
        """None where one of them is not there."""
        try:
            certificate, key = (os.stat(path) for path in (self._files.certificate, self._files.key))  # noqa: PTH116 - twice a handshake
        except OSError:
            return None
        return (
            (certificate.st_mtime_ns, certificate.st_size, certificate.st_ino),
            (key.st_mtime_ns, key.st_size, key.st_ino),
        )

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._files.certificate, self._files.key
        for name, path in (("certificate", certificate), ("key", key)):
            try:
                with open(path, "rb"):  # noqa: PTH123 - as load_cert_chain does, which does not say which of the two fails
                    pass
            except OSError as error:
                raise self._unreadable(name, path, error) from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
        except OSError:
            right = "write there the certificate and its chain, each from BEGIN CERTIFICATE to END CERTIFICATE"
            raise FilesError("certificate", certificate, "is no certificate in PEM", right) from None
        try:
            # The empty password: an encrypted key must fail, not ask at a terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None)
            if reason in _MISMATCH:
                wrong, right = f'is not the key of "{certificate}"', "put there the key that this certificate was made with"
                raise FilesError("key", key, wrong, right) from None
            if reason in _WEAK:
                wrong, right = f"is not taken by OpenSSL ({reason})", "have one made with a key of EC P-256, or of RSA with 2048 bits"
                raise FilesError("certificate", certificate, wrong, right) from None
            raise FilesError("key", key, "is no private key in PEM without a password", "put one there") from None
        self._validity = validity(Path(certificate).read_text("ascii", "replace"))
        return context

    def _unreadable(self, name: str, path: str, error: OSError) -> FilesError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return FilesError(name, path, "is not there", 'name a file that is, or write tls = "auto"')
        if isinstance(error, PermissionError):
            right = f"let the group of {self._user} read it and enter its directory, as certbot-deploy-hook does, then restart SafeIP"
            return FilesError(name, path, f"may not be read by the user {self._user}", right)
        return FilesError(name, path, f"cannot be read ({error.strerror})", "name a file in PEM")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


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
