import pytest

from access.codes import clean_code, new_recovery_codes, recovery_parts, totp_step, totp_uri

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238's, in base32


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
    ],
)
def test_codes_of_the_rfc(now: int, code: str) -> None:
    step = now // 30
    assert totp_step(SECRET, code, now, 0) == step
    assert totp_step(SECRET, code, now + 30, 0) == step
    assert totp_step(SECRET, code, now - 30, 0) == step
    assert totp_step(SECRET, code, now + 60, 0) is None
    assert totp_step(SECRET, code, now - 60, 0) is None
    assert totp_step(SECRET, code, now, step) is None
    assert totp_step(SECRET, code, now, step + 5) is None
    assert totp_step(SECRET, code, now, step - 1) == step


@pytest.mark.parametrize(
    "code", ["", "28708", "2870822", "28708x", "٢٨٧٠٨٢", "\ud800", "\0" * 6, "-87082", "+87082"]
)
def test_no_code(code: str) -> None:
    assert totp_step(SECRET, clean_code(code), 59, 0) is None


@pytest.mark.parametrize("now", [0, 1, 29, -1000])
def test_a_clock_at_the_beginning_of_time(now: int) -> None:
    assert totp_step(SECRET, "000000", now, 0) is None


def test_as_it_is_typed() -> None:
    assert clean_code(" 287 082\t") == "287082"
    assert clean_code("\uff12\uff18\uff17\u00a0\uff10\uff18\uff12") == "287082"
    assert clean_code("1-ABCD efgh\u2013IJKL\n") == "1abcdefghijkl"
    assert clean_code("2" * 65) == ""
    assert clean_code("2" * 1_000_000) == ""


def test_recovery_codes_are_read_as_they_are_shown() -> None:
    codes = new_recovery_codes()
    assert len(codes) == len(set(codes)) == 10
    for number, code in enumerate(codes):
        parts = recovery_parts(clean_code(code.upper()))
        assert parts is not None
        assert parts[0] == number
        assert len(parts[1]) == 12
    assert not set(codes) & set(new_recovery_codes())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "287082",
        "0abcdefghijkl",
        "11abcdefghijkl",
        "1abcdefghijk",
        "1abcdefghijk0",
        "abcdefghijkl",
        "1abcdefghijk\u00e9",
    ],
)
def test_no_recovery_code(text: str) -> None:
    assert recovery_parts(clean_code(text)) is None


def test_ten_is_told_from_one() -> None:
    assert recovery_parts("10abcdefghijkl"[:14]) == (9, "abcdefghijkl")
    assert recovery_parts("1abcdefghijkl") == (0, "abcdefghijkl")


def test_uri() -> None:
    assert totp_uri("mamie", SECRET) == f"otpauth://totp/SafeIP:mamie?secret={SECRET}&issuer=SafeIP"
