"""What a token reaches: grants, links and bans by scope and by its limit of services."""

import asyncio
from dataclasses import replace

import pytest
from access_desk import HERE, THERE, address
from access_house import House, Live
from access_tokens import token_actor

from access import grants as grants_module
from access import pace
from access.actor import Actor, NotAllowed
from access.grants import MOST_ADDRESSES
from access.guard import Throttled
from access.inputs import BadInput
from access.state import UnknownLink
from access.token import SCOPES


async def furnish(house: House) -> None:
    """Grants of several holders, in both services."""
    await house.access.grants.open(Actor.CLI, ["cloud", "game"], HERE)
    await house.access.grants.open(await house.moves_in("mamie"), ["cloud"], THERE)
    await house.access.grants.open(await house.moves_in("ann", services=("game",)), ["game"], THERE)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("services", [None, ["cloud"]])
def test_where_each_scope_opens(live: Live, scope: str, services: list[str] | None) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, scope, services=services)
            opened = []
            for name in ("cloud", "game"):
                for where in (HERE, THERE):
                    try:
                        await house.access.grants.open(by, [name], where)
                    except NotAllowed:
                        pass
                    except BadInput as error:
                        assert (error.field, name) == ("services", "game")  # noqa: PT017
                    else:
                        opened.append((name, where))
            names = services or ["cloud", "game"]
            may = {"grant:self": [HERE], "grant:any": [HERE, THERE], "admin": [HERE, THERE]}.get(scope, [])
            assert opened == [(name, where) for name in names for where in may]
            assert house.open == {(name, str(where), by.holder) for name, where in opened}
            for name in ("cloud", "game"):  # all or none
                if services and may:
                    with pytest.raises(BadInput):
                        await house.access.grants.open(by, ["cloud", "game"], HERE)
                    assert house.open == {(name, str(where), by.holder) for name, where in opened}

    asyncio.run(main())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("services", [None, ["cloud"]])
def test_what_each_scope_sees(live: Live, scope: str, services: list[str] | None) -> None:
    async def main() -> None:
        async with live() as house:
            await furnish(house)
            all_of_it = house.open
            by, grants = await token_actor(house, scope, services=services), house.access.grants
            own = await token_actor(house, "grant:any", at=THERE)
            if scope == "links":
                with pytest.raises(NotAllowed):
                    await grants.list(by)
                return
            await grants.open(own, ["cloud"], address(77))
            seen = {(grant.service, grant.address, grant.holder) for grant in await grants.list(by)}
            if scope in {"read", "admin"}:
                all_of_it |= {("cloud", str(address(77)), own.holder)}
                assert seen == {row for row in all_of_it if services is None or row[0] in services}
                assert len(await grants.list(by, holder="cli")) == (1 if services else 2)
                assert len(await grants.list(by, service="game")) == (0 if services else 2)
            else:
                assert seen == set()
                assert await grants.list(by, holder=own.holder) == []

    asyncio.run(main())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("services", [None, ["cloud"]])
def test_what_each_scope_closes(live: Live, scope: str, services: list[str] | None) -> None:
    async def main() -> None:
        async with live() as house:
            await furnish(house)
            before, grants = house.open, house.access.grants
            by = await token_actor(house, scope, services=services)
            if scope in {"read", "links"}:
                for what in ({"address": HERE}, {"holder": by.holder}, {"service": "cloud"}, {"everything": True}):
                    with pytest.raises(NotAllowed):
                        await grants.revoke(by, **what)
                assert house.open == before
                return
            if services:
                with pytest.raises(BadInput):
                    await grants.revoke(by, service="game", address=HERE)
            if not by.admin:
                with pytest.raises(NotAllowed):
                    await grants.revoke(by, everything=True)
            if scope != "admin":
                for what in ({"address": HERE}, {"holder": "cli"}, {"service": "cloud"}):
                    assert await grants.revoke(by, **what) == 0
                assert house.open == before
                await grants.open(by, ["cloud"], HERE, duration_s=80_000)  # longer than the other's: it is the token's now
                assert await grants.revoke(by, address=HERE, holder="cli") == 1
                assert house.open == before - {("cloud", str(HERE), "cli")}
                return
            assert await grants.revoke(by, address=HERE) == (1 if services else 2)
            assert await grants.revoke(by, holder="person:ann") == (0 if services else 1)
            assert await grants.revoke(by, service="cloud", holder="person:mamie") == 1
            assert {row[0] for row in house.open} == ({"game"} if services else set())
            if services is None:
                await furnish(house)
                assert await grants.revoke(by, everything=True) == 4

    asyncio.run(main())


def test_only_admin_prolongs_within_its_limit(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await furnish(house)
            for scope in SCOPES:
                by = await token_actor(house, scope, services=["cloud"])
                house.clock.now += 1000
                if scope == "admin":
                    assert (await house.access.grants.prolong(by, "cloud", HERE)).remaining_ms == 7_200_000
                    with pytest.raises(BadInput):
                        await house.access.grants.prolong(by, "game", HERE)
                else:
                    with pytest.raises(NotAllowed):
                        await house.access.grants.prolong(by, "cloud", HERE)

    asyncio.run(main())


def test_a_token_for_itself_alone_moves_nowhere_else(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:self")
            await house.access.grants.open(by, ["cloud"], HERE)
            with pytest.raises(NotAllowed):
                await house.access.grants.move(by, HERE, THERE)
            await house.access.grants.move(replace(by, address=str(THERE)), HERE, THERE)
            assert house.open == {("cloud", str(THERE), by.holder)}

    asyncio.run(main())


def test_without_an_address_there_is_no_self(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = replace(await token_actor(house, "grant:self"), address=None)
            with pytest.raises(NotAllowed):
                await house.access.grants.open(by, ["cloud"], HERE)

    asyncio.run(main())


# For how long.


def test_its_own_time_is_the_default_and_the_most(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by, grants = await token_actor(house, "grant:any", duration_s=1000), house.access.grants
            await grants.open(by, ["cloud", "game"], HERE)
            await grants.open(by, ["cloud"], THERE, duration_s=500)
            with pytest.raises(BadInput) as caught:
                await grants.open(by, ["cloud"], THERE, duration_s=1001)
            assert caught.value.field == "for"
            long = await token_actor(house, "grant:any", duration_s=86_000)
            await grants.open(long, ["game", "cloud"], address(30))
            with pytest.raises(BadInput):
                await grants.open(long, ["game"], address(30), duration_s=8000)
            plain = await token_actor(house, "grant:any")
            await grants.open(plain, ["game", "cloud"], address(31))
            assert house.gate.seconds == [
                {"cloud": 1000, "game": 1000},
                {"cloud": 500},
                {"game": 7200, "cloud": 86_000},  # what the service allows by now
                {"game": 3600, "cloud": 7200},
            ]

    asyncio.run(main())


def test_no_grant_outlives_its_token(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:any", "admin", expires_s=600)
            house.clock.now += 400
            await house.access.grants.open(by, ["cloud"], HERE, duration_s=7200)
            assert house.gate.seconds == [{"cloud": 200}]
            house.clock.now += 200
            with pytest.raises(NotAllowed):
                await house.access.grants.open(by, ["cloud"], HERE)
            assert await house.access.grants.list(Actor.CLI) == []

    asyncio.run(main())


def test_an_undone_revocation_gives_no_expired_token_back_what_it_had(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            yves = await house.moves_in("yves", role="admin")
            by, undo = await token_actor(house, "grant:any", services=["cloud"], expires_s=600), house.access.undo
            await house.access.grants.open(by, ["cloud"], HERE)
            step = await undo.revoke(yves, "cloud", HERE)
            assert step is not None
            await undo.undo(yves, step.id)
            assert house.open == {("cloud", str(HERE), by.holder)}
            step = await undo.revoke(yves, "cloud", HERE)
            assert step is not None
            house.clock.now += 600
            with pytest.raises(Exception, match="not-allowed"):
                await undo.undo(yves, step.id)
            assert house.open == set()

    asyncio.run(main())


# How many, and how loud.


def test_the_oldest_address_leaves(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants_module, "MOST_OF_TOKEN", 30)

    async def main() -> None:
        async with live() as house:
            grants = house.access.grants
            one = await token_actor(house, "grant:self")
            for number in range(MOST_ADDRESSES + 2):
                await grants.open(replace(one, address=str(address(number))), ["cloud"], address(number))
            assert len(house.open) == MOST_ADDRESSES
            many = await token_actor(house, "grant:any")
            for number in range(40, 72):
                await grants.open(many, ["game"], address(number))
            assert len([row for row in house.open if row[2] == many.holder]) == 30
            admin = await token_actor(house, "admin")
            for number in range(100, 140):
                await grants.open(admin, ["game"], address(number))
            assert len([row for row in house.open if row[2] == admin.holder]) == 40
            granted = await grants.open(admin, ["cloud"], address(200), addresses=1)
            assert len(granted.left) == 40
            assert [row for row in house.open if row[2] == admin.holder] == [("cloud", str(address(200)), admin.holder)]

    asyncio.run(main())


def test_a_token_that_renews_without_end_does_not_fill_the_history(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:self")
            for number in range(100):
                house.clock.now += 1
                granted = await house.access.grants.open(by, ["cloud"], HERE)
                assert granted.renewed == bool(number)
            told = await house.told("granted")
            assert len(told) == 21
            assert {(entry["by"], entry["from"], entry["address"]) for entry in told} == {
                (by.holder, str(HERE), str(HERE))
            }

    asyncio.run(main())


def test_a_token_that_changes_without_end_is_slowed_down(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and closing in turns, or links without end: the history holds ten times as much before it forgets."""
    monkeypatch.setattr(pace, "MOST", 20)

    async def main() -> None:
        async with live() as house:
            grants, links = house.access.grants, house.access.links
            by = await token_actor(house, "grant:self")
            for _ in range(10):
                await grants.open(by, ["cloud"], HERE)
                await grants.revoke(by, address=HERE)
            with pytest.raises(Throttled) as caught:
                await grants.open(by, ["cloud"], HERE)
            assert caught.value.retry_after_s == 10
            house.monotonic.now += 10
            await grants.open(by, ["cloud"], HERE)
            with pytest.raises(Throttled):
                await grants.revoke(by, address=HERE)
            maker = await token_actor(house, "links")
            for _ in range(10):
                await links.remove(maker, (await links.add(maker, "Mamie", ["cloud"])).id)
            with pytest.raises(Throttled):
                await links.add(maker, "Mamie", ["cloud"])
            for actor in (Actor.CLI, await house.moves_in("mamie"), await token_actor(house, "admin")):
                for _ in range(30):
                    await grants.open(actor, ["cloud"], THERE)
                    await grants.revoke(actor, address=THERE)

    asyncio.run(main())


def test_the_kernel_knows_it_by_its_label(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            by = await token_actor(house, "grant:any")
            (grant,) = (await house.access.grants.open(by, ["cloud"], HERE)).grants
            assert (grant.holder, grant.note) == (by.holder, "Router")
            (grant,) = (await house.access.grants.open(by, ["cloud"], THERE, note="Mamie's line")).grants
            assert grant.note == "Mamie's line"
            for wrong in ('a"b', "a\nb", "x" * 65):
                with pytest.raises(BadInput):
                    await house.access.grants.open(by, ["cloud"], HERE, note=wrong)

    asyncio.run(main())


# Links and bans.


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("services", [None, ["cloud"]])
def test_which_links_each_scope_reaches(live: Live, scope: str, services: list[str] | None) -> None:
    async def main() -> None:
        async with live() as house:
            links, by = house.links, await token_actor(house, scope, services=services)
            owned = await links.add(await house.moves_in("mamie"), "Mamie's own", ["cloud"])
            both = await links.add(Actor.CLI, "Both", ["cloud", "game"])
            cloud = await links.add(Actor.CLI, "Cloud", ["cloud"])
            before = house.state_text
            if not by.may("links"):
                with pytest.raises(NotAllowed):
                    links.list(by)
                with pytest.raises(NotAllowed):
                    await links.add(by, "Another", ["cloud"])
                reached = []
            else:
                reached = [cloud] if services else [both, cloud]
                reached += [owned] if by.admin else []
                assert {link.id for link in links.list(by)} == {link.id for link in reached}
            for link in (owned, both, cloud):
                if link in reached:
                    assert links.get(by, link.id) == link
                    continue
                with pytest.raises(UnknownLink):
                    links.get(by, link.id)
                for act in (links.pause, links.resume, links.rotate, links.remove):
                    with pytest.raises(UnknownLink):
                        await act(by, link.id)
            assert house.state_text == before
            if reached:
                made = await links.add(by, "Another", ["cloud"])
                assert made.owner is None
                assert made in links.list(by)
                assert (await links.remove(by, cloud.id)).id == cloud.id
                if services:
                    with pytest.raises(BadInput) as caught:
                        await links.add(by, "Another", ["cloud", "game"])
                    assert "cloud" in caught.value.message
                    assert "choose from cloud" in caught.value.message

    asyncio.run(main())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("services", [None, ["cloud"]])
def test_bans_are_the_houses(live: Live, scope: str, services: list[str] | None) -> None:
    async def main() -> None:
        async with live() as house:
            bans, by = house.access.bans, await token_actor(house, scope, services=services)
            await bans.ban(Actor.CLI, HERE)
            if scope == "admin" and services is None:
                await bans.ban(by, THERE)
                await bans.unban(by, HERE)
                assert set(house.gate.bans) == {str(THERE)}
            else:
                for act in (bans.ban(by, THERE), bans.unban(by, HERE), bans.set_back(by, HERE, 5)):
                    with pytest.raises(NotAllowed):
                        await act
                assert set(house.gate.bans) == {str(HERE)}
            if scope in {"read", "admin"} and services is None:
                assert len(await bans.list(by)) == 1
            else:
                with pytest.raises(NotAllowed):
                    await bans.list(by)

    asyncio.run(main())
