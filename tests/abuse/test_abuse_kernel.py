"""Attacks that end in the kernel: what is open, what is banned, and what the portal took for it."""

import asyncio
import ssl
import zlib
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lab.gateway import GATEWAY4, Gateway
from lab.process import wait_for

PASSWORD = "seven purple otters hum"
PREVIEWS = [
    {"User-Agent": "WhatsApp/2.23.20.0"},
    {"User-Agent": "facebookexternalhit/1.1"},
    {"User-Agent": "TelegramBot (like TwitterBot)"},
    {"User-Agent": "Slackbot-LinkExpanding 1.0"},
    {"User-Agent": "Mozilla/5.0 (compatible; Discordbot/2.0)"},
    {"User-Agent": "SkypeUriPreview Preview/0.5"},
    {"User-Agent": "Mozilla/5.0 (compatible; bingbot/2.0)", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
    {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"},
]
SETS = ("cloud4", "cloud6", "films4", "films6", "game4", "game6")


@pytest.fixture(scope="module")
def gateway():
    with Gateway(prefix="sipa") as made:
        made.cli("person", "add", "mamie", "--service", "cloud", "--password-stdin", input=PASSWORD + "\n")
        yield made


def opened(gateway: Gateway) -> list[str]:
    return [element.value for name in SETS for element in gateway.elements(name)]


def test_previews_fetch_a_link_and_the_sets_stay_empty(gateway):
    url = gateway.add_link("Jean", ("cloud", "films"))
    for headers in PREVIEWS:
        for method in ("GET", "HEAD", "OPTIONS"):
            for family in (4, 6):
                gateway.visitor.fetch(url, method, headers=headers, family=family)
    assert opened(gateway) == []
    assert gateway.visitor.open_link(url).status == 200
    assert opened(gateway) == ["192.0.2.10", "192.0.2.10"]
    gateway.cli("revoke", "--all")


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP"]
)
def test_a_forged_address_opens_the_forgers_own_alone(gateway, name):
    value = "for=203.0.113.200" if name == "Forwarded" else "203.0.113.200"
    page = gateway.stranger.fetch(gateway.add_link(), headers={name: value})
    assert "203.0.113.200" not in page.text
    assert gateway.stranger.submit(page, headers={name: value}).status == 200
    assert opened(gateway) == ["203.0.113.66"]
    gateway.cli("revoke", "--all")


def test_a_compressed_bomb_takes_no_memory(gateway):
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(pack.compress(b"x" * (1 << 20)) for _ in range(1_000)) + pack.flush()
    before = peak_mib(gateway)
    for _ in range(4):
        with gateway.visitor.connect(gateway.add_link()) as connection:
            head = (
                "POST /l/aaaaaa-x HTTP/1.1\r\nHost: home.test\r\nContent-Encoding: gzip\r\n"
                f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            try:
                connection.sendall(head.encode() + body)
                connection.recv(1000)
            except (ConnectionError, TimeoutError, ssl.SSLError):
                pass  # it had seen enough
    assert peak_mib(gateway) - before < 16
    assert gateway.healthy()


def peak_mib(gateway: Gateway) -> float:
    lines = Path(f"/proc/{gateway.portal_pid()}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def test_ten_thousand_guesses_reach_few_hashes_and_end_in_the_kernel(gateway):
    """From one address, 200 at once. Others go on as before."""
    page = gateway.stranger.fetch("https://home.test:8443/sign-in")
    form = next(form for form in page.forms if form.action.endswith("/sign-in"))
    cookies = "; ".join(f"{name}={value}" for name, value in gateway.stranger.cookies.items())

    def request(number: int) -> bytes:
        body = urlencode({**form.fields, "name": "mamie", "password": f"guess number {number}", "code": ""})
        return (
            f"POST /sign-in HTTP/1.1\r\nHost: home.test:8443\r\nCookie: {cookies}\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    with gateway.stranger.namespace.entered():
        answers = asyncio.run(guess(request, 10_000))
    looked_at = answers.count(403)
    print(f"10,000 guesses: {looked_at} compared, {answers.count(429)} refused, {answers.count(0)} unanswered")
    assert looked_at <= 10, "each of these was a password that was compared"
    assert set(answers) <= {0, 403, 429}
    banned = [element.value for element in gateway.elements("banned4")]
    assert banned == [gateway.stranger.ipv4]
    assert not gateway.stranger.reaches("https://home.test:8443/healthz", timeout=0.5)
    # Others are not affected, and mamie herself signs in
    page = gateway.second.fetch("https://home.test:8443/sign-in")
    answer = gateway.second.submit(page, {"name": "mamie", "password": PASSWORD, "code": ""})
    assert (answer.status, answer.headers["Location"]) == (303, "/me")
    assert gateway.cli_json("bans")[0]["address"] == gateway.stranger.ipv4
    gateway.cli("unban", gateway.stranger.ipv4)
    wait_for("the way back", lambda: gateway.stranger.reaches("https://home.test:8443/healthz"))


async def guess(request, number: int) -> list[int]:
    """The statuses of the answers; 0 where none came."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    places = asyncio.Semaphore(400)

    async def one(which: int) -> int:
        async with places:
            writer = None
            try:
                async with asyncio.timeout(0.5):
                    reader, writer = await asyncio.open_connection(GATEWAY4, 8443, ssl=tls)
                async with asyncio.timeout(60):
                    writer.write(request(which))
                    return int((await reader.readline()).split()[1])
            except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError):
                return 0
            finally:
                if writer is not None:
                    writer.transport.abort()

    return list(await asyncio.gather(*(one(which) for which in range(number))))
