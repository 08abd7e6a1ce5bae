"""The admin's lists: nobody else gets anything of them, whatever is in them is text, and long ones stay usable."""

import ast
import json
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from portal_house import ROOT, Browser, House, house, in_loop, knock

from access.actor import Actor
from access.address import parse_address
from nft.checks import BAN_MAX_S
from portal.admin_history import EVENTS
from portal.sizes import Size, size

PAGES = [
    "/admin",
    "/admin/open",
    "/admin/prolong",
    "/admin/blocked",
    "/admin/banned",
    "/admin/ban",
    "/admin/history",
]
FORMS = {
    "/admin/open": "address=203.0.113.9&services=cloud&for=&note=",
    "/admin/revoke": "address=203.0.113.7&service=cloud",
    "/admin/prolong": "address=203.0.113.7&service=cloud",
    "/admin/shut-out": "address=203.0.113.7&service=cloud",
    "/admin/blocked": "address=198.51.100.9",
    "/admin/ban": "address=203.0.113.9&for=1h",
    "/admin/unban": "address=192.0.2.66",
}
XSS = "\"'><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Collects what a page of ours never has: inline handlers, scripts in addresses, images of other places."""

    def __init__(self) -> None:
        super().__init__()
        self.hostile: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (
                name.startswith("on")
                or (value or "").startswith("javascript:")
                or (name, value) == ("src", "x")
            ):
                self.hostile.append(f"{tag} {name}={value}")


def hostile(text: str) -> list[str]:
    tags = Tags()
    tags.feed(text)
    return tags.hostile


async def admin_of(h: House) -> Browser:
    return await h.signed_in("yves", admin=True)


async def open_for(h: House, address: str, service: str = "cloud", **more: Any) -> None:
    await h.site.access.grants.open(Actor.CLI, [service], parse_address(address, 64), **more)


async def ban(h: House, address: str, seconds: int = 3600) -> None:
    await h.site.access.bans.ban(Actor.CLI, parse_address(address, 64), seconds)


def rows(text: str) -> list[str]:
    """The text of each row of the page's table."""
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    found = re.findall(r"<tr\b[^>]*>(.*?)</tr>", body[1], re.DOTALL) if body else []
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in found]


@in_loop
async def test_nobody_and_no_member_gets_anything_even_with_a_good_form(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        member = await h.signed_in("mamie", may_link=True)
        await open_for(h, "203.0.113.7", note="Tante Odile")
        await ban(h, "192.0.2.66")
        grants, bans = dict(h.peer.grants), dict(h.peer.bans)
        for path in PAGES:
            for method in ("GET", "HEAD"):
                assert (await h.get(path, method)).header("Location").startswith("/sign-in")
                answer = await member.get(path, method)
                assert answer.status == 403
                assert not re.search(r"203\.0\.113\.7|198\.51\.100\.9|192\.0\.2\.66|Odile", answer.text)
            assert (await yves.get(path)).status == 200
        own, admins = (await member.get("/me")).form_token, (await yves.get("/admin")).form_token
        asked = len(h.peer.asked)
        for path, body in FORMS.items():
            for token in (own, admins, ""):
                posted = f"form={token}&{body}".encode()
                assert (await h.post(path, posted)).status == 403
                assert (await member.send(path, posted)).status == 403
            for token in (own, ""):
                assert (await yves.send(path, f"form={token}&{body}".encode())).status == 403
            assert (
                await yves.send(path, f"form={admins}&{body}".encode(), Sec_Fetch_Site="cross-site")
            ).status == 403
        assert len(h.peer.asked) == asked, "the gate was not even asked"
        assert (h.peer.grants, h.peer.bans) == (grants, bans)


@in_loop
async def test_an_admin_who_became_a_member_is_out_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        await h.person("ann", admin=True)
        token = (await yves.get("/admin")).form_token
        await h.site.access.people.change(Actor.CLI, "yves", role="member")
        assert (await yves.send("/admin/ban", f"form={token}&{FORMS['/admin/ban']}".encode())).status == 403
        assert h.peer.bans == {}


@in_loop
async def test_whatever_is_in_a_list_is_text(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        for number, key in enumerate(("service", "address", "holder", "note")):
            grant = {"service": "cloud", "address": f"203.0.113.{number}", "holder": "cli", "note": ""}
            grant |= {key: XSS, "remaining_ms": 1000, "packets": 1, "bytes": 5}
            h.peer.grants["cloud", str(number), key] = grant
        h.peer.grants["cloud", "8", "x"] = {**grant, "note": "", "holder": f"person:{XSS}"}
        h.peer.grants["cloud", "9", "x"] = {**grant, "note": "", "holder": f"link:{XSS}"}
        h.peer.blocked = [knock(XSS, 22), {**knock("192.0.2.1", 1), "protocol": XSS}]
        h.peer.bans[XSS] = 60
        for key in ("event", "outcome", "reason", "by", "person", "holder", "note", "address", "at", "from"):
            entry = {"event": "granted", "at": "2026-11-21T09:30:00Z", "outcome": "allowed", key: XSS}
            with (tmp_path / "state/history.jsonl").open("a") as history:
                history.write(json.dumps({**entry, "services": [XSS, {XSS: 1}]}) + "\n")
        query = "&".join(f"{key}={quote(XSS)}" for key in ("q", "who", "event", "address", "outcome", "done"))
        for path in PAGES:
            for language in ("en", "fr"):
                for asked in ("", f"?{query}"):
                    answer = await yves.get(path + asked, Accept_Language=language)
                    assert answer.status in {200, 422}
                    assert hostile(answer.text) == []
        for path in ("/admin", "/admin/blocked", "/admin/banned", "/admin/history"):
            assert "&#34;&#39;&gt;&lt;img src=x" in (await yves.get(path)).text
        token = (await yves.get("/admin")).form_token
        for path, good in FORMS.items():
            body = urlencode({"form": token, **dict.fromkeys(re.findall(r"(\w+)=", good), XSS)})
            answer = await yves.send(path, body.encode())
            assert answer.status == 422
            assert hostile(answer.text) == []


@in_loop
async def test_who_is_in_said_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        assert "Nobody: everything is closed" in (await yves.get("/admin")).text
        mamie = await h.signed_in("mamie", may_link=True)
        await mamie.post("/me/links", {"label": "Papi", "services": "cloud"})
        link = h.site.access.links.list(Actor.CLI)[0]
        await h.site.access.opening.open(
            h.site.access.links.token(link), parse_address("2001:db8:1:2::5", 64)
        )
        await mamie.post("/me/open", {"services": "cloud", "address": "203.0.113.7"}, page="/me")
        await open_for(h, "203.0.113.8", "game", note="the plumber")
        grant = h.peer.grants["game", "203.0.113.8", "cli"]
        grant |= {"packets": 9, "bytes": 5_123_456}
        h.peer.grants["cloud", "203.0.113.9", "x"] = {**grant, "holder": "link:gone", "note": "Jean"}
        page = await yves.get("/admin")
        found = rows(page.text)
        assert [row.split()[0] for row in found] == ["the", "Jean", "mamie", "Papi"], "cli, then by name"
        assert any(row.startswith("Papi link made by mamie Nextcloud 2001:db8:1:2::/64") for row in found)
        assert any(row.startswith("mamie Nextcloud 203.0.113.7") for row in found)
        assert any(row.startswith("the command line the plumber Game 203.0.113.8") for row in found)
        assert any("5.1 MB" in row for row in found)
        assert any("none yet" in row for row in found)
        assert f'<a href="/admin/links/{link.id}">Papi</a>' in page.text
        assert '<a href="/admin/people/mamie">mamie</a>' in page.text
        french = rows((await yves.get("/admin", Accept_Language="fr")).text)
        assert any(row.startswith("la ligne de commande") and "5,1 Mo" in row for row in french)
        for wanted, names in (
            ("plumb", ["the command line"]),
            ("2001:DB8", ["Papi"]),
            ("mamie", ["mamie", "Papi"]),
        ):
            names_found = [row.split(" Game")[0] for row in rows((await yves.get(f"/admin?q={wanted}")).text)]
            assert [any(row.startswith(name) for row in names_found) for name in names] == [True] * len(names)
            assert len(names_found) == len(names)
        assert "Nothing that is open is like that" in (await yves.get("/admin?q=zzz")).text


@in_loop
async def test_opened_prolonged_and_closed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        typed = {
            "address": " 2001:db8:1:2::7 ",
            "services": ["cloud", "game"],
            "for": "4h",
            "note": " Odile ",
        }
        answer = await yves.post("/admin/open", typed)
        assert answer.header("Location") == "/admin?done=opened"
        assert set(h.peer.grants) == {
            (name, "2001:db8:1:2::/64", "person:yves") for name in ("cloud", "game")
        }
        assert {grant["note"] for grant in h.peer.grants.values()} == {"Odile"}
        assert {grant["remaining_ms"] for grant in h.peer.grants.values()} == {4 * 3600_000}
        one = {"address": "2001:db8:1:2::/64", "service": "game"}
        answer = await yves.post("/admin/prolong", one, page="/admin")
        assert answer.header("Location") == "/admin?done=prolonged", "it was longer before: nothing to undo"
        grant = h.peer.grants["game", "2001:db8:1:2::/64", "person:yves"]
        assert (grant["remaining_ms"], grant["note"]) == (7200_000, "Odile")
        answer = await yves.post("/admin/revoke", one, page="/admin")
        assert re.fullmatch(r"/admin\?done=closed&undo=[0-9a-f]{16}", answer.header("Location"))
        assert [key[0] for key in h.peer.grants] == ["cloud"]
        gone = await yves.post("/admin/prolong", one, page="/admin")
        assert (gone.status, "closed meanwhile" in gone.text) == (422, True)
        assert 'value="2001:db8:1:2::/64"' in gone.text
        assert (await yves.post("/admin/revoke", one, page="/admin")).status == 303, "closed is closed"
        events = [row for row in rows((await yves.get("/admin/history")).text) if "2001:db8" in row]
        assert [re.split(r"\d\d:\d\d \w+ ", row)[1].split(" ")[0] for row in events] == [
            "Closed",
            "Prolonged",
            "Opened",
        ]


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"address": ""}, "address"),
        ({"address": "yves"}, "address"),
        ({"address": "203.0.113.0/24"}, "address"),
        ({"address": "1" * 65}, "address"),
        ({"services": []}, "services"),
        ({"services": "nothing"}, "services"),
        ({"for": "soon"}, "for"),
        ({"for": "3650d"}, "for"),
        ({"note": "x" * 65}, "note"),
        ({"note": 'a"b'}, "note"),
        ({"note": "a\u202eb"}, "note"),
        ({"note": "x" * 257}, "note"),
    ],
    ids=str,
)
@in_loop
async def test_what_is_wrong_stands_beside_its_field(
    tmp_path: Path, typed: "dict[str, str | list[str]]", field: str
) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        good: dict[str, str | list[str]] = {
            "address": "203.0.113.9",
            "services": "cloud",
            "note": "Odile",
            "for": "1h",
        }
        answer = await yves.post("/admin/open", {**good, **typed})
        assert answer.status == 422
        assert re.findall(r'<p class="error" id="(\w+)-error">', answer.text) == [field]
        assert 'aria-current="page">Who is in' in answer.text
        for name in {"address", "note"} - {field}:
            assert f'value="{good[name]}"' in answer.text
        assert h.peer.grants == {}


@pytest.mark.parametrize("code", ["trusted-address", "special-address"])
@in_loop
async def test_an_address_that_the_gate_refuses(tmp_path: Path, code: str) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        h.peer.refuse = (code, "the gate's own words")
        answer = await yves.post("/admin/open", {"address": "10.0.0.9", "services": "cloud"})
        assert (answer.status, 'id="address-error"' in answer.text) == (422, True)
        assert "own words" not in answer.text
        h.peer.refuse_ban = h.peer.refuse
        for path in ("/admin/ban", "/admin/blocked"):
            answer = await yves.post(path, {"address": "10.0.0.9"})
            assert (answer.status, "cannot be shut out" in answer.text) == (422, True)
            assert 'value="10.0.0.9"' in answer.text or "<strong>10.0.0.9</strong>" in answer.text
        h.peer.refuse = h.peer.refuse_ban = ("too-many", "full")
        assert (await yves.post("/admin/open", {"address": "203.0.113.9", "services": "cloud"})).status == 503
        assert (await yves.post("/admin/ban", {"address": "203.0.113.9"})).status == 503


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/revoke", "address=&service=cloud"),
        ("/admin/revoke", "address=203.0.113.7&service="),
        ("/admin/revoke", "address=203.0.113.7"),
        ("/admin/revoke", "service=cloud"),
        ("/admin/revoke", "address=203.0.113.7&service=nothing"),
        ("/admin/revoke", "address=all&service=cloud"),
        ("/admin/prolong", "address=203.0.113.7&service=nothing"),
        ("/admin/prolong", "address=203.0.113.7"),
        ("/admin/unban", "address="),
        ("/admin/unban", "address=everything"),
        ("/admin/unban", ""),
    ],
)
@in_loop
async def test_unknown_things_change_nothing(tmp_path: Path, path: str, body: str) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        await open_for(h, "203.0.113.7")
        await ban(h, "192.0.2.66")
        token = (await yves.get("/admin")).form_token
        answer = await yves.send(path, f"form={token}&{body}".rstrip("&").encode())
        assert answer.status == 422
        assert "nothing" not in unescape(answer.text).lower().replace("nothing was", "")
        assert (len(h.peer.grants), h.peer.bans) == (1, {"192.0.2.66": 3600})


@in_loop
async def test_fields_that_no_page_sends(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        token = (await yves.get("/admin")).form_token
        for path, body in FORMS.items():
            for more in ("holder=cli", "everything=true", "address=192.0.2.1"):
                assert (await yves.send(path, f"form={token}&{body}&{more}".encode())).status == 400
        assert (h.peer.grants, h.peer.bans) == ({}, {})


@in_loop
async def test_who_knocked_the_last_first_and_banned_with_a_tap(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        await ban(h, "192.0.2.66")
        h.peer.blocked = [
            knock("192.0.2.66", 443, last_ms=9000),
            knock("198.51.100.9", 22, packets=3, last_ms=3000),
            *(knock("192.0.2.31", port, packets=2, last_ms=5000 + port) for port in range(1, 11)),
            knock("198.51.100.9", 443, packets=40_000, last_ms=1000),
            knock("127.0.0.1", 443, last_ms=99_000),
        ]
        page = await yves.get("/admin/blocked")
        found = rows(page.text)
        assert [row.split()[0] for row in found] == ["198.51.100.9", "192.0.2.31", "192.0.2.66", "127.0.0.1"]
        assert found[0].startswith("198.51.100.9 tcp/443, tcp/22 40,003 ")
        assert "tcp/6 and 4 more 20 " in found[1]
        assert found[2].endswith("banned")
        assert "you" in found[3]
        assert re.findall(
            r'action="/admin/blocked">.*?name="address" value="([^"]+)"', page.text, re.DOTALL
        ) == [
            "198.51.100.9",
            "192.0.2.31",
        ]
        assert "198.51.100.9" in rows((await yves.get("/admin/blocked?q=TCP/22")).text)[0]
        answer = await yves.post("/admin/blocked", {"address": "198.51.100.9"})
        assert re.fullmatch(r"/admin/blocked\?done=banned&undo=[0-9a-f]{16}", answer.header("Location"))
        assert h.peer.bans == {"192.0.2.66": 3600, "198.51.100.9": 86400}
        form = (await yves.get("/admin?address=192.0.2.31")).text
        assert 'name="address" type="text" value="192.0.2.31"' in form
        assert h.peer.grants == {}, "a page opens nothing"
        h.peer.blocked = []
        assert "Nobody knocked in the last day" in (await yves.get("/admin/blocked")).text


@in_loop
async def test_banned_and_let_back_in(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        assert "Nobody. A ban ends by itself" in (await yves.get("/admin/banned")).text
        answer = await yves.post("/admin/ban", {"address": "2001:db8:1:2::9", "for": "168h"})
        assert re.fullmatch(r"/admin/banned\?done=banned&undo=[0-9a-f]{16}", answer.header("Location"))
        assert h.peer.bans == {"2001:db8:1:2::/64": 7 * 86400}
        assert rows((await yves.get("/admin/banned")).text)[0].startswith("2001:db8:1:2::/64 ")
        answer = await yves.post("/admin/unban", {"address": "2001:db8:1:2::/64"}, page="/admin/banned")
        assert answer.header("Location") == "/admin/banned?done=unbanned"
        assert h.peer.bans == {"2001:db8:1:2::/64": 0}
        for typed, field in (
            ({"address": "", "for": "1h"}, "address"),
            ({"address": "0.0.0.0/0", "for": "1h"}, "address"),
            ({"address": "203.0.113.9", "for": "for ever"}, "for"),
        ):
            answer = await yves.post("/admin/ban", typed)
            assert answer.status == 422
            assert re.findall(r'<p class="error" id="(\w+)-error">', answer.text) == [field]
            assert f'value="{typed["address"]}"' in answer.text
        assert "203.0.113.9" not in h.peer.bans


@in_loop
async def test_an_admin_cannot_shut_themselves_out(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        for path in ("/admin/ban", "/admin/blocked"):
            for spelling in ("127.0.0.1", "::ffff:127.0.0.1"):
                answer = await yves.post(path, {"address": spelling})
                assert (answer.status, "your own address" in answer.text) == (422, True)
        assert h.peer.bans == {}


@in_loop
async def test_history_in_words_newest_first_and_narrowed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        history = h.site.access.history
        await ban(h, "192.0.2.66")
        history.record("banned", reason="sign-in", by="safeip", address="192.0.2.67")
        history.record(
            "moved", by="person:mamie", address="192.0.2.68", reason="from 192.0.2.1", services=["cloud"]
        )
        history.record(
            "link-refused",
            outcome="refused",
            reason="pin-wrong",
            holder="link:gone",
            note="Papi",
            source="2001:db8::/64",
        )
        history.record("of-a-later-version", reason="so-what", by="token:7")
        found = rows((await yves.get("/admin/history")).text)
        assert [re.split(r"\d\d:\d\d \w+ ", row, maxsplit=1)[1] for row in found[:5]] == [
            "of-a-later-version so-what 7 token",
            "Link not accepted refused wrong PIN from 2001:db8::/64 Papi link",
            "Moved to another address from 192.0.2.1 mamie Nextcloud 192.0.2.68",
            "Address banned guessed passwords SafeIP 192.0.2.67",
            "Address banned the command line 192.0.2.66",
        ]
        for query, number in (
            ("event=banned", 2),
            ("event=of-a-later-version", 1),
            ("who=Mamie", 1),
            ("who=papi", 1),
            ("outcome=refused", 1),
            ("address=2001:db8::77", 1),
            ("address=192.0.2.67&event=banned", 1),
            ("address=192.0.2.67&event=moved", 0),
            ("who=nobody", 0),
        ):
            answer = await yves.get(f"/admin/history?{query}")
            assert (answer.status, len(rows(answer.text))) == (200, number), query
        later = (await yves.get("/admin/history?event=of-a-later-version")).text
        assert '<option value="of-a-later-version" selected>' in later
        wrong = await yves.get("/admin/history?address=nonsense&who=yves")
        assert (wrong.status, rows(wrong.text)) == (422, [])
        assert 'id="address-error"' in wrong.text
        assert 'value="nonsense"' in wrong.text
        assert 'value="yves"' in wrong.text
        french = rows((await yves.get("/admin/history", Accept_Language="fr")).text)
        assert french[3].endswith("Adresse bannie mots de passe devinés SafeIP 192.0.2.67")


@in_loop
async def test_a_history_that_somebody_else_wrote_to(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        with (tmp_path / "state/history.jsonl").open("a") as file:
            for line in (
                '{"at": "yesterday"}',
                "{}",
                "[]",
                "garbage",
                '{"at": 7, "event": [], "services": "x", "by": {}}',
            ):
                file.write(line + "\n")
        answer = await yves.get("/admin/history")
        assert answer.status == 200
        assert rows(answer.text)[:3] == ["unknown"] * 3


def recorded_events() -> Iterator[str]:
    """The events that the code records, as far as it names them in place."""
    for folder in ("access", "portal"):
        for file in (ROOT / "src" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if not (isinstance(node, ast.Call) and node.args):
                    continue
                called, first = ast.unparse(node.func).rpartition(".")[2], node.args[0]
                if called in {"record", "_record"} and isinstance(first, ast.Constant):
                    yield first.value


@in_loop
async def test_every_event_has_words_in_each_language(tmp_path: Path) -> None:
    recorded = set(recorded_events())
    assert len(recorded) > 15
    assert recorded <= set(EVENTS)
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        for language in h.site.pages.languages:
            page = await yves.get("/admin/history", Accept_Language=language)
            offered = dict(re.findall(r'<option value="([a-z-]+)">([^<]+)</option>', page.text))
            assert set(EVENTS) <= set(offered)
            assert [event for event in EVENTS if unescape(offered[event]) == event] == []
            assert len({offered[event] for event in EVENTS}) == len(EVENTS)


@in_loop
async def test_ten_thousand_rows(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await admin_of(h)
        for number in range(10_000):
            address = f"198.18.{number >> 8}.{number & 255}"
            h.peer.grants["cloud", address, f"person:p{number}"] = {
                "service": "cloud",
                "address": address,
                "holder": f"person:p{number}",
                "note": "",
                "remaining_ms": 1000 + number,
                "packets": number,
                "bytes": number,
            }
            h.peer.bans[address] = 60 + number
            h.site.access.history.record("granted", by=f"person:p{number}", address=address)
        h.peer.blocked = [knock(address, port) for address in h.peer.bans for port in (22,)]
        for path in ("/admin", "/admin/blocked", "/admin/banned"):
            page = (await yves.get(path)).text
            shown = 200 if path == "/admin/blocked" else 100
            assert len(rows(page)) == shown
            assert ("There are 9,800 more" if shown == 200 else "Page 1 of 100") in page
            assert len(page) < 400_000
            found = rows((await yves.get(f"{path}?q=198.18.39.15")).text)
            assert len(found) == 1
            assert "198.18.39.15" in found[0]
        page = (await yves.get("/admin/history")).text
        assert len(rows(page)) == 500
        assert "the last 500" in page
        assert len(rows((await yves.get("/admin/history?who=p4711")).text)) == 1


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, Size(0, 0, "kB")),
        (999, Size(0, 9, "kB")),
        (999_999, Size(999, 9, "kB")),
        (1_000_000, Size(1, 0, "MB")),
        (5_123_456, Size(5, 1, "MB")),
        (999_999_999, Size(999, 9, "MB")),
        (98_300_000_000, Size(98, 3, "GB")),
        (10**15, Size(1000, 0, "TB")),
    ],
)
def test_sizes(count: int, shown: Size) -> None:
    assert size(count) == shown


@in_loop
async def test_a_ban_lasts_no_longer_than_the_gate_allows(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        for offered in re.findall(r'<option value="(\d+h)"', (await yves.get("/admin/banned")).text):
            assert int(offered[:-1]) * 3600 <= BAN_MAX_S
        answer = await yves.post("/admin/ban", {"address": "203.0.113.9", "for": "31d"}, page="/admin/banned")
        assert (answer.status, 'id="for-error"' in answer.text) == (422, True)
        assert h.peer.bans == {}
