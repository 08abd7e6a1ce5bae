"""From the POST of a link's form to the first accepted packet, against the least that a web program could do.

The least: a bare aiohttp handler that calls libnftables' `add element`. Both in one run, click by click in turn,
over plain HTTP on kept connections; a click ends when a connection to the service is accepted.
"""

import contextlib
import http.client
import json
import re
import socket
import time
from statistics import median
from urllib.parse import urlencode, urlsplit

from bench._figures import shown, table
from lab.gateway import GATEWAY4, Gateway
from lab.process import wait_for
from nft.netlink_sets import NetlinkSets
from nft.sets import Add, Element

CLICKS = 300
HOUR_MS = 3_600_000
BARE_PORT, BARE_SERVICE = 9000, 9001
BARE = f"""
import nftables
from aiohttp import web
nft = nftables.Nftables()
nft.cmd('''table inet bare {{
    set open {{ type ipv4_addr; flags timeout; }}
    chain c {{ type filter hook prerouting priority mangle; tcp dport {BARE_SERVICE} ip saddr != @open drop; }}
}}''')
async def post(request):
    await request.post()
    if request.query_string:
        nft.cmd("delete element inet bare open {{ " + request.remote + " }}")
    else:
        nft.cmd("add element inet bare open {{ " + request.remote + " timeout 2h }}")
    return web.Response(text="open")
app = web.Application()
app.router.add_post("/", post)
web.run_app(app, host="0.0.0.0", port={BARE_PORT}, print=None, access_log=None)
"""


class Clicker:
    """A visitor's browser with a kept connection."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.namespace = gateway.visitor.namespace
        self.http = http.client.HTTPConnection(GATEWAY4, port)
        self.http.sock = self.namespace.connect(GATEWAY4, port)
        self.http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: str, headers: dict[str, str]) -> None:
        self.http.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})
        reply = self.http.getresponse()
        reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{path}: {reply.status}")

    def click(self, path: str, body: str, headers: dict[str, str], service: int) -> float:
        """Microseconds from the POST to an accepted connection."""
        with self.namespace.entered(), socket.socket() as connection:
            connection.settimeout(5)
            begin = time.perf_counter()
            self.post(path, body, headers)
            connection.connect((GATEWAY4, service))
            return (time.perf_counter() - begin) * 1e6


def fill(gateway: Gateway, grants: int) -> None:
    """Have the gate adopt that many grants."""
    gateway.stop()
    with gateway.host.entered(), contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
        for start in range(0, grants, 5000):
            keys = range(0x0B000000 + start, 0x0B000000 + min(start + 5000, grants))
            sets.commit([Add(Element("cloud4", k.to_bytes(4, "big"), HOUR_MS, HOUR_MS, "cli")) for k in keys])
    gateway.start(timeout=60)


def measure(gateway: Gateway, grants: int) -> tuple[float, float]:
    """Medians of SafeIP's clicks and the bare program's, with so many grants alive."""
    fill(gateway, grants)
    url = gateway.add_link("Mamie", ("cloud",), "--for", "2h")
    page = gateway.visitor.fetch(url)
    form = next(form for form in page.forms if form.method == "POST")
    cookies = "; ".join(f"{name}={value}" for name, value in gateway.visitor.cookies.items())
    headers = {"Host": urlsplit(url).netloc, "Cookie": cookies, "Origin": "null", "Accept-Language": "en"}
    safeip, bare = Clicker(gateway, 8080), Clicker(gateway, BARE_PORT)
    control = http.client.HTTPConnection("localhost")
    control.sock = socket.socket(socket.AF_UNIX)
    control.sock.connect(str(gateway.runtime / "control.sock"))
    ours, least = [], []
    for _ in range(CLICKS):
        ours.append(safeip.click(urlsplit(url).path, urlencode(form.fields), headers, 80))
        least.append(bare.click("/", "csrf=x", {}, BARE_SERVICE))
        control.request("DELETE", f"/api/v1/grants?address={gateway.visitor.ipv4}")
        if json.loads(control.getresponse().read())["revoked"] != 1:
            raise RuntimeError("the click had granted nothing")
        bare.post("/?close", "csrf=x", {})
    for connection in (safeip.http, bare.http, control):
        connection.close()
    return median(ours), median(least)


def main() -> None:
    portal = {"url": "http://home.test:8080", "listen": ["0.0.0.0:8080"], "tls": "off"}
    with Gateway(portal=portal, gate={"max_grants": 200_000}, prefix="sipb") as gateway:
        gateway.host.start("/usr/bin/python3", "-c", BARE, log=gateway.directory / "bare.log")
        gateway.host.start(
            "/usr/bin/python3", "-m", "http.server", str(BARE_SERVICE), "--bind", "0.0.0.0", log=gateway.directory / "s.log"
        )
        wait_for("the bare program", lambda: listens(gateway))
        few = measure(gateway, 10)
        many = measure(gateway, 100_000)
    table(
        ("live grants", "SafeIP", "bare aiohttp and libnftables", "ratio"),
        [
            ("10", shown(few[0]), shown(few[1]), f"{few[0] / few[1]:.2f}"),
            ("100,000", shown(many[0]), shown(many[1]), f"{many[0] / many[1]:.2f}"),
        ],
    )
    dearer = (many[0] / many[1]) / (few[0] / few[1])
    print(f"At 100,000 a click costs {many[0] / few[0]:.2f} times what it costs at 10 ({dearer:.2f} as ratios).\n")


def listens(gateway: Gateway) -> bool:
    done = gateway.host.run("ss", "-Htln")
    return bool(re.search(rf":{BARE_SERVICE}\b", done.stdout)) and bool(re.search(rf":{BARE_PORT}\b", done.stdout))


if __name__ == "__main__":
    main()
