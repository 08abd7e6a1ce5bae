import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pyotp
import pytest
from access_desk import HERE, NEW, PASSWORD, THERE, Argon2, Desk, OpenDesk, address

from access import files
from access.actor import Actor, NotAllowed
from access.files import NotSaved
from access.guard import Throttled
from access.inputs import BadInput
from access.invitations import Accepted, InvitationGone
from access.person import Invitation
from access.sign_in import SignInRefused
from access.state import UnknownPerson

TOKEN = "a3" * 16
WEEK = 7 * 86400


async def invite(house: Desk, name: str = "mamie", token: str = TOKEN, **others: Any) -> None:
    digest = hashlib.sha256(token.encode()).hexdigest()
    invitation = Invitation(digest, int(house.clock()) + WEEK)
    await house.person(name, **{"totp": False, "password": None, "invitation": invitation} | others)


async def accept(house: Desk, password: str = NEW, code: str | None = None, **others: Any) -> Accepted:
    if code is None:
        invited = house.invitations.invited(TOKEN)
        code = "" if invited is None else house.code_of(invited.secret)
    return await house.invitations.accept(
        others.pop("token", TOKEN), password, code, **{"address": HERE, "trusted": False} | others
    )


async def field_of(work: Awaitable[object]) -> str:
    with pytest.raises(BadInput) as caught:
        await work
    return caught.value.field


async def turn_on(house: Desk, by: Actor, proof: dict[str, str]) -> object:
    offer = house.credentials.new_totp(by, "mamie")
    return await house.credentials.totp_on(
        by,
        "mamie",
        offer.seed,
        house.code_of(offer.secret),
        password=proof["password"],
        proof=proof["code"],
    )


Change = Callable[[Desk, Actor, dict[str, str]], Awaitable[object]]
OWN: dict[str, Change] = {
    "password": lambda house, by, proof: house.credentials.change_password(
        by, proof["password"], proof["code"], NEW
    ),
    "totp": turn_on,
    "off": lambda house, by, proof: house.credentials.totp_off(by, "mamie", **proof),
    "recovery": lambda house, by, proof: house.credentials.new_recovery_codes(by, **proof),
}


def test_an_invitation_is_accepted(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            invited = house.invitations.invited(TOKEN)
            assert invited == house.invitations.invited(TOKEN)  # a reload shows the same
            assert invited
            assert (invited.name, invited.role) == ("mamie", "member")
            assert pyotp.parse_uri(invited.uri).secret == invited.secret
            accepted = await accept(house)
            assert accepted.person == house.get()
            assert accepted.person.state == "active"
            assert accepted.person.invitation is None
            assert accepted.person.era != "first-of-mamie"
            assert len(accepted.recovery_codes) == 10
            assert (await house.refused("mamie", NEW)).reason == "wrong"  # the code is used up
            house.next_step()
            await house.sign_in("mamie", NEW)
            for code in accepted.recovery_codes:
                await house.sign_in("mamie", NEW, code)
            assert [entry["person"] for entry in await house.told("person-accepted")] == ["mamie"]
            text = (house.directory / "state.json").read_text()
            for secret in (TOKEN, invited.secret, NEW, *accepted.recovery_codes):
                assert secret not in text

    asyncio.run(main())


def test_an_invitation_is_good_once(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            done = await asyncio.gather(
                *(accept(house, address=address(n)) for n in range(3)), return_exceptions=True
            )
            assert [type(one) for one in done].count(Accepted) == 1
            assert [type(one) for one in done].count(InvitationGone) == 2
            (winner,) = [one for one in done if isinstance(one, Accepted)]
            assert house.get().era == winner.person.era
            assert house.invitations.invited(TOKEN) is None
            with pytest.raises(InvitationGone):
                await accept(house)

    asyncio.run(main())


def test_an_invitation_that_is_over(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            for token in ("", "a", TOKEN[:-1], TOKEN.upper(), "\ud800", "x" * 10**6):
                assert house.invitations.invited(token) is None
                with pytest.raises(InvitationGone):
                    await accept(house, token=token)
            house.clock.now += WEEK - 1
            assert house.invitations.invited(TOKEN)
            house.clock.now += 1
            assert house.invitations.invited(TOKEN) is None
            with pytest.raises(InvitationGone):
                await accept(house, address=THERE)

    asyncio.run(main())


def test_an_invitation_taken_back_while_it_is_accepted(
    desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            real = house.hashes.hash

            async def slow(*arguments: Any, **others: Any) -> str:
                await house.state.change_person("mamie", lambda person: replace(person, invitation=None))
                return await real(*arguments, **others)

            monkeypatch.setattr(house.hashes, "hash", slow)
            with pytest.raises(InvitationGone):
                await accept(house)
            assert house.get().password is None

    asyncio.run(main())


def test_wrong_tokens_are_strikes(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            for n in range(10):
                with pytest.raises(InvitationGone):
                    await accept(house, token=f"guess{n}")
            with pytest.raises(Throttled) as caught:
                await accept(house)
            assert caught.value.retry_after_s == 3600
            await accept(house, address=THERE)

    asyncio.run(main())


def test_wrong_codes_and_weak_passwords_leave_the_invitation(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)
            for password in ("short", "password1234", "mamiemamie", "open.example.org", "x" * 10**6):
                assert await field_of(accept(house, password)) == "password"
            invited = house.invitations.invited(TOKEN)
            assert invited
            for code in ("", "000000", house.code_of(invited.secret, steps=3)):
                assert await field_of(accept(house, code=code)) == "code"
            assert house.get().password is None
            for _ in range(7):
                assert await field_of(accept(house, code="000000")) == "code"
            with pytest.raises(Throttled):
                await accept(house)
            await accept(house, trusted=True)

    asyncio.run(main())


def test_invited_again_the_old_password_works_until_the_new_one_is_set(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            digest = hashlib.sha256(TOKEN.encode()).hexdigest()
            await house.person(invitation=Invitation(digest, int(house.clock()) + WEEK))
            token = (await house.sign_in()).token
            assert house.sessions.find(token)
            house.next_step()
            await accept(house)
            assert house.sessions.find(token) is None
            house.next_step()
            assert (await house.refused()).reason == "wrong"
            house.next_step()
            await house.sign_in("mamie", NEW)

    asyncio.run(main())


def test_a_full_disk_keeps_the_invitation(desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with desk() as house:
            await invite(house)

            def full(path: str, data: bytes) -> None:
                raise NotSaved(path, OSError(28, "No space left on device"))

            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", full)
                with pytest.raises(NotSaved):
                    await accept(house)
            assert await accept(house)

    asyncio.run(main())


@pytest.mark.parametrize("what", OWN)
def test_what_is_ones_own_needs_password_and_code(desk: OpenDesk, what: str) -> None:
    async def main() -> None:
        async with desk() as house:
            before = await house.person()
            used = house.code()
            token = (await house.sign_in(code=used)).token
            tries = [
                {"password": PASSWORD, "code": ""},
                {"password": PASSWORD, "code": "000000"},
                {"password": PASSWORD, "code": used},
                {"password": "", "code": house.recovery(number=1)},
                {"password": NEW, "code": house.recovery(number=2)},
            ]
            for proof in tries:
                with pytest.raises(SignInRefused, match="wrong"):
                    await OWN[what](house, house.actor(), proof)
            after = house.get()
            assert (after.password, after.totp, after.era) == (before.password, before.totp, before.era)
            assert house.sessions.find(token)
            house.next_step()
            await OWN[what](house, house.actor(), {"password": PASSWORD, "code": house.code()})
            assert (house.sessions.find(token) is None) == (what != "recovery")

    asyncio.run(main())


@pytest.mark.parametrize("what", OWN)
def test_a_recovery_code_proves_once(desk: OpenDesk, what: str) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            proof = {"password": PASSWORD, "code": house.recovery()}
            await OWN[what](house, house.actor(), proof)
            with pytest.raises((SignInRefused, BadInput)):
                await OWN[what](house, house.actor(), proof | {"password": NEW})

    asyncio.run(main())


@pytest.mark.parametrize("what", OWN)
def test_guesses_in_a_stolen_session_are_counted(desk: OpenDesk, argon2: Argon2, what: str) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            refusals = []
            for n in range(40):
                by = replace(house.actor(), address=str(address(n)))
                with pytest.raises(SignInRefused) as caught:
                    await OWN[what](house, by, {"password": f"guess {n}", "code": ""})
                refusals.append(caught.value.reason)
            assert refusals == ["wrong"] * 20 + ["locked"] * 20
            assert argon2.matched == 20

    asyncio.run(main())


@pytest.mark.parametrize("what", OWN)
def test_nobody_elses(desk: OpenDesk, what: str) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            await house.person("root", role="admin")
            before = house.get()
            proof = {"password": PASSWORD, "code": house.code()}
            by = house.actor("root")
            if what in {"off", "totp"}:
                with pytest.raises(NotAllowed):
                    await OWN[what](house, by, proof)
                with pytest.raises(NotAllowed):
                    await house.credentials.totp_on(by, "mamie", "b" * 32, "000000", password=PASSWORD)
            else:
                with pytest.raises(NotAllowed):
                    await OWN[what](house, Actor.CLI, proof)
            with pytest.raises(NotAllowed):
                await house.credentials.set_password(by, "mamie", NEW)
            with pytest.raises(NotAllowed):
                await house.credentials.set_password(house.actor(), "mamie", NEW)
            assert house.get() == before

    asyncio.run(main())


@pytest.mark.parametrize("what", ["password", "totp", "recovery"])
def test_signed_out_everywhere_between_proof_and_change(
    desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def main() -> None:
        async with desk() as house:
            before = await house.person()
            real = house.hashes.hash

            async def slow(*arguments: Any, **others: Any) -> str:
                await house.state.change_person("mamie", lambda person: replace(person, era="second"))
                return await real(*arguments, **others)

            monkeypatch.setattr(house.hashes, "hash", slow)
            with pytest.raises(NotAllowed):
                await OWN[what](house, house.actor(), {"password": PASSWORD, "code": house.code()})
            after = house.get()
            assert (after.password, after.totp, after.recovery, after.era) == (
                before.password,
                before.totp,
                before.recovery,
                "second",
            )

    asyncio.run(main())


def test_change_password(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            digest = hashlib.sha256(TOKEN.encode()).hexdigest()
            await house.put(replace(house.get(), invitation=Invitation(digest, 2**31)))
            change = house.credentials.change_password
            assert await field_of(change(house.actor(), PASSWORD, "", "mamiemamie")) == "new"
            await change(house.actor(), PASSWORD, "", NEW)
            assert house.invitations.invited(TOKEN) is None
            assert (await house.refused("mamie", PASSWORD, "")).reason == "wrong"
            await house.sign_in("mamie", NEW, "")
            assert [entry["by"] for entry in await house.told("password-changed")] == ["person:mamie"]

    asyncio.run(main())


def test_set_password_from_the_command_line(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            token = (await house.sign_in()).token
            with pytest.raises(UnknownPerson):
                await house.credentials.set_password(Actor.CLI, "nobody", NEW)
            assert await field_of(house.credentials.set_password(Actor.CLI, "mamie", None)) == "password"
            await house.credentials.set_password(Actor.CLI, "mamie", NEW)
            assert house.sessions.find(token) is None
            house.next_step()
            assert (await house.refused("mamie", NEW, "")).reason == "wrong"  # TOTP stays on
            await house.sign_in("mamie", NEW)
            assert await house.told("password-changed") == [
                {"by": "cli", "person": "mamie", "outcome": "allowed"}
            ]

    asyncio.run(main())


def test_totp_counts_only_once_a_code_was_right(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person(totp=False)
            before = house.get()
            offer = house.credentials.new_totp(house.actor(), "mamie")
            assert offer.seed != house.credentials.new_totp(house.actor(), "mamie").seed
            on = house.credentials.totp_on
            for seed, code, field in (
                (offer.seed, "", "code"),
                (offer.seed, "000000", "code"),
                (offer.seed, house.code_of(offer.secret, steps=-3), "code"),
                ("", house.code_of(offer.secret), "seed"),
                ("\ud800" * 32, house.code_of(offer.secret), "seed"),
                ("b" * 32, house.code_of(offer.secret), "code"),
            ):
                work = on(house.actor(), "mamie", seed, code, password=PASSWORD)
                assert await field_of(work) == field
            with pytest.raises(SignInRefused):
                await on(house.actor(), "mamie", offer.seed, house.code_of(offer.secret))
            assert house.get() == before
            code = house.code_of(offer.secret)
            person, codes = await on(house.actor(), "mamie", offer.seed, code, password=PASSWORD)
            assert person.totp == offer.seed
            assert len(codes) == 10
            assert (await house.refused("mamie", PASSWORD, "")).reason == "wrong"
            assert (await house.refused("mamie", PASSWORD, code)).reason == "wrong"
            await house.sign_in("mamie", PASSWORD, codes[9])
            house.next_step()
            await house.sign_in()
            work = on(house.actor(), "mamie", offer.seed, house.code(steps=1), password=PASSWORD)
            assert await field_of(work) == "seed"  # its used codes stay used

    asyncio.run(main())


def test_totp_from_the_command_line(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person("root", role="admin", totp=False)
            offer = house.credentials.new_totp(Actor.CLI, "root")
            person, _ = await house.credentials.totp_on(
                Actor.CLI, "root", offer.seed, house.code_of(offer.secret)
            )
            assert person.totp
            by = house.actor("root")
            house.next_step()
            off = house.credentials.totp_off(by, "root", password=PASSWORD, code=house.code("root"))
            assert await field_of(off) == "code"  # an admin cannot do without
            assert house.get("root").totp
            person = await house.credentials.totp_off(Actor.CLI, "root")
            assert (person.totp, person.recovery) == (None, ())
            with pytest.raises(UnknownPerson):
                house.credentials.new_totp(Actor.CLI, "nobody")
            with pytest.raises(UnknownPerson):
                await house.credentials.totp_off(Actor.CLI, "nobody")

    asyncio.run(main())


def test_codes_of_an_authenticator_that_was_replaced_are_none(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            old = house.code(steps=1)
            await OWN["totp"](house, house.actor(), {"password": PASSWORD, "code": house.code()})
            house.next_step()
            assert (await house.refused("mamie", PASSWORD, old)).reason == "wrong"
            assert (await house.refused("mamie", PASSWORD, house.recovery())).reason == "wrong"
            await house.sign_in()

    asyncio.run(main())


def test_new_recovery_codes(desk: OpenDesk) -> None:
    async def main() -> None:
        async with desk() as house:
            await house.person()
            codes = await house.credentials.new_recovery_codes(
                house.actor(), password=PASSWORD, code=house.code()
            )
            assert all(re.fullmatch(r"[0-9]{1,2}(-[a-z2-7]{4}){3}", code) for code in codes)
            assert (await house.refused(code=house.recovery())).reason == "wrong"
            await house.sign_in(code=codes[0])
            await house.person("plain", totp=False)
            work = house.credentials.new_recovery_codes(house.actor("plain"), password=PASSWORD, code="")
            assert await field_of(work) == "code"
            kept = b"".join(path.read_bytes() for path in house.directory.iterdir())
            assert not any(code[2:].encode() in kept for code in codes)

    asyncio.run(main())
