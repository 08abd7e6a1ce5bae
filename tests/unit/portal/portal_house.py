"""A portal on real sockets, over a peer that speaks the wire and keeps grants in a dictionary."""

import asyncio
import functools
import inspect
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyotp
from aiohttp import web

from access import start as access_start
from access.actor import Actor
from access.person import Person
from access.services import Service
from portal import edge
from portal.app import control_app, every_answer, public_door
from portal.arrival import Arrivals
from portal.door import Door
from portal.events import EventKeeper
from portal.gate import GateClient
from portal.pages import Pages
from portal.peer import ControlPeers
from portal.proxied import Proxied
from portal.quiet import http_logger
from portal.settings import Settings
from portal.site import Site, is_secure, make_site
from portal.tls import server_certificate

ROOT = Path(__file__).parents[3]
HERE = "127.0.0.1"
PASSWORD = "four words nobody guesses"
SERVICES = {
    "cloud": Service("cloud", "Nextcloud", "https://cloud.example.org/", 43200, 86400 * 30, ("tcp/443",)),
    "game": Service("game", "Game", None, 7200, 86400, ("tcp/25565", "udp/25565")),
}


class WirePeer:
    """The gate's end of the wire. `asked` is what came, `refuse` what the next grants are answered with."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked: list[dict[str, Any]] = []
        self.grants: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.bans: dict[str, int] = {}
        self.blocked: list[dict[str, Any]] = [knock("198.51.100.9", 22, packets=3)]
        self.refuse: tuple[str, str] | None = None
        self.refuse_ban: tuple[str, str] | None = None
        self.status: dict[str, Any] = {
            "mode": "table", "table": "inet safeip", "closed_packets": 0, "services": {}, "masks": {"count": 0, "latest": []},
        }  # fmt: skip
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self) -> None:
        reader, self.writer = await asyncio.open_unix_connection(sock=self.sock)
        while line := await reader.readline():
            request = json.loads(line)
            self.asked.append(request)
            for answer in getattr(self, "do_" + request["verb"])(request):
                self.say({"id": request["id"], **answer})
        self.writer.close()

    def say(self, message: dict[str, Any]) -> None:
        assert self.writer is not None
        self.writer.write(json.dumps(message).encode() + b"\n")

    def do_grant(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        if self.refuse is not None:
            return [{"error": {"code": self.refuse[0], "message": self.refuse[1]}}]
        made, renewed = [], True
        for service, seconds in request["services"].items():
            grant = {key: request[key] for key in ("address", "holder", "note")}
            grant |= {"service": service, "remaining_ms": seconds * 1000, "packets": 0, "bytes": 0}
            key = service, request["address"], request["holder"]
            renewed = renewed and key in self.grants
            self.grants[key] = grant
            made.append(grant)
        return [{"ok": {"grants": made, "left": self.leave(request), "renewed": renewed}}]

    def leave(self, request: dict[str, Any]) -> list[str]:
        """The holder's oldest addresses of the family, so that as many stay as may."""
        six = ":" in request["address"]
        held = [key[1] for key in self.grants if key[2] == request["holder"] and (":" in key[1]) == six]
        others = [address for address in dict.fromkeys(held) if address != request["address"]]
        most = request["addresses"]
        left = others[: len(others) + 1 - most] if most is not None and len(others) >= most else []
        self.grants = {key: grant for key, grant in self.grants.items() if key[2] != request["holder"] or key[1] not in left}
        return left

    def chosen(self, request: dict[str, Any]) -> list[tuple[str, str, str]]:
        wanted = (request["service"], request["address"], request["holder"])
        return [key for key in self.grants if all(w in {None, k} for w, k in zip(wanted, key, strict=True))]

    def do_revoke(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        chosen = self.chosen(request)
        for key in chosen:
            del self.grants[key]
        return [{"ok": {"revoked": len(chosen)}}]

    def do_list(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[Any] = {
            "grants": [self.grants[key] for key in self.chosen(request)],
            "held": [self.grants[key] for key in self.chosen(request)],
            "blocked": self.blocked,
            "banned": [{"address": a, "remaining_ms": s * 1000, "packets": 0} for a, s in self.bans.items()],
            "status": [{**self.status, "grants": len(self.grants)}],
        }[request["of"]]
        # The first by itself, so that few rows come in parts too
        parts = [rows[:1], *(rows[start : start + 150] for start in range(1, len(rows), 150))]
        return [*({"part": part} for part in parts), {"ok": {}}]

    def do_ban(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        if self.refuse_ban is not None:
            return [{"error": {"code": self.refuse_ban[0], "message": self.refuse_ban[1]}}]
        self.bans[request["address"]] = request["duration_s"]
        return [{"ok": {}}]

    def do_watch(self, _request: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"ok": {}}]


def knock(address: str, port: int, *, packets: int = 1, last_ms: int = 5) -> dict[str, Any]:
    """A blocked row, as the gate tells it."""
    return {
        "address": address,
        "protocol": "tcp",
        "port": port,
        "packets": packets,
        "bytes": packets * 60,
        "last_ms": last_ms,
    }


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form_token(self) -> str:
        return re.findall(r'name="form" value="([^"]+)"', self.text)[0]

    @property
    def cookie(self) -> str:
        """The first cookie that was set, as it goes back."""
        return self.header("Set-Cookie").partition(";")[0]


async def ask(
    where: "tuple[str, int] | str",
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One request on a connection of its own; nothing is normalised on the way."""
    lines = [f"{method} {path} HTTP/1.1"]
    given = {"Host": "open.example.org", "Connection": "close", **(headers or {})}
    if body and "Content-Length" not in given:
        given["Content-Length"] = str(len(body))
    lines += [f"{key}: {line}" for key, value in given.items() for line in value.split("\n")]
    return await ask_raw(where, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def ask_raw(where: "tuple[str, int] | str", data: bytes) -> Answer:
    async with asyncio.timeout(60):
        if isinstance(where, str):
            reader, writer = await asyncio.open_unix_connection(where)
        else:
            reader, writer = await asyncio.open_connection(*where)
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [
            (key, value.strip()) for key, _, value in (line.partition(":") for line in head[1:] if line)
        ]
        body = await reader.read()
        writer.close()
        return Answer(int(head[0].split()[1]), headers, body)


@dataclass
class House:
    """A running portal; at `proxied` each connection begins with a PROXY header. `now` is its clock, set by the test."""

    site: Site
    door: Door
    gate: GateClient
    peer: WirePeer
    public: tuple[str, int]
    proxied: tuple[str, int]
    control: str
    now: list[float] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    recovery_codes: tuple[str, ...] = ()

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return await ask(
            self.public, method, path, {key.replace("_", "-"): text for key, text in headers.items()}
        )

    async def post(self, path: str, body: bytes, **headers: str) -> Answer:
        given = {"Content-Type": "application/x-www-form-urlencoded"}
        given |= {key.replace("_", "-"): text for key, text in headers.items()}
        return await ask(self.public, "POST", path, given, body)

    async def api(self, method: str, path: str, json_body: Any = None) -> Answer:
        body = b"" if json_body is None else json.dumps(json_body).encode()
        headers = {"Content-Type": "application/json"} if body else {}
        return await ask(self.control, method, f"/api/v1/{path}", headers, body)

    async def person(
        self,
        name: str = "mamie",
        *,
        admin: bool = False,
        services: tuple[str, ...] = ("cloud",),
        may_link: bool = False,
        totp: bool | None = None,
    ) -> Person:
        """Somebody with PASSWORD; with TOTP too if `totp`, or if nothing is said of an admin."""
        access = self.site.access
        person = await access.people.add(
            Actor.CLI,
            name,
            role="admin" if admin else "member",
            services=services,
            may_link=may_link,
            password=PASSWORD,
        )
        if admin if totp is None else totp:
            offer = access.credentials.new_totp(Actor.CLI, name)
            self.secrets[name] = offer.secret
            person, self.recovery_codes = await access.credentials.totp_on(
                Actor.CLI, name, offer.seed, self.code(name), password=None
            )
        return person

    def code(self, name: str) -> str:
        """A code of the person's that was not used yet: the clock goes on for it; "" without TOTP."""
        if name not in self.secrets:
            return ""
        self.now[0] += 30
        return pyotp.TOTP(self.secrets[name]).at(int(self.now[0]))

    async def signed_in(self, name: str = "mamie", **kind: Any) -> "Browser":
        """A new browser in which a new person is signed in; `kind` as in `person`."""
        await self.person(name, **kind)
        browser = Browser(self)
        answer = await browser.sign_in(name)
        assert answer.status == 303, answer.text
        return browser

    async def link(self, label: str = "Mamie", services: tuple[str, ...] = ("cloud",), **values: Any) -> str:
        """The path of a new link."""
        link = await self.site.access.links.add(Actor.CLI, label, list(services), **values)
        return f"/l/{self.site.access.links.token(link)}"

    async def open(self, path: str, pin: str | None = None, **headers: str) -> Answer:
        """As a browser without script does."""
        page = await self.get(path, **headers)
        body = f"form={page.form_token}" + ("" if pin is None else f"&pin={pin}")
        return await self.post(path, body.encode(), Cookie=page.cookie, **headers)


class Browser:
    """Keeps cookies as a browser does. `headers` go with every request."""

    def __init__(self, house: House, **headers: str) -> None:
        self.house = house
        self.headers = headers
        self.cookies: dict[str, str] = {}

    @property
    def session(self) -> str | None:
        """The session's token."""
        return self.cookies.get("__Host-safeip-session")

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self._keep(await self.house.get(path, method, **self._with_cookies(headers)))

    async def send(self, path: str, body: bytes, **headers: str) -> Answer:
        """A POST of any body."""
        return self._keep(await self.house.post(path, body, **self._with_cookies(headers)))

    async def post(
        self, path: str, values: "dict[str, str | list[str]] | None" = None, *, page: str | None = None
    ) -> Answer:
        """Post a form with the token of the page that it stands on; by default one of the same path."""
        token = (await self.get(page or path)).form_token
        return await self.send(path, urlencode({"form": token, **(values or {})}, doseq=True).encode())

    async def sign_in(
        self, name: str = "mamie", password: str | None = None, code: str | None = None, **more: str
    ) -> Answer:
        typed = {
            "name": name,
            "password": PASSWORD if password is None else password,
            "code": self.house.code(name) if code is None else code,
        }
        return await self.post("/sign-in", {**typed, **more})

    async def is_signed_in(self) -> bool:
        return (await self.get("/me")).status == 200

    def _with_cookies(self, headers: dict[str, str]) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**self.headers, **({"Cookie": cookies} if cookies else {}), **headers}

    def _keep(self, answer: Answer) -> Answer:
        for key, value in answer.headers:
            if key.lower() == "set-cookie":
                name, _, text = value.partition(";")[0].partition("=")
                if "; Max-Age=0;" in value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = text
        return answer


@functools.cache
def _pages(*, secure: bool) -> Pages:
    """Compiled once for all tests: it takes longer than most of them."""
    return Pages(ROOT, secure=secure)


@asynccontextmanager
async def house(
    directory: Path, *, more: Callable[[web.Application], None] = lambda _app: None, reader: int | None = None, **settings: Any
) -> AsyncIterator[House]:
    """A portal with plain HTTP on 127.0.0.1 and a control socket, until the block ends.

    `more` may add routes to the public pages. `reader`: a uid that may read at the control socket.
    """
    state = directory / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    chosen = replace(
        Settings(
            url="https://open.example.org",
            listen=(),
            services=SERVICES,
            state_dir=str(state),
            tls="off",
            trusted_networks=(ip_network("10.0.0.0/8"), ip_network("fe80::/10")),
        ),
        **settings,
    )
    ours, theirs = socket.socketpair()
    peer = WirePeer(theirs)
    serving = asyncio.create_task(peer.serve())
    gate = await GateClient.connect(ours)
    now = [1_790_000_000.0]
    access = access_start.start(
        chosen.state_dir,
        chosen.services,
        gate,
        chosen.limits,
        clock=lambda: now[0],
        monotonic=lambda: now[0],
    )
    await gate.watch(EventKeeper(access.history))
    certificate = server_certificate(chosen)
    pages = _pages(secure=is_secure(chosen))
    site = make_site(chosen, access, gate, pages, clock=lambda: now[0], certificate=certificate)
    door = public_door(site)
    more(door.app)
    public = web.AppRunner(door.app)
    private = web.AppRunner(
        control_app(site, ControlPeers(None, reader)), access_log=None, logger=http_logger(), auto_decompress=False
    )
    listener, behind = (socket.create_server((HERE, 0)) for _ in range(2))
    control = str(directory / "control.sock")
    unix = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(control)  # noqa: PTH108 - nothing else runs in this loop
    unix.bind(control)
    for runner in (public, private):
        await runner.setup()
    listening = await edge.listen(public, listener, every_answer(site), certificate and certificate.context, Arrivals(site.settings.wan))
    passed_on = Proxied(public, behind, every_answer(site), certificate and certificate.context, site.clients.is_proxy, Arrivals(site.settings.wan))
    try:
        await web.SockSite(private, unix).start()
        yield House(site, door, gate, peer, listener.getsockname()[:2], behind.getsockname()[:2], control, now)
    finally:
        listening.close()
        passed_on.close()
        await asyncio.gather(*(runner.cleanup() for runner in (public, private)))
        await access.close()
        gate.close()
        await asyncio.wait_for(serving, 60)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test written as a coroutine; nothing may be left running when it ends."""
    assert inspect.iscoroutinefunction(test)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(300):
                await test(*args, **kwargs)
            for _ in range(3000):
                if len(asyncio.all_tasks()) == 1:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"left running: {asyncio.all_tasks()}")

        asyncio.run(whole())

    return run
