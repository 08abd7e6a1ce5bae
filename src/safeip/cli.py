"""The command line: takes a verb, does it or asks the daemon to, and says in one line what went wrong.

The gate's process starts here and keeps what is imported here, so that each verb imports what it needs.
"""

import argparse
import os
import sys

from access import journal
from safeip.arguments import parse
from safeip.problem import ConfigError

_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments (those of the process) say; the exit code.

    `run` and `tell` end with EX_CONFIG (sysexits.h, 78) for a configuration that is no good, and with codes of their own.
    """
    options = parse(arguments)
    try:
        match options.verb:
            case "setup":
                code = _setup(options)
            case "run":
                code = _run(options.config)
            case "check":
                code = _check(options.config, reload=options.reload)
            case "down":
                code = _down(options.config)
            case "backup" | "restore":
                code = _keep(options)
            case _:
                code = _ask(options)
        sys.stdout.flush()
    except ConfigError as error:
        for line in str(error).split("\n"):
            complain(line)
        return os.EX_CONFIG if options.verb in {"run", "tell"} else 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def complain(message: str) -> None:
    """One line to standard error."""
    journal.say(message)


def _setup(options: argparse.Namespace) -> int:
    from safeip import setup  # noqa: PLC0415 (brings all of access)

    return setup.run(options)


def _run(path: str) -> int:
    from safeip import daemon  # noqa: PLC0415 (the other verbs do without)
    from safeip.config import read_config  # noqa: PLC0415 (the same)

    return daemon.run(read_config(path))


def _down(path: str) -> int:
    from safeip import daemon  # noqa: PLC0415 (the other verbs do without)
    from safeip.config import read_config  # noqa: PLC0415 (the same)

    return daemon.down(read_config(path))


def _keep(options: argparse.Namespace) -> int:
    from safeip import backup  # noqa: PLC0415 (brings all of access)

    try:
        if options.verb == "backup":
            backup.backup(options.config, options.file)
        else:
            for sentence in backup.restore(options.config, options.file):
                print(sentence)
    except backup.BackupError as error:
        complain(str(error))
        return 1
    return 0


def _ask(options: argparse.Namespace) -> int:
    if options.verb == "tell":
        from safeip import tell  # noqa: PLC0415 (not for the gate: it brings http.client)

        return tell.do(options)
    from safeip import client  # noqa: PLC0415 (the same)

    return client.do(options)


def _check(path: str, *, reload: bool) -> int:
    from safeip import double_nat  # noqa: PLC0415 (the same)
    from safeip.check import ending, refusals  # noqa: PLC0415 (the other verbs do without)
    from safeip.config import read_config  # noqa: PLC0415 (the same)
    from safeip.warnings import warnings  # noqa: PLC0415 (the same)

    config = read_config(path)
    if reload:
        from safeip.started import refused  # noqa: PLC0415 (the same)

        if problems := refused(config):
            raise ConfigError(problems)
    for warning in [*warnings(config), *double_nat.found(config), *ending(config)]:
        print(f"warning: {warning}")
    found = refusals(config)
    for refusal in found:
        complain(refusal)
    if found:
        return 1
    count = len(config.policy.services)
    print(f"{path} is good: {count} service{'s' if count > 1 else ''}, and the kernel takes the ruleset")
    return 0
