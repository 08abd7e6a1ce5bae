import base64
import stat
from pathlib import Path

import pytest

from access.files import StateError
from access.secret import Key


def path(directory: Path) -> str:
    return str(directory / "secret.key")


def test_made_once(tmp_path: Path) -> None:
    first = Key.load(path(tmp_path), needed=False)
    text = (tmp_path / "secret.key").read_bytes()
    assert len(base64.b64decode(text, validate=False)) == 32
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    again = Key.load(path(tmp_path), needed=False)
    assert (tmp_path / "secret.key").read_bytes() == text
    assert again.link_token("aaaaaa", 1) == first.link_token("aaaaaa", 1)
    assert base64.b64decode(text).hex() not in repr(vars(Key)) + repr(first)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        base64.b64encode(b"x" * 31),
        base64.b64encode(b"x" * 33),
        base64.b64encode(b"x" * 32)[:-5],
        b"x" * 32,
        b"\xff" * 44,
        b"not base64 at all!!",
    ],
)
def test_torn_or_short(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secret.key").write_bytes(data)
    (tmp_path / "secret.key").chmod(0o600)
    with pytest.raises(StateError) as caught:
        Key.load(path(tmp_path), needed=False)
    assert str(caught.value).startswith(
        f"{tmp_path}/secret.key: is not a key of 32 bytes in base64; bring it back"
    )
    assert (tmp_path / "secret.key").read_bytes() == data


def test_far_too_long(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"A" * 300)
    (tmp_path / "secret.key").chmod(0o600)
    with pytest.raises(StateError, match="is larger than 256 bytes"):
        Key.load(path(tmp_path), needed=False)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_open_to_others(tmp_path: Path, mode: int) -> None:
    Key.load(path(tmp_path), needed=False)
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(StateError) as caught:
        Key.load(path(tmp_path), needed=False)
    assert (
        caught.value.message
        == f"is open to others (mode 0{mode:o}); what it holds may be known: chmod 600 it"
    )


def test_symlink(tmp_path: Path) -> None:
    Key.load(str(tmp_path / "other"), needed=False)
    (tmp_path / "secret.key").symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match="is a symbolic link"):
        Key.load(path(tmp_path), needed=False)


def test_form_token_holds_for_what_it_was_made_for_only() -> None:
    key, other = Key(b"k" * 32), Key(b"o" * 32)
    token = key.form_token("open:abc", "nonce", 1000)
    assert key.form_token_holds(token, "open:abc", "nonce", 999.9)
    assert not key.form_token_holds(token, "open:abc", "nonce", 1000)
    assert not key.form_token_holds(token, "open:abd", "nonce", 0)
    assert not key.form_token_holds(token, "open:abc", "nonce2", 0)
    assert not key.form_token_holds(token, "open:ab", "cnonce", 0)
    assert not other.form_token_holds(token, "open:abc", "nonce", 0)
    assert not key.form_token_holds(token.replace("1000", "9999"), "open:abc", "nonce", 0)
    assert not key.form_token_holds(key.link_token("open:abc", 1), "open:abc", "1", 0)


@pytest.mark.parametrize(
    "token",
    ["", "-", "1000", "1000-", "é-é", "\ud800", "٣-x", "9" * 10_000, "-1-x", "1000-" + "a" * 32, "\0" * 50],
)
def test_garbage_is_no_form_token(token: str) -> None:
    assert not Key(b"k" * 32).form_token_holds(token, "open:abc", "nonce\ud800", 0)


def test_same_key_same_token_ever() -> None:
    """URLs that were given away keep working across versions."""
    assert Key(bytes(32)).link_token("k3v7aa", 1) == "k3v7aa-lv6eithymqlceaavum4i3hb2a3tzblf6"


def test_device_token_is_for_one_name_one_browser_and_its_time():
    key = Key(b"k" * 32)
    token = key.device_token("mamie", "aaaa", 1000)
    assert key.device(token, "mamie", 999.9) == "aaaa"
    assert key.device(token, "mamie", 1000) is None
    assert key.device(token, "yves", 0) is None
    assert key.device(token.replace("aaaa", "bbbb"), "mamie", 0) is None
    assert key.device(token.replace("1000", "9999"), "mamie", 0) is None
    assert Key(b"o" * 32).device(token, "mamie", 0) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "-",
        "--",
        "1000",
        "9-a-",
        "é-é-é",
        "\ud800",
        "9-\ud800-x",
        "٣-x-y",
        "9" * 10_000,
        "-1-x-y",
        "\0-\0-\0",
    ],
)
def test_garbage_is_no_device_token(token: str) -> None:
    assert Key(b"k" * 32).device(token, "mamie\ud800", 0) is None


def test_totp_secret_is_for_one_name_and_one_seed():
    key = Key(b"k" * 32)
    secrets = {key.totp_secret(name, seed) for name in ("mamie", "yves") for seed in ("a", "b")}
    assert len(secrets) == 4
    assert all(len(base64.b32decode(secret)) == 20 for secret in secrets)
    assert key.totp_secret("mamie", "a") in secrets
    assert Key(b"o" * 32).totp_secret("mamie", "a") not in secrets


def test_same_key_same_totp_secret_ever() -> None:
    """Authenticators keep working across versions."""
    assert Key(bytes(32)).totp_secret("mamie", "a") == "K4ZN5DE35YBWFET4B6NUCCIOI73VHLIJ"


def test_a_key_that_links_derive_from_is_not_made_anew_in_silence(tmp_path):
    with pytest.raises(
        StateError, match="is missing, and links and TOTP secrets derive from it; bring it back"
    ):
        Key.load(path(tmp_path), needed=True)
    assert list(tmp_path.iterdir()) == []
