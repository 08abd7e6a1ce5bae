"""Who comes to the listener for proxies: strangers, proxies that send something else, and visitors who speak the protocol themselves."""

import asyncio
import errno
import gc
import logging
import os
import re
import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from portal_house import House, ask_raw, house, in_loop

from portal import proxied

PROXY = {"trusted_proxies": (ip_network("127.0.0.1/32"), ip_network("192.0.2.1/32"))}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
VISITOR4, VISITOR6 = "203.0.113.7", "2001:db8:5::7"
ASK = b"GET /auth?service=cloud HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEALTH = ASK.replace(b"/auth?service=cloud", b"/healthz")


def line(source: str, target: str = "") -> bytes:
    version = ip_address(source).version
    return f"PROXY TCP{version} {source} {target or ('192.0.2.9' if version == 4 else '2001:db8::9')} 40000 443\r\n".encode()


def block(source: str, *, said: int = 0x21, family: int | None = None, more: bytes = b"", length: int | None = None) -> bytes:
    address = ip_address(source)
    body = address.packed * 2 + struct.pack("!HH", 40000, 443) + more
    family = (0x11 if address.version == 4 else 0x21) if family is None else family
    return SIGNATURE + struct.pack("!BBH", said, family, len(body) if length is None else length) + body


async def heard(home: House, data: bytes, *, slowly: bool = False) -> bytes:
    """All that is answered to `data`, until the other end hangs up."""
    reader, writer = await asyncio.open_connection(*home.proxied)
    try:
        for part in [data[at : at + 1] for at in range(len(data))] if slowly else [data]:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:  # hung up on with something unread
        return b""
    finally:
        writer.transport.abort()


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


NO_HEADERS = {
    "HTTP": ASK,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 30,
    "nothing but a line's end": b"\r\n\r\n" + ASK,
    "a space before": b" " + line(VISITOR4),
    "small letters": line(VISITOR4).lower(),
    "two spaces": line(VISITOR4).replace(b" TCP4", b"  TCP4"),
    "a tab": line(VISITOR4).replace(b" TCP4", b"\tTCP4"),
    "a line's end that is none": line(VISITOR4).replace(b"\r\n", b"\n"),
    "a bare return": line(VISITOR4).replace(b"\r\n", b"\r"),
    "a line too long": b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
    "an unknown line too long": b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    "an unknown line with a word too much": b"PROXY UNKNOWNX\r\n",
    "UDP": line(VISITOR4).replace(b"TCP4", b"UDP4"),
    "IPv6 called IPv4": line(VISITOR6).replace(b"TCP6", b"TCP4"),
    "IPv4 called IPv6": line(VISITOR4).replace(b"TCP4", b"TCP6"),
    "families mixed": line(VISITOR4, "2001:db8::9"),
    "octal": line(VISITOR4).replace(b"203.0.113.7", b"0203.0.113.7"),
    "hexadecimal": line(VISITOR4).replace(b"203.0.113.7", b"0xcb.0.113.7"),
    "a short address": line(VISITOR4).replace(b"203.0.113.7", b"203.113"),
    "a number": line(VISITOR4).replace(b"203.0.113.7", b"3405803783"),
    "a zone": line("fe80::1").replace(b"fe80::1", b"fe80::1%lo"),
    "brackets": line(VISITOR6).replace(b"2001:db8:5::7", b"[2001:db8:5::7]"),
    "a network": line(VISITOR4).replace(b"203.0.113.7", b"203.0.113.7/8"),
    "a name": line(VISITOR4).replace(b"203.0.113.7", b"localhost"),
    "other digits": line(VISITOR4).replace(b"203.0.113.7", "\N{ARABIC-INDIC DIGIT ONE}.0.0.1".encode()),
    "a port too high": line(VISITOR4).replace(b"40000", b"65536"),
    "a port with a zero before": line(VISITOR4).replace(b"40000", b"0443"),
    "no ports": b"PROXY TCP4 203.0.113.7 192.0.2.9\r\n",
    "a word more": line(VISITOR4).replace(b"\r\n", b" x\r\n"),
    "a space at the end": line(VISITOR4).replace(b"\r\n", b" \r\n"),
    "a zero byte": line(VISITOR4).replace(b" 443", b" 443\0"),
    "only the signature": SIGNATURE + b"\0" * 200,
    "version 1 in version 2": block(VISITOR4, said=0x11),
    "version 3": block(VISITOR4, said=0x31),
    "another command": block(VISITOR4, said=0x22),
    "UDP in version 2": block(VISITOR4, family=0x12),
    "UDP over IPv6 in version 2": block(VISITOR6, family=0x22),
    "a Unix socket": block(VISITOR4, family=0x31, more=b"x" * 216),
    "a Unix datagram": block(VISITOR4, family=0x32, more=b"x" * 216),
    "no family": block(VISITOR4, family=0x00),
    "an unknown family": block(VISITOR4, family=0x41),
    "a transport nobody knows": block(VISITOR4, family=0x13),
    "an address of no length": block(VISITOR4, length=0),
    "an address that is cut": block(VISITOR4, length=11),
    "IPv6 as long as IPv4": block(VISITOR6, length=12),
    "IPv6 that is cut": block(VISITOR6, length=35),
    "too long a header": block(VISITOR4, more=b"x" * 3000),
    "as long as can be": block(VISITOR4, length=0xFFFF),
    "a broken signature": b"\r\n\r\n\0\r\nQUIX\n" + block(VISITOR4)[12:],
}  # fmt: skip


@pytest.mark.parametrize("what", NO_HEADERS)
@in_loop
async def test_what_is_no_header_of_two_tcp_addresses_is_hung_up_on(tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path, **PROXY) as home:
        assert await heard(home, NO_HEADERS[what] + HEALTH) == b""
        assert status(await heard(home, line(VISITOR4) + HEALTH)) == 200, "others are served"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert re.fullmatch(r"127\.0\.0\.1, a trusted proxy, was hung up on: [\w ,]+", record.getMessage())
    for secret in ("203", "QUIT", "GET"):
        assert secret not in record.getMessage().removeprefix("127.0.0.1"), "nothing that somebody sent"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (line(VISITOR4), VISITOR4),
        (line(VISITOR6), "2001:db8:5::/64"),
        (line("::ffff:203.0.113.7", "::ffff:192.0.2.9"), VISITOR4),
        (block(VISITOR4), VISITOR4),
        (block(VISITOR6), "2001:db8:5::/64"),
        (block("::ffff:203.0.113.7"), VISITOR4),
        (block(VISITOR4, more=b"\x04\0\x10" + b"0" * 16), VISITOR4),
        (block(VISITOR6, more=b"x" * 1900), "2001:db8:5::/64"),
    ],
    ids=lambda value: value.decode("latin-1")[:24] if isinstance(value, bytes) else value,
)
@in_loop
async def test_whom_the_header_names_is_who_asks(tmp_path: Path, header: bytes, address: str) -> None:
    async with house(tmp_path, **PROXY) as home:
        path = await home.link()
        for slowly in (False, True):
            answer = await heard(home, header + ASK, slowly=slowly)
            assert status(answer) == 401
            assert address in answer.decode()
        reader, writer = await asyncio.open_connection(*home.proxied)
        writer.write(header)  # a connection that is kept, as a browser's is
        page = await over(reader, writer, "GET", path)
        token = re.findall(r'name="form" value="([^"]+)"', page)[0]
        cookie = re.findall(r"(?i)set-cookie: ([^;]+)", page)[0]
        # headers about other addresses are a visitor's own, and so is a second header
        claims = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "Forwarded"), "198.51.100.1")
        done = await over(reader, writer, "POST", path, f"form={token}", Cookie=cookie, **claims)
        assert done.startswith("HTTP/1.1 200")
        assert [granted[1] for granted in home.peer.grants] == [address]
        writer.transport.abort()


async def over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: str = "", **headers: str) -> str:
    """One request on a connection that stays."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body)), "Sec-Fetch-Site": "same-origin"}
    lines = [f"{name}: {text}" for name, text in {"Host": "open.example.org", **(form if body else {}), **headers}.items()]
    writer.write("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", body]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(re.findall(r"(?i)content-length: (\d+)", head)[0])
    return head + (await reader.readexactly(length)).decode()


@in_loop
async def test_a_second_header_is_no_request(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as home:
        assert status(await heard(home, line(VISITOR4) + line("198.51.100.1") + HEALTH)) == 400
        assert status(await heard(home, block(VISITOR4) + block("198.51.100.1") + HEALTH)) == 400


@in_loop
async def test_a_header_at_the_listener_for_visitors_is_no_request(tmp_path: Path) -> None:
    """Whoever goes round the proxy and speaks the protocol gets nowhere, from a trusted proxy either."""
    for settings in ({}, PROXY):
        async with house(tmp_path, **settings) as home:
            for header in (line(VISITOR4), block(VISITOR4)):
                assert (await ask_raw(home.public, header + HEALTH)).status == 400


@in_loop
async def test_a_stranger_is_hung_up_on_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once, whatever they send or do not send; a thousand of them are a line or two in the log."""
    async with house(tmp_path, trusted_proxies=(ip_network("192.0.2.1/32"),)) as home:
        for data in (b"", line(VISITOR4) + HEALTH, block(VISITOR4) + HEALTH, HEALTH):
            for _ in range(20):
                assert await heard(home, data) == b""
        assert (await home.get("/healthz")).status == 200
    [record] = caplog.records
    assert record.getMessage() == "127.0.0.1 came to portal.listen_proxy_protocol and is not in portal.trusted_proxies: hung up on"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", SIGNATURE + b"\x20\0\0\0", block(VISITOR4, said=0x20), block(VISITOR4, said=0x20, family=0x31)])
@in_loop
async def test_a_connection_that_is_not_said_to_be_anybodys_is_nobodys(tmp_path: Path, header: bytes) -> None:
    """Proxies say so of visitors too, when they do not know; what follows is the visitor's own word then, whatever it holds."""
    async with house(tmp_path, trusted_networks=(ip_network("127.0.0.0/8"),), **PROXY) as home:
        path = await home.link()
        assert status(await heard(home, header + HEALTH)) == 200
        assert status(await heard(home, header + ASK)) == 400
        refused = await heard(home, header + ASK.replace(b"/auth?service=cloud", path.encode()))
        assert status(refused) == 400
        assert b"the connection holds no address" in refused
        told = b"Host: x\r\nX-Forwarded-For: 198.51.100.4"
        for asked in (ASK, *(ASK.replace(b"/auth?service=cloud", one) for one in (path.encode(), b"/", b"/metrics", b"/nic/update"))):
            answer = await heard(home, header + asked.replace(b"Host: x", told))
            assert status(answer) in {400, 401} or answer.endswith(b"\r\n911\n"), "as DynDNS2 says no"
            assert b"198.51.100.4" not in answer
        assert not home.peer.grants


@in_loop
async def test_a_chain_of_proxies_is_read_to_its_end_and_no_further(tmp_path: Path) -> None:
    """The header names a proxy: then, and only then, that one's own header counts."""
    async with house(tmp_path, **PROXY) as home:
        told = ASK.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 198.51.100.4, 203.0.113.9")
        for header in (line("192.0.2.1"), block("192.0.2.1"), block("::ffff:192.0.2.1")):
            answer = await heard(home, header + told)
            assert b"203.0.113.9" in answer
            assert b"198.51.100.4" not in answer
            assert status(await heard(home, header + ASK)) == 400
        # a visitor who sends one is refused: whoever asks /auth with a header is a proxy, and this is none
        assert status(await heard(home, line(VISITOR4) + told)) == 400


@in_loop
async def test_tls_begins_with_the_byte_after_the_header(tmp_path: Path) -> None:
    async with house(tmp_path, tls="auto", **PROXY) as home:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for header in (line(VISITOR4), block(VISITOR4, more=b"x" * 500), b"PROXY UNKNOWN\r\n"):
            assert status(await asyncio.to_thread(over_tls, home.proxied, header, context)) == 200
        assert await heard(home, line(VISITOR4) + HEALTH) == b"", "nothing is said without TLS"


def over_tls(where: tuple[str, int], header: bytes, context: ssl.SSLContext) -> bytes:
    """Header and ClientHello leave in one segment, as a proxy may send them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="open.example.org")
    with socket.create_connection(where, timeout=30) as plain:
        first = header

        def step(call: Any, *arguments: Any) -> Any:
            nonlocal first
            while True:
                try:
                    done = call(*arguments)
                except ssl.SSLWantReadError:
                    done = None
                plain.sendall(first + outgoing.read())
                first = b""
                if done is not None:
                    return done
                incoming.write(plain.recv(65536))

        step(lambda: tls.do_handshake() or True)
        step(tls.write, HEALTH)
        return step(tls.read, 4096)


@asynccontextmanager
async def silent(home: House) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*home.proxied)
    yield reader, writer
    writer.transport.abort()


@in_loop
async def test_a_header_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "HEADER_WITHIN_S", 0.2)
    async with house(tmp_path, **PROXY) as home:
        for begun in (b"", b"PROXY TCP4 203.0.113.7 ", block(VISITOR4)[:20], b"PROXY UNKNOWN " + b"x" * 50):
            async with silent(home) as (reader, writer):
                writer.write(begun)
                assert await reader.read() == b""


@in_loop
async def test_only_so_many_are_waited_for_and_who_comes_then_has_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "HEADER_WITHIN_S", 1.0)
    monkeypatch.setattr(proxied, "WAITING", 3)
    async with house(tmp_path, **PROXY) as home:
        crowd = [await asyncio.open_connection(*home.proxied) for _ in range(8)]
        assert status(await heard(home, line(VISITOR4) + HEALTH)) == 200
        for reader, writer in crowd:
            assert await reader.read() == b""
            writer.transport.abort()


@in_loop
async def test_one_address_has_no_more_connections_than_the_kernel_allows_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel counts by source, and sees the proxy alone. A /64 is one."""
    monkeypatch.setattr(proxied, "AT_ONCE", 3)
    async with house(tmp_path, **PROXY) as home:
        held = []
        for number in range(3):
            connection = await asyncio.open_connection(*home.proxied)
            held.append(connection)
            connection[1].write(line(f"2001:db8:5::{number}"))
            assert (await over(*connection, "GET", "/healthz")).startswith("HTTP/1.1 200")
        assert await heard(home, block("2001:db8:5::99") + HEALTH) == b""
        assert status(await heard(home, line("2001:db8:6::1") + HEALTH)) == 200
        assert status(await heard(home, line(VISITOR4) + HEALTH)) == 200
        held.pop()[1].transport.abort()
        async with asyncio.timeout(30):
            while not await heard(home, block("2001:db8:5::99") + HEALTH):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        for _reader, writer in held:
            writer.transport.abort()
    assert {record.getMessage() for record in caplog.records} == {
        "127.0.0.1, a trusted proxy, brings more than 3 connections of one address at once"
    }


@in_loop
async def test_whoever_resets_or_leaves_half_way_holds_nothing_up(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as home:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted
        for begun in (b"", b"PROXY", line(VISITOR4), block(VISITOR4)[:-1], line(VISITOR4) + b"GET / HT", line(VISITOR4) + HEALTH):
            for reset in (True, False):
                with socket.create_connection(home.proxied) as there:
                    there.sendall(begun)
                    if reset:
                        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert status(await heard(home, line(VISITOR4) + HEALTH)) == 200
        async with asyncio.timeout(30):
            while len(os.listdir("/proc/self/fd")) > before:  # noqa: PTH208, ASYNC110 - as above; nothing tells
                await asyncio.sleep(0.01)


@in_loop
async def test_it_goes_on_when_descriptors_have_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "_AGAIN_S", 0.05)
    loop = asyncio.get_running_loop()
    accept, failed = loop.sock_accept, []

    async def noted(listener: socket.socket) -> tuple[socket.socket, Any]:
        try:
            return await accept(listener)
        except OSError as error:
            failed.append(error.errno)
            raise

    monkeypatch.setattr(loop, "sock_accept", noted)
    async with house(tmp_path, **PROXY) as home:
        _, most = usual = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as there:
            gc.collect()  # what an earlier test left to it would leave room
            free = os.dup(0)
            os.close(free)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, most))
                there.connect(home.proxied)
                async with asyncio.timeout(30):
                    while errno.EMFILE not in failed:  # noqa: ASYNC110 - nothing tells
                        await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, usual)
            there.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=there)
            writer.write(line(VISITOR4) + HEALTH)
            assert status(await reader.read()) == 200
            writer.transport.abort()
