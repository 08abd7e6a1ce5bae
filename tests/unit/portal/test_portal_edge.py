"""Bytes that are no request, too much of them, or too slowly: answered as everything else, or cut off, and never logged."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from portal_house import House, ask_raw, house, in_loop

from portal import edge
from portal.problems import Handler

SECRET = "k3v9aa-thetokenofalink"
HOST = "Host: open.example.org\r\n"
GET = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n".encode()
NO_REQUESTS = {
    "a line of nothing": f"{SECRET}\r\n\r\n",
    "another protocol": f"GET /l/{SECRET} SPDY/1\r\n\r\n",
    "a version to come": f"GET /l/{SECRET} HTTP/3.14\r\n{HOST}\r\n",
    "a zero byte": f"GET /l/{SECRET}\0 HTTP/1.1\r\n{HOST}\r\n",
    "a zero byte in a header": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}X-A: \0{SECRET}\r\n\r\n",
    "a header without colon": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}{SECRET}\r\n\r\n",
    "a header with a space in its name": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}X {SECRET}: 1\r\nConnection: close\r\n\r\n",
    "a header of unprintable bytes": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}\x01\x02: 1\r\n\r\n",
    "an unknown length": f"POST /l/{SECRET} HTTP/1.1\r\n{HOST}Content-Length: {SECRET}\r\n\r\n",
    "a length below zero": f"POST /l/{SECRET} HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n",
    "two lengths": f"POST /l/{SECRET} HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding that nobody knows": f"POST /l/{SECRET} HTTP/1.1\r\n{HOST}Transfer-Encoding: {SECRET}\r\n\r\n",
    "chunks that are no chunks": f"POST /l/{SECRET} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
    "a long line": f"GET /l/{SECRET}{'x' * 9000} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "a long header": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}Cookie: {'x' * 9000}\r\n\r\n",
    "a long name of a header": f"GET /l/{SECRET} HTTP/1.1\r\n{HOST}{'x' * 9000}: 1\r\n\r\n",
    "an expectation": f"GET /healthz HTTP/1.1\r\n{HOST}Expect: {SECRET}\r\nConnection: close\r\n\r\n",
    "no path": f"GET http://[{SECRET}/ HTTP/1.1\r\n{HOST}\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.fixture(autouse=True)
def nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever is sent, nobody's log fills with it."""
    caplog.set_level(logging.INFO)
    yield
    assert [record.getMessage() for record in caplog.records] == []


@asynccontextmanager
async def open_to(home: House, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*home.public, ssl=tls)
    async with asyncio.timeout(30):
        yield reader, writer
    writer.transport.abort()


@pytest.mark.parametrize("what", NO_REQUESTS)
@in_loop
async def test_what_is_no_request_is_answered_like_everything_else(tmp_path: Path, what: str) -> None:
    async with house(tmp_path) as home:
        usual = dict((await home.get("/healthz")).headers)
        answer = await ask_raw(home.public, NO_REQUESTS[what].encode("latin-1"))
        headers = dict(answer.headers)
        assert len(headers) == len(answer.headers), "none is there twice"
        assert answer.status in {400, 404, 405, 413, 417, 501, 505}
        own = {"Content-Length", "Content-Type", "Content-Language", "Vary", "Date", "Connection"}
        assert {name: headers.get(name) for name in usual if name not in own} == {
            name: value for name, value in usual.items() if name not in own
        }
        assert set(headers) - own <= {*usual, "Allow"}
        told = (str(answer.headers) + answer.text).lower()
        for word in ("aiohttp", "python", "server", "traceback", "exception", "error:", SECRET, "expected", "invalid"):
            assert word not in told, word
        assert (await home.get("/healthz")).status == 200


@in_loop
async def test_an_answer_that_fails_beyond_the_middleware_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect is logged by its place alone, and answered with the headers of all others."""

    @web.middleware
    async def breaks(request: web.Request, handler: Handler) -> web.StreamResponse:
        del request, handler
        raise RuntimeError(SECRET)

    async with house(tmp_path, more=lambda app: app.middlewares.insert(0, breaks)) as home:
        answer = await ask_raw(home.public, GET)
    assert answer.status == 500
    assert answer.header("Content-Security-Policy")
    assert not answer.header("Server")
    assert SECRET not in answer.text
    assert "RuntimeError at" in caplog.text
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text
    caplog.clear()


@in_loop
async def test_headers_without_end_are_cut_off(tmp_path: Path) -> None:
    async with house(tmp_path) as home, open_to(home) as (reader, writer):
        writer.write(f"GET / HTTP/1.1\r\n{HOST}".encode())
        for number in range(33):  # no more: what is not read resets the connection, and the answer with it
            writer.write(b"X-%02d: %s\r\n" % (number, b"x" * 992))
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"Content-Security-Policy: default-src 'none'" in answer
        assert (await home.get("/healthz")).status == 200


@in_loop
async def test_headers_of_a_browser_with_many_cookies_are_taken(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        head = f"GET /healthz HTTP/1.1\r\n{HOST}Cookie: {'c' * 8000}\r\n" + "".join(f"X-{n}: {'x' * 150}\r\n" for n in range(60))
        assert (await ask_raw(home.public, f"{head}Connection: close\r\n\r\n".encode())).status == 200


@in_loop
async def test_requests_in_a_row_on_one_connection_are_answered_each(tmp_path: Path) -> None:
    """Neither what was sent nor what was asked is added up over a connection's life."""
    async with house(tmp_path) as home, open_to(home) as (reader, writer):
        for _ in range(200):
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nX-A: " + b"x" * 1000 + b"\r\n\r\n"))
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(3) == b"ok\n"
        for _ in range(10):
            writer.write(GET * edge.PIPELINED)
            for _ in range(edge.PIPELINED):
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(3) == b"ok\n"


@in_loop
async def test_who_asks_ahead_without_end_is_cut_off(tmp_path: Path) -> None:
    answering = asyncio.Event()

    async def slowly(_request: web.Request) -> web.Response:
        await answering.wait()
        return web.Response()

    async with house(tmp_path, more=lambda app: app.router.add_get("/slowly", slowly)) as home, open_to(home) as (reader, writer):
        writer.write(GET.replace(b"/healthz", b"/slowly"))
        writer.write(GET * 1000)
        assert await ended(reader)
        assert (await home.get("/healthz")).status == 200
        answering.set()


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
@in_loop
async def test_what_is_sent_while_an_answer_is_made_is_not_collected(tmp_path: Path, upgrade: str) -> None:
    """A gigabyte would fit through while a password is compared."""
    answering = asyncio.Event()

    async def slowly(_request: web.Request) -> web.Response:
        await answering.wait()
        return web.Response()

    async with house(tmp_path, more=lambda app: app.router.add_post("/slowly", slowly)) as home, open_to(home) as (reader, writer):
        writer.write(f"POST /slowly HTTP/1.1\r\n{HOST}{upgrade}Content-Length: 100000000\r\n\r\n".encode())
        taken, limit = 0, 50_000_000
        with pytest.raises((TimeoutError, ConnectionError)):
            while taken < limit:
                writer.write(b"x" * 65536)
                async with asyncio.timeout(1):
                    await writer.drain()
                taken += 65536
        assert taken < 16_000_000, "what the sockets' buffers hold, and not more"
        answering.set()
        assert upgrade or await reader.readline(), "it is answered"


@in_loop
async def test_who_sends_too_large_a_form_is_told_so(tmp_path: Path) -> None:
    async with house(tmp_path) as home, open_to(home) as (reader, writer):
        head = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n"
        path = await home.link()
        writer.write(f"POST {path} HTTP/1.1\r\n{HOST}{head}\r\n".encode() + b"x" * 1_000_000)
        assert b"413" in await reader.readline()


@in_loop
async def test_who_does_not_take_an_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "TAKEN_WITHIN_S", 0.2)

    async def much(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    async with house(tmp_path, more=lambda app: app.router.add_get("/much", much)) as home, open_to(home) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET.replace(b"/healthz", b"/much"))
        await asyncio.sleep(0.5)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await ended(reader)
        assert (await home.get("/healthz")).status == 200


@in_loop
async def test_connections_that_stay_silent_are_the_kernels_to_end(tmp_path: Path) -> None:
    """A window that stays shut would hold what was sent for ever, and the connection with it."""
    seen: list[int] = []

    async def option(request: web.Request) -> web.Response:
        assert request.transport is not None
        taken = request.transport.get_extra_info("socket")
        seen.append(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return web.Response()

    async with house(tmp_path, more=lambda app: app.router.add_get("/option", option)) as home:
        assert (await home.get("/option")).status == 200
    assert seen == [edge.TAKEN_WITHIN_S * 1000]


@in_loop
async def test_a_handshake_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert edge.HANDSHAKE_WITHIN_S == 10
    monkeypatch.setattr(edge, "HANDSHAKE_WITHIN_S", 0.3)
    async with house(tmp_path, tls="auto") as home:
        for begun in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            async with open_to(home) as (reader, writer):
                writer.write(begun)
                assert await ended(reader)
        assert b"200 OK" in await over_tls(home)


@pytest.mark.parametrize("sent", [GET, b"\0" * 100_000, b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["http", "zeros", "ssh"])
@in_loop
async def test_what_is_no_tls_is_closed_quietly(tmp_path: Path, sent: bytes) -> None:
    async with house(tmp_path, tls="auto") as home:
        async with open_to(home) as (reader, writer):
            writer.write(sent)
            answer = b""
            with suppress(ConnectionError):
                answer = await reader.read()
            assert len(answer) < 10, "an alert of TLS, and nothing that tells who is there"
        assert b"200 OK" in await over_tls(home)


@in_loop
async def test_a_tls_connection_takes_little_memory(tmp_path: Path) -> None:
    """asyncio's own buffer would be 256 KiB for each connection that anybody opens."""
    tls = trusting()
    async with house(tmp_path, tls="auto") as home, open_to(home, tls) as (_reader, writer):
        protocol = writer.transport._ssl_protocol  # type: ignore[attr-defined]
        assert len(protocol._ssl_buffer) <= 16 * 1024


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection, within the patience of the caller."""
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass
    return True


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def over_tls(home: House) -> bytes:
    async with open_to(home, trusting()) as (reader, writer):
        writer.write(GET)
        return await reader.readline()
