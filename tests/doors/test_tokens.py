"""Tokens on the command line, against the real daemon and the real kernel: made, used over HTTPS, taken away, stolen files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_socket import close_all, forget_tokens_and_bans, grants

from lab.gateway import Gateway
from lab.process import wait_for
from lab.visitor import Answer, Visitor

API = "https://home.test:8443/api/v1"
TEXT = re.compile(r"safeip_[a-z2-7]{6}_[a-z2-7]{26}")
TOKEN = ["id", "label", "scopes", "services", "for", "created_at", "expires_at", "last_used_at", "last_address", "state"]


@pytest.fixture(scope="module")
def home() -> Iterator[Gateway]:
    with Gateway(prefix="siptk") as gateway:
        yield gateway


@pytest.fixture
def gateway(home: Gateway) -> Iterator[Gateway]:
    """The module's gateway, without tokens, grants and bans when a test ends."""
    yield home
    close_all(home)
    forget_tokens_and_bans(home)


def ask(visitor: Visitor, method: str, path: str, text: str, **more: Any) -> Answer:
    return visitor.fetch(f"{API}{path}", method, headers={"Authorization": f"Bearer {text}"}, timeout=30, **more)


def test_on_the_command_line(gateway: Gateway) -> None:
    assert gateway.cli("token", "list").stdout == "No tokens.\n"
    made = gateway.cli("token", "add", "Odile, router", "--scope", "grant:self", "--scope", "read", "--service", "cloud",
                       "--expires", "30d", "--for", "2h").stdout  # fmt: skip
    assert TEXT.fullmatch(made.strip())
    assert made.endswith("\n")
    text = made.strip()
    (token,) = gateway.cli_json("token", "list")
    assert list(token) == TOKEN
    assert token["id"] == text[7:13]
    assert (token["label"], token["scopes"], token["services"]) == ("Odile, router", ["read", "grant:self"], ["cloud"])
    assert (token["for"], token["state"], token["last_used_at"], token["last_address"]) == ("2h", "good", None, None)
    assert gateway.cli_json("token", "show", token["id"]) == token
    shown = gateway.cli("token", "show", token["id"]).stdout
    assert "each service's" not in shown
    assert "never" in shown
    assert "nowhere yet" in shown
    assert ask(gateway.visitor, "GET", "/token", text).status == 200
    listed = gateway.cli("token", "list").stdout
    assert gateway.visitor.ipv4 in listed
    assert text not in listed + shown
    assert gateway.cli_json("token", "remove", token["id"])["id"] == token["id"]
    assert gateway.cli("token", "list").stdout == "No tokens.\n"
    text = gateway.add_token("All", "admin")
    (token,) = gateway.cli_json("token", "list")
    assert token["services"] is None
    assert gateway.cli("token", "remove", token["id"]).stdout == f"{token['id']} is removed\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "x"), 2, "--scope"),
        (("add", "x", "--scope", "root"), 2, "there is no 'root'"),
        (("add", "", "--scope", "read"), 1, "label"),
        (("add", "x", "--scope", "read", "--service", "nothing"), 1, "nothing"),
        (("add", "x", "--scope", "read", "--for", "9000d"), 2, "--for"),
        (("show", "zzzzzz"), 1, "there is no token"),
        (("remove", "zzzzzz"), 1, "there is no token"),
        (("remove", "safeip_aaaaaa_secretsecretsecret"), 2, "not a token's id"),
        (("remove", "../links"), 2, "not a token's id"),
    ],
)
def test_what_is_wrong_on_the_command_line(gateway: Gateway, words: tuple[str, ...], code: int, said: str) -> None:
    done = gateway.cli("token", *words, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "secretsecret" not in done.stderr, "what is typed for an id may be a token"
    assert gateway.cli_json("token", "list") == []


@pytest.mark.parametrize("family", [4, 6])
def test_it_opens_for_itself_and_its_removal_cuts_a_download(gateway: Gateway, family: Any) -> None:
    """Packets, not books: what the token opened passes, and stops with the token."""
    text = gateway.add_token("Router", "grant:self", service="cloud")
    visitor = gateway.visitor
    assert not visitor.reaches("http://home.test:80/", family=family)
    opened = ask(visitor, "PUT", "/grants/cloud/self", text, family=family)
    assert opened.status == 201
    assert json.loads(opened.text)["holder"] == f"token:{text[7:13]}"
    assert visitor.reaches("http://home.test:80/", family=family, timeout=30)
    assert not gateway.stranger.reaches("http://home.test:80/", family=family)
    assert ask(visitor, "PUT", "/grants/cloud/self", text, family=family).status == 200
    (element,) = gateway.elements(f"cloud{family}")
    assert f"token:{text[7:13]}" in str(element)
    with visitor.download("http://home.test:80/endless", family) as download:
        wait_for("the download to run", lambda: download.received > 100_000, 30.0)
        gateway.cli("token", "remove", text[7:13])
        assert gateway.elements(f"cloud{family}") == []
    assert not visitor.reaches("http://home.test:80/", family=family)
    assert ask(visitor, "PUT", "/grants/cloud/self", text, family=family).status == 401


def test_a_limit_of_services_holds_at_every_door(gateway: Gateway) -> None:
    gateway.cli("grant", "films", gateway.stranger.ipv4)
    text = gateway.add_token("Cloud", "admin", "read", "grant:any", "links", service="cloud")
    visitor = gateway.visitor
    for method, path in (
        ("PUT", "/grants/films/self"),
        ("PUT", f"/grants/films/{gateway.stranger.ipv4}"),
        ("DELETE", f"/grants/films/{gateway.stranger.ipv4}"),
        ("DELETE", "/grants?service=films"),
        ("DELETE", "/grants?all=true"),
        ("GET", "/banned"),
        ("GET", "/blocked"),
        ("GET", "/history"),
        ("GET", "/people"),
    ):
        answer = ask(visitor, method, path, text)
        assert answer.status in {403, 404, 422}, (method, path, answer.status)
        assert gateway.stranger.ipv4 not in answer.text.replace(path, "")
    assert json.loads(ask(visitor, "DELETE", "/grants?holder=cli", text).text) == {"revoked": 0}
    assert ask(visitor, "GET", "/grants", text).text == "[]"
    assert len(gateway.elements("films4")) == 1
    headers = {"Authorization": f"Bearer {text}"}
    metrics = visitor.fetch("https://home.test:8443/metrics", headers=headers, timeout=30)
    assert metrics.status in {401, 403}, "figures are the whole house's"


def test_it_outlives_a_restart_and_its_end_ends_its_grants(gateway: Gateway) -> None:
    text = gateway.add_token("Guest", "grant:self", args=("--expires", "1h"))
    assert ask(gateway.visitor, "PUT", "/grants/cloud/self", text).status == 201
    left_s = int(grants(gateway)[0]["remaining_s"])
    assert left_s <= 3600, "the service's default is longer"
    gateway.restart()
    assert ask(gateway.visitor, "GET", "/token", text).status == 200
    (token,) = gateway.cli_json("token", "list")
    assert token["last_address"] == gateway.visitor.ipv4, "as it was, although it was not yet time to write it down"


def test_stolen_files_are_of_no_use(gateway: Gateway) -> None:
    """Whoever reads everything that the portal keeps finds nothing that opens, and no text that was ever a token's."""
    text = gateway.add_token("Home", "admin")
    assert ask(gateway.visitor, "PUT", "/grants/cloud/self", text).status == 201
    assert ask(gateway.visitor, "PUT", "/grants/cloud/self", text[:-1] + ("a" if text[-1] == "b" else "b")).status == 401
    gateway.restart()  # what was kept lazily is written
    kept = json.loads(Path(gateway.state, "state.json").read_text("utf-8"))["tokens"][text[7:13]]
    for file in [*gateway.state.rglob("*"), *gateway.runtime.rglob("*")]:
        if file.is_file():
            assert text[14:] not in file.read_bytes().decode("utf-8", "replace"), file
    for number, guess in enumerate((kept["digest"], f"safeip_{text[7:13]}_{kept['digest'][:26]}", f"safeip_{text[7:13]}_")):
        assert ask(gateway.visitor, "GET", "/token", guess).status == 401, number
    assert ask(gateway.visitor, "GET", "/token", text).status == 200


def test_guessing_bans_in_the_kernel(gateway: Gateway) -> None:
    text = gateway.add_token("Home", "read")
    for number in range(10):
        answer = ask(gateway.second, "GET", "/token", f"{text[:14]}{'a' * 25}{'abcdefghij'[number]}")
        assert answer.status == 401
    wait_for("the ban", lambda: gateway.elements("banned4"), 30.0)
    assert [ban["address"] for ban in gateway.cli_json("bans")] == [gateway.second.ipv4]
    told = gateway.cli_json("history", "--event", "token-refused")
    assert told[-1]["address"] == gateway.second.ipv4
    assert (told[-1]["outcome"], told[-1]["reason"], told[-1]["holder"]) == ("refused", "wrong", f"token:{text[7:13]}")
    assert ask(gateway.visitor, "GET", "/token", text).status == 200
