"""What is in a backup: one tar file of known names, read with suspicion."""

import gzip
import io
import json
import tarfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from access import files
from access.moment import moment_text

CONFIG, CUSTOM = "safeip.toml", "custom.nft"
STATE, KEY = "portal/state.json", "portal/secret.key"
PORTAL = (STATE, KEY, "portal/history.jsonl", "portal/tls/certificate.pem", "portal/tls/key.pem")
_ABOUT = "backup.json"
_VERSION = 1
_NAMES = frozenset((_ABOUT, CONFIG, CUSTOM, *PORTAL))
_LARGEST = 2 * files.LARGEST


class BadArchive(Exception):
    """A file that is no whole backup. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup's files by name, of those above: the configuration always, the rest where it was there."""

    made_at: str
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, found: Mapping[str, bytes]) -> "Archive":
        """Of what is there now."""
        return cls(moment_text(time.time()), found)

    def pack(self) -> bytes:
        """As a gzipped tar file, which any system reads without SafeIP."""
        about = {"version": _VERSION, "made_at": self.made_at}
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb") as zipped, tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in ((_ABOUT, json.dumps(about).encode() + b"\n"), *self.files.items()):
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
                tar.addfile(member, io.BytesIO(data))
        return packed.getvalue()

    @classmethod
    def unpack(cls, packed: bytes) -> "Archive":
        """Raises BadArchive for one that is torn, or holds anything but files of these names."""
        found = _members(packed)
        try:
            about = json.loads(found.pop(_ABOUT))
            version, made_at = about["version"], about["made_at"]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise BadArchive("is no backup of SafeIP's") from None
        if version != _VERSION:
            raise BadArchive(f"is of version {str(version)[:20]}, this SafeIP reads {_VERSION}; install the version that made it")
        if CONFIG not in found or not isinstance(made_at, str):
            raise BadArchive("is no whole backup: it lacks the configuration")
        return cls(made_at[:40], found)


def _members(packed: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as zipped:
            whole = zipped.read(_LARGEST + 1)
        if len(whole) > _LARGEST:
            raise BadArchive(f"holds more than {_LARGEST >> 20} MiB")
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as tar:
            for member in tar:
                if member.name not in _NAMES or not member.isreg() or member.issparse() or member.name in found:
                    raise BadArchive(f"holds what no backup does: {member.name[:80]!a}")
                file = tar.extractfile(member)
                data = b"" if file is None else file.read()
                if len(data) != member.size:
                    raise BadArchive("is torn")
                found[member.name] = data
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        raise BadArchive(f"is torn, or no backup ({error})") from None
    return found
