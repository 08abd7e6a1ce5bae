"""The admin's first page with 10,000 grants: until its first byte, what a change costs, and what watching costs.

In one run, page by page in turn: the same page with 10 grants beside a bare aiohttp program that answers the same
bytes. Plain HTTP on kept connections.
"""

import contextlib
import http.client
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyotp

from bench._figures import shown, table
from lab.gateway import GATEWAY4, Gateway
from lab.process import wait_for
from nft.netlink_sets import NetlinkSets
from nft.sets import Add, Element
from safeip.control import Control

FEW, MANY = 10, 10_000
PAGES, UPDATES, WATCHED_S = 31, 40, 20.0
HOUR_MS = 3_600_000
BARE_PORT = 9000
PASSWORD = "four words nobody guesses"
BARE = f"""
import sys
from aiohttp import web
pages = {{}}
async def put(request):
    pages["it"] = await request.read()
    return web.Response()
async def get(request):
    return web.Response(body=pages["it"], content_type="text/html")
app = web.Application(client_max_size=1 << 24)
app.router.add_put("/", put)
app.router.add_get("/", get)
web.run_app(app, host="0.0.0.0", port={BARE_PORT}, print=None, access_log=None)
"""


def fill(gateway: Gateway, grants: int) -> None:
    """Have the gate adopt that many grants, of as many links' holders."""
    gateway.stop()
    with gateway.host.entered(), contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
        for start in range(0, grants, 5000):
            numbers = range(start, min(start + 5000, grants))
            keys = {n: (0x0B000000 + n).to_bytes(4, "big") for n in numbers}
            add = [Add(Element("cloud4", k, HOUR_MS, HOUR_MS, f"link:l{n} Guest {n}")) for n, k in keys.items()]
            sets.commit(add)
    gateway.start(timeout=60)


def sign_in(gateway: Gateway) -> dict[str, str]:
    """The headers of an admin's browser."""
    visitor = gateway.visitor
    url = re.findall(r"http://\S+", gateway.cli("person", "add", "yves", "--admin", "--invite").stdout)[0]
    page = visitor.fetch(url)
    found = re.search(r'class="secret">([A-Z2-7 ]+)<', page.text)
    if found is None:
        raise RuntimeError("the invitation shows no key")
    code = pyotp.TOTP(found[1].replace(" ", "")).now()
    answer = visitor.submit(page, {"password": PASSWORD, "again": PASSWORD, "code": code})
    if answer.status != 200:
        raise RuntimeError(f"the invitation was not accepted: {answer.status}")
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    return {"Host": "home.test:8080", "Cookie": cookies, "Accept-Language": "en"}


def connect(gateway: Gateway, port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(GATEWAY4, port, timeout=30)
    connection.sock = gateway.visitor.namespace.connect(GATEWAY4, port)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[float, float, bytes]:
    """Microseconds to the first byte and to the last, and the body."""
    begin = time.perf_counter()
    connection.request("GET", path, headers=headers)
    reply = connection.getresponse()
    first = time.perf_counter()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{path}: {reply.status}")
    return (first - begin) * 1e6, (time.perf_counter() - begin) * 1e6, body


def pages(gateway: Gateway, headers: dict[str, str], path: str) -> tuple[float, float, float, float, float, float]:
    """Medians: our first byte, our whole page, the bare program's of the same bytes, in µs; and how many those are.

    Last what one page costs portal and gate, in milliseconds of CPU.
    """
    ours, bare = connect(gateway, 8080), connect(gateway, BARE_PORT)
    body = get(ours, path, headers)[2]
    bare.request("PUT", "/", body)
    bare.getresponse().read()
    pids = (gateway.portal_pid(), gateway.gate_pid())
    before = [cpu_s(pid) for pid in pids]
    rounds = [(get(ours, path, headers)[:2], get(bare, "/", {})[1]) for _ in range(PAGES)]
    portal, gate = ((cpu_s(pid) - was) * 1e3 / PAGES for pid, was in zip(pids, before, strict=True))
    ours.close()
    bare.close()
    firsts, wholes = zip(*(mine for mine, _ in rounds), strict=True)
    return median(firsts), median(wholes), median(least for _, least in rounds), len(body), portal, gate


def cpu_s(pid: int) -> float:
    """What a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(gateway: Gateway, seconds: float) -> tuple[float, float]:
    """Per cent of a core that portal and gate use."""
    pids = (gateway.portal_pid(), gateway.gate_pid())
    before = [cpu_s(pid) for pid in pids]
    time.sleep(seconds)
    portal, gate = (100 * (cpu_s(pid) - was) / seconds for pid, was in zip(pids, before, strict=True))
    return portal, gate


class Watcher:
    """A browser at the live page."""

    def __init__(self, gateway: Gateway, headers: dict[str, str]) -> None:
        self._socket = gateway.visitor.namespace.connect(GATEWAY4, 8080)
        lines = [f"{name}: {value}" for name, value in {**headers, "Accept": "text/event-stream"}.items()]
        self._socket.sendall("\r\n".join(["GET /admin/live? HTTP/1.1", *lines, "", ""]).encode())
        self._socket.settimeout(60)
        self._text = b""
        self._events = self._read()
        self.until(b"event: counts")

    def _read(self) -> Iterator[bytes]:
        while data := self._socket.recv(1 << 18):
            self._text += data
            while b"\n\n" in self._text:
                event, _, self._text = self._text.partition(b"\n\n")
                yield event

    def until(self, *words: bytes) -> None:
        """Read to an event with those words in it."""
        for event in self._events:
            if all(word in event for word in words):
                return
        raise RuntimeError("the stream ended")

    def close(self) -> None:
        self._socket.close()


def updates(gateway: Gateway, watcher: Watcher | None) -> tuple[float, float]:
    """Of a grant made and closed again elsewhere: milliseconds to its event, and of the portal's time."""
    control, portal = Control(str(gateway.runtime / "control.sock")), gateway.portal_pid()
    before, waits = cpu_s(portal), []
    for number in range(UPDATES // 2):
        address = f"198.51.100.{number + 1}"
        begin = time.perf_counter()
        control.ask("PUT", f"/grants/cloud/{address}")
        if watcher is not None:
            watcher.until(b"event: rows", address.encode())
        waits.append((time.perf_counter() - begin) * 1e3)
        control.ask("DELETE", "/grants", query={"address": address})
        if watcher is not None:
            watcher.until(b"event: rows", address.encode())
    return median(waits), (cpu_s(portal) - before) * 1e3 / UPDATES


def measure(gateway: Gateway, headers: dict[str, str], grants: int) -> dict[str, tuple[float, ...]]:
    fill(gateway, grants)
    found: dict[str, tuple[float, ...]] = {
        "page": pages(gateway, headers, "/admin"),
        "search": pages(gateway, headers, "/admin?q=guest%207&family=4"),
        "nobody": used(gateway, WATCHED_S),
        "updates, nobody": updates(gateway, None),
    }
    watcher = Watcher(gateway, headers)
    found["watched"] = used(gateway, WATCHED_S)
    found["updates"] = updates(gateway, watcher)
    watcher.close()
    return found


def main() -> None:
    settings = {"url": "http://home.test:8080", "listen": ["0.0.0.0:8080"], "tls": "off"}
    with Gateway(portal=settings, gate={"max_grants": 20_000}, prefix="sipb") as gateway:
        gateway.host.start("/usr/bin/python3", "-c", BARE, log=gateway.directory / "bare.log")
        wait_for("the bare program", lambda: f":{BARE_PORT}" in gateway.host.run("ss", "-Htln").stdout)
        headers = sign_in(gateway)
        few, many = measure(gateway, headers, FEW), measure(gateway, headers, MANY)
    rows = []
    for name, kind in (("the page", "page"), ("a search", "search")):
        for grants, found in ((FEW, few), (MANY, many)):
            first, whole, bare, size, portal_ms, gate_ms = found[kind]
            figures = (f"{size / 1000:.0f} kB", shown(first), shown(whole), f"{portal_ms:.0f} ms", f"{gate_ms:.0f} ms")
            rows.append((name, f"{grants:,}", *figures, f"{whole / bare:.0f}", f"{whole / few[kind][1]:.0f}"))
    head = ("", "grants", "bytes", "first byte", "whole", "portal's CPU", "gate's CPU", "to bare aiohttp", "to 10 grants")
    table(head, rows)
    table(
        ("grants", "watching", "portal's CPU", "gate's CPU", "a change is seen after", "and costs the portal"),
        [
            (f"{grants:,}", who, f"{found[idle][0]:.1f} %", f"{found[idle][1]:.1f} %", seen, f"{found[busy][1]:.1f} ms")
            for grants, found in ((FEW, few), (MANY, many))
            for who, idle, busy, seen in (
                ("nobody", "nobody", "updates, nobody", ""),
                ("one", "watched", "updates", f"{found['updates'][0]:.0f} ms"),
            )
        ],
    )


if __name__ == "__main__":
    main()
