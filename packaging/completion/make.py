#!/usr/bin/python3
"""Completion for bash and zsh out of the command line's own grammar: make.py DIRECTORY writes `safeip` and `_safeip` there.

What is fixed stands in safeip.bash and safeip.zsh beside this file; the line with @GRAMMAR@ in them is replaced.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "src"))

from safeip.arguments import grammar  # noqa: E402 (found through the path above)

# What completes a value, by its metavar. A metavar that is not here is one that nobody decided about.
KINDS = {
    "FILE": "file", "DIR": "directory", "SERVICE": "service", "ID": "link", "NAME": "person", "WHO": "person", "HOLDER": "holder",
    "DURATION": "duration", "ADDRESS": "", "EVENT": "", "LABEL": "", "N": "", "PIN": "", "TEXT": "", "URL": "",
}  # fmt: skip
# and where the verb makes a difference
ELSEWHERE = {("revoke", "ADDRESS"): "granted", ("unban", "ADDRESS"): "banned", ("person add", "NAME"): "", ("token show", "ID"): "token",
             ("token remove", "ID"): "token"}  # fmt: skip
NOTHING = "-"  # in bash's lists, which have no empty words


def kind(path: str, action: argparse.Action) -> str:
    """What completes the value of an action of the verb at `path`; several words with | between them are the choices."""
    if action.choices:
        return "|".join(action.choices)
    metavar = str(action.metavar)
    return ELSEWHERE.get((path, metavar), KINDS[metavar])


class Verb:
    """A verb or action: its parser, and those below it. `path` is "" for the program, "link add" and the like."""

    def __init__(self, path: str, does: str, parser: argparse.ArgumentParser) -> None:
        self.path, self.does, self.parser = path, does, parser
        self.below: list[Verb] = []
        self.options: list[argparse.Action] = []
        self.places: list[argparse.Action] = []
        for action in parser._actions:  # noqa: SLF001 (argparse has no other way to ask)
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
                helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
                self.below = [Verb(f"{path} {name}".strip(), helps[name], child) for name, child in action.choices.items()]
            elif action.option_strings:
                self.options.append(action)
            else:
                self.places.append(action)

    def all(self) -> "Iterator[Verb]":
        """The verb itself and all below."""
        yield self
        for verb in self.below:
            yield from verb.all()

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path.rpartition(" ")[2]

    def excludes(self, action: argparse.Action) -> list[str]:
        """What cannot be given together with an action; itself too, where it cannot be repeated."""
        groups = [group._group_actions for group in self.parser._mutually_exclusive_groups]  # noqa: SLF001
        others = [other for group in groups if action in group for other in group if other is not action]
        names = [name for other in others for name in other.option_strings or ("1",)]
        return names if repeats(action) else [*action.option_strings, *names]


def repeats(action: argparse.Action) -> bool:
    """Whether an option may be given more than once."""
    return isinstance(action, argparse._AppendAction)  # noqa: SLF001


def for_bash(program: Verb) -> str:
    """The arms of a case over paths."""
    arms = []
    for verb in program.all():
        options = " ".join(name for action in verb.options for name in action.option_strings if name.startswith("--"))
        with_value = [action for action in verb.options if action.nargs != 0]
        valued = " ".join(f"{action.option_strings[-1]}={kind(verb.path, action) or NOTHING}" for action in with_value)
        places = " ".join(kind(verb.path, action) or NOTHING for action in verb.places)
        fields = {"verbs": " ".join(child.name for child in verb.below), "options": options, "valued": valued, "places": places}
        arms.append(f"        '{verb.path}') " + " ".join(f"{key}='{value}'" for key, value in fields.items() if value) + " ;;")
    return "\n".join(arms)


def for_zsh(program: Verb) -> str:
    """A function for each verb that has verbs below it."""
    return "\n\n".join(_zsh_function(verb) for verb in program.all() if verb.below)


def _zsh_function(verb: Verb) -> str:
    own = "_".join(("_safeip_verb", *verb.path.split()))
    describe = "\n".join(f"    {_quoted(f'{child.name}:{child.does}')}" for child in verb.below)
    arms = []
    for child in verb.below:
        does = f"{own}_{child.name}" if child.below else f"_arguments -S {_zsh_arguments(child)}"
        arms.append(f"        {child.name}) {does} && ret=0 ;;")
    return f"""{own}() {{
  local curcontext=$curcontext state line ret=1
  local -a verbs
  local -A opt_args
  verbs=(
{describe}
  )
  _arguments -C {_zsh_arguments(verb)} ': :->verb' '*:: :->after' && ret=0
  case $state in
    verb) _describe -t verbs 'safeip {verb.path}' verbs && ret=0 ;;
    after)
      curcontext=${{curcontext%:*:*}}:{own.lstrip("_")}-$line[1]:
      case $line[1] in
{chr(10).join(arms)}
      esac
      ;;
  esac
  return ret
}}"""


def _zsh_arguments(verb: Verb) -> str:
    return " ".join((*(_zsh_option(verb, action) for action in verb.options), *(_zsh_place(verb, action) for action in verb.places)))


def _zsh_option(verb: Verb, action: argparse.Action) -> str:
    does = (action.help or "") % vars(action)
    if isinstance(action, argparse._HelpAction):  # noqa: SLF001
        return f"'(- *)'{{-h,--help}}{_quoted(f'[{_escaped(does)}]')}"
    excluded = " ".join(verb.excludes(action))
    before = ("*" if repeats(action) else "") + (f"({excluded})" if excluded and not repeats(action) else "")
    before = f"({excluded})*" if excluded and repeats(action) else before
    value = "" if action.nargs == 0 else f":{_escaped(str(action.metavar or action.dest))}:{_zsh_value(verb, action)}"
    return _quoted(f"{before}{action.option_strings[-1]}{'=' if value else ''}[{_escaped(does)}]{value}")


def _zsh_place(verb: Verb, action: argparse.Action) -> str:
    # by itself a message would keep the options that may stand here as well from being put in
    return _quoted(f":{_escaped(str(action.metavar))}:{_zsh_value(verb, action) or f' _safeip_free {action.metavar}'}")


def _zsh_value(verb: Verb, action: argparse.Action) -> str:
    if action.choices:
        return f"({' '.join(map(_escaped, action.choices))})"
    return {"": "", "file": "_files", "directory": "_files -/"}.get(found := kind(verb.path, action), f"_safeip_{found}")


def _escaped(text: str) -> str:
    """For a place in a specification of _arguments."""
    return "".join(f"\\{c}" if c in "\\:[]" else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def main(directory: str) -> None:
    """Write both files."""
    program = Verb("", "", grammar())
    for source, made, text in (("safeip.bash", "safeip", for_bash(program)), ("safeip.zsh", "_safeip", for_zsh(program))):
        lines = (HERE / source).read_text("utf-8").splitlines()
        filled = (text if "@GRAMMAR@" in line else line for line in lines)
        Path(directory, made).write_text("\n".join(filled) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make.py DIRECTORY")
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    main(sys.argv[1])
