"""Completion, tried in a real bash and a real zsh at a terminal: everything that the program takes, and nothing that harms."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.gateway import Gateway
from lab.net import Namespace
from lab.process import wait_for
from lab.terminal import Terminal
from safeip.arguments import grammar

ROOT = Path(__file__).resolve().parents[2]
MAKE = ROOT / "packaging" / "completion" / "make.py"
SHELLS = ("bash", "bash-completion", "zsh")  # the second: as most people have it, with the package bash-completion
ALL, DUMP = "\x18", "\x14"  # Ctrl-X puts everything that would be offered into the line, Ctrl-T writes the line to a file
CONFIG = """
[portal]
url = "https://open.example.org:8443"
[services.cloud]
ports = ["tcp/443"]
[services.films]  # and a comment
ports = ["tcp/8096"]
[ services . "films-2" ]
ports = ["tcp/8097"]
"""
BASH = r"""
PS1='ready$ '
set +o history
_dump() { printf '%s\n' "$READLINE_LINE" >"$OUT.new"; mv "$OUT.new" "$OUT"; READLINE_LINE='' READLINE_POINT=0; }
bind '"\C-x": insert-completions'
bind -x '"\C-t": _dump'
"""
ZSH = r"""
PS1='ready$ '
fpath=($MADE $fpath)
autoload -Uz compinit
compinit -D -u
zle -C all complete-word _generic
zstyle ':completion:all::::' completer _all_matches _complete
zstyle ':completion:all:*' insert true
bindkey '^X' all
_dump() { print -r -- "$BUFFER" >$OUT.new; mv $OUT.new $OUT; BUFFER=''; }
zle -N _dump
bindkey '^T' _dump
"""


class Shell:
    """A shell with the completion in it, and `safeip` in its path, which writes down each time that it is run."""

    def __init__(self, kind: str, place: Path, made: Path, namespace: Namespace, user: int = 0) -> None:
        self.kind, self.place = kind, place
        self._out = place / "line"
        self.asked = place / "asked"
        self.program = place / "bin" / "safeip"
        self.program.parent.mkdir()
        self.run_instead(f'exec {ROOT}/bin/safeip "$@"')
        (place / "home").mkdir()
        begin = place / "begin"
        env = {
            "PATH": f"{self.program.parent}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place / "home"), "TERM": "xterm",
            "LC_ALL": "C.UTF-8", "OUT": str(self._out), "MADE": str(made), "INPUTRC": "/dev/null",
        }  # fmt: skip
        if kind == "zsh":
            begin = place / "home" / ".zshrc"
            begin.write_text(ZSH, "utf-8")
            command = ["zsh", "-i", "-d"]
        else:
            package = ". /usr/share/bash-completion/bash_completion\n" if kind == "bash-completion" else ""
            begin.write_text(f"{package}. {made}/safeip\n{BASH}", "utf-8")
            command = ["bash", "--noprofile", "--rcfile", str(begin), "-i"]
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
            for path in (place, place / "home", self.asked):
                os.chown(path, user, user)
        self.terminal = Terminal(namespace, *command, env=env)
        self.terminal.read("ready$ ")

    def run_instead(self, line: str) -> None:
        """Whatever completion asks runs this, a line of sh."""
        self.asked.touch()
        self.program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{self.asked}\n{line}\n', "ascii")
        self.program.chmod(0o755)

    def wait_longer(self) -> None:
        """What completion asks may take longer than people would wait for it."""
        patient = self.program.with_name("timeout")
        patient.write_text('#!/bin/sh\nshift\nexec /usr/bin/timeout 60 "$@"\n', "ascii")
        patient.chmod(0o755)

    def line(self, typed: str) -> str:
        """What the line is after everything that would be offered has been put into it."""
        self._out.unlink(missing_ok=True)
        self.terminal.type(typed + ALL + DUMP, enter=False)
        wait_for("the line", self._out.exists, 60.0)
        return self._out.read_text("utf-8").rstrip("\n")

    def offers(self, typed: str) -> list[str]:
        """What is offered for the last word of a line, in order; nothing where the line stays as it is."""
        before, _, word = typed.rpartition(" ")
        after = self.line(typed).removeprefix(f"{before} ")
        offered = shlex.split(after)
        return [] if offered == [word] or not after.strip() else sorted({one.rstrip("=") for one in offered})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files, as the package's build makes them."""
    place = tmp_path_factory.mktemp("completion")
    # -I, -B: the build's own python has neither this directory nor ours in its path, and leaves nothing behind
    subprocess.run(["/usr/bin/python3", "-I", "-B", MAKE, place], check=True)
    assert sorted(path.name for path in place.iterdir()) == ["_safeip", "safeip"]
    return place


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with Namespace("shell", "sipt") as there:
        yield there


@contextmanager
def shell_at(kind: str, place: Path, made: Path, namespace: Namespace, user: int = 0) -> Iterator[Shell]:
    place.mkdir()
    shell = Shell(kind, place, made, namespace, user)
    with shell.terminal:
        yield shell


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, made: Path, namespace: Namespace) -> Iterator[Shell]:
    place = tmp_path_factory.mktemp("shell") / request.param
    with shell_at(request.param, place, made, namespace) as there:
        (place / "safeip.toml").write_text(CONFIG, "utf-8")
        (place / "safe-directory").mkdir()
        (place / "safe file").touch()
        yield there


def parsers(parser: argparse.ArgumentParser, path: str = "safeip") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, f"{path} {name}")


# what the program takes is offered


def test_every_verb_and_action_is_offered(shell: Shell) -> None:
    for path, parser in parsers(grammar()):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert shell.offers(f"{path} ") == sorted(action.choices), path


def test_every_option_is_offered(shell: Shell) -> None:
    for path, parser in parsers(grammar()):
        options = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
        assert set(shell.offers(f"{path} --")) | {"--help"} == options, path  # --help alone is a line, not a list


def test_every_choice_is_offered(shell: Shell) -> None:
    seen = 0
    for path, parser in parsers(grammar()):
        for action in parser._actions:
            if action.option_strings and action.choices:
                seen += 1
                assert shell.offers(f"{path} {action.option_strings[0]} ") == sorted(action.choices), path
    assert seen, "then this looks at nothing"


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("safeip li", "safeip link"),
        ("safeip link sh", "safeip link show"),
        ("safeip link add --se", "safeip link add --service"),
        ("safeip link add Mamie --qr --se", "safeip link add Mamie --qr --service"),
        ("safeip link add 'Mamie et Papi' --se", "safeip link add 'Mamie et Papi' --service"),
        ("safeip --config x.toml li", "safeip --config x.toml link"),
        ("safeip --config=x.toml li", "safeip --config=x.toml link"),
        ("safeip --config link per", "safeip --config link person"),
        ("safeip grant cloud 2001:db8::1 --f", "safeip grant cloud 2001:db8::1 --for"),
        ("safeip revoke 2001:db8:: --ser", "safeip revoke 2001:db8:: --service"),
        ("safeip history --outcome all", "safeip history --outcome allowed"),
        ("safeip history --outcome=all", "safeip history --outcome=allowed"),
    ],
)
def test_a_word_is_finished(shell: Shell, typed: str, becomes: str) -> None:
    assert shell.line(typed).rstrip(" =") == becomes


@pytest.mark.parametrize("typed", ["safeip dance ", "safeip link dance ", "safeip history --last ", "safeip link add --pin "])
def test_nothing_is_offered_where_there_is_nothing(shell: Shell, typed: str) -> None:
    assert shell.line(typed).rstrip() == typed.rstrip()


def test_files_are_offered_for_the_configuration_and_directories_for_directories(shell: Shell) -> None:
    place = shell.place
    there = [f"{place}/{name}" for name in ("safe file", "safe-directory", "safeip.toml")]
    assert [path.rstrip("/") for path in shell.offers(f"safeip --config {place}/safe")] == there
    assert shell.line(f"safeip --config={place}/safeip.t").rstrip() == f"safeip --config={place}/safeip.toml"
    assert shell.line(f"safeip setup --state-dir {place}/safe").rstrip(" /") == f"safeip setup --state-dir {place}/safe-directory"


@pytest.mark.parametrize("config", ["--config {}/safeip.toml", "--config={}/safeip.toml", "--config '{}/safeip.toml'"])
def test_services_come_from_the_configuration_that_is_named(shell: Shell, config: str) -> None:
    program = f"safeip {config.format(shell.place)}"
    names = ["cloud", "films", "films-2"]
    shell.asked.write_text("", "utf-8")
    assert shell.offers(f"{program} grant ") == names
    assert shell.offers(f"{program} link add Mamie --service ") == names
    assert shell.offers(f"{program} link add Mamie --service cloud --service fil") == ["films", "films-2"]
    assert shell.line(f"{program} link add Mamie --service=clo").rstrip() == f"{program} link add Mamie --service=cloud"
    assert shell.line(f"{program} grant clo").rstrip() == f"{program} grant cloud"
    assert shell.asked.read_text("utf-8") == "", "for services nobody is asked"


def test_the_configuration_of_a_home_is_found(shell: Shell) -> None:
    (shell.place / "home" / "my.toml").write_text(CONFIG, "utf-8")
    assert shell.offers("safeip --config ~/my.toml grant cl") == ["cloud"]


def test_zsh_offers_nothing_that_excludes_what_is_there_and_explains_the_rest(shell: Shell) -> None:
    if shell.kind != "zsh":
        pytest.skip("bash tells neither")
    offered = shell.offers("safeip person change mamie --admin --")
    assert "--member" not in offered
    assert "--admin" not in offered
    assert "--service" in offered
    shell.terminal.type("safeip link add Mamie --\t", enter=False)
    help_text = next(action.help for action in dict(parsers(grammar()))["safeip link add"]._actions if "--service" in action.option_strings)
    shell.terminal.read(f"-- {help_text}")
    shell.line("")


# what the daemon knows, for root


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipt") as there:
        there.add_link("Mamie")
        there.cli("person", "add", "mamie", "--service", "cloud", "--invite")
        there.cli("grant", "cloud", "192.0.2.10")
        there.cli("grant", "cloud", "2001:db8:1::10")
        there.cli("ban", "203.0.113.66")
        yield there


ASKED = {f"{listing} --json" for listing in ("link list", "person list", "grants", "bans")}


@pytest.mark.parametrize("kind", SHELLS)
def test_ids_names_and_addresses_come_from_the_daemon(kind: str, gateway: Gateway, made: Path, namespace: Namespace, tmp_path: Path) -> None:
    (link,) = gateway.cli_json("link", "list")
    program = f"safeip --config {gateway.config}"
    with shell_at(kind, tmp_path / "shell", made, namespace) as shell:
        shell.wait_longer()
        assert shell.line(f"{program} link show ").rstrip() == f"{program} link show {link['id']}"
        assert shell.line(f"{program} person remove m").rstrip() == f"{program} person remove mamie"
        assert shell.line(f"{program} history --who m").rstrip() == f"{program} history --who mamie"
        assert shell.line(f"{program} revoke --holder c").rstrip() == f"{program} revoke --holder cli"
        assert shell.line(f"{program} revoke 192").rstrip() == f"{program} revoke 192.0.2.10"
        assert shell.line(f"{program} revoke 2001:db8:").rstrip().replace("\\", "") == f"{program} revoke 2001:db8:1::/64"
        assert shell.line(f"{program} unban ").rstrip() == f"{program} unban 203.0.113.66"
        assert shell.line(f"{program} person add m").rstrip() == f"{program} person add m"
        asked = shell.asked.read_text("utf-8").splitlines()
    assert {line.removeprefix(f"--config {gateway.config} ") for line in asked} == ASKED


@pytest.mark.parametrize("kind", SHELLS)
def test_who_is_not_root_asks_nobody(kind: str, made: Path, namespace: Namespace, tmp_path: Path) -> None:
    place = Path(f"/tmp/safeip-completion-{os.getpid()}-{kind}")  # pytest closes its own directories to others, each time that one starts
    theirs = place.with_name(f"{place.name}-made")
    try:
        shutil.copytree(made, theirs)
        theirs.chmod(0o755)
        with shell_at(kind, place, theirs, namespace, user=65534) as shell:
            assert shell.line("safeip link show ").rstrip() == "safeip link show"
            assert shell.offers("safeip link sh") == ["show"]
            assert shell.asked.read_text("utf-8") == ""
    finally:
        subprocess.run(["rm", "-rf", place, theirs], check=True)


# abuse


@pytest.fixture
def own(shell: Shell) -> Iterator[Shell]:
    """The shell, whose program is put back afterwards."""
    yield shell
    shell.run_instead(f'exec {ROOT}/bin/safeip "$@"')


def hostile(trap: Path) -> list[str]:
    return [
        f"$(touch {trap})", f"`touch {trap}`", f"${{x:-$(touch {trap})}}", f"a;touch {trap}", f"a|touch {trap}", f"a\ttouch {trap}",
        f"cloud$(touch {trap})", f"a'$(touch {trap})'", f'a"$(touch {trap})"', f"x[$(touch {trap})]", f"${{(e):-`touch {trap}`}}",
        "*", "~root", "-rf", "--config", "\x1b]0;x\x07", "a\x00b", "é", "../../x", "A" * 10_000,
    ]  # fmt: skip


def test_a_hostile_configuration_is_read_and_not_run(own: Shell) -> None:
    trap, config = own.place / "trap", own.place / "hostile.toml"
    sections = [f"[services.{name}]\n[services.\"{name}\"]\n[{name}]\n{name} = '{name}'\n" for name in hostile(trap)]
    config.write_text("".join(sections) + "[services.cloud]\n", "utf-8", newline="")
    config.write_bytes(b"\xff\xfe[services.\xff]\n" + config.read_bytes())
    for words in ("grant ", "grant c", "link add x --service ", "link add x --service=", "revoke --service "):
        offered = own.offers(f"safeip --config {config} {words}")
        assert [one.removeprefix("--service=") for one in offered] == ["cloud"], words
    assert not trap.exists()


def test_a_hostile_name_of_a_configuration_is_not_run(own: Shell) -> None:
    trap = own.place / "trap"
    for number, name in enumerate(hostile(trap)):
        if "/" not in name and "\0" not in name and len(name) < 100:
            (own.place / f"{number}{name}").write_text(CONFIG, "utf-8")
    for name in (f"'$(touch {trap})'", f"$(touch {trap})", f'"`touch {trap}`"', f"~$(touch {trap})/x", f"'<(touch {trap})'"):
        for words in ("grant ", "link show "):
            own.line(f"safeip --config {name} {words}")
            own.line(f"safeip --config={name} {words}")
    own.line(f"safeip --config {own.place}/")
    assert not trap.exists()


def test_what_is_no_file_is_not_read(own: Shell) -> None:
    pipe = own.place / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero", own.place, "/nowhere"):
        assert own.offers(f"safeip --config {path} grant x") == []


def test_a_hostile_answer_is_read_and_not_run(own: Shell) -> None:
    trap = own.place / "trap"
    lines = "".join(f'    "id": "{name}",\n    "name": "{name}",\n' for name in hostile(trap) if "\0" not in name)
    answer = own.place / "answer"
    answer.write_text(f'[\n{lines}    "label": "\\"id\\": \\"fake\\"",\n    "id": "k3v9aa",\n    "name": "mamie"\n]\n', "utf-8")
    own.run_instead(f"cat {answer}")
    # those with more than a word's characters in them are left out
    assert set(own.offers("safeip link show ")) <= {"k3v9aa", "../../x"}
    assert own.offers("safeip link show k") == ["k3v9aa"]
    assert own.offers("safeip person show m") == ["mamie"]
    assert not trap.exists()


def test_a_program_that_fails_or_never_answers_is_not_waited_for(own: Shell) -> None:
    own.run_instead("echo '\"id\": \"x\"' >&2; exit 1")
    assert own.line("safeip link show ").rstrip() == "safeip link show"
    own.run_instead("exec sleep 3600")
    assert own.line("safeip link show ").rstrip() == "safeip link show"
    assert "3600" not in own.terminal.shown


# what is made


def test_the_files_are_clean(made: Path) -> None:
    for path in (made / "safeip", made / "_safeip"):
        text = path.read_text("utf-8")
        assert "@GRAMMAR@" not in text
        assert not re.search(r"\beval\b|compgen -W", text), "words from elsewhere would be run"
    assert (made / "_safeip").read_text("utf-8").startswith("#compdef safeip\n")
    subprocess.run(["zsh", "-n", made / "_safeip"], check=True)
    subprocess.run(["bash", "-n", made / "safeip"], check=True)
    subprocess.run(["shellcheck", made / "safeip"], check=True)
