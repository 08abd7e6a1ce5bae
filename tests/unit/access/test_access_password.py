import asyncio
import time

import pytest

from access import password
from access.hashes import Busy
from access.inputs import BadInput
from access.password import check_password


def check(text: object, name: str = "mamie", **others: str) -> str:
    return asyncio.run(check_password(text, name, **others))


def refusal(text: object, **others: str) -> str:
    with pytest.raises(BadInput) as caught:
        check(text, **others)
    assert caught.value.field == others.get("field", "password")
    assert not isinstance(text, str) or len(text) < 9 or text[:40] not in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "violet tractor under ice",
        "gWk3-vTq9-bXz7",
        "\u00e9l\u00e8ve \u2603 na\u00efve trou normand",
        "with\0nul and\ttab inside",
        " spaces count at both ends ",
        "\u5c71\u5ddd\u6d77\u7a7a\u98a8\u96ea\u6708\u82b1\u9ce5\u72fc\u718a\u9e7f",
        "fjord " * 42 + "wisp",
    ],
)
def test_taken(text: str) -> None:
    assert check(text) == text


def test_normalised() -> None:
    assert check("trac\u0327\u0327teur violet \uff11\uff17") == "tra\u00e7\u0327teur violet 17"


@pytest.mark.parametrize(
    "text",
    [
        "password1234",
        "1234567890",
        "qwertyuiop",
        "azertyuiop",
        "iloveyou123",
        "Passw0rd!!",
        "1qaz2wsx3edc",
        "changeme123",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "mamiemamie",
        "Mamie12345",
        "safeipsafeip",
        "openexampleorg",
        "open.example.org",
        "\0" * 12,
    ],
)
def test_easy_to_guess(text: str) -> None:
    assert "easy to guess" in refusal(text, host="open.example.org")


def test_bounds() -> None:
    assert "too short" in refusal("")
    assert "too short" in refusal("gWk3-vTq9")
    assert "too long" in refusal("gWk3-vTq9-bXz7" * 19)
    assert "not text" in refusal(None)
    assert "not text" in refusal(["gWk3-vTq9-bXz7"])
    assert "half a character" in refusal("gWk3-vTq9-bXz7\ud800")
    assert refusal("short", field="new") == refusal("short")


def test_nothing_is_judged_that_is_refused_by_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "_hard", None)
    spent = []
    for _ in range(3):  # the collector may come in between
        before = time.process_time()
        for text in ("x" * 1_000_000, "\ufdfa" * 1_000_000, "short"):
            refusal(text)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.1  # what NFKC alone would take of 1 MB is more


def test_without_a_dictionary_nothing_is_let_through_and_nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from access import crack

    monkeypatch.setattr(crack, "DICTIONARY", b"/nowhere/words")
    with pytest.raises(RuntimeError) as caught:
        check("violet tractor under ice")
    assert "violet" not in str(caught.value)


def test_no_more_than_a_few_are_judged_at_once() -> None:
    async def main() -> None:
        tries = [check_password("violet tractor under ice", "mamie") for _ in range(20)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(one, Busy) for one in done) == 11
        assert sum(one == "violet tractor under ice" for one in done) == 9

    asyncio.run(main())
