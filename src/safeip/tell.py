"""The verb `safeip tell`: the teller, a process of its own beside the daemon."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from access import journal
from access.files import InUse, StateError, lock_directory
from portal.catalogue import Catalogue, read_catalogue
from safeip import privileges
from safeip.config import Config, parse_config, read_text
from safeip.control import Control, ControlError
from safeip.directories import StartError, make_teller_directory
from safeip.output import clean, print_anywhere
from safeip.problem import ConfigError
from teller.outbox import mark
from teller.postman import Postman
from teller.rehearsal import rehearse
from teller.source import Json, Silent
from teller.teller import House, Teller
from teller.words import Words

_HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LOCALE = Path(__file__).parents[2] / "locale"


def do(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or try, or rehearse; the exit code.

    Raises ConfigError. EX_DATAERR (65) where the state is no good until somebody mends it.
    """
    print_anywhere()
    config = _read(options.config)
    if not config.teller.wanted:
        print("There is nothing to tell: neither notifications.urls_file nor abuseipdb.key_file is configured.")
        return 1 if options.trial or options.dry_run else 0
    try:
        account = privileges.teller_account()
        make_teller_directory(config, account)
        privileges.become(account)
        if options.trial:
            return _try(config)
        if options.dry_run:
            return _rehearse(config)
        return _run(options.config, config)
    except (StartError, InUse, Silent, OSError) as error:
        _log(str(error))
        return 1
    except StateError as error:
        _log(str(error))
        return os.EX_DATAERR


def _read(path: str) -> Config:
    """Without a look at certificates, which the teller may not see."""
    return parse_config(read_text(path), path)


def _run(path: str, config: Config) -> int:
    lock = lock_directory(config.teller_dir, wait_s=5.0)
    while True:
        teller = Teller(config.teller, _house(config), _Daemon(config), _words(config), _log)
        signals: list[int] = []

        def end(number: int, _frame: object, teller: Teller = teller, signals: list[int] = signals) -> None:
            signals.append(number)
            teller.stop()

        for number in _HEARD:
            signal.signal(number, end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        teller.run()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)  # what comes now waits until there is a handler again
        if set(signals) != {signal.SIGHUP}:
            return 0
        try:
            _read(path)
        except ConfigError as error:
            for line in str(error).split("\n"):
                _log(line)
            _log("goes on as before")
        else:
            os.close(lock)
            _begin_anew(path)


def _begin_anew(path: str) -> NoReturn:
    """With what the file says now: all that this process knows is on the disk."""
    program = Path(__file__).parents[2] / "bin" / "safeip"
    os.execv(sys.executable, [sys.executable, "-I", str(program), "--config", path, "tell"])  # noqa: S606 (our own program)


def _try(config: Config) -> int:
    if config.teller.notifications.urls_file is None:
        _log("notifications.urls_file is not configured")
        return 1
    said: list[str] = []
    postman = Postman(config.teller.notifications.urls_file, said.append)
    urls = postman.urls()
    if not urls:
        _log(said[-1])
        return 1
    message = _words(config).trial(int(time.time()))
    taken = postman.send(urls, [(message, [mark(url) for url in urls])], lambda: False)
    if postman.missing:
        _log(said[-1])
        return 1
    for number, url in enumerate(urls, 1):
        outcome = "sent" if (0, mark(url)) in taken else "not one that apprise knows" if mark(url) in postman.wrong else "not sent"
        print(f"notification URL {number} ({clean(url.partition(':')[0][:20])}): {outcome}")
    return 0 if len(taken) == len(urls) else 1


def _rehearse(config: Config) -> int:
    lines = list(rehearse(config.teller, _house(config), _Daemon(config), _words(config), int(time.time())))
    for line in lines or ["Nothing would be sent."]:
        print(clean(line.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")))
    return 0


def _house(config: Config) -> House:
    return House(config.teller_dir, config.settings.trusted_networks)


def _words(config: Config) -> Words:
    language = config.teller.notifications.language
    catalogue = Catalogue() if language == "en" else read_catalogue(_LOCALE / language / "LC_MESSAGES" / "safeip.po")
    return Words(catalogue, urlsplit(config.settings.url).hostname or "")


def _log(message: str, level: int = journal.ERROR) -> None:
    journal.say(clean(message), level)


class _Daemon:
    """teller.source.Source over the control socket."""

    def __init__(self, config: Config) -> None:
        self._control = Control(config.control_socket)

    def history(self, last: int) -> list[Json]:
        return self._list("/history", {"last": str(last)})

    def follow(self) -> Iterator[Json]:
        try:
            yield from self._control.follow("/history", {"last": "1", "follow": "true"})
        except ControlError as error:
            raise Silent(str(error)) from error

    def grants(self) -> list[Json]:
        return self._list("/grants", {})

    def blocked(self) -> list[Json]:
        return self._list("/blocked", {})

    def _list(self, path: str, query: dict[str, str]) -> list[Json]:
        try:
            found: Any = self._control.ask("GET", path, query=query)
        except ControlError as error:
            raise Silent(str(error)) from error
        return found if isinstance(found, list) else []
