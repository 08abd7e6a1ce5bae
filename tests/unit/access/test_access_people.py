"""Adding, changing and removing people, and strangers who ask."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from access_desk import HERE, THERE, Argon2, address
from access_house import House, Live, until

from access import files
from access.actor import Actor, NotAllowed
from access.files import NotSaved
from access.gate import GateUnavailable
from access.guard import Throttled
from access.inputs import BadInput
from access.people import ASKING_S, INVITATION_S, MOST_ASKING
from access.state import UnknownLink, UnknownPerson

STRONG = "violet tractor under ice"


async def ask(house: House, name: str = "jean", password: str = STRONG, number: int = 1) -> None:
    await house.access.people.ask(name, password, "It is me", address=address(number), trusted=False)


# Whose hand reaches whom.


ADMINS_OWN: dict[str, Callable[[House, Actor], Awaitable[Any]]] = {
    "add": lambda house, by: house.access.people.add(by, "mallory", role="admin"),
    "change": lambda house, by: house.access.people.change(by, "yves", role="admin"),
    "change oneself": lambda house, by: house.access.people.change(by, "mamie", services=["cloud", "game"]),
    "remove": lambda house, by: house.access.people.remove(by, "yves"),
    "approve": lambda house, by: house.access.people.approve(by, "jean", services=["cloud"]),
    "refuse": lambda house, by: house.access.people.refuse(by, "jean"),
    "invite": lambda house, by: house.access.people.invite(by, "yves"),
    "invite oneself": lambda house, by: house.access.people.invite(by, "mamie"),
    "sign out": lambda house, by: house.access.people.sign_out_everywhere(by, "yves"),
}


@pytest.mark.parametrize("act", ADMINS_OWN)
def test_what_only_an_admin_may(live: Live, argon2: Argon2, act: str) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.moves_in("yves")
            await ask(house)
            before = house.state_text
            with pytest.raises(NotAllowed):
                await ADMINS_OWN[act](house, mamie)
            assert house.state_text == before

    asyncio.run(main())


@pytest.mark.parametrize("act", ADMINS_OWN)
@pytest.mark.parametrize("meanwhile", ["removed", "demoted", "signed out"])
def test_who_was_an_admin_when_the_request_began(live: Live, argon2: Argon2, act: str, meanwhile: str) -> None:
    async def main() -> None:
        async with live() as house:
            people = house.access.people
            await house.moves_in("root", role="admin")
            mamie = await house.moves_in("mamie", role="admin")
            await house.moves_in("yves")
            await ask(house)
            match meanwhile:
                case "removed":
                    await people.remove(Actor.CLI, "mamie")
                case "demoted":
                    await people.change(Actor.CLI, "mamie", role="member")
                case _:
                    await people.sign_out_everywhere(Actor.CLI, "mamie")
            before = house.state_text
            with pytest.raises(NotAllowed):
                await ADMINS_OWN[act](house, mamie)
            assert house.state_text == before

    asyncio.run(main())


def test_a_member_sees_nobody_else(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            await house.moves_in("yves")
            with pytest.raises(NotAllowed):
                house.access.people.list(mamie)
            assert house.access.people.get(mamie, "mamie").name == "mamie"
            for name in ("yves", "nobody"):
                with pytest.raises(UnknownPerson):
                    house.access.people.get(mamie, name)
            assert [one.name for one in house.access.people.list(Actor.CLI)] == ["mamie", "yves"]

    asyncio.run(main())


# The last admin.


def test_the_last_admin_stays(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            ann = await house.moves_in("ann", role="admin")
            await house.moves_in("invited", role="admin", password=None)  # cannot sign in, so does not count
            for by in (ann, Actor.CLI):
                for act in (
                    house.access.people.remove(by, "ann"),
                    house.access.people.change(by, "ann", role="member"),
                ):
                    with pytest.raises(BadInput, match="last admin"):
                        await act
            await house.access.people.change(ann, "ann", role="admin")  # says nothing new
            await house.access.people.remove(ann, "invited")

    asyncio.run(main())


def test_two_admins_who_remove_each_other_at_once(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            ann = await house.moves_in("ann", role="admin")
            eve = await house.moves_in("eve", role="admin")
            outcomes = await asyncio.gather(
                house.access.people.remove(ann, "eve"),
                house.access.people.change(eve, "ann", role="member"),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, NotAllowed | BadInput) for outcome in outcomes) == 1
            assert sum(one.admin for one in house.access.people.list(Actor.CLI)) == 1

    asyncio.run(main())


# What is taken away is closed.


async def opened(house: House, mamie: Actor) -> str:
    """Mamie opens both services, a link of hers both, and yves his."""
    link = await house.links.add(mamie, "Friend", ["cloud", "game"])
    yves = await house.moves_in("yves")
    await house.access.grants.open(mamie, ["cloud", "game"], HERE)
    await house.opening.open(house.links.token(link), THERE)
    await house.access.grants.open(yves, ["cloud"], address(9))
    return link.id


def test_a_service_taken_away(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie", services=("cloud", "game"))
            link_id = await opened(house, mamie)
            await house.access.people.change(Actor.CLI, "mamie", services=["cloud"])
            link = house.links.get(Actor.CLI, link_id)
            left = {
                ("cloud", str(HERE), "person:mamie"),
                ("cloud", str(THERE), link.holder),
                ("cloud", str(address(9)), "person:yves"),
            }
            assert house.open == left
            view = await house.opening.open(house.links.token(link), THERE)
            assert [service.name for service in view.services] == ["cloud"]
            with pytest.raises(BadInput):
                await house.access.grants.open(house.by("mamie"), ["game"], HERE)
            with pytest.raises(BadInput):
                await house.links.add(house.by("mamie"), "More", ["game"])
            assert house.open == left

    asyncio.run(main())


def test_links_taken_away(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie", services=("cloud", "game"))
            link_id = await opened(house, mamie)
            await house.access.people.change(Actor.CLI, "mamie", may_link=False)
            assert {holder for _, _, holder in house.open} == {"person:mamie", "person:yves"}
            with pytest.raises(Exception, match="no-service"):
                await house.opening.open(house.links.token(house.links.get(Actor.CLI, link_id)), THERE)
            with pytest.raises(NotAllowed):
                await house.links.add(house.by("mamie"), "More", ["cloud"])

    asyncio.run(main())


def test_an_admin_made_a_member_keeps_what_members_have(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await house.moves_in("root", role="admin")
            ann = await house.moves_in("ann", role="admin", services=("cloud",))
            await house.access.grants.open(ann, ["cloud", "game"], HERE)
            after = await house.access.people.change(Actor.CLI, "ann", role="member")
            assert house.open == {("cloud", str(HERE), "person:ann")}
            assert after.era != "of-ann"

    asyncio.run(main())


def test_a_removed_person_leaves_nothing(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie", services=("cloud", "game"))
            token, _ = await house.access.sessions.start(house.access.state.people["mamie"], str(HERE), "Firefox")
            link_id = await opened(house, mamie)
            url = house.links.token(house.links.get(Actor.CLI, link_id))
            await house.access.people.remove(Actor.CLI, "mamie")
            assert house.open == {("cloud", str(address(9)), "person:yves")}
            assert house.links.find(url) is None
            assert list(json.loads(house.state_text)["people"]) == ["yves"]
            assert json.loads(house.state_text)["links"] == {}
            # Somebody else of the same name gets nothing of the first one's.
            await house.moves_in("mamie", era="another")
            assert house.access.sessions.find(token) is None
            with pytest.raises(NotAllowed):
                await house.access.grants.open(mamie, ["cloud"], HERE)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["remove", "change"])
def test_what_is_being_opened_is_waited_for_and_closed(live: Live, end: str) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            house.gate.wait, house.gate.asked = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(house.access.grants.open(mamie, ["cloud"], HERE))
            await house.gate.asked.wait()
            people = house.access.people
            ending = asyncio.create_task(
                people.remove(Actor.CLI, "mamie")
                if end == "remove"
                else people.change(Actor.CLI, "mamie", services=[])
            )
            await until(lambda: not house.access.people.list(Actor.CLI) or not house.by("mamie").person.services)
            assert not ending.done()
            house.gate.wait.set()
            await opening
            await ending
            assert house.gate.calls == ["grant", "revoke"]
            assert house.open == set()

    asyncio.run(main())


def test_a_silent_gate_leaves_the_person_removed(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await house.moves_in("mamie")
            house.gate.fail = GateUnavailable("gone")
            with pytest.raises(GateUnavailable):
                await house.access.people.remove(Actor.CLI, "mamie")
            assert house.access.people.list(Actor.CLI) == []
            assert json.loads(house.state_text)["people"] == {}

    asyncio.run(main())


def test_a_full_disk_changes_nothing(live: Live, argon2: Argon2, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with live() as house:
            people = house.access.people
            mamie = await house.moves_in("mamie")
            await house.links.add(mamie, "Friend", ["cloud"])
            await house.access.grants.open(mamie, ["cloud"], HERE)
            await ask(house)
            rows, links, held = dict(house.access.state.people), dict(house.access.state.links), house.open

            def full(*_: object) -> None:
                raise NotSaved("state.json", OSError(28, "no space left"))

            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", full)
                for act in (
                    people.add(Actor.CLI, "eve"),
                    people.change(Actor.CLI, "mamie", role="admin", services=[]),
                    people.remove(Actor.CLI, "mamie"),
                    people.approve(Actor.CLI, "jean", services=["cloud"]),
                    people.refuse(Actor.CLI, "jean"),
                    people.invite(Actor.CLI, "mamie"),
                    people.sign_out_everywhere(mamie, "mamie"),
                    ask(house, "eve", number=2),
                ):
                    with pytest.raises(NotSaved):
                        await act
                assert (dict(house.access.state.people), dict(house.access.state.links)) == (rows, links)
                assert house.open == held
            assert {entry["event"] for entry in await house.access.history.read()} == {
                "link-added",
                "granted",
                "person-asked",
            }

    asyncio.run(main())


# Invitations.


def test_two_invitations_the_later_is_good(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await house.access.people.add(Actor.CLI, "Mamie ", services=["cloud"])
            first = await house.access.people.invite(Actor.CLI, "mamie")
            second = await house.access.people.invite(Actor.CLI, "mamie")
            assert first != second
            assert house.access.invitations.invited(first) is None
            assert house.access.invitations.invited(second) is not None
            assert first not in house.state_text
            assert second not in house.state_text
            assert second not in (house.directory / "history.jsonl").read_text()
            person = house.access.people.get(Actor.CLI, "mamie")
            assert (person.state, person.opens(house.access.links.may_add(Actor.CLI))) == ("invited", ())
            house.clock.now += INVITATION_S
            assert house.access.invitations.invited(second) is None

    asyncio.run(main())


def test_names_are_taken_once(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            outcomes = await asyncio.gather(
                *(house.access.people.add(Actor.CLI, name) for name in ("mamie", "MAMIE", "\uff4damie")),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, BadInput) for outcome in outcomes) == 2
            await ask(house)
            with pytest.raises(BadInput, match="taken"):
                await house.access.people.add(Actor.CLI, "jean")

    asyncio.run(main())


# Strangers who ask.


def test_asking_opens_nothing_until_it_is_approved(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            await ask(house)
            jean = house.access.people.list(Actor.CLI)[0]
            assert (jean.state, jean.asked, jean.services, jean.role) == ("asked", "It is me", (), "member")
            with pytest.raises(BadInput):
                await house.access.grants.open(house.by("jean"), ["cloud"], HERE)
            with pytest.raises(BadInput, match="approve that first"):
                await house.access.people.invite(Actor.CLI, "jean")
            jean = await house.access.people.approve(Actor.CLI, "jean", services=["cloud"])
            assert (jean.state, jean.services, jean.asked) == ("active", ("cloud",), None)
            for act in (
                house.access.people.approve(Actor.CLI, "jean", services=["game"]),
                house.access.people.refuse(Actor.CLI, "jean"),
            ):
                with pytest.raises(BadInput, match="does not ask any more"):
                    await act
            assert await house.access.grants.open(house.by("jean"), ["cloud"], HERE)

    asyncio.run(main())


@pytest.mark.parametrize("case", ["free", "taken", "asked", "too many"])
def test_asking_is_the_same_work_and_answer_whatever_the_name(
    live: Live, argon2: Argon2, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    async def main() -> None:
        async with live() as house:
            await house.moves_in("mamie")
            name = {"taken": "mamie", "asked": "jean"}.get(case, "eve")
            for number in range({"asked": 1, "too many": MOST_ASKING}.get(case, 0)):
                await ask(house, "jean" if case == "asked" else f"n{number}", number=number)
            before = dict(house.access.state.people)
            hashed, written = argon2.hashed, 0
            save = files.replace

            def counting(*arguments: Any) -> None:
                nonlocal written
                written += 1
                save(*arguments)

            monkeypatch.setattr(files, "replace", counting)
            await ask(house, name, "quite another thing to say", number=500)
            assert (argon2.hashed - hashed, argon2.matched, written) == (1, 0, 1)
            after = dict(house.access.state.people)
            assert after.pop("eve", None) is None or case == "free"
            assert after == before

    asyncio.run(main())


def test_at_most_fifty_wait_and_not_for_ever(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            for number in range(MOST_ASKING + 5):
                await ask(house, f"n{number}", number=number)
            assert len(house.access.people.list(Actor.CLI)) == MOST_ASKING
            house.clock.now += ASKING_S
            assert house.access.people.list(Actor.CLI) == []
            with pytest.raises(UnknownPerson):
                await house.access.people.approve(Actor.CLI, "n1", services=["cloud"])
            await ask(house, "late", number=400)
            assert list(json.loads(house.state_text)["people"]) == ["late"]

    asyncio.run(main())


def test_who_asks_again_and_again_is_shut_out(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            with pytest.raises(Throttled):
                for number in range(20):
                    await ask(house, f"n{number}")
            assert len(house.access.people.list(Actor.CLI)) == 10
            await until(lambda: str(address(1)) in house.gate.bans)

    asyncio.run(main())


def test_weak_asks_leave_nothing(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            for name, password in [("jean", "password123"), ("", STRONG), ("<b>", STRONG), ("person:x", STRONG)]:
                with pytest.raises(BadInput):
                    await ask(house, name, password)
            assert house.access.people.list(Actor.CLI) == []
            assert argon2.hashed == 0

    asyncio.run(main())


# Links that belong to somebody.


def test_links_of_others_are_unknown(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            mamie, yves = await house.moves_in("mamie"), await house.moves_in("yves")
            hers, roots = await house.links.add(mamie, "Hers", ["cloud"]), await house.links.add(Actor.CLI, "R", ["cloud"])
            before = house.state_text
            for link in (hers, roots):
                with pytest.raises(UnknownLink):
                    house.links.get(yves, link.id)
                for act in ("pause", "resume", "rotate", "remove"):
                    with pytest.raises(UnknownLink):
                        await getattr(house.links, act)(yves, link.id)
            assert house.state_text == before
            assert house.gate.calls == []
            assert (house.links.list(yves), house.links.list(mamie)) == ([], [hers])
            assert house.links.list(Actor.CLI) == sorted([hers, roots], key=lambda link: link.id)
            await house.links.remove(mamie, hers.id)
            told = (await house.told("link-removed"))[0]
            assert (told["by"], told["from"], told["note"]) == ("person:mamie", "198.51.100.1", "Hers")

    asyncio.run(main())


def test_a_pin_hashed_while_the_person_is_removed_makes_no_link(live: Live, argon2: Argon2) -> None:
    async def main() -> None:
        async with live() as house:
            mamie = await house.moves_in("mamie")
            adding = asyncio.create_task(house.links.add(mamie, "Friend", ["cloud"], pin="4711"))
            await asyncio.sleep(0)
            await house.access.people.remove(Actor.CLI, "mamie")
            with pytest.raises(NotAllowed):
                await adding
            assert house.links.list(Actor.CLI) == []

    asyncio.run(main())
