"""The API's description: OpenAPI 3.1, made of the table by which requests are checked and answered."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from portal.api_answers import TEXT, an_object
from portal.api_kinds import Fields
from portal.api_problem import PROBLEMS, TYPES
from portal.operation import Operation, full_path

_ABOUT = """\
What the command line does, over HTTPS with a token ('safeip token add'; Authorization: Bearer). Durations are written 90s, 15m, 12h, 7d.
An IPv6 address stands for its line, as a rule a /64; the slash of a prefix in a path is written %2F. GET and HEAD change nothing. Methods
that a path does not take are answered 405, paths that are not there 404."""
_ALWAYS = ("bad-request", "bad-method", "defect")
_WITH_TOKEN = ("no-token", "bad-token", "not-allowed", "no-client-address", "hidden-address", "too-many-tries")
_WITH_BODY = ("too-slow", "too-large", "not-json")
_GATE_SAYS = ("special-address", "refused", "kernel", "busy")
_HEADERS = {
    401: ("WWW-Authenticate", "How to show a token.", True),
    405: ("Allow", "The methods that the path takes.", True),
    429: ("Retry-After", "Seconds to wait.", True),
    503: ("Retry-After", "Seconds to wait, where it is busy.", False),
}


def document(operations: Iterable[Operation], url: str) -> dict[str, Any]:
    """The description of `operations` of a portal at `url`."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(full_path(operation), {})[operation.method.lower()] = _operation(operation)
    schemas: dict[str, Any] = {}
    paths = _refer(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SafeIP", "version": "1", "description": _ABOUT},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token's text, safeip_ID_SECRET."}
            },
            "responses": {str(status): _problem(status) for status in _statuses(PROBLEMS)},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": operation.answer}}
    statuses = (operation.status, *operation.statuses)
    responses: dict[str, Any] = {str(one): {"description": HTTPStatus(one).phrase, "content": content} for one in statuses}
    refused = {status: {"$ref": f"#/components/responses/{status}"} for status in _statuses(problems(operation))}
    said: dict[str, Any] = {
        "operationId": _identifier(operation),
        "summary": operation.does,
        "parameters": [*_parameters(operation.places, "path"), *_parameters(operation.query.public, "query")],
        "responses": responses | {str(status): refused[status] for status in refused},
        "security": [] if operation.needs == "nobody" else [{"token": _scopes(operation)}],
    }
    if operation.house:
        said["description"] = "The whole house's: not for a token that is limited to services."
    if operation.body is not None:
        needed = bool(operation.body.needed)
        said["requestBody"] = {"required": needed, "content": {"application/json": {"schema": operation.body.schema}}}
    return said


def problems(operation: Operation) -> set[str]:
    """The types of problems that an operation may answer."""
    given = {*operation.problems, *_ALWAYS}
    if operation.needs != "nobody":
        given |= {*_WITH_TOKEN}
    if operation.places:
        given |= {"not-found"}
    if operation.body is not None:
        given |= {*_WITH_BODY}
    if operation.body is not None or operation.query or operation.places:
        given |= {"bad-input"}
    if "gate-unavailable" in given:
        given |= {*_GATE_SAYS}
    return given


def _refer(said: Any, schemas: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON has
    """The same, with what has a title once, in `schemas`."""
    if isinstance(said, list):
        return [_refer(one, schemas) for one in said]
    if not isinstance(said, Mapping):
        return said
    whole = {key: _refer(value, schemas) for key, value in said.items()}
    if not isinstance(title := said.get("title"), str):
        return whole
    schemas[title] = whole
    return {"$ref": f"#/components/schemas/{title}"}


def _scopes(operation: Operation) -> list[str]:
    return [] if operation.needs in {"token", "hand"} else [operation.needs, *([operation.also] if operation.also else [])]


def _identifier(operation: Operation) -> str:
    words = operation.path.replace("{", "").replace("}", "").strip("/").replace(".", "-").split("/")
    return "-".join([operation.method.lower(), *words])


def _parameters(fields: Fields, where: str) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": where, "required": one.needed, "description": one.does, "schema": one.kind.schema}
        for one in fields
    ]


def _statuses(names: Iterable[str]) -> list[int]:
    return sorted({PROBLEMS[name].status for name in names})


def _problem(status: int) -> dict[str, Any]:
    names = [name for name, kind in PROBLEMS.items() if kind.status == status]
    types = {"enum": [TYPES + name for name in names]}
    said_by = an_object("Problem", "A problem (RFC 9457).", type=types, title=TEXT, status={"const": status}, detail=TEXT)
    schema = {**said_by, "properties": {**said_by["properties"], "field": TEXT}}
    said: dict[str, Any] = {
        "description": " ".join(f"{name}: {PROBLEMS[name].means}" for name in names),
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in _HEADERS:
        name, does, required = _HEADERS[status]
        said["headers"] = {name: {"description": does, "required": required, "schema": TEXT}}
    return said


