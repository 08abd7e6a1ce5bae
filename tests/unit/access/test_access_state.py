import asyncio
import json
import os
import random
import resource
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from access_house import Live, live_in, until

from access import files
from access.actor import Actor
from access.files import NotSaved, StateError
from access.link import Link
from access.person import Invitation, Person
from access.state import State, Tables, UnknownLink
from access.token import Token

SOURCE = Path(__file__).parents[3] / "src"


def a_link(link_id: str = "k3v7aa", **others: Any) -> Link:
    return Link(
        id=link_id, label="Mémé, chez l'oncle", services=("cloud",), created_at=1_800_000_000, **others
    )


HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43


def full_person() -> Person:
    return Person(
        name="mamie",
        role="admin",
        created_at=1_800_000_000,
        services=("cloud", "game"),
        may_link=True,
        password=HASH,
        totp="5e" * 16,
        totp_step=60_000_000,
        recovery=(HASH, "", HASH),
        invitation=Invitation("ab" * 32, 1_800_600_000),
        asked="C'est moi, « Mémé »",
        era="0123456789abcdef",
        last_seen_at=1_800_000_400,
    )


def full_link() -> Link:
    return a_link(
        owner="mamie",
        duration_s=7200,
        expires_at=1_900_000_000,
        uses=3,
        used=1,
        addresses=2,
        pin=HASH,
        paused=True,
        generation=4,
        to="https://cloud.example.org/",
        last_used_at=1_800_000_500,
    )


def full_token() -> Token:
    return Token(
        id="t2aaaa",
        label="Mémé's router",
        scopes=("read", "grant:self"),
        digest="ab" * 32,
        created_at=1_800_000_000,
        services=("cloud",),
        expires_at=1_900_000_000,
        duration_s=7200,
        last_used_at=1_800_000_500,
        last_address="2001:db8:1::/64",
    )


def written(directory: Path) -> dict[str, Any]:
    """A good state file, as Python."""

    async def main() -> None:
        state = State(str(directory))
        await state.commit(lambda tables: tables.people.update(mamie=full_person()))
        await state.commit(lambda tables: tables.tokens.update(t2aaaa=full_token()))
        await state.add(full_link())
        await state.close()

    asyncio.run(main())
    return json.loads((directory / "state.json").read_text())


def error(directory: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        State(str(directory), wait_s=0)
    assert caught.value.file.startswith(str(directory))
    assert str(caught.value).startswith(caught.value.file + ": ")
    assert "\n" not in str(caught.value)
    return caught.value


# What is written is what is read.


def test_round_trip(tmp_path: Path) -> None:
    written(tmp_path)
    state = State(str(tmp_path))
    assert dict(state.links) == {"k3v7aa": full_link()}
    assert dict(state.people) == {"mamie": full_person()}
    assert dict(state.tokens) == {"t2aaaa": full_token()}
    state.release()


def test_readable_and_private(tmp_path: Path) -> None:
    written(tmp_path)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    text = (tmp_path / "state.json").read_text()
    assert '"label": "Mémé, chez l\'oncle"' in text
    assert '"duration": "2h"' in text
    assert '"expires_at": "2030-03-17T17:46:40Z"' in text
    assert os.listdir(tmp_path) == ["state.json"]  # noqa: PTH208  names are wanted


def test_a_token_of_a_newer_row_is_refused_by_name(tmp_path: Path) -> None:
    document = written(tmp_path)
    document["tokens"]["t1"] = {}
    (tmp_path / "state.json").write_text(json.dumps(document))
    assert error(tmp_path).place == "tokens.t1"


# Files that cannot be taken.


def test_torn_anywhere(tmp_path: Path) -> None:
    written(tmp_path)
    whole = (tmp_path / "state.json").read_bytes()
    for length in range(len(whole.rstrip())):
        (tmp_path / "state.json").write_bytes(whole[:length])
        assert error(tmp_path).place.startswith("line "), length
    (tmp_path / "state.json").write_bytes(whole[:length] + b"\0" * 100)
    assert error(tmp_path).place.startswith("line ")


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def do(document: dict[str, Any]) -> None:
        *way, last = key.split(".")
        for part in way:
            document = document[part]
        if value is KeyError:
            del document[last]
        else:
            document[last] = value

    return do


L = "links.k3v7aa"
P = "people.mamie"
T = "tokens.t2aaaa"
NAMES_NO_MOMENT = "not a moment; write one such as 2026-11-21T09:30:00Z"


@pytest.mark.parametrize(
    ("key", "value", "place", "message"),
    [
        ("version", 2, "version", "is 2, this SafeIP reads 1; install the version that wrote it"),
        ("version", 0, "version", "is not a whole number"),
        ("version", "1", "version", "is not a whole number"),
        ("version", True, "version", "is not a whole number"),
        ("version", KeyError, "version", "is missing"),
        ("links", KeyError, "links", "is missing"),
        ("links", [], "links", "is not an object"),
        ("people", [], "people", "is not an object"),
        ("tokens", None, "tokens", "is not an object"),
        ("tokens", KeyError, "tokens", "is missing"),
        ("colour", "red", "colour", "is not known to this version"),
        ("links.K3V7AA", {}, "links.K3V7AA", "is not a link's id"),
        (L, "text", L, "is not an object"),
        (f"{L}.colour", 1, f"{L}.colour", "is not known to this version"),
        (f"{L}.label", KeyError, f"{L}.label", "is missing"),
        (f"{L}.label", 'a"b', f"{L}.label", "double quote"),
        (f"{L}.label", "a\nb", f"{L}.label", "cannot be shown"),
        (f"{L}.services", [], f"{L}.services", "is not a list with something in it"),
        (f"{L}.services", ["cloud", "C; flush"], f"{L}.services[1]", "is not a name"),
        (f"{L}.services", "cloud", f"{L}.services", "is not a list"),
        (f"{L}.duration", 7200, f"{L}.duration", "is not text"),
        (f"{L}.duration", "2 h", f"{L}.duration", "is not a duration; write 90s"),
        (f"{L}.expires_at", "2026-11-21", f"{L}.expires_at", NAMES_NO_MOMENT),
        (f"{L}.expires_at", "2026-1-1T00:00:00Z", f"{L}.expires_at", NAMES_NO_MOMENT),
        (f"{L}.uses", 0, f"{L}.uses", "is not a whole number from 1"),
        (f"{L}.uses", 1.0, f"{L}.uses", "is not a whole number"),
        (f"{L}.used", -1, f"{L}.used", "is not a whole number"),
        (f"{L}.used", None, f"{L}.used", "is not a whole number"),
        (f"{L}.addresses", True, f"{L}.addresses", "is not a whole number"),
        (f"{L}.pin", "4711", f"{L}.pin", "is not an argon2id hash"),
        (f"{L}.paused", 0, f"{L}.paused", "is neither true nor false"),
        (f"{L}.generation", 0, f"{L}.generation", "is not a whole number"),
        (f"{L}.to", "javascript:alert(1)", f"{L}.to", "begins with neither http:// nor https://"),
        (f"{L}.created_at", None, f"{L}.created_at", "is not text"),
        (f"{L}.owner", "nobody", f"{L}.owner", "is no person"),
        (f"{L}.owner", KeyError, f"{L}.owner", "is missing"),
        ("people.Mamie", {}, "people.Mamie", "is not a name"),
        ("people.a/b", {}, "people.a/b", "is not a name"),
        (P, [], P, "is not an object"),
        (f"{P}.colour", 1, f"{P}.colour", "is not known to this version"),
        (f"{P}.role", "root", f"{P}.role", "is not admin or member"),
        (f"{P}.role", KeyError, f"{P}.role", "is missing"),
        (f"{P}.services", ["C; flush"], f"{P}.services[0]", "is not a name"),
        (f"{P}.links", 1, f"{P}.links", "is neither true nor false"),
        (f"{P}.password", "hunter2", f"{P}.password", "is not an argon2id hash"),
        (f"{P}.password", "", f"{P}.password", "is not an argon2id hash"),
        (f"{P}.totp", "JBSWY3DPEHPK3PXP", f"{P}.totp", "is not a TOTP seed"),
        (f"{P}.totp_step", -1, f"{P}.totp_step", "is not a whole number"),
        (f"{P}.recovery", ["1-abcd"], f"{P}.recovery[0]", "is not an argon2id hash"),
        (f"{P}.recovery", [""] * 11, f"{P}.recovery", "is not a list of at most 10"),
        (f"{P}.invitation", {}, f"{P}.invitation.digest", "is missing"),
        (f"{P}.invitation.digest", "ab", f"{P}.invitation.digest", "is not a SHA-256"),
        (f"{P}.invitation.token", "ab", f"{P}.invitation.token", "is not known to this version"),
        (f"{P}.asked", "x" * 501, f"{P}.asked", "is not text of at most 500"),
        (f"{P}.era", "a b", f"{P}.era", "is not an era"),
        (f"{P}.last_seen_at", 5, f"{P}.last_seen_at", "is not text"),
        ("tokens.T2AAAA", {}, "tokens.T2AAAA", "is not a token's id"),
        (f"{T}.secret", "ab", f"{T}.secret", "is not known to this version"),
        (f"{T}.digest", "ab" * 31, f"{T}.digest", "is not a SHA-256"),
        (f"{T}.scopes", [], f"{T}.scopes", "is not a list with something in it"),
        (f"{T}.scopes", ["root"], f"{T}.scopes[0]", "is not a name"),
        (f"{T}.services", [], f"{T}.services", "is not a list with something in it"),
        (f"{T}.services", KeyError, f"{T}.services", "is missing"),
        (f"{T}.last_address", "x\n", f"{T}.last_address", "is not an address"),
    ],
)
def test_wrong_shape(tmp_path: Path, key: str, value: Any, place: str, message: str) -> None:
    document = written(tmp_path)
    change(key, value)(document)
    (tmp_path / "state.json").write_text(json.dumps(document))
    got = error(tmp_path)
    assert (got.file, got.place) == (f"{tmp_path}/state.json", place)
    assert message in got.message


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"", "line 1, column 1", "is empty"),
        (b"\n \n", "line 3, column 1", "is empty"),
        (b'{"version": 1,\n "links": }', "line 2, column 11", "is torn or no JSON (Expecting value)"),
        (b'{\n"a": "\xff"}', "line 2, column 7", "is not UTF-8"),
        (b"[]", "", "is not an object"),
        (b"null", "", "is not an object"),
        (b'{"version": 1, "version": 2}', "", "has the key 'version' twice"),
        (b'{"version": NaN}', "", "holds NaN"),
        (b'{"a": "\\ud800"}', "", "lone surrogate"),
        (b"[" * 100_000, "", "is nested too deeply"),
        (b'{"version": ' + b"9" * 5000 + b"}", "", "Exceeds the limit"),
    ],
)
def test_no_state_at_all(tmp_path: Path, data: bytes, place: str, message: str) -> None:
    (tmp_path / "state.json").write_bytes(data)
    got = error(tmp_path)
    assert got.place == place
    assert message in got.message


def test_no_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    (tmp_path / "elsewhere").write_text("{}")
    path.symlink_to(tmp_path / "elsewhere")
    assert error(tmp_path).message == "is a symbolic link"
    path.unlink()
    os.mkfifo(path)
    assert error(tmp_path).message == "is not a regular file"
    path.unlink()
    path.mkdir()
    assert error(tmp_path).message == "is not a regular file"
    path.rmdir()
    path.write_text("{}")
    os.chown(path, 12345, 12345)
    assert error(tmp_path).message == "belongs to user 12345; it must be user 0's or root's"


def test_too_large(tmp_path: Path) -> None:
    with (tmp_path / "state.json").open("wb") as file:
        file.truncate(files.LARGEST + 1)
    assert error(tmp_path).message == f"is larger than {files.LARGEST} bytes"


def test_second_on_the_same_state(tmp_path: Path) -> None:
    first = State(str(tmp_path))
    assert error(tmp_path).message == "is in use by another SafeIP; stop that one first"
    first.release()
    State(str(tmp_path)).release()


def test_waits_for_one_on_its_way_out(tmp_path: Path) -> None:
    first = State(str(tmp_path))
    leaving = threading.Timer(0.1, first.release)
    leaving.start()
    State(str(tmp_path), wait_s=10).release()
    leaving.join()


def test_refused_state_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    error(tmp_path)
    (tmp_path / "state.json").unlink()
    State(str(tmp_path)).release()


def test_no_directory(tmp_path: Path) -> None:
    assert error(tmp_path / "none").message == "cannot be opened (No such file or directory)"


# Writing.


def test_symlink_planted_at_the_temporary_name(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "state.json.new").symlink_to(victim)
    written(tmp_path)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "state.json").is_symlink()
    assert not (tmp_path / "state.json.new").is_symlink()


def test_left_over_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "state.json.new").write_text('{"half')
    (tmp_path / "state.json.new").chmod(0o666)
    written(tmp_path)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_full_disk_keeps_the_old(small_disk: Path) -> None:
    async def main() -> None:
        async with live_in(small_disk) as house:
            link = await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            before = house.state_text
            filler = small_disk / "filler"
            fill(filler)
            for attempt in [
                house.links.add(Actor.CLI, "Yves", ["cloud"]),
                house.links.pause(Actor.CLI, link.id),
                house.links.rotate(Actor.CLI, link.id),
                house.links.remove(Actor.CLI, link.id),
            ]:
                with pytest.raises(NotSaved) as caught:
                    await attempt
                assert str(caught.value) == (
                    f"{small_disk}/state.json: could not be written (No space left on device); nothing was changed"
                )
            assert house.links.list(Actor.CLI) == [link]
            assert house.state_text == before
            assert not (small_disk / "state.json.new").exists()
            assert not house.gate.calls
            house.access.history.record("something")  # lost, but harmless
            filler.unlink()
            assert (await house.links.pause(Actor.CLI, link.id)).paused
            house.access.history.record("room again")
            assert [entry["event"] for entry in await house.access.history.read()][-1] == "room again"

    asyncio.run(main())


def test_file_size_limit_keeps_the_old(tmp_path: Path) -> None:
    """RLIMIT_FSIZE fails half-way through a write, as some full disks do."""

    async def main() -> None:
        state = State(str(tmp_path))
        await state.add(a_link())
        before = (tmp_path / "state.json").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(NotSaved, match="File too large"):
                await state.add(a_link("bbbbbb"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(state.links) == ["k3v7aa"]
        assert (tmp_path / "state.json").read_bytes() == before
        assert os.listdir(tmp_path) == ["state.json"]  # noqa: PTH208
        await state.close()

    asyncio.run(main())


WRITER = textwrap.dedent("""
    import asyncio, sys
    from dataclasses import replace
    from access.link import Link
    from access.state import State

    async def main():
        state = State(sys.argv[1])
        if "k3v7aa" not in state.links:
            await state.add(Link("k3v7aa", "Mamie " + "x" * 50, ("cloud",), 1800000000, uses=1000000))
        while True:
            link = await state.change("k3v7aa", lambda link: replace(link, used=link.used + 1))
            print(link.used, flush=True)

    asyncio.run(main())
""")


def test_killed_while_writing(tmp_path: Path) -> None:
    """After kill -9 at any moment: a whole state, with every change that was answered."""
    chance = random.Random(7)
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(SOURCE)},
        )
        assert writer.stdout is not None
        answered = int(writer.stdout.readline())
        time.sleep(chance.uniform(0, 0.02))
        writer.kill()
        if lines := writer.stdout.read().split("\n")[:-1]:
            answered = int(lines[-1])
        writer.wait()
        writer.stdout.close()
        state = State(str(tmp_path))
        assert state.links["k3v7aa"].used in {answered, answered + 1}
        state.release()


def test_changes_at_once_are_all_kept_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        state = State(str(tmp_path))
        ids = [f"aaaa{a}{b}" for a in "abcdefg" for b in "abcdefg"]
        await asyncio.gather(*(state.add(a_link(link_id)) for link_id in ids))
        assert set(json.loads((tmp_path / "state.json").read_text())["links"]) == set(ids)
        await asyncio.gather(*(state.remove(link_id) for link_id in ids[1:]))
        assert set(json.loads((tmp_path / "state.json").read_text())["links"]) == {ids[0]}
        await state.close()

    asyncio.run(main())


def test_the_loop_goes_on_while_the_disk_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is what lets each fsync go on: one that held the loop up would wait until the bound."""
    real, begun, may_go_on, held = os.fsync, [], threading.Semaphore(0), []

    def slow(fd: int) -> None:
        begun.append(fd)
        held.append(not may_go_on.acquire(timeout=10))
        real(fd)

    async def main() -> None:
        state = State(str(tmp_path))
        monkeypatch.setattr(os, "fsync", slow)
        adding = asyncio.create_task(state.add(a_link()))
        let_go = 0
        while not adding.done():
            await asyncio.sleep(0.001)
            if len(begun) > let_go:
                let_go += 1
                may_go_on.release()
        assert held == [False, False]  # the file and its directory
        await state.close()

    asyncio.run(main())


def test_tables_change_together_or_not_at_all(tmp_path: Path) -> None:
    """An edit that fails half-way, and one that the disk refuses, leave both tables as they were."""

    async def main() -> None:
        written_before = await asyncio.to_thread((tmp_path / "state.json").read_bytes)
        state = State(str(tmp_path))
        before = dict(state.links), dict(state.people)

        def half(tables: Tables) -> None:
            tables.links.clear()
            tables.person("nobody")

        def whole(tables: Tables) -> None:
            tables.links.clear()
            tables.people.clear()

        with pytest.raises(LookupError):
            await state.commit(half)
        assert (dict(state.links), dict(state.people)) == before
        (tmp_path / "state.json").rename(tmp_path / "kept")
        (tmp_path / "state.json").mkdir()
        with pytest.raises(NotSaved):
            await state.commit(whole)
        assert (dict(state.links), dict(state.people)) == before
        (tmp_path / "state.json").rmdir()
        (tmp_path / "kept").rename(tmp_path / "state.json")
        assert await asyncio.to_thread((tmp_path / "state.json").read_bytes) == written_before
        await state.commit(whole)
        assert (dict(state.links), dict(state.people)) == ({}, {})
        await state.close()

    written(tmp_path)
    asyncio.run(main())
    after = json.loads((tmp_path / "state.json").read_text())
    assert (after["links"], after["people"]) == ({}, {})


def test_lazy_change_while_the_disk_works_is_not_lost(tmp_path: Path, monkeypatch) -> None:
    import threading
    from dataclasses import replace

    from access import files

    writes, goes_on, write = threading.Event(), threading.Event(), files.replace

    def slow_disk(*arguments) -> None:
        writes.set()
        assert goes_on.wait(10)
        write(*arguments)

    async def main() -> None:
        state = State(str(tmp_path))
        await state.add(a_link())
        monkeypatch.setattr(files, "replace", slow_disk)
        pausing = asyncio.create_task(state.change("k3v7aa", lambda link: replace(link, paused=True)))
        await until(writes.is_set)
        monkeypatch.undo()
        asyncio.get_running_loop().call_soon(goes_on.set)
        state.change_lazily("k3v7aa", lambda link: replace(link, used=link.used + 1))
        await pausing
        assert (state.links["k3v7aa"].used, state.links["k3v7aa"].paused) == (1, True)
        await state.close()
        state = State(str(tmp_path))
        assert (state.links["k3v7aa"].used, state.links["k3v7aa"].paused) == (1, True)
        state.release()

    asyncio.run(main())


def test_cancelled_change_is_made_whole(tmp_path: Path) -> None:
    async def main() -> None:
        state = State(str(tmp_path))
        adding = asyncio.create_task(state.add(a_link()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        await until(lambda: bool(state.links))
        await state.close()
        assert "k3v7aa" in (tmp_path / "state.json").read_text()

    asyncio.run(main())


def test_lazy_changes_reach_the_disk_by_themselves(tmp_path: Path) -> None:
    from dataclasses import replace

    async def main() -> None:
        state = State(str(tmp_path), lazy_s=0.02)
        await state.add(a_link())
        before = (tmp_path / "state.json").stat().st_ino
        for _ in range(100):
            state.change_lazily("k3v7aa", lambda link: replace(link, used=link.used + 1))
        assert (tmp_path / "state.json").stat().st_ino == before
        await until(lambda: '"used": 100,' in (tmp_path / "state.json").read_text())
        await state.close()

    asyncio.run(main())


def test_nothing_lazy_nothing_written_at_close(live: Live) -> None:
    async def main() -> None:
        async with live() as house:
            await house.links.add(Actor.CLI, "Mamie", ["cloud"])
            before = (house.directory / "state.json").stat().st_ino
        assert (house.directory / "state.json").stat().st_ino == before

    asyncio.run(main())


def test_unknown_link(tmp_path: Path) -> None:
    async def main() -> None:
        state = State(str(tmp_path))
        with pytest.raises(UnknownLink, match="there is no link 'zzzzzz'"):
            await state.change("zzzzzz", lambda link: link)
        with pytest.raises(UnknownLink):
            await state.remove("zzzzzz")
        state.change_lazily("zzzzzz", lambda link: link)
        await state.close()
        assert not (tmp_path / "state.json").exists()

    asyncio.run(main())
