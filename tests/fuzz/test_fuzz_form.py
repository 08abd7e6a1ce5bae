"""Forms as bytes."""

from fuzz_target import fuzzed, spoilt
from hypothesis import strategies as st

from portal.form import BadForm, Fields, Form

FIELDS = Fields(one=("name", "note", "duration", "address"), many=("services",), secret=("password",))
SEEDS = [
    b"form=1-abc&name=mamie&services=cloud&services=game",
    b"form=1-abc&password=%F0%9F%94%91&note=%C3%A9t%C3%A9",
    b"form=1-abc&duration=12h&address=2001%3Adb8%3A%3A1",
    b"form=1-abc&name=a+b&note=%3Cscript%3E",
]
WORDS = [b"&", b"=", b"%", b"+", b"%00", b"%0d%0a", b"%ff", b";", b"&form=x", b"&services=", b"role=admin", b"%F0%9F"]
BODIES = st.one_of(st.binary(max_size=80), spoilt(SEEDS, WORDS), spoilt([SEEDS[0] * 40], WORDS))


@fuzzed("form", BODIES)
def test_a_form_has_only_its_fields_each_as_often_as_it_may(data: bytes) -> None:
    """A body is a form of the declared fields, or BadForm; nothing that was typed raises, and no secret is shown again."""
    try:
        form = Form.parse(data, FIELDS)
    except BadForm:
        return
    assert 1 <= len(form.token) <= 128
    for name in ("name", "note", "duration", "address"):
        assert len(form.text(name)) <= 256
        assert isinstance(form.value(name), str)
    form.text("password")
    assert form.value("password") == ""
    assert len(set(form.many("services"))) == len(form.many("services"))
    duration, address = form.duration("duration"), form.address("address", 64)
    assert duration is None or duration > 0
    assert address is None or form.error("address") is None
    assert isinstance(form.flag("name"), bool)
    form.count("note")
    for name in form.errors:
        assert str(form.errors[name])
