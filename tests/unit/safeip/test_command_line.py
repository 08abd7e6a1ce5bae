"""The command line without a daemon: its grammar, its exit codes, its errors."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safeip import arguments, cli, output

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = str(ROOT / "bin" / "safeip")


def run(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, timeout=30, **options)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "safeip.toml"
    path.write_text(f'runtime_dir = "{tmp_path}"\n', "utf-8")
    return str(path)


WRONG_USAGE = [
    [], ["nonsense"], ["--config"], ["run", "now"], ["grant"], ["grant", "cloud"],
    ["grant", "cloud", "192.0.2.1", "--for", "2 hours"], ["grant", "cloud", "192.0.2.1", "--for", "0s"],
    ["grant", "cloud", "192.0.2.1", "--for", "-1h"], ["grant", "cloud", "192.0.2.1", "--fo", "1h"],
    ["grant", "cloud", "192.0.2.1", "--json"], ["revoke"], ["revoke", "192.0.2.1", "--all"],
    ["revoke", "--all", "--holder", "cli"], ["revoke", "--service", "cloud"],
    ["revoke", "--holder", "Mamie"], ["revoke", "--holder", "link:"], ["revoke", "--holder", "cli\udcff"],
    ["revoke", "--service", "cloud", "--all"], ["revoke", "--service", "cloud", "--holder", "cli"],
    ["link"], ["link", "nonsense"], ["link", "add"], ["link", "add", "Mamie"], ["link", "add", "--service", "cloud"],
    ["link", "add", "Mamie", "--service", "cloud", "--uses", "0"],
    ["link", "add", "Mamie", "--service", "cloud", "--uses", "\u0661"],
    ["link", "add", "Mamie", "--service", "cloud", "--addresses", "-1"],
    ["link", "add", "Mamie", "--service", "cloud", "--expires", "never"], ["link", "show"], ["link", "pause"],
    ["link", "remove", ".."], ["link", "remove", ""], ["link", "show", "k3v9aa/rotate"], ["link", "show", "\udcff"],
    ["link", "list", "k3v9aa"], ["ban"], ["unban"], ["bans", "all"], ["history", "--last", "x"], ["check", "--json"],
    ["history", "--outcome", "maybe"], ["history", "--who"], ["setup", "now"], ["setup", "--state-dir"],
    ["person"], ["person", "nonsense"], ["person", "add"], ["person", "add", "Ma mie"], ["person", "add", ""],
    ["person", "add", "1mamie"], ["person", "add", "a" * 33], ["person", "add", "mamie\udcff"],
    ["person", "add", "mamie", "--invite", "--password-stdin"], ["person", "add", "mamie", "--password", "x"],
    ["person", "add", "mamie", "--qr"], ["person", "add", "mamie", "--member"], ["person", "change", "mamie"],
    ["person", "change", "mamie", "--admin", "--member"], ["person", "change", "mamie", "--links", "--no-links"],
    ["person", "change", "mamie", "--service", "cloud", "--no-services"], ["person", "remove", ".."],
    ["person", "show", "mamie/totp"], ["person", "show", "..%2fx"], ["person", "list", "mamie"],
    ["person", "totp", "mamie", "--json"],
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_exits_2_and_says_why(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert "error: " in said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["grnat"], "safeip: error: argument VERB: there is no 'grnat'; did you mean 'grant'? ('safeip --help' says more)"),
        (["link", "zzz"], "safeip link: error: argument ACTION: there is no 'zzz'; there are: add, list, show, pause, resume, rotate, remove ('safeip link --help' says more)"),
        (["history", "--outcome", "refuse"], "safeip history: error: argument --outcome: there is no 'refuse'; did you mean 'refused'? ('safeip history --help' says more)"),
        ([], "safeip: error: the following arguments are required: VERB ('safeip --help' says more)"),
        (["\x1b[31m"], "\\x1b[31m'; there are: setup"),
    ],
)  # fmt: skip
def test_who_does_not_know_what_there_is_is_told(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    assert why in capsys.readouterr().err


def test_a_wrong_duration_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["ban", "192.0.2.1", "--for", "2 hours"])
    assert "'2 hours' is not a duration; write 90s, 15m, 12h or 7d" in capsys.readouterr().err


VERBS = [
    "run", "check", "status", "grant", "grants", "revoke", "link", "link add", "link list", "link show", "link pause",
    "link resume", "link rotate", "link remove", "blocked", "history", "down", "ban", "unban", "bans",
    "setup", "person", "person add", "person list", "person show", "person change", "person password", "person totp",
    "person invite", "person approve", "person refuse", "person sign-out", "person remove",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_in_a_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*verb.split(), "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    assert f"usage: safeip {verb}" in said
    assert ". " in said


LISTINGS = [
    "status", "grants", "link list", "link show k3v9aa", "blocked", "bans", "history", "person list", "person show mamie",
]  # fmt: skip


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_takes_json(listing: str) -> None:
    assert arguments.parse([*listing.split(), "--json"]).json is True
    assert arguments.parse(listing.split()).json is False


def test_options_keep_what_was_written() -> None:
    options = arguments.parse(
        ["--config", "x.toml", "link", "add", "Chez l'oncle", "--service", "cloud", "--service", "films", "--for", "2h",
         "--expires", "30d", "--uses", "3", "--addresses", "2", "--pin", "-", "--to", "https://a.example/", "--qr"]
    )  # fmt: skip
    assert (options.config, options.verb, options.action, options.label) == ("x.toml", "link", "add", "Chez l'oncle")
    assert options.service == ["cloud", "films"]
    assert (options.duration, options.expires, options.uses, options.addresses) == ("2h", "30d", 3, 2)
    assert (options.pin, options.to, options.qr) == ("-", "https://a.example/", True)
    assert arguments.parse(["status"]).config == "/etc/safeip/safeip.toml"


def test_what_a_person_may_do_is_said_or_left_as_it_is() -> None:
    options = arguments.parse(["person", "add", " MAMIE ", "--service", "cloud", "--service", "films", "--links", "--invite"])
    assert (options.name, options.service, options.links, options.role) == ("mamie", ["cloud", "films"], True, None)
    assert (options.invite, options.password_stdin) == (True, False)
    options = arguments.parse(["person", "change", "mamie", "--no-links"])
    assert (options.role, options.service, options.no_services, options.links) == (None, None, None, False)
    assert arguments.parse(["person", "change", "mamie", "--member"]).role == "member"
    assert arguments.parse(["person", "add", "mamie", "--admin"]).role == "admin"


def test_no_secret_is_taken_from_the_arguments() -> None:
    """Every user of the host sees them."""
    for words in (["person", "password", "mamie", "x"], ["person", "totp", "mamie", "123456"], ["setup", "--password", "x"]):
        with pytest.raises(SystemExit):
            arguments.parse(words)


# errors: one line, exit 1


def test_every_problem_of_the_configuration_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "safeip.toml"
    path.write_text("[portal]\nurl = 7\n[gate]\nmode = 8\n", "utf-8")
    for verb, code in (("check", 1), ("run", 78), ("down", 1)):
        ran = run("--config", str(path), verb)
        assert ran.returncode == code
        assert ran.stdout == ""
        lines = ran.stderr.splitlines()
        assert len(lines) == 3
        assert all(line.startswith(f"safeip: {path}: ") for line in lines)


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    for words in (["check"], ["run"], ["grants"], ["link", "list"]):
        ran = run("--config", str(tmp_path / "none.toml"), *words)
        assert (ran.returncode, ran.stdout) == (78 if words == ["run"] else 1, "")
        assert ran.stderr == (
            f"safeip: {tmp_path}/none.toml: there is no such file; name the configuration with --config FILE\n"
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("words", ["run", "check", "status", "grants", "link list", "person add mamie", "history --follow"])
def test_who_never_set_it_up_is_told_to(words: str) -> None:
    """In a host of its own, as far as /etc/safeip goes."""
    hidden = '[ ! -d /etc/safeip ] || mount -t tmpfs none /etc/safeip; exec "$@"'
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", PROGRAM, *words.split()],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (78 if words == "run" else 1, "")
    assert ran.stderr == "safeip: there is no /etc/safeip/safeip.toml yet: begin with 'safeip setup'\n"


def test_a_daemon_that_does_not_run_is_one_line(config: str, tmp_path: Path) -> None:
    silence = f"safeip: no daemon listens at {tmp_path}/control.sock: start it with 'safeip --config FILE run'\n"
    for words in (["grants"], ["status", "--json"], ["grant", "cloud", "192.0.2.1"], ["history", "--follow"]):
        ran = run("--config", config, *words)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", silence)
    with socket.socket(socket.AF_UNIX) as left:  # a leftover of a daemon that was killed
        left.bind(str(tmp_path / "control.sock"))
    ran = run("--config", config, "grants")
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", silence)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_who_may_not_ask_is_told_so() -> None:
    directory = Path(f"/tmp/safeip-cli-{os.getpid()}")
    directory.mkdir(mode=0o755)
    door, config = directory / "control.sock", directory / "safeip.toml"
    try:
        config.write_text(f'runtime_dir = "{directory}"\n', "utf-8")
        config.chmod(0o644)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(door))
            bound.listen()
            door.chmod(0o600)
            code = (
                "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
                "from safeip import cli, client; import os; os.setuid(65534); sys.exit(cli.main())"
            )
            ran = subprocess.run(
                ["/usr/bin/python3", "-I", "-c", code, str(ROOT / "src"), "--config", str(config), "grants"],
                capture_output=True, text=True, check=False, timeout=30,
            )  # fmt: skip
    finally:
        for path in (door, config):
            path.unlink(missing_ok=True)
        directory.rmdir()
    assert ran.returncode == 1
    assert ran.stderr == f"safeip: this user may not use {door}: run it as root (sudo safeip …)\n"


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Something at the socket that says the same to everybody, SafeIP or not."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()

        def serve() -> None:
            connection, _ = door.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)
            path.unlink()


def http(status: str, content: str, kind: str = "application/json") -> bytes:
    body = content.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the daemon does not answer at "),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the daemon does not answer at "),
        (http("200 OK", "<html>"), "what answers at "),
        (http("200 OK", "[]")[:-1], "the daemon does not answer at "),
        (http("500 Internal Server Error", "oops"), "the daemon answered 500 Internal Server Error"),
        (http("400 Bad Request", "[1]"), "the daemon answered 400 Bad Request"),
        (http("404 Not Found", '{"title": "No such link"}'), "No such link"),
        (http("409 Conflict", '{"title": "x", "detail": "two\\nlines\\u001b[2J"}'), "two?lines?[2J"),
    ],
)
def test_whatever_answers_an_error_is_one_plain_line(config: str, tmp_path: Path, answer: bytes, said: str) -> None:
    with answering(tmp_path / "control.sock", answer):
        ran = run("--config", config, "grants")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"safeip: {said}")
    assert ran.stderr.count("\n") == 1


GRANT = {
    "service": "cloud", "address": "203.0.113.7", "holder": "link:k3v9", "note": "Mamie",
    "expires_at": "2026-11-21T09:30:00Z", "remaining_s": 43180, "packets": 12, "bytes": 3456,
    "shared": None, "reached": True,
}  # fmt: skip


def test_a_reader_that_has_seen_enough_ends_a_listing_silently(config: str, tmp_path: Path) -> None:
    with answering(tmp_path / "control.sock", http("200 OK", json.dumps([GRANT] * 50_000))):
        ran = subprocess.run(
            f"{PROGRAM} --config {config} grants | head -1", shell=True, capture_output=True, text=True, check=False
        )
    assert ran.stdout.startswith("SERVICE")
    assert ran.stderr == ""


@pytest.mark.parametrize("grants", [1, 50_000])
def test_a_reader_that_is_gone_is_no_error_worth_a_word(config: str, tmp_path: Path, grants: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with answering(tmp_path / "control.sock", http("200 OK", json.dumps([GRANT] * grants))):
            ran = subprocess.run(
                [PROGRAM, "--config", config, "grants"], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=30
            )
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_names_are_shown_in_any_locale(config: str, tmp_path: Path) -> None:
    grant = GRANT | {"note": "Hélène"}
    for encoding, shown in (("utf-8", "Hélène"), ("ascii", "H?l?ne")):
        with answering(tmp_path / "control.sock", http("200 OK", json.dumps([grant]))):
            code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from safeip.cli import main; sys.exit(main())"
            ran = subprocess.run(
                ["/usr/bin/python3", "-c", code, str(ROOT / "src"), "--config", config, "grants"],
                capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding},
            )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert ran.stdout.decode(encoding).splitlines()[1].endswith(shown)


# what people read


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0, "0 s"), (0.9, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (7199, "1 h 59 min"), (7200, "2 h"),
     (86399, "23 h 59 min"), (86400, "1 d"), (90000, "1 d 1 h"), (86460, "1 d"), (30 * 86400, "30 d")],
)  # fmt: skip
def test_a_span_is_said_in_two_units(seconds: float, text: str) -> None:
    assert output.span(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3456, "3.5 kB"), (1_200_000_000, "1.2 GB"), (5 * 10**15, "5000.0 TB")],
)
def test_a_size_is_said_in_the_unit_that_suits(octets: int, text: str) -> None:
    assert output.size(octets) == text


def test_a_table_is_aligned_and_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME", "PACKETS", "NOTE"), [("a", 1200, "x\x1b[2J"), ("long-name", 7, None)], empty="none")
    assert capsys.readouterr().out == (
        "NAME       PACKETS  NOTE\na            1,200  x?[2J\nlong-name        7\n"
    )
    output.print_table(("NAME",), [], empty="Nobody is in.")
    assert capsys.readouterr().out == "Nobody is in.\n"


def test_a_moment_is_shown_in_this_machines_zone() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from safeip.output import local; print(local('2026-07-21T22:30:05Z', seconds=True))"
    ran = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code, str(ROOT / "src")],
        capture_output=True, text=True, check=True, env={"TZ": "Europe/Paris"},
    )  # fmt: skip
    assert ran.stdout == "2026-07-22 00:30:05\n"
    assert output.local(None) == ""
    assert output.local("soon\x1b") == "soon?"
