"""Tokens: made, checked, removed."""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from access_desk import HERE, THERE
from access_house import Live, live_in, until
from access_tokens import token_actor, token_text

from access import tokens as tokens_module
from access.actor import Actor, NotAllowed, acting_token
from access.address import parse_address
from access.files import NotSaved
from access.gate import GateUnavailable
from access.guard import Throttled
from access.inputs import BadInput
from access.state import UnknownToken
from access.token import SCOPES, Token
from access.tokens import BadToken


def test_the_text_opens_and_the_state_does_not_hold_it(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens = house.access.tokens
            token, text = await tokens.add(
                Actor.CLI, " Mamie's router ", ["grant:self"], services=["cloud"], expires_s=60, duration_s=7200
            )
            name, token_id, secret = text.split("_")
            assert (name, token_id, len(secret)) == ("safeip", token.id, 26)
            assert set(token_id + secret) <= set("abcdefghijklmnopqrstuvwxyz234567")
            assert (token.label, token.services, token.duration_s) == ("Mamie's router", ("cloud",), 7200)
            assert token.expires_at == token.created_at + 60
            assert secret not in house.state_text
            assert hashlib.sha256(secret.encode()).hexdigest() in house.state_text
            used = tokens.check(text, HERE, trusted=False)
            assert (used.id, used.last_address, used.last_used_at) == (token.id, str(HERE), house.clock())
            (entry,) = await house.told("token-added")
            assert entry == {
                "at": entry["at"], "event": "token-added", "by": "cli", "holder": token.holder,
                "note": "Mamie's router", "outcome": "allowed", "services": ["cloud"],
            }  # fmt: skip
            for line in (house.directory / "history.jsonl").read_text().splitlines():
                assert secret not in line

    asyncio.run(main())


def test_each_token_is_another(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            texts = {await token_text(house, "read") for _ in range(20)}
            assert len(texts) == len({text[7:13] for text in texts}) == len({text[14:] for text in texts}) == 20

    asyncio.run(main())


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"label": ""}, "label"),
        ({"label": 'a"b'}, "label"),
        ({"label": "x" * 65}, "label"),
        ({"label": None}, "label"),
        ({"scopes": []}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"scopes": "admin"}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": ["grant"]}, "scopes"),
        ({"scopes": [1]}, "scopes"),
        ({"services": []}, "services"),
        ({"services": ["nothing"]}, "services"),
        ({"services": "cloud"}, "services"),
        ({"expires_s": 0}, "expires"),
        ({"expires_s": "1d"}, "expires"),
        ({"expires_s": True}, "expires"),
        ({"duration_s": -1}, "for"),
        ({"services": ["game"], "duration_s": 7201}, "for"),
    ],
)
def test_what_makes_no_token(live: Live, values: dict[str, Any], field: str) -> None:
    async def main() -> None:
        async with live() as house:
            given = {"label": "Router", "scopes": ["read"], **values}
            with pytest.raises(BadInput) as caught:
                await house.access.tokens.add(Actor.CLI, given.pop("label"), given.pop("scopes"), **given)
            assert caught.value.field == field
            assert house.access.tokens.list(Actor.CLI) == []
            assert await house.told("token-added") == []

    asyncio.run(main())


def test_there_is_an_end_to_how_many(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MOST_TOKENS", 2)

    async def main() -> None:
        async with live() as house:
            await token_text(house, "read")
            await token_text(house, "read")
            with pytest.raises(BadInput) as caught:
                await token_text(house, "read")
            assert caught.value.values == {"most": 2}

    asyncio.run(main())


def test_scopes_hold_one_another() -> None:
    row = Token("aaaaaa", "x", (), "0" * 64, 0)
    held = {scope: {one for one in SCOPES if replace(row, scopes=(scope,)).may(one)} for scope in SCOPES}
    assert held == {
        "read": {"read"},
        "grant:self": {"grant:self"},
        "grant:any": {"grant:any", "grant:self"},
        "links": {"links"},
        "admin": set(SCOPES),
    }


def test_only_the_whole_houses_admin_is_one(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            assert (await token_actor(house, "admin")).admin
            limited = await token_actor(house, "admin", services=["cloud"])
            assert not limited.admin
            assert limited.may("admin")
            for scope in SCOPES:
                with pytest.raises(NotAllowed):
                    limited.need_house(scope)
            reader = await token_actor(house, "read")
            reader.need_house("read")
            with pytest.raises(NotAllowed):
                reader.need_house("admin")

    asyncio.run(main())


def test_a_token_makes_sees_and_removes_no_token(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens, by = house.access.tokens, await token_actor(house, *SCOPES)
            member = await house.moves_in("mamie")
            for actor in (by, member):
                with pytest.raises(NotAllowed):
                    await tokens.add(actor, "Another", ["read"])
                with pytest.raises(NotAllowed):
                    tokens.list(actor)
                for token_id in (str(by.holder[6:]), "nobody"):
                    with pytest.raises(NotAllowed):
                        tokens.get(actor, token_id)
                    with pytest.raises(NotAllowed):
                        await tokens.remove(actor, token_id)
            assert len(tokens.list(Actor.CLI)) == 1
            yves = await house.moves_in("yves", role="admin")
            assert [token.id for token in tokens.list(yves)] == [by.holder[6:]]

    asyncio.run(main())


def test_a_token_makes_no_person_and_no_password(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            people, by = house.access.people, await token_actor(house, *SCOPES)
            await house.moves_in("mamie")
            await house.moves_in("asks", asked="It is me")
            before = house.state_text
            for act in (
                lambda: people.add(by, "eve", role="admin", password="correct horse battery"),
                lambda: people.change(by, "mamie", role="admin"),
                lambda: people.remove(by, "mamie"),
                lambda: people.approve(by, "asks", services=["cloud"]),
                lambda: people.refuse(by, "asks"),
                lambda: people.invite(by, "mamie"),
                lambda: people.sign_out_everywhere(by, "mamie"),
                lambda: house.access.credentials.set_password(by, "mamie", "correct horse battery"),
                lambda: house.access.credentials.totp_off(by, "mamie"),
                lambda: house.access.credentials.change_password(by, "", "", "correct horse battery"),
                lambda: house.access.credentials.new_recovery_codes(by, password="", code=""),
            ):
                with pytest.raises(NotAllowed):
                    await act()
            with pytest.raises(NotAllowed):
                house.access.credentials.new_totp(by, "mamie")
            assert house.state_text == before
            assert {person.name for person in people.list(by)} == {"mamie", "asks"}

    asyncio.run(main())


# Who shows one.


WRONG = [
    "", "x", "safeip_", "safeip__", "safeip_{id}", "safeip_{id}_", "{secret}", "{id}_{secret}", "Safeip_{id}_{secret}",
    "safeip_{id}_{secret}a", "safeip_{id}_{secret}\n", " safeip_{id}_{secret}", "safeip_{id}_{wrong}",
    "safeip_aaaaaa_{secret}", "safeip_{id}_{digest}", "safeip_{id}_{upper}", "safeip_{id}_\ud800", "a" * 1_000_000,
    "safeip_{id}_" + "\0" * 26, "safeip_{id}_{secret}" + "a" * 1_000_000,
]  # fmt: skip


def test_whatever_is_wrong_is_refused_alike(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            text = await token_text(house, "admin")
            token_id, secret = text[7:13], text[14:]
            digest = house.access.state.tokens[token_id].digest
            names = {
                "id": token_id, "secret": secret, "digest": digest, "upper": secret.upper(),
                "wrong": ("b" if secret[0] == "a" else "a") + secret[1:],
            }  # fmt: skip
            for number, wrong in enumerate(WRONG):
                where = parse_address(f"198.51.100.{number}", 64)  # so that no ban is in the way
                with pytest.raises(BadToken) as caught:
                    house.access.tokens.check(wrong.format(**names), where, trusted=False)
                assert caught.value.args == ()
            assert house.access.tokens.check(text, HERE, trusted=False).id == token_id
            told = await house.told("token-refused")
            assert {entry["reason"] for entry in told} == {"unknown", "wrong"}
            assert {entry.get("holder") for entry in told} == {None, f"token:{token_id}"}
            assert secret not in json.dumps(told)

    asyncio.run(main())


def test_an_end_is_an_end(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens = house.access.tokens
            text = await token_text(house, "read", expires_s=60)
            house.clock.now += 59
            token = tokens.check(text, HERE, trusted=False)
            assert tokens.holds(token)
            house.clock.now += 1
            assert not tokens.holds(token)
            with pytest.raises(BadToken):
                tokens.check(text, HERE, trusted=False)
            assert [entry["reason"] for entry in await house.told("token-refused")] == ["expired"]

    asyncio.run(main())


def test_ten_wrong_tokens_ban_and_the_same_one_does_not(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens, text = house.access.tokens, await token_text(house, "read")
            old = await token_text(house, "read")
            await tokens.remove(Actor.CLI, old[7:13])
            for _ in range(100):  # a router that nobody told calls on and on
                with pytest.raises(BadToken):
                    tokens.check(old, HERE, trusted=False)
            assert tokens.check(text, HERE, trusted=False)
            assert len(await house.told("token-refused")) == 1
            for number in range(10):
                with pytest.raises(BadToken):
                    tokens.check(f"safeip_{text[7:13]}_{'a' * 25}{'abcdefghij'[number]}", THERE, trusted=False)
            await until(lambda: str(THERE) in house.gate.bans)
            with pytest.raises(Throttled):
                tokens.check(text, THERE, trusted=False)  # nothing is looked at, as in the kernel
            assert tokens.check(text, HERE, trusted=False)
            assert [entry["reason"] for entry in await house.told("banned")] == ["token"]

    asyncio.run(main())


def test_a_trusted_network_is_never_banned(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            tokens, text = house.access.tokens, await token_text(house, "read")
            for number in range(29):
                with pytest.raises(BadToken):
                    tokens.check(f"safeip_aaaaaa_{number:0>26}", HERE, trusted=True)
            assert tokens.check(text, HERE, trusted=True)
            assert house.gate.bans == {}

    asyncio.run(main())


def test_the_history_is_not_flooded_by_guesses(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            async def told() -> list[str]:
                entries = await house.access.history.read(10_000)
                return [entry["address"] for entry in entries if entry["event"] == "token-refused"]

            def guess(where: str, times: int) -> None:
                for number in range(times):
                    with pytest.raises(BadToken):
                        house.access.tokens.check(f"safeip_aaaaaa_{number}", parse_address(where, 64), trusted=False)

            for number in range(2):
                guess(f"203.0.113.{number}", 9)
            assert len(await told()) == 10
            guess("203.0.113.2", 1)
            assert (await told())[10:] == ["203.0.113.2"], "two throwaways hide nobody"
            for number in range(3, 250):
                guess(f"203.0.113.{number}", 1)
            assert len(await told()) == 200
            guess("2001:db8:1::1", 1)
            assert (await told())[200:] == ["2001:db8:1::/64"], "and IPv4 hides nothing of IPv6"

    asyncio.run(main())


def test_the_secret_is_compared_whole_and_by_its_digest(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known and unknown ids take the same way: one hash, one comparison of 64 characters in constant time."""
    compared: list[tuple[str, str]] = []
    real = tokens_module.hmac.compare_digest

    def compare(given: str, expected: str) -> bool:
        compared.append((given, expected))
        return real(given, expected)

    monkeypatch.setattr(tokens_module.hmac, "compare_digest", compare)

    async def main() -> None:
        async with live() as house:
            text = await token_text(house, "read")
            house.access.tokens.check(text, HERE, trusted=False)
            other = text[:-1] + ("a" if text[-1] == "b" else "b")
            for wrong in (other, "safeip_aaaaaa_" + text[14:], "no token at all", ""):
                with pytest.raises(BadToken):
                    house.access.tokens.check(wrong, HERE, trusted=False)
            assert len(compared) == 5
            assert {len(part) for pair in compared for part in pair} == {64}

    asyncio.run(main())


# Its last use.


def test_the_last_use_is_known_at_once_and_written_once_a_minute(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            text, due = await token_text(house, "read"), []
            loop = asyncio.get_running_loop()
            real = loop.call_at
            monkeypatch.setattr(loop, "call_at", lambda when, *rest: (due.append(when - loop.time()), real(when, *rest))[1])
            before = house.state_text
            for where in (HERE, THERE) * 50:
                house.access.tokens.check(text, where, trusted=False)
            assert [seconds for seconds in due if seconds > 1] == [pytest.approx(60, abs=5)]
            assert house.state_text == before
            assert house.access.tokens.get(Actor.CLI, text[7:13]).last_address == str(THERE)
            directory = house.directory
        async with live_in(directory) as house:
            assert house.access.tokens.get(Actor.CLI, text[7:13]).last_address == str(THERE)
            assert house.access.tokens.check(text, HERE, trusted=False)

    asyncio.run(main())


def test_a_use_does_not_bring_back_what_is_removed_meanwhile(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            text = await token_text(house, "read")
            removing = asyncio.create_task(house.access.tokens.remove(Actor.CLI, text[7:13]))
            while not removing.done():
                try:
                    house.access.tokens.check(text, HERE, trusted=False)
                except BadToken:
                    break
                await asyncio.sleep(0)
            await removing
            assert house.access.state.tokens == {}
            directory = house.directory
        async with live_in(directory) as house:
            assert house.access.state.tokens == {}

    asyncio.run(main())


# Taken away.


def test_what_it_opened_is_closed_with_it(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:any")
            await house.access.grants.open(by, ["cloud"], HERE)
            await house.access.grants.open(Actor.CLI, ["game"], HERE)
            token = await house.access.tokens.remove(Actor.CLI, by.holder[6:])
            assert token.holder == by.holder
            assert house.open == {("game", str(HERE), "cli")}
            with pytest.raises(UnknownToken):
                await house.access.tokens.remove(Actor.CLI, token.id)
            with pytest.raises(UnknownToken):
                house.access.tokens.get(Actor.CLI, token.id)
            (entry,) = await house.told("token-removed")
            assert (entry["by"], entry["holder"]) == ("cli", token.holder)

    asyncio.run(main())


def test_removed_while_it_opens(live: Live) -> None:
    """Whichever comes first: in the end nothing of the token's is open."""

    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:any")
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.access.grants.open(by, ["cloud"], HERE))
            await house.gate.asked.wait()
            removing = asyncio.create_task(house.access.tokens.remove(Actor.CLI, by.holder[6:]))
            await until(lambda: not house.access.state.tokens)
            async with asyncio.timeout(30):
                with pytest.raises(NotAllowed):
                    await house.access.grants.open(by, ["cloud"], THERE)
            house.gate.wait.set()
            await opening
            await removing
            assert house.open == set()
            assert house.gate.calls == ["grant", "revoke"]

    asyncio.run(main())


def test_removed_between_the_check_and_the_act(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            grants, links = house.access.grants, house.access.links
            by = await token_actor(house, *SCOPES)
            await grants.open(Actor.CLI, ["cloud"], HERE)
            link = await links.add(Actor.CLI, "Mamie", ["cloud"])
            await house.access.tokens.remove(Actor.CLI, by.holder[6:])
            before = house.open
            for act in (
                lambda: grants.open(by, ["cloud"], HERE),
                lambda: grants.revoke(by, address=HERE),
                lambda: grants.revoke(by, everything=True),
                lambda: grants.prolong(by, "cloud", HERE),
                lambda: grants.move(by, HERE, THERE),
                lambda: links.add(by, "Another", ["cloud"]),
                lambda: links.pause(by, link.id),
                lambda: links.remove(by, link.id),
                lambda: house.access.bans.ban(by, THERE),
                lambda: house.access.bans.unban(by, THERE),
            ):
                with pytest.raises(NotAllowed):
                    await act()
            assert house.open == before
            assert house.gate.bans == {}
            assert not house.access.state.links[link.id].paused

    asyncio.run(main())


def test_a_new_token_of_an_old_id_is_another(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:any")
            assert by.token is not None
            other = replace(by.token, digest="1" * 64)
            await house.access.state.commit(lambda tables: tables.tokens.update({other.id: other}))
            with pytest.raises(NotAllowed):
                await house.access.grants.open(by, ["cloud"], HERE)
            assert not house.access.tokens.holds(by.token)
            await house.access.grants.open(acting_token(other, HERE), ["cloud"], HERE)

    asyncio.run(main())


def test_neither_a_full_disk_nor_a_gate_that_is_away_leaves_it_in_doubt(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with live() as house:
            text = await token_text(house, "read")
            house.gate.fail = GateUnavailable("away")
            with pytest.raises(GateUnavailable):
                await house.access.tokens.remove(Actor.CLI, text[7:13])
            with pytest.raises(BadToken):
                house.access.tokens.check(text, HERE, trusted=False)
            house.gate.fail = None
            text = await token_text(house, "read")

            def fails(*_: object) -> None:
                raise NotSaved("state.json", OSError(28, "no space left"))

            monkeypatch.setattr("access.files.replace", fails)
            with pytest.raises(NotSaved):
                await house.access.tokens.remove(Actor.CLI, text[7:13])
            with pytest.raises(NotSaved):
                await token_text(house, "read")
            monkeypatch.undo()
            assert len(house.access.tokens.list(Actor.CLI)) == 1
            assert house.access.tokens.check(text, HERE, trusted=False)
            assert len(await house.told("token-added")) == 2

    asyncio.run(main())
