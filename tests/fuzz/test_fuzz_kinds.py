"""The kinds of values that the API takes: what one lets through is what its schema says."""

import json
from typing import Any

import jsonschema
import pytest
from fuzz_target import fuzzed, json_values, spoilt
from hypothesis import strategies as st

from access.inputs import BadInput
from portal.api_kinds import (
    DURATION,
    LABEL,
    SERVICES,
    Field,
    Fields,
    Kind,
    Names,
    NotJson,
    Text,
    Whole,
    Yes,
    address,
    address_or_self,
    json_object,
)

KINDS: dict[str, Kind] = {
    "text": Text(12, 2),
    "form": Text(12, 1, "[a-z]{2,6}", example="ab"),
    "choice": Text(choice=("read", "grant:self")),
    "duration": DURATION,
    "address": address(64),
    "address of a /48": address(48),
    "self": address_or_self(64),
    "label": LABEL,
    "whole": Whole(1000),
    "yes": Yes(),
    "services": SERVICES,
    "durations": Names(DURATION, 3, 1),
}
FIELDS = Fields([Field(name.replace(" ", "-"), kind, "", needed=name == "yes") for name, kind in KINDS.items()])
LIKELY = st.sampled_from([
    "cloud", "read", "grant:self", "self", "203.0.113.7", "::ffff:203.0.113.7", "2001:db8::/64", "2001:db8::/48", "fe80::1%eth0", "12h", "1s",
    "99999d", "3650d", "3651d", "ab", "abcdefg", "Mamie", "\n", "2h\n", "self\n", 1, 1000, 1001, 0, True, [], ["cloud"], ["1h", "2h"], ["x"] * 300,
])  # fmt: skip
VALUES = st.one_of(json_values(), LIKELY, st.text(max_size=70)).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("name", KINDS)
def test_all_is_tried(name: str) -> None:
    """Each kind lets something through that is tried below."""
    good = {"text": "cloud", "whole": 1, "yes": True, "services": ["cloud"], "durations": ["1h"], "choice": "read", "self": "self", "form": "ab"}
    KINDS[name].take("x", good.get(name, "12h" if name == "duration" else "203.0.113.7" if "address" in name else "Mamie"))


@fuzzed("kinds", VALUES)
def test_what_is_taken_is_valid_by_the_schema(data: bytes) -> None:
    """Any JSON value is taken and valid by the kind's schema, or refused with the field's name; text of a query likewise."""
    try:
        value = json.loads(data)
    except ValueError:
        return
    for kind in KINDS.values():
        check(kind, lambda kind=kind: kind.take("x", value), value)
        if isinstance(value, str):
            read = {"true": True, "false": False}.get(value, int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value)
            check(kind, lambda kind=kind: kind.read("x", value), value.split(",") if isinstance(kind, Names) else value if isinstance(kind, Text) else read)


def check(kind: Kind, take: Any, value: Any) -> None:
    refused = None
    try:
        take()
    except BadInput as error:
        refused = error
    if refused is None:
        jsonschema.Draft202012Validator(kind.schema).validate(value)
    else:
        assert refused.field in {"x", "address"}
        assert refused.message
        str(refused).encode()  # no half characters either


OBJECTS = [
    b'{"yes":true,"text":"cloud","whole":3,"services":["cloud"]}',
    b'{"yes":false,"duration":"12h","address":"203.0.113.7","self":"self","label":"Mamie"}',
    b'{"yes":true,"yes":true}',
    b'{"yes":NaN}',
]


@fuzzed("kinds-object", st.one_of(spoilt(OBJECTS, [b"null", b"true", b"[", b"{", b'"']), st.sampled_from(OBJECTS), VALUES))
def test_an_object_that_is_taken_is_valid_by_its_schema(data: bytes) -> None:
    """Any bytes are an object that its schema holds for, or are refused."""
    try:
        values = json_object(data)
        FIELDS.take(values)
    except NotJson:
        return
    except BadInput as error:
        str(error).encode()
        return
    jsonschema.Draft202012Validator(FIELDS.schema).validate(values)
