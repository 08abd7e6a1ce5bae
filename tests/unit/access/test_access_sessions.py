import asyncio
import hashlib
import json
import stat
from dataclasses import replace

import pytest
from access_desk import Desk, OpenDesk

from access import files, sessions
from access.actor import Actor
from access.files import NotSaved, StateError

IDLE, LIFE = 43200, 30 * 86400


async def begin(house: Desk, name: str = "mamie", where: str = "203.0.113.7") -> str:
    token, _ = await house.sessions.start(house.get(name), where, "Firefox")
    return token


def test_found_by_its_token_alone(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            person = await house.person()
            token, session = await house.sessions.start(person, "203.0.113.7", "Fire\nfox\0" + "x" * 9_000)
            assert len(token) >= 43
            assert house.sessions.find(token) == (session, person)
            assert session.agent.startswith("Firefoxxx")
            assert len(session.agent) <= 200
            for other in ("", token[:-1], token + "a", session.digest, session.id, "\ud800", "x" * 10**6):
                assert house.sessions.find(other) is None
            text = (house.directory / "sessions.json").read_text()
            assert token not in text
            assert set(json.loads(text)["sessions"]) == {hashlib.sha256(token.encode()).hexdigest()}
            assert stat.S_IMODE((house.directory / "sessions.json").stat().st_mode) == 0o600

    asyncio.run(main())


@pytest.mark.parametrize(
    "change",
    [{"era": "second"}, {"asked": "again"}, {"password": None}],
)
def test_over_with_its_persons_era(desk: OpenDesk, change: dict[str, str | None]) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("yves")
            token, other = await begin(house), await begin(house, "yves")
            await house.state.change_person("mamie", lambda person: replace(person, **change))
            assert house.sessions.find(token) is None
            assert house.sessions.of("mamie") == []
            assert house.sessions.find(other)

    asyncio.run(main())


def test_over_with_its_person_and_not_back_with_another_of_the_name(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)
            await house.state.commit(lambda tables: tables.people.clear())
            assert house.sessions.find(token) is None
            await house.person(era="of another")
            assert house.sessions.find(token) is None

    asyncio.run(main())


def test_a_session_of_an_era_that_is_over_is_never_alive(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            person = await house.person()
            await house.put(replace(person, era="second"))
            token, _ = await house.sessions.start(person, "203.0.113.7", "Firefox")
            assert house.sessions.find(token) is None

    asyncio.run(main())


def test_idle_and_absolute_ends(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token, used = await begin(house), await begin(house)
            start = house.clock.now
            house.clock.now += IDLE - 1
            assert house.sessions.find(token)
            found = house.sessions.find(used)
            assert found
            house.sessions.seen(found[0], "203.0.113.7")
            house.clock.now += 1
            assert house.sessions.find(token) is None
            assert [one.digest for one in house.sessions.of("mamie")] == [found[0].digest]
            while house.clock.now < start + LIFE:
                found = house.sessions.find(used)
                assert found
                house.sessions.seen(found[0], "203.0.113.7")
                house.clock.now += IDLE - 60
            house.clock.now = start + LIFE - 1
            assert house.sessions.find(used)
            house.clock.now = start + LIFE
            assert house.sessions.find(used) is None

    asyncio.run(main())


def test_a_shorter_life_holds_for_sessions_that_began_before(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)
            house.sessions._lifetime_s = 60
            assert house.sessions.find(token)
            house.clock.now += 60
            assert house.sessions.find(token) is None

    asyncio.run(main())


def test_a_clock_that_jumps_back_prolongs_nothing(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)
            house.clock.now -= 200
            assert house.sessions.find(token)
            house.clock.now -= 86400
            assert house.sessions.find(token) is None
            assert house.sessions.of("mamie") == []
            other = await begin(house)  # sweeping does not take the one that waits
            assert house.sessions.find(other)
            house.clock.now += 86400
            assert house.sessions.find(token)

    asyncio.run(main())


def test_the_one_and_twentieth(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("yves")
            other = await begin(house, "yves")
            tokens = []
            for _ in range(20):
                tokens.append(await begin(house))
                house.clock.now += 120
            found = house.sessions.find(tokens[0])
            assert found
            house.sessions.seen(found[0], "203.0.113.7")
            tokens.append(await begin(house))
            assert [token for token in tokens if house.sessions.find(token) is None] == [tokens[1]]
            assert len(house.sessions.of("mamie")) == 20
            assert house.sessions.find(other)

    asyncio.run(main())


def test_bounded_in_all(desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 30)

    async def main() -> None:
        async with desk() as house:
            tokens = []
            for n in range(40):
                await house.person(f"n{n}")
                tokens.append(await begin(house, f"n{n}"))
                house.clock.now += 1
            assert [house.sessions.find(token) is not None for token in tokens] == [False] * 10 + [True] * 30

    asyncio.run(main())


def test_seen_lazily_and_from_where(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)
            first = house.sessions.find(token)
            assert first
            house.clock.now += 59
            house.sessions.seen(first[0], "203.0.113.7")
            assert house.sessions.of("mamie") == [first[0]]
            house.sessions.seen(first[0], "2001:db8::/64")
            (moved,) = house.sessions.of("mamie")
            assert (moved.address, moved.seen_at) == ("2001:db8::/64", house.clock())
            house.clock.now += 60
            house.sessions.seen(first[0], "2001:db8::/64")
            (later,) = house.sessions.of("mamie")
            assert later.seen_at == house.clock()
            assert later.created_at == first[0].created_at

    asyncio.run(main())


def test_ended_ones_are_not_brought_back_by_being_seen(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)
            found = house.sessions.find(token)
            assert found
            house.clock.now += 100
            ending = asyncio.create_task(house.sessions.end_token(token))
            await asyncio.sleep(0)
            house.sessions.seen(found[0], "198.51.100.1")
            await ending
            house.sessions.seen(found[0], "198.51.100.2")
            assert house.sessions.find(token) is None
            house.kill()
            assert house.sessions.find(token) is None

    asyncio.run(main())


def test_a_restart_keeps_them_and_a_kill_all_but_when_they_were_seen(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token, gone = await begin(house), await begin(house)
            await house.sessions.end_token(gone)
            found = house.sessions.find(token)
            assert found
            start = house.clock.now
            house.clock.now += 1000
            house.sessions.seen(found[0], "198.51.100.1")
            house.kill()
            (kept,) = house.sessions.of("mamie")
            assert (kept.seen_at, kept.address) == (start, "203.0.113.7")
            assert house.sessions.find(gone) is None
            house.sessions.seen(kept, "198.51.100.1")
            await house.reopen()
            (kept,) = house.sessions.of("mamie")
            assert (kept.seen_at, kept.address) == (start + 1000, "198.51.100.1")
            assert house.sessions.find(token)

    asyncio.run(main())


def test_ending_ones_own_and_nobody_elses(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("yves")
            await house.person("root", role="admin")
            mine, also, other = await begin(house), await begin(house), await begin(house, "yves")
            found = house.sessions.find(mine)
            foreign = house.sessions.find(other)
            assert found
            assert foreign
            await house.sessions.end(house.actor(), foreign[0].id)
            await house.sessions.end(house.actor(), "nonsense")
            await house.sessions.end(house.actor(), "")
            assert house.sessions.find(other)
            await house.sessions.end(house.actor(), found[0].id)
            assert house.sessions.find(mine) is None
            assert house.sessions.find(also)
            await house.sessions.end(house.actor("root"), foreign[0].id)
            assert house.sessions.find(other) is None
            for session in house.sessions.of("mamie"):
                await house.sessions.end(Actor.CLI, session.id)
            assert house.sessions.find(also) is None
            told = [(entry["by"], entry["person"]) for entry in await house.told("session-ended")]
            assert told == [("person:mamie", "mamie"), ("person:root", "yves"), ("cli", "mamie")]

    asyncio.run(main())


def test_signing_out(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token, other = await begin(house), await begin(house)
            await house.sessions.end_token(token)
            await house.sessions.end_token(token)
            await house.sessions.end_token("nonsense\ud800")
            assert house.sessions.find(token) is None
            assert house.sessions.find(other)
            house.kill()
            assert house.sessions.find(token) is None
            assert len(await house.told("signed-out")) == 1

    asyncio.run(main())


def test_a_full_disk(desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = await begin(house)

            def full(path: str, data: bytes) -> None:
                raise NotSaved(path, OSError(28, "No space left on device"))

            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", full)
                with pytest.raises(NotSaved):
                    await begin(house)
                with pytest.raises(NotSaved):
                    await house.sessions.end_token(token)
            assert len(house.sessions.of("mamie")) == 1

    asyncio.run(main())


def test_dead_ones_leave_the_disk(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            for _ in range(10):
                await begin(house)
            house.clock.now += IDLE
            await begin(house)
            assert len(json.loads((house.directory / "sessions.json").read_text())["sessions"]) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('{"version": 1, "sessions": {"x": {}}}', "is not a SHA-256 in hex"),
        ('{"version": 1, "sessions": {"' + "0" * 64 + '": {}}}', "person: is missing"),
        ('{"version": 1, "sessions": []}', "is not an object"),
    ],
)
def test_garbage_is_refused_by_place(desk: OpenDesk, text: str, message: str) -> None:
    async def main() -> None:
        async with desk() as house:
            (house.directory / "sessions.json").write_text(text)
            with pytest.raises(StateError) as caught:
                house.kill()
            assert message in str(caught.value)
            house.state.release()
            (house.directory / "sessions.json").unlink()
            house.open()

    asyncio.run(main())
