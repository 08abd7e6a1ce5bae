"""The admin's live page: who may watch and until when, how many, and what somebody can do with it who means harm."""

import asyncio
import gc
import json
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from abuse_town import Browser, Town, hashed, town
from portal_house import in_loop

from access.actor import Actor
from access.undo import LASTS_S
from portal import admin_live, hub
from portal.edge import Connection

XSS = "\"'><img src=x onerror=alert(1)>"
THERE = IPv4Address("203.0.113.7")
STREAM = "text/event-stream"


class Stream:
    """A connection to the live page, read event by event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader, self.writer, self.head = reader, writer, head
        self.status = int(head.split()[1])
        self._text = ""

    async def event(self) -> tuple[str, Any] | None:
        """The next, without heartbeats; None: the stream ended."""
        while True:
            while "\n\n" not in self._text:
                try:
                    size = int((await asyncio.wait_for(self.reader.readline(), 60)).strip() or b"0", 16)
                except (ConnectionError, asyncio.IncompleteReadError):
                    return None
                if size == 0:
                    return None
                self._text += (await self.reader.readexactly(size + 2))[:-2].decode()
            block, _, self._text = self._text.partition("\n\n")
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                return fields["event"], json.loads(fields["data"])

    async def until(self, name: str) -> Any:
        while (event := await self.event()) is not None:
            if event[0] == name:
                return event[1]
        raise AssertionError(f"the stream ended without {name}")

    def close(self) -> None:
        self.writer.close()


async def watch(browser: Browser, query: str = "", *, buffer: int = 0) -> Stream:
    """Ask for the stream as a browser does."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, browser.house.public)
    # the reader itself reads ahead no further than its limit
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
    headers = browser._headers({"Accept": STREAM, "Host": "open.example.org"})
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([f"GET /admin/live{query} HTTP/1.1", *lines, "", ""]).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode()
    stream = Stream(reader, writer, head)
    if stream.status != 200:
        stream.close()
    return stream


def in_town(test: Callable[[Town], Awaitable[None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def there() -> None:
            async with town(tmp_path) as place:
                await test(place)

        in_loop(there)()

    return run


async def admin(there: Town, name: str) -> Browser:
    """One more admin, signed in."""
    if name != "ann":
        await there.access.people.add(Actor.CLI, name, role="admin")
        await there.access.state.change_person(
            name, lambda person: replace(person, password=hashed("x" * 12), totp="5eed" * 8)
        )
    return await there.at(name)


async def open_something(there: Town, address: IPv4Address = THERE, **more: Any) -> None:
    await there.access.grants.open(Actor.CLI, ["cloud"], address, **more)


@in_town
async def test_nobody_and_no_member_may_watch(there: Town) -> None:
    for browser, status in ((there.browser(), 303), (await there.at("mamie"), 403)):
        stream = await watch(browser)
        assert stream.status == status
        assert STREAM not in stream.head
        stream.close()
    ann = await there.at("ann")
    for method, headers in (("HEAD", {"Accept": STREAM}), ("GET", {}), ("GET", {"Accept": "text/html"})):
        assert (await ann.get("/admin/live", method, **headers)).status == 406
    assert (await ann.post("/admin/live")).status == 405
    assert there.house.peer.asked[-1]["verb"] == "watch", "the gate was not even asked"


@in_town
async def test_what_happens_is_told_with_its_place_and_escaped(there: Town) -> None:
    stream = await watch(await there.at("ann"))
    assert "no-store" in stream.head
    assert "connect-src" in stream.head
    await open_something(there, note=XSS.replace('"', ""))
    told = await stream.until("rows")
    assert told["scope"] == {"address": str(THERE)}
    (row,) = told["rows"]
    assert row["key"] == f"cloud {THERE}"
    assert "&lt;img src=x" in row["html"]
    assert "<img" not in row["html"]
    assert "&lt;img src=x" in (await stream.until("last"))["html"]
    link = await there.access.links.add(Actor.CLI, "<b onclick=x>", ["cloud"])
    await there.access.opening.open(there.access.links.token(link), IPv4Address("203.0.113.8"))
    (row,) = (await stream.until("rows"))["rows"]
    assert "&lt;b onclick=x&gt;" in row["html"]
    assert "<b " not in row["html"]
    stream.close()


@in_town
async def test_the_search_narrows_what_is_told(there: Town) -> None:
    stream = await watch(await there.at("ann"), "?q=odile&family=4&kind=cli&service=cloud&page=2")
    await open_something(there, note="Odile")
    assert len((await stream.until("rows"))["rows"]) == 1
    await open_something(there, IPv4Address("203.0.113.8"), note="Jean")
    while (told := await stream.until("rows"))["scope"] != {"address": "203.0.113.8"}:
        pass
    assert told["rows"] == []
    stream.close()


async def end_session(there: Town, ann: Browser) -> None:
    await there.access.sessions.end_token(ann.session)


async def sign_out_everywhere(there: Town, _ann: Browser) -> None:
    await there.access.people.sign_out_everywhere(Actor.CLI, "ann")


async def demote(there: Town, _ann: Browser) -> None:
    await there.access.people.change(Actor.CLI, "ann", role="member")


async def remove(there: Town, _ann: Browser) -> None:
    await there.access.people.remove(Actor.CLI, "ann")


async def codes_off(there: Town, _ann: Browser) -> None:
    await there.access.state.change_person("ann", lambda person: replace(person, totp=None))


async def idle(there: Town, _ann: Browser) -> None:
    there.later(there.house.site.settings.limits.session_idle_s)


End = Callable[[Town, Browser], Awaitable[None]]


@pytest.mark.parametrize("end", [end_session, sign_out_everywhere, demote, remove, codes_off, idle])
def test_whoever_is_no_admin_any_more_hears_nothing_more(tmp_path: Path, end: End) -> None:
    @in_town
    async def run(there: Town) -> None:
        await admin(there, "zoe")
        ann = await there.at("ann")
        stream = await watch(ann, "?from=x")
        assert await stream.event() == ("again", {})
        await stream.until("counts")
        await end(there, ann)
        await open_something(there, note="Secret")
        heard = []
        while (event := await stream.event()) is not None:
            heard.append(event)
        assert "Secret" not in json.dumps(heard)
        stream.close()

    run(tmp_path)


@in_town
async def test_watching_keeps_no_session_alive(there: Town) -> None:
    ann = await there.at("ann")
    seen_at = there.access.sessions.of("ann")[0].seen_at
    stream = await watch(ann)
    there.later(120)
    await open_something(there)
    await stream.until("rows")
    stream.close()
    (session,) = there.access.sessions.of("ann")
    assert session.seen_at <= seen_at + 60


@in_town
async def test_four_for_one_and_sixteen_for_all(there: Town) -> None:
    streams = []
    for name in ("ann", "zoe", "max", "lea"):
        browser = await admin(there, name)
        for _ in range(hub.MOST_OF_ONE):
            streams.append(await watch(browser))
            assert streams[-1].status == 200
        assert (await watch(browser)).status == 503
    assert (await watch(await admin(there, "tim"))).status == 503
    streams[0].close()
    ann = await there.at("ann")
    async with asyncio.timeout(60):
        while (again := await watch(ann)).status != 200:  # noqa: ASYNC110 - its end is told nowhere
            await asyncio.sleep(0.05)
    for stream in (*streams, again):
        stream.close()


def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_live, "TAKEN_WITHIN_S", 0.5)

    @in_town
    async def run(there: Town) -> None:
        link = await there.link(addresses=1000)
        token = there.access.links.token(link)
        for number in range(150):
            await there.access.opening.open(token, IPv4Address(f"198.51.100.{number}"))
        stream = await watch(await there.at("ann"), buffer=4096)
        stream.writer.transport.pause_reading()
        theirs = _their_end(stream)
        theirs.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        most = 0
        async with asyncio.timeout(20):
            while not theirs.is_closing():
                most = max(most, theirs.get_write_buffer_size())
                await there.access.opening.open(token, IPv4Address("198.51.100.7"))
                await asyncio.sleep(0.02)
        assert 64 * 1024 < most < 1024 * 1024, "one helping, and no second"
        stream.close()

    run(tmp_path)


def _their_end(stream: Stream) -> Any:
    """The portal's transport of a stream."""
    mine = stream.writer.get_extra_info("sockname")
    for one in gc.get_objects():
        if isinstance(one, Connection) and one.transport and one.transport.get_extra_info("peername") == mine:
            return one.transport
    raise AssertionError


@in_town
async def test_a_flood_of_entries_is_told_as_one(there: Town) -> None:
    stream = await watch(await there.at("ann"))
    await stream.until("counts")
    for number in range(3000):
        there.access.history.record("grant-expired", address=f"198.18.{number >> 8}.{number & 255}", holder="cli")
    asked = len(there.house.peer.asked)
    await stream.until("last")
    assert len(there.house.peer.asked) - asked < 5
    stream.close()


@in_town
async def test_nobody_watches_nothing_runs(there: Town) -> None:
    tasks = asyncio.all_tasks()
    stream = await watch(await there.at("ann"))
    await stream.until("counts")
    assert len(asyncio.all_tasks()) > len(tasks)
    stream.close()
    await open_something(there)  # is noticed at the next event
    async with asyncio.timeout(60):
        while any("Hub" in repr(task) for task in asyncio.all_tasks()):
            await open_something(there)
            await asyncio.sleep(0.1)
    asked = len(there.house.peer.asked)
    there.access.history.record("granted", address=str(THERE), by="cli")
    await asyncio.sleep(0.5)
    assert len(there.house.peer.asked) == asked


@in_loop
async def test_the_end_of_the_portal_ends_streams(tmp_path: Path) -> None:
    async with town(tmp_path) as there:
        stream = await watch(await there.at("ann"))
        await stream.until("counts")
    async with asyncio.timeout(60):
        while await stream.event() is not None:
            pass
    stream.close()


def undo_id(location: str) -> str:
    return parse_qs(urlsplit(location).query)["undo"][0]


@in_town
async def test_a_step_is_its_makers_once_and_for_ten_minutes(there: Town) -> None:
    ann, zoe, mamie = await there.at("ann"), await admin(there, "zoe"), await there.at("mamie")

    async def close_it() -> str:
        await open_something(there)
        answer = await ann.submit("/admin", {"address": str(THERE), "service": "cloud", "back": "q=x"}, to="/admin/revoke")
        assert answer.header("Location").startswith("/admin?q=x&done=closed&undo=")
        assert not there.gate
        return undo_id(answer.header("Location"))

    step = await close_it()
    assert 'name="id"' not in (await zoe.get(f"/admin?done=closed&undo={step}")).text, "nothing is offered to others"
    for browser, page in ((zoe, "/admin"), (mamie, "/me"), (there.browser(), "/")):
        answer = await browser.submit(page, {"id": step, "to": "in", "back": ""}, to="/admin/undo")
        assert answer.status == 403 or "done=not-undone-unknown" in answer.header("Location")
    assert (await ann.post("/admin/undo", {"id": step}, token="x" * 20)).status == 403
    assert (await ann.post("/admin/undo", {"id": step}, Sec_Fetch_Site="cross-site")).status == 403
    assert not there.gate
    answer = await ann.submit(f"/admin?undo={step}", {"id": step, "to": "in", "back": "q=x"}, to="/admin/undo")
    assert answer.header("Location") == "/admin?q=x&done=undone"
    assert list(there.gate) == [("cloud", str(THERE), "cli")]
    answer = await ann.submit("/admin", {"id": step, "to": "in", "back": ""}, to="/admin/undo")
    assert answer.header("Location") == "/admin?done=not-undone-unknown"
    assert "cannot be taken back" in (await ann.get("/admin?done=not-undone-unknown")).text
    there.gate.clear()
    step = await close_it()
    there.later(LASTS_S)
    assert 'name="id"' not in (await ann.get(f"/admin?done=closed&undo={step}")).text
    answer = await ann.submit("/admin", {"id": step, "to": "in", "back": ""}, to="/admin/undo")
    assert answer.header("Location") == "/admin?done=not-undone-unknown"
    assert not there.gate


@in_town
async def test_a_link_that_was_paused_gets_nothing_back(there: Town) -> None:
    ann = await there.at("ann")
    link = await there.link()
    await there.access.opening.open(there.access.links.token(link), THERE)
    answer = await ann.submit("/admin", {"address": str(THERE), "service": "cloud"}, to="/admin/revoke")
    step = undo_id(answer.header("Location"))
    await there.access.links.pause(Actor.CLI, link.id)
    await there.access.links.resume(Actor.CLI, link.id)
    answer = await ann.post("/admin/undo", {"id": step, "to": "in"}, Accept="application/json")
    assert (answer.status, "cannot be taken back" in answer.json["said"]) == (409, True)
    assert not there.gate


@pytest.mark.parametrize(
    "back",
    ["", "q=%22%3E%3Cscript%3E", "page=99999&x=1&done=opened", "//evil.example/?q=1", "q=a%0d%0aSet-Cookie:x=1", "\0&=&&"],
)
def test_the_way_back_is_one_of_ours(tmp_path: Path, back: str) -> None:
    @in_town
    async def run(there: Town) -> None:
        ann = await there.at("ann")
        await open_something(there)
        typed = {"address": str(THERE), "service": "cloud", "back": back}
        to = (await ann.submit("/admin", typed, to="/admin/revoke")).header("Location")
        assert re.fullmatch(r"/admin\?[A-Za-z0-9=&%+._-]*done=closed&undo=[0-9a-f]{16}", to)
        typed = {"id": undo_id(to), "to": "//evil.example", "back": back}
        to = (await ann.submit(to, typed, to="/admin/undo")).header("Location")
        assert re.fullmatch(r"/admin\?[A-Za-z0-9=&%+._-]*done=undone", to)

    run(tmp_path)


@in_town
async def test_a_script_gets_rows_and_words_and_others_a_page(there: Town) -> None:
    ann = await there.at("ann")
    await open_something(there, note="<i>Odile")
    await ann.get("/admin")
    typed = {"address": str(THERE), "service": "cloud", "back": "q=odile"}
    answer = await ann.post("/admin/prolong", typed, Accept="application/json")
    assert "<i>" not in answer.json["rows"][0]["html"]
    assert answer.json["scope"] == {"address": str(THERE)}
    answer = await ann.post("/admin/shut-out", typed, Accept="application/json")
    assert (answer.json["rows"], "The address is banned" in answer.json["said"]) == ([], True)
    step = re.findall(r'name="id" value="([0-9a-f]{16})"', answer.json["said"])[0]
    answer = await ann.post("/admin/undo", {"id": step, "to": "in", "back": "q=odile"}, Accept="application/json")
    assert len(answer.json["rows"]) == 1
    gone = await ann.post("/admin/prolong", {**typed, "address": "203.0.113.99"}, Accept="application/json")
    assert (gone.status, "closed meanwhile" in gone.json["said"]) == (422, True)
    # an admin does not shut themselves out
    own = await ann.post("/admin/shut-out", {**typed, "address": ann.address}, Accept="application/json")
    assert own.status == 422
    assert there.house.peer.bans.get(ann.address, 0) == 0
