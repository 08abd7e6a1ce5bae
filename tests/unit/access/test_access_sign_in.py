import asyncio
import json
from dataclasses import replace

import pytest
from access_desk import HERE, NEW, PASSWORD, THERE, Argon2, OpenDesk, address, quick_hash
from access_house import until

from access import files
from access.hashes import Hashes
from access.person import Invitation
from access.sign_in import SignInRefused


def test_name_password_code(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            done = await house.sign_in("  MAMIE ", code=f" {house.code()[:3]} {house.code()[3:]}")
            assert done.person == house.get()
            assert done.session.person == "mamie"
            assert house.sessions.find(done.token) == (done.session, house.get())
            assert house.get().last_seen_at == house.clock()
            assert house.key.device(done.device, "mamie", house.clock() + 180 * 86400 - 1) is not None
            assert await house.told("signed-in") == [
                {"by": "person:mamie", "from": "203.0.113.7", "person": "mamie", "outcome": "allowed"}
            ]

    asyncio.run(main())


def test_somebody_without_totp_needs_no_code(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            for code in ("", "000000", "nonsense", "1-aaaa-aaaa-aaaa"):
                await house.sign_in(code=code)
            assert (await house.refused(password=NEW, code="")).reason == "wrong"

    asyncio.run(main())


@pytest.mark.parametrize("state", ["asked", "invited", "gone"])
def test_only_the_active(desk: OpenDesk, state: str) -> None:
    async def main() -> None:
        async with desk() as house:
            person = await house.person(totp=False)
            if state == "asked":
                await house.put(replace(person, asked="let me in"))
            elif state == "invited":
                await house.put(replace(person, password=None, invitation=Invitation("0" * 64, 2**31)))
            else:
                await house.state.commit(lambda tables: tables.people.clear())
            for password in (PASSWORD, "", "None"):
                assert (await house.refused(password=password, code="")).reason == "wrong"

    asyncio.run(main())


def test_a_code_is_good_once(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            older, now, newer = (house.code(steps=step) for step in (-1, 0, 1))
            await house.sign_in(code=now)
            assert (await house.refused(code=now)).reason == "wrong"
            assert (await house.refused(code=older)).reason == "wrong"
            await house.sign_in(code=newer)
            house.next_step()
            assert (await house.refused(code=newer)).reason == "wrong"
            assert (await house.refused(code=now)).reason == "wrong"
            house.next_step()
            await house.sign_in()

    asyncio.run(main())


@pytest.mark.parametrize("steps", [-3, -2, 2, 3])
def test_a_code_of_another_time_is_none(desk: OpenDesk, steps: int) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            assert (await house.refused(code=house.code(steps=steps))).reason == "wrong"

    asyncio.run(main())


def test_a_code_at_once_in_parallel_is_good_once(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            code = house.code()
            done = await asyncio.gather(
                *(house.sign_in(code=code, where=address(n)) for n in range(10)), return_exceptions=True
            )
            assert sum(isinstance(one, SignInRefused) and one.reason == "wrong" for one in done) == 9
            assert len(house.sessions.of("mamie")) == 1

    asyncio.run(main())


def test_a_code_is_used_up_by_a_wrong_password_and_for_ever(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            code = house.code()
            assert (await house.refused(password=NEW, code=code)).reason == "wrong"
            assert (await house.refused(code=code)).reason == "wrong"
            house.kill()
            assert (await house.refused(code=code)).reason == "wrong"

    asyncio.run(main())


def test_a_clock_that_jumps_back_brings_no_code_back(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.sign_in()
            for _ in range(3):
                house.clock.now -= 30
                assert (await house.refused()).reason == "wrong"
            house.clock.now += 120
            await house.sign_in()

    asyncio.run(main())


def test_recovery_codes(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            for number in range(1, 11):
                text = house.recovery(number=number)
                await house.sign_in(code=[text, text.upper(), text.replace("-", " ")][number % 3])
                assert (await house.refused(code=text, where=address(number))).reason == "wrong"
            assert house.get().recovery == ("",) * 10
            assert len(await house.told("recovery-code-used")) == 10
            house.kill()
            assert (await house.refused(code=house.recovery())).reason == "wrong"
            await house.sign_in()

    asyncio.run(main())


def test_a_recovery_code_at_another_number_or_another_name_is_none(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("yves")
            two = house.recovery(number=2)
            for text in ("1" + two[1:], "10" + two[1:], two[2:], two + "a", house.recovery("yves")):
                assert (await house.refused(code=text)).reason == "wrong"
            assert "" not in house.get().recovery + house.get("yves").recovery

    asyncio.run(main())


def test_a_recovery_code_at_once_in_parallel_is_good_once(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            done = await asyncio.gather(
                *(house.sign_in(code=house.recovery(), where=address(n)) for n in range(10)),
                return_exceptions=True,
            )
            assert sum(isinstance(one, SignInRefused) and one.reason == "wrong" for one in done) == 9
            assert len(house.sessions.of("mamie")) == 1

    asyncio.run(main())


def test_a_recovery_code_is_used_up_by_a_wrong_password(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            assert (await house.refused(password=NEW, code=house.recovery())).reason == "wrong"
            assert (await house.refused(code=house.recovery())).reason == "wrong"

    asyncio.run(main())


TRIES = [
    # who, password right, code; runs of argon2
    ("nobody", PASSWORD, "", 1),
    ("nobody", PASSWORD, "000000", 1),
    ("nobody", PASSWORD, "1-nnnn-nnnn-nnna", 2),
    ("not a name \0\ud800", PASSWORD, "", 1),
    ("not a name \0\ud800", PASSWORD, "1-nnnn-nnnn-nnna", 2),
    ("plain", NEW, "", 1),
    ("plain", NEW, "000000", 1),
    ("plain", NEW, "1-pppp-pppp-pppa", 2),
    ("plain", PASSWORD, "", 1),
    ("plain", PASSWORD, "000000", 1),
    ("plain", PASSWORD, "1-pppp-pppp-pppa", 2),
    ("mamie", NEW, "", 1),
    ("mamie", NEW, "000000", 1),
    ("mamie", NEW, "right", 1),
    ("mamie", NEW, "1-mmmm-mmmm-mmma", 2),
    ("mamie", NEW, "1-xxxx-xxxx-xxxx", 2),
    ("mamie", PASSWORD, "", 1),
    ("mamie", PASSWORD, "000000", 1),
    ("mamie", PASSWORD, "right", 1),
    ("mamie", PASSWORD, "1-mmmm-mmmm-mmma", 2),
    ("mamie", PASSWORD, "1-xxxx-xxxx-xxxx", 2),
    ("used", PASSWORD, "1-uuuu-uuuu-uuua", 2),
    ("waits", PASSWORD, "", 1),
    ("waits", PASSWORD, "1-wwww-wwww-wwwa", 2),
    ("invited", PASSWORD, "", 1),
    ("invited", PASSWORD, "1-iiii-iiii-iiia", 2),
]


@pytest.mark.parametrize(("name", "password", "code", "runs"), TRIES)
def test_the_same_work_for_every_name(
    desk: OpenDesk, argon2: Argon2, name: str, password: str, code: str, runs: int
) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("plain", totp=False)
            await house.person("used", recovery=("",) * 10)
            await house.person("waits", totp=False, asked="let me in")
            await house.person("invited", totp=False, password=None)
            given = house.code() if code == "right" else code
            try:
                await house.sign_in(name, password, given)
            except SignInRefused as refused:
                assert str(refused) == "wrong"  # noqa: PT017  both ways are counted
            assert (argon2.matched, argon2.hashed) == (runs, 0)

    asyncio.run(main())


def test_ten_thousand_guesses_of_one_name_from_as_many_addresses(desk: OpenDesk, argon2: Argon2) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            reasons = [
                (await house.refused("mamie", f"guess {n}", "", address(n))).reason for n in range(10_000)
            ]
            assert reasons == ["wrong"] * 20 + ["locked"] * 9_980
            assert argon2.matched == 20
            assert (await house.refused("mamie", PASSWORD, "")).retry_after_s == 900
            assert argon2.matched == 20
            await house.sign_in("mamie", PASSWORD, "", trusted=True)
            house.monotonic.now += 900
            await house.sign_in("mamie", PASSWORD, "")

    asyncio.run(main())


def test_ten_thousand_guesses_from_one_address_at_as_many_names(desk: OpenDesk, argon2: Argon2) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            done = await asyncio.gather(
                *(house.refused(f"name{n}", PASSWORD, "") for n in range(10_000)),
            )
            assert [one.reason for one in done].count("wrong") == 10
            assert argon2.matched == 10
            assert (await house.refused("mamie", PASSWORD, "")).reason == "locked"
            assert house.gate.calls == ["ban"]
            assert house.gate.bans == {"203.0.113.7": house.clock() + 3600}
            await house.sign_in("mamie", PASSWORD, "", THERE)
            told = [(entry["reason"], entry.get("person")) for entry in await house.told("sign-in-refused")]
            assert sorted(told, key=str) == [("locked", "mamie")] + [("locked", None)] * 5 + [("unknown-name", None)] * 5

    asyncio.run(main())


def test_thousands_at_once_beyond_the_pool_are_busy_and_not_counted(desk: OpenDesk, argon2: Argon2) -> None:
    async def main() -> None:
        async with desk() as house:
            house.hashes = Hashes(at_once=1, waiting=4, kept=2)
            await house.reopen()
            await house.person(totp=False)
            await house.person("yves")
            crowd = asyncio.gather(
                *(house.refused(f"name{n}", PASSWORD, "", address(n)) for n in range(9_000))
            )
            await until(lambda: argon2.matched > 0)
            # whoever has the right code, and whoever is trusted, comes in all the same
            kept = await asyncio.gather(
                house.sign_in("mamie", PASSWORD, "", trusted=True), house.sign_in("yves")
            )
            assert len(kept) == 2
            reasons = [one.reason for one in await crowd]
            assert reasons.count("busy") == 9_000 - 5
            assert reasons.count("wrong") == 5
            assert argon2.matched == 7
            assert len(house.guard._strikes.dump()) == 5

    asyncio.run(main())


def test_a_trusted_visitor_gets_in_whatever_others_do(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            for n in range(100):
                await house.refused("mamie", NEW, "", address(n))
            waits = [(await house.refused("mamie", NEW, "", trusted=True)).retry_after_s for _ in range(200)]
            assert {wait for wait in waits if wait is not None} == {10}
            assert waits.count(None) == 30
            house.monotonic.now += 10
            await house.sign_in("mamie", PASSWORD, "", trusted=True)
            assert house.gate.calls == []

    asyncio.run(main())


def test_a_known_browser_gets_in_while_strangers_guess(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            await house.person("yves", totp=False)
            device = (await house.sign_in("mamie", PASSWORD, "")).device
            other = (await house.sign_in("yves", PASSWORD, "", THERE)).device
            for n in range(100):
                await house.refused("mamie", NEW, "", address(n))
            assert (await house.refused("mamie", PASSWORD, "", device=other)).reason == "locked"
            assert (await house.refused("mamie", PASSWORD, "", device="9-x-y")).reason == "locked"
            renewed = (await house.sign_in("mamie", PASSWORD, "", device=device)).device
            await house.sign_in("mamie", PASSWORD, "", device=renewed)
            reasons = [
                (await house.refused("mamie", NEW, "", address(200 + n), device=device)).reason
                for n in range(12)
            ]
            assert reasons == ["wrong"] * 10 + ["locked"] * 2

    asyncio.run(main())


def test_locks_survive_a_restart(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            for n in range(20):
                await house.refused("mamie", NEW, "", address(n))
            for n in range(10):
                await house.refused(f"n{n}", NEW, "")
            await house.reopen()
            assert (await house.refused("mamie", PASSWORD, "", THERE)).retry_after_s == 900
            assert (await house.refused("other", PASSWORD, "", HERE)).retry_after_s == 3600

    asyncio.run(main())


def test_hashed_anew_when_parameters_changed(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            old = quick_hash(PASSWORD.encode(), "$argon2id$v=19$m=4096,t=1,p=1$")
            await house.person(password=old)
            await house.refused(password=NEW)
            house.next_step()
            assert house.get().password == old
            done = await house.sign_in()
            assert house.get().password == quick_hash(PASSWORD.encode())
            assert house.sessions.find(done.token)
            house.kill()
            house.next_step()
            await house.sign_in()

    asyncio.run(main())


def test_a_password_changed_while_the_hash_ran_lets_nobody_in(
    desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            real = house.hashes.matches

            async def slow(*arguments: object, **others: object) -> bool:
                right = await real(*arguments, **others)
                await house.state.change_person("mamie", lambda person: replace(person, era="second"))
                return right

            monkeypatch.setattr(house.hashes, "matches", slow)
            assert (await house.refused(code="")).reason == "wrong"
            assert house.sessions.of("mamie") == []

    asyncio.run(main())


def test_a_full_disk_lets_nobody_in_and_bans_nobody(desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()

            def full(path: str, data: bytes) -> None:
                raise files.NotSaved(path, OSError(28, "No space left on device"))

            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", full)
                for _ in range(15):
                    assert (await house.refused()).reason == "not-saved"
                assert house.sessions.of("mamie") == []
            await house.sign_in()

    asyncio.run(main())


def test_nothing_typed_is_kept(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            for name in (PASSWORD, "hunter2hunter2", "\ud800\0" * 50, "x" * 1_000_000):
                await house.refused(name, PASSWORD, "123456")
            await house.refused("mamie", NEW, "123456")
            done = await house.sign_in()
            await house.reopen()
            kept = b"".join(path.read_bytes() for path in house.directory.iterdir())
            for text in (PASSWORD, NEW, "hunter2", "123456", "xxxxxxxxxx", done.token, done.device):
                assert text.encode() not in kept
            refusals = await house.told("sign-in-refused")
            assert [entry.get("person") for entry in refusals] == [None] * 4 + ["mamie"]
            assert {entry["from"] for entry in refusals} == {"203.0.113.7"}
            json.dumps(refusals)

    asyncio.run(main())


def test_nobody_hides_whom_they_guess_at_behind_names_that_there_are_not(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            for name in ("a", "b", "c", "d", "e", "f", "mamie", "mamie"):
                await house.refused(name, NEW, "", trusted=True)
            assert [entry.get("person") for entry in await house.told("sign-in-refused")] == [None] * 5 + ["mamie"] * 2

    asyncio.run(main())


def test_nobody_hides_anothers_failures_and_nobody_floods_the_history(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:

            async def told(reason: str = "unknown-name") -> list[str]:
                entries = await house.history.read(10_000)
                return [entry["from"] for entry in entries if entry["event"] == "sign-in-refused" and entry["reason"] == reason]

            for number in range(24):
                await house.refused(f"nobody{number}", PASSWORD, "", address(number % 3))
            assert len(await told()) == 15
            await house.refused("nobody", PASSWORD, "", address(3))
            assert (await told())[15:] == [str(address(3))]
            for number in range(4, 250):
                await house.refused(f"nobody{number}", PASSWORD, "", address(number))
            assert len(await told()) == 200
            for number in range(250):
                await house.refused("mamie", PASSWORD, "", address(number))
            assert len(await told()) == 200
            assert len(await told("locked")) == 200

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "x" * 1_000_000, "\ufdfa" * 2000])
def test_any_text_anywhere(desk: OpenDesk, text: str) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            for name, password, code in (
                (text, text, text),
                ("mamie", text, text),
                ("mamie", PASSWORD, text),
            ):
                assert (await house.refused(name, password, code, device=text)).reason == "wrong"

    asyncio.run(main())


def test_proving_again(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            person = await house.person()
            done = await house.sign_in()

            async def prove(password: str, code: str) -> object:
                return await house.entry.prove(person, password, code, address=HERE, trusted=False)

            for password, code in ((PASSWORD, house.code()), (NEW, house.code(steps=1)), (PASSWORD, "")):
                with pytest.raises(SignInRefused, match="wrong"):
                    await prove(password, code)
            house.next_step()
            house.next_step()
            assert await prove(PASSWORD, house.code()) == house.get()
            for n in range(100):
                await house.refused("mamie", NEW, "", address(n))
            house.next_step()
            assert await prove(PASSWORD, house.code()) == house.get()  # strangers keep nobody from it
            assert house.sessions.find(done.token)
            await house.state.change_person("mamie", lambda person: replace(person, era="second"))
            house.next_step()
            with pytest.raises(SignInRefused, match="wrong"):
                await prove(PASSWORD, house.code())

    asyncio.run(main())


def test_who_leaves_half_way_is_counted_all_the_same(desk: OpenDesk, argon2: Argon2) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            for _ in range(50):
                task = asyncio.create_task(house.sign_in("mamie", NEW, ""))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            await until(lambda: house.hashes._pool._room == 41)
            assert argon2.matched == 10
            assert (await house.refused("mamie", PASSWORD, "")).reason == "locked"

    asyncio.run(main())


def test_who_leaves_half_way_and_was_right_is_signed_in_and_no_failure(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            for _ in range(9):
                task = asyncio.create_task(house.sign_in("mamie", PASSWORD, ""))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            await until(lambda: len(house.sessions.of("mamie")) == 9)
            await until(lambda: house.guard.may_try_s(HERE, trusted=False, name="mamie") == 0)
            assert await house.told("sign-in-refused") == []

    asyncio.run(main())
