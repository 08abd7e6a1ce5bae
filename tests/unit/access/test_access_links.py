import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from access_house import Live, live_in

from access.actor import Actor
from access.gate import GateUnavailable
from access.inputs import BadInput
from access.links import MOST_ADDRESSES, MOST_USES
from access.state import UnknownLink

TOKEN = re.compile(r"[a-z2-7]{6}-[a-z2-7]{32}")  # 32 characters of 5 bits: 160 bits


def test_add_is_on_disk_when_it_answers(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI,
                "  Me\u0301mé ",
                ["game", "cloud", "game"],
                duration_s=3600,
                expires_s=86400,
                uses=3,
                addresses=2,
                pin="4711",
                to="https://cloud.example.org/s?a=b#c",
            )
            on_disk = json.loads(house.state_text)["links"][link.id]
            assert on_disk.pop("pin").startswith("$argon2id$v=19$m=19456,t=2,p=1$")
            assert on_disk == {
                "label": "Mémé",
                "owner": None,
                "services": ["game", "cloud"],
                "duration": "1h",
                "expires_at": "2027-01-16T08:00:00Z",
                "uses": 3,
                "used": 0,
                "addresses": 2,
                "paused": False,
                "generation": 1,
                "to": "https://cloud.example.org/s?a=b#c",
                "created_at": "2027-01-15T08:00:00Z",
                "last_used_at": None,
            }
            assert house.links.token(link) not in house.state_text
            assert "4711" not in house.state_text
        async with live() as house:
            assert house.links.list(Actor.CLI) == [link]
            assert house.links.find(house.links.token(link)) == link

    asyncio.run(main())


def test_tokens(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens = [house.links.token(await house.links.add(Actor.CLI, f"L{n}", ["cloud"])) for n in range(20)]
            assert all(TOKEN.fullmatch(token) for token in tokens)
            assert len({token[7:] for token in tokens}) == 20
            mac = tokens[0][7:]
            for wrong in [
                "",
                "-",
                tokens[0][:6],
                tokens[0][:-1],
                tokens[0] + "a",
                tokens[0].upper(),
                tokens[0][:7] + tokens[1][7:],
                tokens[0] + "\n",
                mac,
                f"-{mac}",
                f"zzzzzz-{mac}",
                "é" * 39,
                "\ud800",
                "\0",
                "a" * 1_000_000,
            ]:
                assert house.links.find(wrong) is None, wrong[:50]

    asyncio.run(main())


def test_unknown_ids_cost_the_same_compare(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    made: list[object] = []
    compared: list[tuple[int, int]] = []
    real_new, real_compare = hmac.new, hmac.compare_digest
    monkeypatch.setattr(hmac, "new", lambda *args, **kw: made.append(None) or real_new(*args, **kw))
    monkeypatch.setattr(
        hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real_compare(a, b)
    )

    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            for token in [f"{link.id}-{'a' * 32}", f"zzzzzz-{'a' * 32}"]:
                made.clear()
                assert house.links.find(token) is None
                assert len(made) == 1
            assert len(compared) == 2

    asyncio.run(main())


def test_rotate_makes_the_old_url_unknown_for_good(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            old = house.links.token(link)
            rotated = await house.links.rotate(Actor.CLI, link.id)
            new = house.links.token(rotated)
            assert new != old
            assert new[:6] == old[:6]
        async with live() as house:
            assert house.links.find(old) is None
            assert house.links.find(new) == rotated

    asyncio.run(main())


def test_another_key_makes_every_url_new(live: Live, tmp_path: Path) -> None:
    async def main() -> None:
        async with live() as house:
            token = house.links.token(await house.links.add(Actor.CLI, "Mamie", ["cloud"]))
        (tmp_path / "secret.key").write_text(base64.b64encode(bytes(32)).decode())
        async with live() as house:
            assert house.links.find(token) is None

    asyncio.run(main())


@pytest.mark.parametrize("withdraw", ["pause", "rotate", "remove"])
def test_withdrawing_lasts_and_revokes(live: Live, withdraw: str) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            assert (await getattr(house.links, withdraw)(Actor.CLI, link.id)).id == link.id
            assert house.gate.calls == ["revoke"]
        async with live() as house:
            if withdraw == "remove":
                assert house.links.list(Actor.CLI) == []
                with pytest.raises(UnknownLink):
                    house.links.get(Actor.CLI, link.id)
            else:
                after = house.links.get(Actor.CLI, link.id)
                assert (after.paused, after.generation) == ((True, 1) if withdraw == "pause" else (False, 2))

    asyncio.run(main())


def test_pause_holds_when_the_gate_is_silent(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            house.gate.fail = GateUnavailable("gone")
            with pytest.raises(GateUnavailable):
                await house.links.pause(Actor.CLI, link.id)
            assert json.loads(house.state_text)["links"][link.id]["paused"] is True
            assert (await house.links.resume(Actor.CLI, link.id)).paused is False
            assert json.loads(house.state_text)["links"][link.id]["paused"] is False

    asyncio.run(main())


def test_unknown_ids(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            for act in [house.links.pause, house.links.resume, house.links.rotate, house.links.remove]:
                with pytest.raises(UnknownLink, match="there is no link 'zzzzzz'"):
                    await act(Actor.CLI, "zzzzzz")
            assert not house.gate.calls

    asyncio.run(main())


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"label": ""}, "label", "is empty"),
        ({"label": " \t "}, "label", "is empty"),
        ({"label": None}, "label", "is not text"),
        ({"label": 'say "hi"'}, "label", "double quote"),
        ({"label": "a\\b"}, "label", "backslash"),
        ({"label": "a\x1b[31mb"}, "label", "cannot be shown"),
        ({"label": "a\u202eb"}, "label", "cannot be shown"),
        ({"label": "a\ud800b"}, "label", "cannot be shown"),
        ({"label": "a\0b"}, "label", "cannot be shown"),
        ({"label": "é" * 33}, "label", "is too long: 66 bytes, 64 at most"),
        ({"services": []}, "services", "is empty; choose from cloud, game"),
        ({"services": "cloud"}, "services", "is not a list"),
        ({"services": [1]}, "services", "is not a list of names"),
        ({"services": ["cloud", "nas"]}, "services", "'nas' is not a service; choose from cloud, game"),
        ({"duration_s": 86401}, "for", "86401s is above the maximum of cloud; write at most 1d"),
        (
            {"services": ["cloud", "game"], "duration_s": 10800},
            "for",
            "3h is above the maximum of game; write at most 2h",
        ),
        ({"duration_s": 0}, "for", "is out of range"),
        ({"duration_s": "2h"}, "for", "is not a whole number"),
        ({"duration_s": True}, "for", "is not a whole number"),
        ({"expires_s": 0}, "expires", "is out of range"),
        ({"expires_s": 10**12}, "expires", "is out of range"),
        ({"uses": 0}, "uses", "is out of range"),
        ({"uses": 1.5}, "uses", "is not a whole number"),
        ({"uses": MOST_USES + 1}, "uses", "is out of range"),
        ({"addresses": -1}, "addresses", "is out of range"),
        ({"addresses": MOST_ADDRESSES + 1}, "addresses", "is out of range"),
        ({"pin": ""}, "pin", "write 4 to 64 digits or letters"),
        ({"pin": "123"}, "pin", "write 4 to 64"),
        ({"pin": "1" * 65}, "pin", "write 4 to 64"),
        ({"pin": "12\n34"}, "pin", "write 4 to 64"),
        ({"pin": 4711}, "pin", "write 4 to 64"),
        ({"to": ""}, "to", "is not a URL"),
        ({"to": "cloud.example.org"}, "to", "begins with neither"),
        ({"to": "javascript:alert(1)"}, "to", "begins with neither"),
        ({"to": "ftp://example.org/"}, "to", "begins with neither"),
        ({"to": "https:///path"}, "to", "names no host"),
        ({"to": "https://?a"}, "to", "names no host"),
        ({"to": "https://:443/"}, "to", "names no host"),
        ({"to": "https://a:0/"}, "to", "names no host or port"),
        ({"to": "https://yves@example.org/"}, "to", "holds a name or password"),
        ({"to": "https://@example.org/"}, "to", "holds a name or password"),
        ({"to": "https://good.example\\@evil.example/"}, "to", "holds a character that a URL cannot"),
        ({"to": "https://example.org/ a"}, "to", "holds a character"),
        ({"to": "https://example.org/\r\nX: y"}, "to", "holds a character"),
        ({"to": 'https://example.org/"'}, "to", "holds a character"),
        ({"to": "https://éxample.org/"}, "to", "holds a character"),
        ({"to": "https://[::1/"}, "to", "is not a URL"),
        ({"to": "https://a:99999/"}, "to", "is not a URL"),
        ({"to": "https://a/" + "b" * 2048}, "to", "is too long"),
        ({"to": 7}, "to", "is not a URL"),
    ],
)
def test_bad_input(live: Live, values: dict[str, Any], field: str, message: str) -> None:
    async def main() -> None:
        async with live() as house:
            with pytest.raises(BadInput) as caught:
                await house.links.add(Actor.CLI, **({"label": "Mamie", "services": ["cloud"]} | values))
            assert caught.value.field == field
            assert message in caught.value.message
            assert house.links.list(Actor.CLI) == []
            assert not (house.directory / "state.json").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    "label", ["Chez l'oncle", "é" * 32, "x" * 64, "Ж 漢字 🏠", "<b>&amp;</b>", "$(id); flush"]
)
def test_good_labels(live: Live, label: str) -> None:
    async def main() -> None:
        async with live() as house:
            assert (await house.links.add(Actor.CLI, label, ["cloud"])).label == label
        async with live() as house:
            assert house.links.list(Actor.CLI)[0].label == label

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "https://[2001:db8::1]:8443/x",
        "https://xn--xample-9ua.org/%C3%A9?q=1&r[]=2#f",
        "HTTPS://A.EXAMPLE/",
    ],
)
def test_good_urls(tmp_path: Path, url: str) -> None:
    async def main() -> None:
        async with live_in(tmp_path) as house:
            assert (await house.links.add(Actor.CLI, "Mamie", ["cloud"], to=url)).to == url

    asyncio.run(main())


def test_as_json(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"], pin="4711", uses=1, expires_s=60)
            assert link.as_json(house.clock()) == {
                "id": link.id,
                "label": "Mamie",
                "owner": None,
                "services": ["cloud"],
                "for": None,
                "uses": 1,
                "used": 0,
                "addresses": None,
                "pin": True,
                "paused": False,
                "to": None,
                "created_at": "2027-01-15T08:00:00Z",
                "expires_at": "2027-01-15T08:01:00Z",
                "last_used_at": None,
                "state": "open",
            }
            assert link.as_json(house.clock() + 60)["state"] == "expired"
            spent = await house.links.spend_use(link.id)
            assert spent.state(house.clock()) == "used-up"
            assert (await house.links.pause(Actor.CLI, link.id)).state(house.clock() + 60) == "paused"

    asyncio.run(main())
