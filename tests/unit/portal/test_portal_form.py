"""What a posted form may be, and what of it comes back."""

import pytest

from access.inputs import BadInput
from portal.form import BadForm, Fields, Form

FIELDS = Fields(one=("name", "for", "address", "uses"), many=("services",), secret=("password",))


def parse(text: str) -> Form:
    return Form.parse(f"form=t&{text}".encode().rstrip(b"&"), FIELDS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"name=x",
        b"form=" + b"x" * 129,
        b"form=t&form=t",
        b"form=t&name=a&name=b",
        b"form=t&password=a&password=b",
        b"form=t&role=admin",
        b"form=t&Name=x",
        b"form=t&name%5B%5D=x",
        b"form=t&name=%ff",
        b"form=t&name=\xc3\xa9",
        b"form=t&name",
        b"form=t&&name=x",
        b"form=t&" + b"services=a&" * 400,
        b"\x00" * 50,
    ],
    ids=str,
)
def test_what_our_form_does_not_send_is_refused(body: bytes) -> None:
    with pytest.raises(BadForm):
        Form.parse(body, FIELDS)


def test_what_was_typed() -> None:
    form = parse("name=+Mamie+&password=+p%C3%A9+&services=cloud&services=game&services=cloud&for=2H&uses=3")
    assert form.text("name") == "Mamie"
    assert form.text("password") == " pé "  # spaces may be meant
    assert form.many("services") == ("cloud", "game")
    assert form.duration("for") == 7200
    assert form.count("uses") == 3
    assert form.address("address", 64) is None
    assert form.errors == {}
    assert form.value("name") == " Mamie "
    assert set(form.values("services")) == {"cloud", "game"}


def test_a_secret_never_comes_back() -> None:
    form = parse("name=x&password=hunter2")
    form.fail("password", "is easy to guess")
    assert form.value("password") == ""
    assert "hunter2" not in str(form.errors["password"])


@pytest.mark.parametrize("typed", ["soon", "0h", "-1h", "99999999d", "1h" * 30, "\u0661h"])
def test_a_wrong_duration_is_said_beside_its_field(typed: str) -> None:
    form = Form(FIELDS, {"for": [typed]})
    assert form.duration("for") is None
    assert list(form.errors) == ["for"]
    assert form.value("for") == typed


@pytest.mark.parametrize("typed", ["here", "203.0.113.0/24", "::/0", "fe80::1%eth0", "1" * 100])
def test_a_wrong_address_is_said_beside_its_field(typed: str) -> None:
    form = Form(FIELDS, {"address": [typed]})
    assert form.address("address", 64) is None
    assert list(form.errors) == ["address"]


@pytest.mark.parametrize("typed", ["-1", "1.5", "x", "9" * 13, "\u0663", "1e3"])
def test_a_wrong_count_is_said_beside_its_field(typed: str) -> None:
    form = Form(FIELDS, {"uses": [typed]})
    assert form.count("uses") is None
    assert list(form.errors) == ["uses"]


def test_too_long_a_text() -> None:
    form = Form(FIELDS, {"name": ["x" * 300]})
    assert form.text("name") == ""
    assert str(form.errors["name"]) == "This is too long; write at most 256 characters"


def test_bad_input_of_a_field_stays_beside_it_and_any_other_goes_on() -> None:
    form = parse("name=x")
    with form.catch():
        raise BadInput("name", "is taken; write another")
    assert str(form.errors["name"]) == "is taken; write another"
    form.fail("name", "said later")
    assert str(form.errors["name"]) == "is taken; write another", "the first stays"
    with pytest.raises(BadInput), form.catch():
        raise BadInput("role", "is wrong")


def test_a_handler_that_reads_a_field_that_the_form_has_not_is_a_defect() -> None:
    form = parse("name=x")
    for read in (form.text, form.many, form.flag, form.value, lambda name: form.fail(name, "x")):
        with pytest.raises(KeyError):
            read("other")
