"""People on the command line, against the real daemon: at a terminal, by invitation, and from scripts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from lab.gateway import ROOT, Gateway
from lab.process import wait_for
from lab.terminal import Terminal

PROGRAM = str(ROOT / "bin" / "safeip")
PASSWORD = "vivid otter ladder 81"
PERSON = ["name", "role", "state", "services", "links", "totp", "recovery_left", "invitation_expires_at", "message",
          "created_at", "last_seen_at"]  # fmt: skip
RECOVERY = re.compile(r"(?m)^  (10|[1-9])-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}$")


@pytest.fixture(scope="module")
def home() -> Iterator[Gateway]:
    with Gateway(prefix="sipp") as gateway:
        gateway.cli("person", "add", "root-admin", "--admin", "--password-stdin", input=PASSWORD + "\n")
        yield gateway


@pytest.fixture
def gateway(home: Gateway) -> Iterator[Gateway]:
    """The module's gateway, where nobody but the admin is left when a test ends."""
    yield home
    for person in home.cli_json("person", "list"):
        if person["name"] != "root-admin":
            home.cli("person", "remove", person["name"])


def at_terminal(gateway: Gateway, *words: str) -> Terminal:
    return Terminal(gateway.host, PROGRAM, "--config", str(gateway.config), *words)


def refused(gateway: Gateway, *words: str, stdin: str | None = None) -> str:
    done = gateway.cli(*words, check=False, input=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("safeip: ").rstrip("\n")


def person(gateway: Gateway, name: str) -> dict[str, object]:
    return next(one for one in gateway.cli_json("person", "list") if one["name"] == name)


def secret_in(shown: str) -> str:
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", shown)
    assert found, shown
    return found[1]


def state(gateway: Gateway, name: str) -> dict[str, object]:
    people = json.loads(Path(gateway.state, "state.json").read_text("utf-8"))["people"]
    return dict(people[name])


def test_at_a_terminal_everything_is_asked_until_it_is_right(gateway: Gateway) -> None:
    with at_terminal(gateway, "person", "add", "Mamie", "--service", "cloud", "--links") as terminal:
        terminal.answer("Password of mamie", "short")
        terminal.answer("is too short", "password1234")
        terminal.answer("is easy to guess", PASSWORD)
        terminal.answer("The same again: ", PASSWORD + "!")
        terminal.answer("two different ones", PASSWORD)
        terminal.answer("The same again: ", PASSWORD)
        before = terminal.read("The six digits that the app shows now: ")
        assert "█" in before or "▄" in before, "a QR code"
        totp = pyotp.TOTP(secret_in(before))
        assert person(gateway, "mamie")["state"] == "invited", "nobody signs in before all is answered"
        terminal.type("")
        terminal.answer("is wrong; write the six digits", "12345")
        terminal.read("is wrong; write the six digits")
        terminal.type(totp.now())
        assert terminal.wait() == 0
        assert len(RECOVERY.findall(terminal.shown)) == 10
        assert PASSWORD not in terminal.shown
        assert "mamie is added and signs in at https://home.test:8443/sign-in" in terminal.shown
    mamie = person(gateway, "mamie")
    assert list(mamie) == PERSON
    assert (mamie["role"], mamie["state"], mamie["services"], mamie["links"]) == ("member", "active", ["cloud"], True)
    assert (mamie["totp"], mamie["recovery_left"]) == (True, 10)
    held = Path(gateway.state, "state.json").read_text("utf-8")
    assert str(state(gateway, "mamie")["password"]).startswith("$argon2id$")
    assert PASSWORD not in held
    assert totp.secret not in held
    said = gateway.cli("history", "--json").stdout + gateway.log.read_text("utf-8")
    for secret in (PASSWORD, totp.secret, *RECOVERY.findall(terminal.shown)[0][2:]):
        assert secret not in said


@pytest.mark.parametrize("question", ["Password of", "The same again", "The six digits"])
def test_whoever_leaves_a_question_has_added_nobody(gateway: Gateway, question: str) -> None:
    with at_terminal(gateway, "person", "add", "mamie") as terminal:
        for known in ("Password of", "The same again", "The six digits"):
            terminal.read(f"{known}")
            if known == question:
                break
            terminal.type(PASSWORD)
        terminal.interrupt()
        assert terminal.wait() == 130
    assert [one["name"] for one in gateway.cli_json("person", "list")] == ["root-admin"]


def test_what_cannot_be_added_is_said_before_anything_is_asked(gateway: Gateway) -> None:
    with at_terminal(gateway, "person", "add", "root-admin") as terminal:
        assert terminal.wait() == 1
        assert "name: is taken" in terminal.shown
        assert "Password" not in terminal.shown
    with at_terminal(gateway, "person", "add", "mamie", "--service", "nonsense") as terminal:
        assert terminal.wait() == 1
        assert "'nonsense' is not a service" in terminal.shown
    assert person(gateway, "root-admin")["state"] == "active", "who was there is still there"


def test_an_invitation_is_a_url_alone(gateway: Gateway) -> None:
    done = gateway.cli("person", "add", "mamie", "--invite", "--service", "cloud", "--service", "films")
    url = done.stdout.strip()
    assert re.fullmatch(r"https://home\.test:8443/invitation/[A-Za-z0-9_-]{26,}", url)
    mamie = person(gateway, "mamie")
    assert (mamie["state"], mamie["services"], mamie["totp"]) == ("invited", ["cloud", "films"], False)
    assert mamie["invitation_expires_at"]
    again = gateway.cli("person", "invite", "mamie", "--qr").stdout
    assert again.splitlines()[0].startswith("https://home.test:8443/invitation/")
    assert again.splitlines()[0] != url
    assert "█" in again
    token = url.rpartition("/")[2]
    everything = gateway.cli("history", "--json").stdout + Path(gateway.state, "state.json").read_text("utf-8")
    assert token not in everything


def test_a_script_gives_the_password_on_standard_input(gateway: Gateway) -> None:
    done = gateway.cli("person", "add", "mamie", "--admin", "--password-stdin", input=PASSWORD + "\nnot this\n")
    assert "'safeip person totp mamie' turns them on" in done.stdout
    mamie = person(gateway, "mamie")
    assert (mamie["role"], mamie["state"], mamie["totp"]) == ("admin", "active", False)
    assert "is too short" in refused(gateway, "person", "add", "yves", "--password-stdin", stdin="short\n")
    assert "is too short" in refused(gateway, "person", "add", "yves", "--password-stdin", stdin="")
    assert "run it at a terminal" in refused(gateway, "person", "add", "yves", stdin=PASSWORD)
    assert "run it at a terminal" in refused(gateway, "person", "totp", "mamie", stdin="123456")
    assert [one["name"] for one in gateway.cli_json("person", "list")] == ["mamie", "root-admin"]


def test_a_new_app_and_a_new_password(gateway: Gateway) -> None:
    gateway.cli("person", "add", "mamie", "--password-stdin", input=PASSWORD + "\n")
    with at_terminal(gateway, "person", "totp", "mamie") as terminal:
        terminal.type(pyotp.TOTP(secret_in(terminal.read("The six digits that the app shows now: "))).now())
        assert terminal.wait() == 0
        assert len(RECOVERY.findall(terminal.shown)) == 10
    assert (person(gateway, "mamie")["totp"], person(gateway, "mamie")["recovery_left"]) == (True, 10)
    era, password = (state(gateway, "mamie")[key] for key in ("era", "password"))
    with at_terminal(gateway, "person", "password", "mamie") as terminal:
        terminal.answer("Password of mamie", PASSWORD + " more")
        terminal.answer("The same again: ", PASSWORD + " more")
        assert terminal.wait() == 0
    changed = state(gateway, "mamie")
    assert changed["era"] != era, "signed out everywhere"
    assert changed["password"] != password
    gateway.cli("person", "totp", "mamie", "--off")
    assert person(gateway, "mamie")["totp"] is False
    gateway.cli("person", "password", "mamie", "--password-stdin", input=PASSWORD + " less\n")
    assert state(gateway, "mamie")["password"] != changed["password"]


def test_rights_are_changed_and_shown(gateway: Gateway) -> None:
    gateway.cli("person", "add", "mamie", "--invite", "--service", "cloud", "--links")
    gateway.cli("person", "change", "mamie", "--service", "films", "--service", "game", "--no-links")
    mamie = person(gateway, "mamie")
    assert (mamie["services"], mamie["links"], mamie["role"]) == (["films", "game"], False, "member")
    gateway.cli("person", "change", "mamie", "--admin")
    assert (person(gateway, "mamie")["role"], person(gateway, "mamie")["services"]) == ("admin", ["films", "game"])
    gateway.cli("person", "change", "mamie", "--member", "--no-services")
    assert (person(gateway, "mamie")["role"], person(gateway, "mamie")["services"]) == ("member", [])
    shown = gateway.cli("person", "show", "MAMIE").stdout
    assert re.search(r"(?m)^may open: +nothing$", shown)
    assert "Not signed in." in shown
    assert gateway.cli_json("person", "show", "mamie") == {**person(gateway, "mamie"), "sessions": []}
    heading, *rows = gateway.cli("person", "list").stdout.splitlines()
    assert heading.split() == ["NAME", "ROLE", "STATE", "SERVICES", "LINKS", "TOTP", "LAST", "SEEN"]
    assert [row.split()[0] for row in rows] == ["mamie", "root-admin"]


def test_the_last_admin_stays(gateway: Gateway) -> None:
    gateway.cli("person", "add", "mamie", "--admin", "--invite")  # who cannot sign in yet
    refused(gateway, "person", "remove", "root-admin")
    refused(gateway, "person", "change", "root-admin", "--member")
    assert person(gateway, "root-admin")["role"] == "admin"


def test_nobody_is_found_by_a_name_that_nobody_has(gateway: Gateway) -> None:
    for words in (["show"], ["change", "--links"], ["invite"], ["totp", "--off"], ["approve"], ["refuse"], ["sign-out"], ["remove"]):
        assert refused(gateway, "person", *words, "nobody") == "there is no person 'nobody'"
    assert refused(gateway, "person", "password", "nobody", "--password-stdin", stdin=PASSWORD) == "there is no person 'nobody'"


def test_a_removed_person_holds_nothing_open(gateway: Gateway) -> None:
    gateway.cli("person", "add", "mamie", "--invite", "--service", "cloud")
    assert gateway.cli("person", "sign-out", "mamie").stdout == "mamie is signed out everywhere\n"
    assert gateway.cli("person", "remove", "mamie").stdout == "mamie is removed\n"
    assert refused(gateway, "person", "show", "mamie") == "there is no person 'mamie'"


# history


def test_history_is_searched(gateway: Gateway) -> None:
    gateway.cli("person", "add", "mamie", "--invite", "--service", "cloud")
    gateway.cli("grant", "cloud", gateway.visitor.ipv4)
    gateway.cli("person", "remove", "mamie")

    def events(*words: str) -> list[str]:
        return [entry["event"] for entry in gateway.cli_json("history", *words)]

    assert events("--who", "mamie")[-3:] == ["person-added", "person-invited", "person-removed"]
    assert set(events("--event", "granted")) == {"granted"}
    assert "granted" in events("--address", gateway.visitor.ipv4)
    assert "person-added" not in events("--address", gateway.visitor.ipv4)
    assert events("--outcome", "refused") == []
    assert gateway.cli("history", "--outcome", "refused").stdout == "Nothing of that kind happened.\n"
    assert events("--event", "person-removed", "--last", "1") == ["person-removed"]
    line = gateway.cli("history", "--event", "person-removed", "--last", "1").stdout
    assert "mamie" in line
    assert "cli" in line
    gateway.cli("revoke", "--all")


def test_the_history_that_is_followed_is_searched_too(gateway: Gateway) -> None:
    with at_terminal(gateway, "history", "--follow", "--event", "banned") as terminal:
        gateway.cli("ban", "203.0.113.9")
        terminal.read("banned")
        gateway.cli("unban", "203.0.113.9")
        gateway.cli("ban", "203.0.113.10")
        wait_for("the second ban", lambda: "203.0.113.10" in terminal.shown)
        assert "unbanned" not in terminal.shown
        terminal.interrupt()
        assert terminal.wait() == 130
    for address in ("203.0.113.9", "203.0.113.10"):
        gateway.cli("unban", address)
