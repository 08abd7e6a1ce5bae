"""Who may do what in the API: every operation times every scope, without and with a limit of services, and root."""

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jsonschema
from abuse_town import Town, town
from portal_house import Answer, ask, in_loop

from access.actor import Actor
from access.gate import Grant
from portal.api import Api
from portal.openapi import problems

ADDRESS, ELSEWHERE = "203.0.113.5", "203.0.113.9"
ALL = ("read", "grant:self", "grant:any", "links", "admin")
# Whose answers are in which column: with nothing, with a token of one scope, with one of one scope for `cloud` alone, at the control socket.
COLUMNS = ("nobody", *ALL, *(f"{scope} cloud" for scope in ALL), "root")
# Before each request the token holds cloud at 203.0.113.9 and somebody else game; {ours} is the house's link for cloud, {game} one for
# game, {hers} mamie's own. A dot is a refusal: 401 for nobody and 403 for a token. What stands after | is sent as JSON.
TABLE = """
                                    nobody | read self any links admin | read self any links admin | root
GET    /openapi.json                 200     200  200  200  200  200     200  200  200  200  200     200
GET    /problems/bad-input           200     200  200  200  200  200     200  200  200  200  200     200
GET    /problems/nothing             404     404  404  404  404  404     404  404  404  404  404     404
GET    /token                        .       200  200  200  200  200     200  200  200  200  200     404
GET    /status                       .       200  .    .    .    200     200  .    .    .    200     200

GET    /grants                       .       200  200  200  .    200     200  200  200  .    200     200
GET    /grants?service=cloud         .       200  200  200  .    200     200  200  200  .    200     200
GET    /grants?service=game          .       200  200  200  .    200     422  422  422  .    422     200
PUT    /grants/cloud/self            .       .    201  201  .    201     .    201  201  .    201     422
PUT    /grants/cloud/203.0.113.5     .       .    201  201  .    201     .    201  201  .    201     201
PUT    /grants/cloud/203.0.113.9     .       .    .    200  .    200     .    .    200  .    200     201
PUT    /grants/game/self             .       .    201  201  .    201     .    404  404  .    404     422
PUT    /grants/game/203.0.113.9      .       .    .    201  .    201     .    404  404  .    404     201
PUT    /grants/nothing/self          .       .    404  404  .    404     .    404  404  .    404     404
DELETE /grants/cloud/203.0.113.9     .       .    1    1    .    1       .    1    1    .    1       1
DELETE /grants/game/203.0.113.9      .       .    0    0    .    1       .    404  404  .    404     1
DELETE /grants/cloud/self            .       .    0    0    .    0       .    0    0    .    0       422
DELETE /grants?address=203.0.113.9   .       .    1    1    .    2       .    1    1    .    1       2
DELETE /grants?holder=person:mamie   .       .    1    1    .    1       .    1    1    .    0       1
DELETE /grants?service=game          .       .    0    0    .    1       .    422  422  .    422     1
DELETE /grants?all=true              .       .    .    .    .    2       .    .    .    .    .       2

GET    /blocked                      .       200  .    .    .    200     .    .    .    .    .       200
GET    /banned                       .       200  .    .    .    200     .    .    .    .    .       200
POST   /bans                         .       .    .    .    .    201     .    .    .    .    .       201 | {"address": "198.51.100.9"}
DELETE /bans?address=198.51.100.9    .       .    .    .    .    200     .    .    .    .    .       200
GET    /history                      .       .    .    .    .    200     .    .    .    .    .       200
GET    /history?follow=false         .       .    .    .    .    422     .    .    .    .    .       200

GET    /links                        .       .    .    .    200  200     .    .    .    200  200     200
POST   /links                        .       .    .    .    201  201     .    .    .    201  201     201 | {"label": "Jean", "services": ["cloud"]}
POST   /links                        .       .    .    .    201  201     .    .    .    422  422     201 | {"label": "Jean", "services": ["cloud", "game"]}
GET    /links/{ours}                 .       .    .    .    200  200     .    .    .    200  200     200
GET    /links/{game}                 .       .    .    .    200  200     .    .    .    404  404     200
GET    /links/{hers}                 .       .    .    .    404  200     .    .    .    404  404     200
DELETE /links/{ours}                 .       .    .    .    200  200     .    .    .    200  200     200
DELETE /links/{game}                 .       .    .    .    200  200     .    .    .    404  404     200
DELETE /links/{hers}                 .       .    .    .    404  200     .    .    .    404  404     200
POST   /links/{ours}/pause           .       .    .    .    200  200     .    .    .    200  200     200
POST   /links/{game}/pause           .       .    .    .    200  200     .    .    .    404  404     200
POST   /links/{ours}/resume          .       .    .    .    200  200     .    .    .    200  200     200
POST   /links/{game}/resume          .       .    .    .    200  200     .    .    .    404  404     200
POST   /links/{ours}/rotate          .       .    .    .    200  200     .    .    .    200  200     200
POST   /links/{game}/rotate          .       .    .    .    200  200     .    .    .    404  404     200

GET    /people                       .       .    .    .    .    200     .    .    .    .    .       200
GET    /people/yves                  .       .    .    .    .    200     .    .    .    .    .       200
GET    /people/nobody                .       .    .    .    .    404     .    .    .    .    .       404
GET    /people/yves/sessions         .       .    .    .    .    200     .    .    .    .    .       200
POST   /people                       405     405  405  405  405  405     405  405  405  405  405     201 | {"name": "eve", "invite": true}
PATCH  /people/yves                  405     405  405  405  405  405     405  405  405  405  405     200 | {"services": ["game"]}
DELETE /people/yves                  405     405  405  405  405  405     405  405  405  405  405     200
POST   /people/yves/password         404     404  404  404  404  404     404  404  404  404  404     200 | {"password": "nine green herons wade"}
POST   /people/yves/totp             404     404  404  404  404  404     404  404  404  404  404     200
POST   /people/yves/totp/confirm     404     404  404  404  404  404     404  404  404  404  404     422 | {"seed": "00000000000000000000000000000000", "code": "000000"}
DELETE /people/yves/totp             404     404  404  404  404  404     404  404  404  404  404     200
POST   /people/yves/invitation       404     404  404  404  404  404     404  404  404  404  404     201
POST   /people/asking/approve        404     404  404  404  404  404     404  404  404  404  404     200 | {"services": ["cloud"]}
POST   /people/asking/refuse         404     404  404  404  404  404     404  404  404  404  404     200
POST   /people/yves/sign-out         404     404  404  404  404  404     404  404  404  404  404     200

GET    /tokens                       404     404  404  404  404  404     404  404  404  404  404     200
POST   /tokens                       404     404  404  404  404  404     404  404  404  404  404     201 | {"label": "x", "scopes": ["read"]}
GET    /tokens/{token}               404     404  404  404  404  404     404  404  404  404  404     200
DELETE /tokens/{token}               404     404  404  404  404  404     404  404  404  404  404     200
POST   /backups                      404     404  404  404  404  404     404  404  404  404  404     201 | {"how": "made"}
"""


@dataclass
class Row:
    method: str
    target: str
    cells: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


def rows() -> list[Row]:
    found = []
    for line in TABLE.strip().splitlines()[1:]:
        if line:
            left, _, body = line.partition("|")
            method, target, *cells = left.split()
            assert len(cells) == len(COLUMNS), line
            found.append(Row(method, target, dict(zip(COLUMNS, cells, strict=True)), json.loads(body) if body else None))
    return found


class Stage:
    """A town with a token for each column; everything is put back before each request."""

    def __init__(self, there: Town) -> None:
        self.there = there
        self.texts: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.names: dict[str, str] = {}

    async def build(self) -> None:
        tokens, access = self.there.access.tokens, self.there.access
        for column in COLUMNS[1:-1]:
            scope, _, service = column.partition(" ")
            token, self.texts[column] = await tokens.add(Actor.CLI, column, [scope], services=[service] if service else None)
            self.ids[column] = token.id
        await access.people.ask("asking", "nine green herons wade", "It is me", address=IPv4Address("10.0.0.1"), trusted=True)
        links = access.links
        for name, by, services in (
            ("ours", Actor.CLI, ["cloud"]), ("game", Actor.CLI, ["cloud", "game"]), ("hers", self.there.actor("mamie"), ["cloud"]),
        ):  # fmt: skip
            self.names[name] = (await links.add(by, name, services)).id
        self.names["token"] = self.ids["read"]
        state = access.state
        self._kept = dict(state.people), dict(state.links), dict(state.tokens)

    async def set(self, column: str) -> None:
        there = self.there

        def put_back(tables: Any) -> None:
            tables.people, tables.links, tables.tokens = map(dict, self._kept)

        await there.access.state.commit(put_back)
        there.gate.clear()
        there.house.peer.bans.clear()
        there.later()
        mine = f"token:{self.ids[column]}" if column in self.ids else "link:aaaaaa"
        for service, holder in (("cloud", mine), ("game", "person:mamie")):
            grant = Grant(service, ELSEWHERE, holder, "x", 60_000, 0, 0)
            there.gate[service, ELSEWHERE, holder] = {key: getattr(grant, key) for key in grant.__slots__}

    async def ask(self, row: Row, column: str, method: str = "", **headers: str) -> Answer:
        await self.set(column)
        path = "/api/v1" + row.target.format(**self.names)
        body = b"" if row.body is None else json.dumps(row.body).encode()
        given = {"Content-Type": "application/json"} if body else {}
        if column == "root":
            return await ask(self.there.house.control, method or row.method, path, {**given, **headers}, body)
        given |= {"X-Forwarded-For": ADDRESS}
        if column != "nobody":
            given["Authorization"] = f"Bearer {self.texts[column]}"
        return await ask(self.there.house.public, method or row.method, path, {**given, **headers}, body)


def said(answer: Answer) -> str:
    """As a cell has it: how many grants were closed, or the status."""
    if answer.status in {401, 403}:
        return "."
    closed = answer.json.get("revoked") if answer.body[:1] == b"{" else None
    return str(answer.status if closed is None else closed)


def test_everybody_gets_the_answers_of_the_table(tmp_path: Path) -> None:
    in_loop(answers)(tmp_path)


async def answers(directory: Path) -> None:
    """And each answer is as its operation describes it, for tokens and for root."""
    async with town(directory) as there:
        stage = Stage(there)
        await stage.build()
        table = Described(there)
        wrong = []
        for row in rows():
            for column, wanted in row.cells.items():
                answer = await stage.ask(row, column)
                if said(answer) != wanted:
                    wrong.append(f"{row}, {column}: {said(answer)}, not {wanted}: {answer.text[:200]}")
                if answer.status in {401, 403} and (answer.status == 401) != (column == "nobody"):
                    wrong.append(f"{row}, {column}: {answer.status}")
                if trouble := table.trouble(row, answer):
                    wrong.append(f"{row}, {column}: {trouble}")
                if column not in {"nobody", "root"} and any(secret in answer.text for secret in stage.texts.values()):
                    wrong.append(f"{row}, {column}: a token's text is in the answer")
        assert not wrong, "\n".join(["", *wrong])


class Described:
    """What the table of operations says of an answer."""

    def __init__(self, there: Town) -> None:
        self._operations = Api(there.house.site).operations
        self.patterns = {
            (one.method, one.path): re.compile("/api/v1" + re.sub(r"{\w+}", "[^/]+", one.path)) for one in self._operations
        }

    def operation(self, method: str, target: str) -> Any:
        path = "/api/v1" + target.partition("?")[0]
        found = [key for key, pattern in self.patterns.items() if key[0] == method and pattern.fullmatch(path)]
        return next((one for one in self._operations if [(one.method, one.path)] == found[:1]), None)

    def trouble(self, row: Row, answer: Answer) -> str:
        """What is not as described."""
        operation = self.operation(row.method, row.target)
        assert operation is not None, f"{row} is no operation"
        if answer.status < 400:
            if answer.status not in {operation.status, *operation.statuses}:
                return f"{answer.status} is not described"
            schema = operation.answer
        else:
            kind = answer.json["type"].rpartition("/")[2]
            if operation.public and kind not in problems(operation):
                return f"{kind} is not described"
            return "" if answer.json["status"] == answer.status else "another status in the body"
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(answer.json))
        return "; ".join(error.message for error in errors)


def test_every_operation_has_a_row(tmp_path: Path) -> None:
    in_loop(complete)(tmp_path)


async def complete(directory: Path) -> None:
    async with town(directory) as there:
        table = Described(there)
        rowed = [table.operation(row.method, row.target) for row in rows()]
        assert None not in rowed
        assert {(one.method, one.path) for one in rowed} == set(table.patterns)
        # The doors have no other routes
        public = {f"{route.method} {route.path}" for route in there.routes if route.path.startswith("/api/")}
        assert public == {f"{one.method} /api/v1{one.path}" for one in rowed if one.public}
        hand = [one for one in rowed if not one.public]
        assert len(hand) >= 15
        assert all(row.cells["admin"] in {"404", "405"} for row, one in zip(rows(), rowed, strict=True) if one in hand)
