"""A prerendered link opens nothing until it is shown.

Chromium prerenders nothing while a debugger is attached, so this one runs without: a page of the same
origin asks for the prerender and later goes there, and what arrives at the portal tells the rest.
"""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from tests.unit.portal.portal_house import House, house, in_loop

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
]

LAUNCH = """<!doctype html><title>launch</title>
<script type="speculationrules">{"prerender": [{"source": "list", "urls": [%(url)s], "eagerness": "immediate"}]}</script>
<script>
(async () => {
    while (!(await (await fetch("/go")).json())) await new Promise((done) => setTimeout(done, 100));
    location.href = %(url)s;
})();
</script>"""


class Launcher:
    """Pages beside the portal's own: one that asks for the prerender, and one that says when to go there."""

    def __init__(self) -> None:
        self.url = ""
        self.go = False
        self.purposes: list[str] = []

    def add(self, app: web.Application) -> None:
        async def launch(_request: web.Request) -> web.Response:
            return web.Response(text=LAUNCH % {"url": json.dumps(self.url)}, content_type="text/html")

        async def go(_request: web.Request) -> web.Response:
            return web.json_response(self.go)

        async def look(request: web.Request, response: web.StreamResponse) -> None:
            if request.path == "/launch":
                del response.headers["Content-Security-Policy"]
            if request.path == urlsplit(self.url).path and request.method == "GET":
                self.purposes.append(request.headers.get("Sec-Purpose", ""))

        app.router.add_get("/launch", launch)
        app.router.add_get("/go", go)
        app.on_response_prepare.append(look)


async def until(h: House, launcher: Launcher, what: str) -> None:
    for _ in range(300):
        if (what == "fetched" and launcher.purposes) or (what == "opened" and h.peer.grants):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"not {what}: {launcher.purposes}")


@in_loop
async def test_a_prerendered_link_opens_nothing_until_it_is_shown(tmp_path: Path) -> None:
    launcher = Launcher()
    async with house(tmp_path, more=launcher.add, url="http://127.0.0.1") as h:
        launcher.url = await h.link()
        chromium = await asyncio.create_subprocess_exec(
            "/usr/bin/chromium", *FLAGS, f"--user-data-dir={tmp_path}/profile",
            f"http://{h.public[0]}:{h.public[1]}/launch",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until(h, launcher, "fetched")
            assert "prerender" in launcher.purposes[0]
            await asyncio.sleep(1)  # time enough for a script that did not look
            assert h.peer.grants == {}
            launcher.go = True
            await until(h, launcher, "opened")
            assert len(launcher.purposes) == 1, "shown as it was prerendered, not fetched again"
        finally:
            chromium.kill()
            await chromium.wait()
