"""What being measured costs: each request, each blocked packet, and a scrape."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from aiohttp import web

from bench import packets
from bench._figures import table
from bench.memory import memory
from lab.gateway import Gateway
from lab.net import Namespace
from nft import render
from nft.bindings import Bindings
from nft.measures import Measures as GateMeasures
from portal.measures import Measures
from portal.problems import Handler, Middleware

ROUNDS, REQUESTS, SCRAPES = 41, 400, 20
REQUEST = b"GET /l/abc HTTP/1.1\r\nHost: home.test\r\n\r\n"


@web.middleware
async def bare(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


async def requests() -> None:
    """A bare page, whose client is in the same process: both together are what the timing is compared with."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="x")

    async def connection(middleware: Middleware) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        app = web.Application(middlewares=[middleware])
        app.router.add_get("/l/{token}", page)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
        return await asyncio.open_connection(*site._server.sockets[0].getsockname()[:2])  # noqa: SLF001 (its port)

    async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        begin = time.process_time()
        for _ in range(REQUESTS):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(1)
        return (time.process_time() - begin) / REQUESTS * 1e6

    roads = {"not timed": bare, "timed": Measures().around(bare), "not timed, again": bare}
    connections = {name: await connection(middleware) for name, middleware in roads.items()}
    took: dict[str, list[float]] = {name: [] for name in roads}
    for _ in range(ROUNDS):
        for name, both in connections.items():
            took[name].append(await go(*both))
    base = took["not timed"]
    ratios = {name: median(one / other for one, other in zip(times, base, strict=True)) for name, times in took.items()}
    rows = [(name, f"{median(times):.0f} µs", f"{ratios[name]:.3f}") for name, times in took.items()]
    table(("a bare page and its client", "CPU", "of not timed"), rows)
    gate, begin = GateMeasures(), time.process_time()
    for _ in range(100_000):
        gate.took(1e-5)
    print(f"Each transaction of the gate: {(time.process_time() - begin) * 10:.1f} µs.\n")
    gate.close()


def uncounted() -> None:
    """The gate's table whose services do not count what is blocked."""
    text = render.script(packets.POLICY, render.Present())
    old = f"counter name {render.blocked_counter('cloud')} goto closed"
    if old not in text:
        raise RuntimeError("the rendered rule is another")
    Bindings().load(text.replace(old, "goto closed"))


def blocked() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(Namespace("sender", "sipb"))
        stranger = packets.Packets([packets.FIRST + 1] * 1024)
        loads: dict[str, Callable[[], None]] = {
            "not counted by service": uncounted,
            "counted": packets.gate(0),
            "not counted, again": uncounted,
        }
        runs = [(name, packets.Road(stack, sender, load), stranger) for name, load in loads.items()]
        packets.measure("a blocked packet", runs, "not counted by service")
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def scrapes() -> None:
    services = {f"s{n}": {"ports": [f"tcp/{20_000 + n}"]} for n in range(64)}
    rows = []
    for title, chosen in (("3 services", None), ("64 services", services)):
        with Gateway(prefix="sipb", services=chosen) as gateway:
            before = memory(gateway.portal_pid())[0]
            sent = {"Authorization": f"Bearer {gateway.add_token('bench', 'read')}"}
            sizes, took = zip(*scraped(gateway, sent), strict=True)
            after = memory(gateway.portal_pid())[0]
            first, *others = took
            rows.append((title, f"{sizes[-1] / 1000:.0f} kB", f"{first:.0f} ms", f"{median(others):.1f} ms", f"{after - before:+.1f} MiB"))
    table(("a scrape", "size", "first, CPU of both processes", "others", "portal's memory"), rows)


def scraped(gateway: Gateway, headers: dict[str, str]) -> Iterator[tuple[int, float]]:
    """Bytes, and milliseconds of CPU, of one scrape after the other; a handshake is part of each."""
    for _ in range(SCRAPES):
        begin = cpu_ms(gateway)
        answer = gateway.visitor.fetch("https://home.test:8443/metrics", headers=headers)
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")
        yield len(answer.body), cpu_ms(gateway) - begin
        time.sleep(1.1)  # else it is the same answer again


def cpu_ms(gateway: Gateway) -> float:
    """What gate and portal have used, by the scheduler's own account; the library is imported in a thread."""
    pids = (gateway.gate_pid(), gateway.portal_pid())
    accounts = [file.read_text("ascii") for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(account.split()[0]) for account in accounts) / 1e6


def main() -> None:
    asyncio.run(requests())
    blocked()
    scrapes()


if __name__ == "__main__":
    main()
