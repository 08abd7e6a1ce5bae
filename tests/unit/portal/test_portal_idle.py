import asyncio

from aiohttp import web
from portal_house import HERE, in_loop

from portal.idle import FIRST_REQUEST_WITHIN_S, Idle

ASK = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"


@in_loop
async def test_connections_that_never_ask_are_ended_and_others_not() -> None:
    now = [0.0]
    runner = web.AppRunner(web.Application(), access_log=None)
    idle = Idle(runner, lambda: now[0])
    await runner.setup()
    site = web.TCPSite(runner, HERE, 0)
    await site.start()
    port = runner.addresses[0][1]
    silent, half, asked = [await asyncio.open_connection(HERE, port) for _ in range(3)]
    half[1].write(ASK[:-2])
    asked[1].write(ASK)
    assert b"404" in await asked[0].readuntil(b"\r\n\r\n")
    await asked[0].readexactly(14)
    idle.end_silent()
    now[0] = FIRST_REQUEST_WITHIN_S - 1
    idle.end_silent()
    for reader, _writer in (silent, half, asked):
        assert not reader.at_eof()
    half[1].write(ASK[-2:])
    assert b"404" in await half[0].readuntil(b"\r\n\r\n")
    now[0] = FIRST_REQUEST_WITHIN_S
    idle.end_silent()
    assert await asyncio.wait_for(silent[0].read(), 60) == b""
    asked[1].write(ASK)
    assert b"404" in await asyncio.wait_for(asked[0].readuntil(b"\r\n\r\n"), 60)
    for _reader, writer in (silent, half, asked):
        writer.close()
    await runner.cleanup()
