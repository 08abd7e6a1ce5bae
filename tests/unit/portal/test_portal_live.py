"""What the admin's live page is made of: rows in pages, counters seen now and then, where what happened changed something."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from portal_house import Browser, House, house, in_loop

from access.actor import Actor
from access.gate import Grant
from access.history import Entry
from access.link import Link
from access.person import Person
from portal.grant_rows import Wanted
from portal.hub import Hub
from portal.paging import PAGE
from portal.scopes import Scope, changed
from portal.traffic import Seen, Traffic
from portal.watcher import MOST_ROWS, MOST_SCOPES, Watcher

GRANT = Grant("cloud", "203.0.113.7", "link:aaaaaa", "Mamie", 3_600_000, 0, 0)
ADMIN = Actor("person:yves", admin=True)


def test_when_the_last_packet_came_as_far_as_looking_tells() -> None:
    traffic = Traffic()

    def look(now: float, packets: int) -> Seen | None:
        grant = replace(GRANT, packets=packets)
        traffic.look_at_all([grant], now)
        return traffic.of(grant)

    assert look(1000, 0) is None
    assert look(1010, 5) == Seen(1010, sharp=True)
    assert look(1020, 5) == Seen(1010, sharp=True)
    assert look(2000, 9) == Seen(2000, sharp=False), "some time within sixteen minutes"
    assert look(2010, 0) is None, "renewed"
    assert look(2020, 1) == Seen(2020, sharp=True)
    traffic.forget()
    assert traffic.of(GRANT) is None
    assert look(3000, 1) == Seen(3000, sharp=False), "it may have come long before"


def test_a_look_at_everything_finds_what_nobody_told() -> None:
    traffic = Traffic()
    other = replace(GRANT, address="203.0.113.8")
    assert traffic.look_at_all([GRANT, other], 1000) == (set(), set()), "the first look"
    later = replace(GRANT, remaining_ms=GRANT.remaining_ms - 10_000)
    assert traffic.look_at_all([later, replace(other, packets=3)], 1010) == (
        set(),
        {"203.0.113.8"},
    ), "the second was renewed"
    assert traffic.look_at_all([replace(later, holder="cli")], 1010) == (set(), {"203.0.113.7", "203.0.113.8"})
    assert traffic.look([replace(later, packets=1)], 1011) == {("cloud", "203.0.113.7")}
    assert traffic.look_at_all([], 1012)[1] == {"203.0.113.7"}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Wanted()),
        ({"q": " Mamie ", "service": "cloud", "family": "6", "kind": "link", "page": "3"},
         Wanted("Mamie", "cloud", "6", "link", 3)),
        ({"kind": "token"}, Wanted(kind="token")),
        ({"family": "5", "kind": "safeip", "page": "0"}, Wanted()),
        ({"page": "-1"}, Wanted()),
        ({"page": "\u0661"}, Wanted()),
        ({"page": "9" * 30}, Wanted()),
        ({"q": "x" * 500}, Wanted("x" * 64)),
    ],
)  # fmt: skip
def test_what_is_wanted(query: dict[str, str], wanted: Wanted) -> None:
    assert Wanted.read(query) == wanted
    assert Wanted.parse(wanted.query()) == wanted
    assert Wanted.parse(wanted.place().partition("?")[2]) == wanted


STATE = SimpleNamespace(
    links={
        "aaaaaa": Link("aaaaaa", "Mamie", ("cloud",), 1),
        "bbbbbb": Link("bbbbbb", "Papi", ("cloud",), 1, addresses=1),
    },
    people={"ann": Person("ann", "admin", 1), "mamie": Person("mamie", "member", 1)},
)


HERE: Scope = ("address", "203.0.113.7")


@pytest.mark.parametrize(
    ("entry", "scopes"),
    [
        ({"event": "link-opened", "holder": "link:aaaaaa", "address": HERE[1]}, [HERE]),
        ({"event": "link-opened", "holder": "link:bbbbbb", "address": HERE[1]}, [HERE, ("holder", "link:bbbbbb")]),
        ({"event": "granted", "by": "person:ann", "address": HERE[1]}, [HERE]),
        ({"event": "granted", "by": "person:mamie", "address": HERE[1]}, [HERE, ("holder", "person:mamie")]),
        ({"event": "moved", "address": HERE[1], "reason": "from 192.0.2.1"}, [HERE, ("address", "192.0.2.1")]),
        ({"event": "revoked", "address": HERE[1], "holder": "cli"}, [HERE]),
        ({"event": "revoked", "holder": "link:aaaaaa"}, [("holder", "link:aaaaaa")]),
        ({"event": "revoked", "reason": "all"}, [None]),
        ({"event": "link-paused", "holder": "link:aaaaaa"}, [("holder", "link:aaaaaa")]),
        ({"event": "person-removed", "person": "mamie"}, [None]),
        ({"event": "repaired"}, [None]),
        ({"event": "signed-in", "by": "person:ann"}, []),
        ({"event": "link-refused", "address": HERE[1]}, []),
        ({}, []),
    ],
    ids=json.dumps,
)
def test_where_something_changed(entry: Entry, scopes: list[Scope | None]) -> None:
    assert changed(entry, STATE) == scopes  # type: ignore[arg-type]


def test_a_watcher_holds_no_more_than_a_page() -> None:
    async def run() -> None:
        watcher = Watcher(ADMIN, Wanted(), None)
        for number in range(MOST_SCOPES):
            watcher.tell(("address", f"203.0.113.{number}"), [GRANT])
            watcher.tell(("address", f"203.0.113.{number}"), [GRANT])
        assert (len(watcher.rows), watcher.again) == (MOST_SCOPES, False)
        watcher.tell(("holder", "cli"), [])
        assert (watcher.rows, watcher.again) == ({}, True)
        watcher.again = False
        watcher.tell(("holder", "cli"), [GRANT] * (MOST_ROWS + 1))
        assert (watcher.rows, watcher.again) == ({}, True)

    asyncio.run(run())


def fill(h: House, count: int, **more: Any) -> None:
    for number in range(count):
        address = f"198.18.{number >> 8}.{number & 255}"
        grant = {"service": "cloud", "address": address, "holder": "cli", "note": f"Guest {number:05}"}
        h.peer.grants["cloud", address, "cli"] = {**grant, "remaining_ms": 3_600_000, "packets": 0, "bytes": 0, **more}


async def names(yves: Browser, query: str = "") -> list[str]:
    return re.findall(r"Guest \d+", (await yves.get(f"/admin{query}")).text)


@in_loop
async def test_what_a_script_asks_by_itself_uses_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth tab asks every minute whether it may watch, one that missed something for the whole page, a kept link to stay."""
    monkeypatch.setattr(Hub, "full", lambda *_: True)
    async with house(tmp_path, trusted_proxies=(ip_network("127.0.0.0/8"),)) as h:
        await h.person("yves", admin=True)
        yves = Browser(h, X_Forwarded_For="203.0.113.7")
        assert (await yves.sign_in("yves")).status == 303
        path = await h.link()
        *_, form = re.findall(r'name="form" value="([^"]+)"', (await yves.get(path)).text)  # the first one is for signing out
        (token,) = re.findall(r'data-form="([^"]+)"', (await yves.send(path, f"form={form}".encode())).text)
        (session,) = h.site.access.sessions.of("yves")
        for _ in range(20):
            h.now[0] += 120
            assert (await yves.send(f"{path}/stay", f"form={unescape(token)}".encode())).status == 200
            assert (await yves.get("/admin/live", Accept="text/event-stream")).status == 503
            assert (await yves.get("/admin", Accept="*/*")).status == 200
        assert h.site.access.sessions.of("yves") == [session]
        await yves.get("/admin", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
        assert h.site.access.sessions.of("yves")[0].seen_at == h.now[0]


@in_loop
async def test_every_grant_is_on_one_page(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        fill(h, 2 * PAGE + 7)
        pages = [await names(yves, f"?page={page}") for page in (1, 2, 3)]
        assert [len(page) for page in pages] == [PAGE, PAGE, 7]
        assert len({name for page in pages for name in page}) == 2 * PAGE + 7
        assert await names(yves, "?page=99") == pages[2], "no page beyond the last"
        text = (await yves.get("/admin?q=guest&page=2")).text
        assert 'rel="prev" href="/admin?q=guest"' in text
        assert 'rel="next" href="/admin?q=guest&amp;page=3"' in text
        assert await names(yves, "?q=guest+0007&kind=cli&family=4&service=cloud") == [
            f"Guest 0007{number}" for number in range(10)
        ]
        for nothing in ("?kind=link", "?kind=token", "?family=6", "?service=game", "?q=%00"):
            assert await names(yves, nothing) == []


@in_loop
async def test_whoever_opened_something_can_be_looked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        for number, holder in enumerate(("link:aaaaaa", "person:yves", "token:bbbbbb", "cli")):
            address = f"203.0.113.{number}"
            grant = {"service": "cloud", "address": address, "holder": holder, "note": f"Guest {number}"}
            h.peer.grants["cloud", address, holder] = {**grant, "remaining_ms": 3_600_000, "packets": 0, "bytes": 0}
        page = (await yves.get("/admin?q=203")).text
        offered = re.findall(r'<option value="([^"]+)"', page.partition('<select id="kind"')[2].partition("</select>")[0])
        assert len(offered) == len(h.peer.grants)
        for kind in offered:
            page = (await yves.get(f"/admin?kind={kind}")).text
            assert f'value="{kind}" selected' in page
            assert len(re.findall("<tr[^>]* data-key=", page)) == 1, kind


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


@in_loop
async def test_a_look_finds_what_no_entry_tells(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        fill(h, 3)
        hub = Hub(h.site)
        watcher = Watcher(ADMIN, Wanted(), None)
        with hub.watching(watcher):
            await until(lambda: watcher.shown is not None)
            assert (watcher.all, watcher.again, watcher.rows) == (3, False, {})
            fill(h, 4, packets=2)
            await until(lambda: bool(watcher.rows))
            assert list(watcher.rows) == [("address", "198.18.0.3")]
            assert {place[1] for place in watcher.counts} == {f"198.18.0.{number}" for number in range(3)}
            assert watcher.all == 4
            watcher.rows.clear()
            fill(h, 200)
            await until(lambda: watcher.again)
            assert watcher.rows == {}, "too many to be told one by one"
        await until(lambda: len(asyncio.all_tasks()) < 10)


@in_loop
async def test_where_everything_changes_all_the_time_it_is_not_listed_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as h:
        listed = 0
        listing = h.gate.grants

        async def slowly(**which: Any) -> list[Grant]:
            nonlocal listed
            listed += 1
            await asyncio.sleep(0.3)
            return await listing(**which)

        monkeypatch.setattr(h.gate, "grants", slowly)
        begin = time.monotonic()
        hub = Hub(h.site)
        watcher = Watcher(ADMIN, Wanted(), None)
        with hub.watching(watcher):
            await until(lambda: watcher.shown is not None)
            for number in range(100):
                for host in range(60):
                    h.site.access.history.record("grant-expired", address=f"198.18.{number}.{host}")
                await asyncio.sleep(0.03)
            assert listed <= 1 + (time.monotonic() - begin) / 1.4, "one in 1.5 s"
            await until(lambda: watcher.last)


@in_loop
async def test_a_silent_gate_leaves_nobody_believing(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        hub = Hub(h.site)
        watcher = Watcher(ADMIN, Wanted(), None)
        with hub.watching(watcher):
            await until(lambda: watcher.shown is not None)
            h.gate.close()
            h.site.access.history.record("granted", by="cli", address="203.0.113.7")
            await until(lambda: watcher.again)


@in_loop
async def test_a_defect_lets_watchers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("defect")

    async with house(tmp_path) as h:
        hub = Hub(h.site)
        monkeypatch.setattr(hub.traffic, "look_at_all", broken)
        watcher = Watcher(ADMIN, Wanted(), None)
        with hub.watching(watcher):
            await until(lambda: watcher.over)
