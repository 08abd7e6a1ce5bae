"""First steps, asked at the terminal: what is closed, and who is the first admin. Nothing is written before the last answer."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from access.files import NotSaved, StateError
from access.inputs import BadInput, check_name
from nft import rules
from nft.sets import KernelError
from safeip import enrol, output, setup_certificate, setup_start, terminal
from safeip.check import refusals
from safeip.config import Config, parse_config, read_config
from safeip.control import ControlError
from safeip.directories import StartError
from safeip.problem import ConfigError
from safeip.setup_admin import Admins, admins, make_admin
from safeip.setup_certificate import NotObtainedError
from safeip.setup_file import Answers, draft, render
from safeip.setup_questions import ask_configuration

_INTERRUPTED = 130  # 128 + SIGINT
_Made = tuple[str, Sequence[str]] | None  # the new admin's name and recovery codes; None where there was an admin


class _RefusedError(Exception):
    """The kernel does not take what was answered."""

    def __init__(self, refusals: list[str]) -> None:
        super().__init__(*refusals)
        self.refusals = refusals


def run(options: argparse.Namespace) -> int:
    """Ask, write, tell what to do next; the exit code. Raises ConfigError for a configuration that is there and bad."""
    if wrong := _unfit(options):
        return _fail(wrong)
    output.print_anywhere()
    return _certificate(options) if options.certificate else _asked(options)


def _asked(options: argparse.Namespace) -> int:
    stands = _stands(options)
    try:
        with terminal.leaving():
            config, made = _first_admin(options.config) if stands else _everything(options)
    except KeyboardInterrupt:
        return _left("\nNothing was written.")
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}; the configuration was not written")
    except (KernelError, StartError, StateError, NotSaved, ControlError, BadInput, _RefusedError) as error:
        return _fail(*(error.refusals if isinstance(error, _RefusedError) else [str(error)]))
    try:
        with terminal.leaving():
            return _finish(config, options, made, changed=not stands)
    except KeyboardInterrupt:
        return _left("")


def _certificate(options: argparse.Namespace) -> int:
    try:
        with terminal.leaving():
            setup_certificate.alone(options)
    except KeyboardInterrupt:
        return _left("")
    except (NotObtainedError, OSError) as error:
        return _fail(*str(error).splitlines())
    return 0


def _left(word: str) -> int:
    try:
        terminal.say(word)
    except KeyboardInterrupt:  # the terminal has gone, and the interpreter would flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _INTERRUPTED


def _unfit(options: argparse.Namespace) -> str | None:
    """Why there is nothing to ask here."""
    if os.geteuid() != 0:
        return "setup looks at every program's ports and writes to /etc: run it as root (sudo safeip setup)"
    return None if options.certificate or terminal.is_there() else "setup asks questions: run it at a terminal (over ssh with -t)"


def _stands(options: argparse.Namespace) -> bool:
    return os.path.lexists(options.config) and not options.force


def _first_admin(path: str) -> tuple[Config, _Made]:
    config = read_config(path)
    terminal.say(f"{path} is there and good, and stays as it is. --force asks for everything anew.")
    with admins(config) as people:
        made = _admin(people, config)
    return config, made


def _everything(options: argparse.Namespace) -> tuple[Config, _Made]:
    terminal.say("SafeIP is set up in a few questions. Enter takes what stands in brackets.")
    terminal.say("Ctrl-C leaves at any question; nothing is written before the last one is answered.")
    answers = Answers("", 0, state_dir=options.state_dir, runtime_dir=options.runtime_dir)
    ask_configuration(answers, _own_ports(options.config))
    text = render(answers)
    config = parse_config(text, options.config)
    if found := refusals(config):
        raise _RefusedError(found)
    with draft(options.config, text.encode()) as written, admins(config) as people:
        made = _admin(people, config)
        if any(service.existing == "keep" for service in config.policy.services.values()):
            rules.know_connections(config.policy)
        copy = written.put(replace=options.force)
    terminal.say()
    terminal.say(f"Written: {options.config}" + (f"; as it was: {copy}" if copy else ""))
    return config, made


def _own_ports(path: str) -> set[int]:
    """Where the portal listens by the configuration that is there, if one is and can be read."""
    with contextlib.suppress(ConfigError):
        return {listen.port for listen in read_config(path).settings.listens}
    return set()


def _admin(people: Admins, config: Config) -> _Made:
    terminal.say()
    if there := people.active():
        terminal.say(f"There is an admin already: {', '.join(there)}. 'safeip person add NAME --admin' makes another.")
        return None
    terminal.say("The first admin signs in at the portal with a password and the codes of an app on the phone.")
    return make_admin(people, config, _suggestion())


def _suggestion() -> str:
    """The account behind sudo, if a person may be called so."""
    with contextlib.suppress(BadInput):
        return check_name(os.environ.get("SUDO_USER"))
    return "admin"


def _finish(config: Config, options: argparse.Namespace, made: _Made, *, changed: bool) -> int:
    """All is written: certify and start what is installed, and tell what comes next; the exit code."""
    if made:
        enrol.show_recovery_codes(made[1])
    why = ""
    try:
        certified = setup_certificate.offer(config, options)
        changed, config = changed or certified is not config, certified
    except (NotObtainedError, OSError) as error:
        why = str(error)
    runs, failed = False, None
    found = setup_start.offered(config)
    if found is not None:
        try:
            runs = setup_start.offer(found, changed=changed)
        except setup_start.StartFailedError as error:
            failed = error
    terminal.say()
    if failed is not None:
        for line in failed.lines:
            terminal.say(line)
        terminal.say()
    by_hand = f"{Path(sys.argv[0]).absolute()} --config {Path(config.path).absolute()} run"
    _tell(config, made, "" if runs else by_hand if found is None else found.command, why)
    return 0 if failed is None else 1


def _tell(config: Config, made: _Made, start: str, why: str) -> None:
    """What comes next; `start` is the command that starts the daemon, empty where it runs; `why` there is no certificate."""
    settings = config.settings
    ports = ", ".join(sorted({f"tcp/{listen.port}" for listen in settings.listens}))
    closed = ", ".join(port for service in settings.services.values() for port in service.ports)
    steps = [
        [f"Where a router stands between this host and the Internet, forward {ports} to this host."],
        [f"Sign in{f' as {made[0]}' if made else ''}:  {settings.url}/sign-in"],
        [f"Let somebody in:  safeip link add Mamie --service {next(iter(settings.services))}"],
    ]
    if settings.tls == "auto":
        steps[1].append("The browser warns, because the certificate is self-signed until you name one under portal.tls.")
        steps[1] += [output.clean(why)] if why else []
    since = "From then on these are" if start else "These are"
    state = [f"{since} closed to everybody but trusted networks and those whom you let in:", closed]
    if start:
        steps.insert(0, [f"Start it:  {start}", *state])
    else:
        for line in state:
            terminal.say(line)
        terminal.say()
    terminal.say("What comes next:")
    for number, (first, *more) in enumerate(steps, 1):
        terminal.say(f"  {number}. {first}")
        for line in more:
            terminal.say(f"     {line}")


def _fail(*lines: str) -> int:
    for line in lines:
        print(f"safeip: {line}", file=sys.stderr)
    return 1
