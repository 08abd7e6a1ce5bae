"""Static files: read once, served under a path that names their content, so that browsers may keep them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from portal.headers import FOREVER

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _Asset:
    path: str
    body: bytes
    type: str


class Assets:
    """The files of one folder, by name. Kept in memory, because the portal may lose sight of the folder."""

    def __init__(self, folder: Path) -> None:
        self._by_name: dict[str, _Asset] = {}
        for file in sorted(folder.iterdir()):
            if file.suffix in _TYPES:
                body = file.read_bytes()
                digest = hashlib.sha256(body).hexdigest()[:16]
                self._by_name[file.name] = _Asset(f"/static/{digest}/{file.name}", body, _TYPES[file.suffix])

    def path(self, name: str) -> str:
        """Where the page finds a file."""
        return self._by_name[name].path

    async def show(self, request: web.Request, _caller: object) -> web.Response:
        """GET /static/{digest}/{name}. An older digest is unknown."""
        asset = self._by_name.get(request.match_info["name"])
        if asset is None or asset.path != request.path:
            raise web.HTTPNotFound
        return web.Response(
            body=asset.body, content_type=asset.type, charset="utf-8", headers={"Cache-Control": FOREVER}
        )
