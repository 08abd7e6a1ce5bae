"""safeip(8) says what the command line takes: each verb with its arguments, and none else. Both pages are good man pages."""

import argparse
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from access import guard, knocks, sessions
from access import state as people
from safeip import cli, started
from safeip.arguments import grammar
from safeip.closed import Closed
from safeip.config import DEFAULT_CONFIG, parse_config
from teller import granted
from teller import state as tellers_state

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "man").glob("*.[58]"))
PROGRAM, KEYS = (ROOT / "man" / name for name in ("safeip.8", "safeip.toml.5"))


# what both pages are


def test_there_are_two_pages() -> None:
    assert PAGES == [PROGRAM, KEYS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_and_mandoc_find_nothing_wrong(page: Path) -> None:
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    shown = subprocess.run(["man", "--warnings=w", "-l", page], capture_output=True, text=True, check=True, env=env)
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) > 200
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    # whether the page that is named is installed here is another matter
    assert [line for line in lint.stdout.splitlines() if "mandoc.db" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_plain_and_dated_no_later_than_the_package(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.isascii()
    assert re.search(r"^\.Dd [A-Z][a-z]+ [0-9]{1,2}, 20[0-9]{2}$", text, re.MULTILINE)


# the program's page


@dataclass
class Verb:
    """What safeip(8) says of a verb: its heads, and what stands below them."""

    heads: list[list[str]]
    body: list[list[str]]


def verbs_of_the_page() -> dict[str, Verb]:
    """By "link add" and the like, out of the section VERBS."""
    section = re.search(r"^\.Sh VERBS\n(.*?)^\.Sh ", PROGRAM.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    found: dict[str, Verb] = {}
    verb = Verb([], [])
    for line in section[1].splitlines():
        if line.startswith(".It Cm "):
            parts = line.split()[2:]
            ends = [at for at, part in enumerate(parts) if part in {"Ar", "Fl", "Oo"}]
            name = " ".join(parts[: ends[0] if ends else None])
            verb = found.setdefault(name, Verb([], []))
            verb.heads.append(parts[len(name.split()) :])
        elif line.startswith((".Ss", ".Sh")):
            verb = Verb([], [])
        else:
            verb.body.append(line.removeprefix(".").split())
    return found


def verbs_of_the_code(parser: argparse.ArgumentParser | None = None, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each verb or action that has no actions of its own, with its parser."""
    parser = parser or grammar()
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield before, parser
    for name, child in (below[0].choices if below else {}).items():
        yield from verbs_of_the_code(child, f"{before} {name}".strip())


CODE = dict(verbs_of_the_code())


def as_the_page_writes(parser: argparse.ArgumentParser) -> set[str]:
    """The parser's arguments as in a head of the page: "SERVICE", "--qr", "--for DURATION", in brackets what may be left out."""
    needed = {id(action) for group in parser._mutually_exclusive_groups if group.required for action in group._group_actions}
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        metavar = " | ".join(action.choices) if action.choices else action.metavar
        value = "" if action.nargs == 0 else f" {metavar}"
        name = f"{action.option_strings[0]}{value}" if action.option_strings else str(action.metavar)
        must = action.required if id(action) not in needed else True
        found.add(name if must else f"[{name}]")
    return found


def as_written(head: list[str]) -> set[str]:
    """The arguments of a head of the page, each as `as_the_page_writes` has it."""
    found, optional, one = set(), False, ""

    def end() -> None:
        nonlocal one
        if one:
            found.add(f"[{one}]" if optional else one)
        one = ""

    kind = ""
    for at, word in enumerate(head):
        if word in {"Oo", "Oc"}:
            end()
            optional = word == "Oo"
        elif word in {"Fl", "Ar"}:
            if word == "Fl" or not one.startswith("-") or " " in one:
                end()
            kind = word
        elif word == "|":
            if head[at + 1] == "Fl":
                end()
            else:
                one += " |"
        else:
            one = f"-{word}" if kind == "Fl" else f"{one} {word}".strip()
    end()
    return found


def test_the_page_has_each_verb_and_no_other() -> None:
    assert sorted(verbs_of_the_page()) == sorted(CODE)


@pytest.mark.parametrize("name", CODE)
def test_the_page_has_each_argument_of_a_verb_and_no_other(name: str) -> None:
    verb = verbs_of_the_page()[name]
    assert set().union(*map(as_written, verb.heads)) == as_the_page_writes(CODE[name])


@pytest.mark.parametrize("name", CODE)
def test_the_page_explains_each_argument_of_a_verb_below_it(name: str) -> None:
    verb = verbs_of_the_page()[name]
    explained = {tuple(line[at : at + 2]) for line in verb.body for at in range(len(line))}
    known = {("Fl", "-json"), ("Ar", "ADDRESS"), ("Ar", "NAME"), ("Ar", "ID")}  # said once for all verbs, or plain
    for action in CODE[name]._actions:
        if not isinstance(action, argparse._HelpAction):
            option = ("Fl", action.option_strings[0][1:]) if action.option_strings else ("Ar", str(action.metavar))
            assert option in explained | known, option
    items = {tuple(line[1:3]) for line in verb.body if line[:2] == ["It", "Fl"]}
    options = {("Fl", word[1:]) for action in CODE[name]._actions for word in action.option_strings}
    assert items <= options, "explains an option that is none of the verb's"


def test_the_page_has_the_options_before_the_verb() -> None:
    section = re.search(r"^\.Sh OPTIONS\n(.*?)^\.Sh ", PROGRAM.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    named = set(re.findall(r"Fl (\S+)", "\n".join(re.findall(r"^\.It .*", section[1], re.MULTILINE))))
    parser = grammar()
    assert named == {word[1:] for action in parser._actions for word in action.option_strings}
    default = next(action.default for action in parser._actions if action.dest == "config")
    assert f".Pa {default} ." in section[1]


def test_every_verb_that_anything_names_exists() -> None:
    """In both pages, and in the README: `safeip link add` and the like."""
    first = {name.split()[0] for name in CODE}
    actions = {verb: {name.split()[1] for name in CODE if name.startswith(f"{verb} ")} for verb in ("link", "person")}
    for paper in (*PAGES, ROOT / "README.md", ROOT / "examples" / "safeip.toml"):
        said = re.findall(r"(?:^\.D[l1] |^    |`|\"|^\.Ql )(?:bin/)?safeip ((?:--config \S+ )?)([a-z]+)(?: ([a-z-]+))?", paper.read_text("utf-8"), re.MULTILINE)
        assert said, paper
        for _, verb, action in said:
            assert verb in first, (paper, verb)
            assert not action or verb not in actions or action in actions[verb], (paper, verb, action)


def test_the_examples_of_the_page_are_taken_by_the_parser() -> None:
    section = re.search(r"^\.Sh EXAMPLES\n(.*?)^\.Sh ", PROGRAM.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    examples = re.findall(r"^\.Dl safeip (.*?)(?: && .*)?$", section[1], re.MULTILINE)
    assert len(examples) >= 8
    for example in examples:
        arguments = re.findall(r'"([^"]*)"|(\S+)', example.replace(r"\(dq", '"'))
        assert grammar().parse_args([quoted or plain for quoted, plain in arguments])


def test_the_page_has_the_exit_codes_of_the_code() -> None:
    section = re.search(r"^\.Sh EXIT STATUS\n(.*?)^\.Sh ", PROGRAM.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    unit = (ROOT / "packaging" / "systemd" / "safeip.service").read_text("utf-8")
    for_good = re.search(r"^RestartPreventExitStatus=(\d.*)$", unit, re.MULTILINE)
    assert for_good
    own = {str(value) for name, value in vars(cli).items() if name.startswith("_") and type(value) is int}
    assert set(re.findall(r"^\.It ([0-9]+)$", section[1], re.MULTILINE)) == {"0", "1", "2", *for_good[1].split()} | own


def test_the_page_has_the_files_of_the_code() -> None:
    """Those of the state by where the daemon puts them, those of the package by what it installs."""
    config = parse_config('[portal]\nurl = "https://open.example.org"\n[services.cloud]\nports = ["tcp/443"]\n', DEFAULT_CONFIG)
    state = config.settings.state_dir
    named = {sessions.FILE, guard.FILE, knocks._FILE, people.FILE, "secret.key", "history.jsonl"}
    own = {f"{config.teller_dir}/{name}" for name in (granted.FILE, tellers_state.FILE)}
    own |= {config.path, config.custom, config.control_socket, started._place(config)}
    own |= {f"{config.gate_dir}/grants.jsonl", Closed(config.gate_dir).path, f"{state}/tls/"}
    section = re.search(r"^\.Sh FILES\n(.*?)^\.Sh ", PROGRAM.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    on_the_page = set(re.findall(r"^\.It Pa (.*)$", section[1], re.MULTILINE))
    installed = {path for path in on_the_page if path.startswith(("/usr/", "/etc/safeip/tls/"))}
    assert on_the_page - installed == {f"{state}/{name}" for name in named} | own
    package = "".join(path.read_text("utf-8") for path in (ROOT / "packaging").rglob("*") if path.is_file())
    for path in installed - {"/usr/share/doc/safeip/examples/"}:  # dh_installexamples knows the way
        assert path.rstrip("/") in package, path
