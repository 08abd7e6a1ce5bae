"""Resident memory of gate and portal, idle after a visitor, beside a bare aiohttp program in the same run."""

import re
import sys
from pathlib import Path

from bench._figures import table
from lab.gateway import Gateway
from lab.process import wait_for

HELLO = """
from aiohttp import web
async def hello(request):
    return web.Response(text="hello")
app = web.Application()
app.router.add_get("/", hello)
web.run_app(app, host="127.0.0.1", port=9000, print=None)
"""


def memory(pid: int) -> tuple[float, float]:
    """Proportional set size and unique set size in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def main() -> None:
    with Gateway(prefix="sipb") as gateway:
        hello = gateway.host.start("/usr/bin/python3", "-c", HELLO, log=gateway.directory / "hello.log")
        wait_for("the bare program", lambda: gateway.local.reaches("http://127.0.0.1:9000/"))
        gateway.visitor.open_link(gateway.add_link())
        sizes = {
            "gate": memory(gateway.gate_pid()),
            "portal": memory(gateway.portal_pid()),
            "bare aiohttp": memory(hello.pid),
        }
    both = tuple(a + b for a, b in zip(sizes["gate"], sizes["portal"], strict=True))
    rows = [(name, f"{pss:.1f} MiB", f"{uss:.1f} MiB") for name, (pss, uss) in [*sizes.items(), ("gate and portal", both)]]
    table(("", "proportional set size", "of which its own"), rows)
    if both[0] > 56:
        sys.exit("more than the 56 MiB that are aimed at")


if __name__ == "__main__":
    main()
