"""Static files: read once, served under a path that names their content, so that browsers may keep them."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from portal.headers import FOREVER
from portal.lean import LEAN

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# RFC 9110, 12.4.2 and 12.5.3: a name among others, with no weight or with one above zero.
_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?:1(?:\.0*)?|0\.0*[1-9]\d*)\s*)?(?:,|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Asset:
    """`packed`: the body as gzip has it; None where that is no shorter."""

    path: str
    body: bytes
    packed: bytes | None
    type: str


class Assets:
    """The files of one folder, by name. Kept in memory, because the portal may lose sight of the folder.

    Only they are ever compressed: the length of a compressed page would tell of the secrets in it (BREACH).
    """

    def __init__(self, folder: Path) -> None:
        self._by_name: dict[str, _Asset] = {}
        for file in sorted(folder.iterdir()):
            if file.suffix in _TYPES:
                lean = LEAN.get(file.suffix)
                body = lean(file.read_text("utf-8")).encode() if lean else file.read_bytes()
                digest = hashlib.sha256(body).hexdigest()[:16]
                packed = gzip.compress(body, mtime=0)
                self._by_name[file.name] = _Asset(
                    f"/static/{digest}/{file.name}",
                    body,
                    packed if len(packed) < len(body) else None,
                    _TYPES[file.suffix],
                )

    def path(self, name: str) -> str:
        """Where the page finds a file."""
        return self._by_name[name].path

    async def show(self, request: web.Request, _caller: object) -> web.Response:
        """GET /static/{digest}/{name}. An older digest is unknown."""
        asset = self._by_name.get(request.match_info["name"])
        if asset is None or asset.path != request.path:
            raise web.HTTPNotFound
        headers = {"Content-Type": asset.type, "Cache-Control": FOREVER}
        body = asset.body
        if asset.packed is not None:
            headers["Vary"] = "Accept-Encoding"
            if _GZIP.search(",".join(request.headers.getall("Accept-Encoding", ()))):
                headers["Content-Encoding"] = "gzip"
                body = asset.packed
        return web.Response(body=body, headers=headers)
