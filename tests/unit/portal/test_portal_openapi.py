"""The API's description: valid, whole, and made of what checks."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from portal_house import House, house, in_loop

from portal.api import Api
from portal.api_kinds import DURATION, Field, Fields, Kind, Names, Text, Whole, Yes, address, address_or_self
from portal.api_problem import PROBLEMS, ApiProblem
from portal.openapi import document, problems


async def described(h: House, *, root: bool = False) -> dict[str, Any]:
    answer = await h.api("GET", "openapi.json") if root else await h.get("/api/v1/openapi.json")
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
    said: dict[str, Any] = answer.json
    return said


@pytest.mark.parametrize("root", [False, True])
@in_loop
async def test_it_is_openapi(tmp_path: Path, root: bool) -> None:
    async with house(tmp_path) as h:
        said = await described(h, root=root)
        validate(said, cls=OpenAPIV31SpecValidator)
        assert said["openapi"].startswith("3.1.")
        assert said["servers"] == [{"url": "https://open.example.org"}]
        names = [one["operationId"] for path in said["paths"].values() for one in path.values()]
        assert len(names) == len(set(names))
        assert all(re.fullmatch("[a-z]+(-[a-z-]+)+", name) for name in names)


@in_loop
async def test_it_holds_every_operation_that_the_door_has(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        operations = Api(h.site).operations
        for root in (False, True):
            said = await described(h, root=root)
            found = {(method.upper(), path.removeprefix("/api/v1")) for path, methods in said["paths"].items() for method in methods}
            assert found == {(one.method, one.path) for one in operations if root or one.public}
        text = json.dumps(await described(h))
        assert "control socket" not in text
        assert '"follow"' not in text
        assert len(text) < 50_000, "anyone may ask for it"


@in_loop
async def test_every_operation_says_what_it_may_answer(tmp_path: Path) -> None:
    """Whoever needs a token may hear 401, 403 and 429; who sends a body 408, 413, 415 and 422; a place 404."""
    async with house(tmp_path) as h:
        said = await described(h)
        for one in Api(h.site).operations:
            assert problems(one) <= PROBLEMS.keys()
            if one.public:
                answers = set(said["paths"][f"/api/v1{one.path}"][one.method.lower()]["responses"])
                assert {"400", "405", "500", str(one.status)} <= answers
                assert (one.needs != "nobody") == ({"401", "403", "429"} <= answers), one.path
                assert (one.body is not None) == ({"408", "413", "415"} <= answers), one.path
                assert not one.places or "404" in answers
                assert not (one.places or one.query or one.body) or "422" in answers


def test_a_parameter_of_the_table_is_one_of_the_description(tmp_path: Path) -> None:
    """The description is made of the table: what changes there changes here."""

    async def run() -> None:
        async with house(tmp_path) as h:
            operation = next(one for one in Api(h.site).operations if one.path == "/links" and one.method == "POST")
            new = replace(operation, body=Fields((*(operation.body or ()), Field("colour", Whole(7), "Which.", needed=True))))
            said = document([new], "https://x")["paths"]["/api/v1/links"]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert said["properties"]["colour"] == {"type": "integer", "minimum": 1, "maximum": 7, "description": "Which."}
            assert said["required"] == ["label", "services", "colour"]

    in_loop(run)()


# problems


@in_loop
async def test_every_type_of_problem_is_explained_where_it_points(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for name, kind in PROBLEMS.items():
            problem = json.loads(ApiProblem(name, field="x").response().text or "")
            assert list(problem) == ["type", "title", "status", "detail", "field"]
            meant = await h.get(problem["type"])
            assert meant.status == 200
            assert meant.json == {"type": problem["type"], "title": problem["title"], "status": kind.status, "means": kind.means}
        assert (await h.get("/api/v1/problems/nothing")).status == 404


# kinds


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Text(3, 1), {"a": "a", "abc": "abc", "é": "é"}, ["", "abcd", 1, None, True, ["a"], "\ud800"]),
        (Text(choice=("a", "b")), {"a": "a"}, ["c", "A", "", 1]),
        (Whole(12), {1: 1, 12: 12}, [0, 13, -1, 1.0, 1.5, True, "1", None, 10**400]),
        (Yes(), {True: True, False: False}, ["true", 1, 0, None]),
        (DURATION, {"2h": 7200, "015m": 900}, ["2 h", "0s", "h", "", "99999999d", 5, "2h\n", "\N{ARABIC-INDIC DIGIT TWO}h"]),
        (address(64), {}, ["", "self", "x", "203.0.113.0/24", "::1%lo", "203.0.113.7\n", 5]),
        (address_or_self(64), {"self": None}, ["Self", "self ", ""]),
    ],
    ids=["text", "choice", "whole", "yes", "duration", "address", "self"],
)
def test_kinds(kind: Kind, good: dict[Any, Any], bad: list[Any]) -> None:
    for value, taken in good.items():
        assert kind.take("x", value) == taken
    for value in bad:
        with pytest.raises(ValueError, match=r"^x: |^address: "):
            kind.take("x", value)


def test_kinds_in_a_query() -> None:
    assert Whole(12).read("x", "7") == 7
    assert Yes().read("x", "true") is True
    assert Names(Text(3)).read("x", "a,b") == ["a", "b"]
    for kind, text in ((Whole(12), "13"), (Whole(12), "1e1"), (Whole(12), " 1"), (Whole(12), "\u0661"), (Yes(), "1"), (Yes(), "True")):
        with pytest.raises(ValueError, match=r"^x: "):
            kind.read("x", text)


def test_the_headers_of_problems_are_described() -> None:
    said = document((), "https://open.example.org")["components"]["responses"]
    described = {(status, name): header["required"] for status, answer in said.items() for name, header in answer.get("headers", {}).items()}
    assert described == {("401", "WWW-Authenticate"): True, ("405", "Allow"): True, ("429", "Retry-After"): True, ("503", "Retry-After"): False}
