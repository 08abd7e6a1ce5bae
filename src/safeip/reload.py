"""SIGHUP: the configuration is read again, and what can change while the daemon runs is changed, or nothing is."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any

from access import journal
from access.files import NotSaved
from nft.gate import Gate
from nft.policy import Policy
from nft.serve import Server
from nft.sets import KernelError
from portal.settings import Settings
from safeip.closed import Closed
from safeip.config import Config, read_config
from safeip.output import plural
from safeip.problem import ConfigError, Problem
from safeip.systemd import Systemd
from safeip.warnings import warnings

_PART = 32 * 1024  # bytes of JSON in one event; a line of the wire holds twice as many

# The rest needs a restart. What a change of one of them would mean elsewhere is found by its dotted path in the file.
_LIVE_SETTINGS = frozenset({"services", "trusted_networks"})
_LIVE_POLICY = frozenset({"services", "trusted", "max_grants"})
_ELSEWHERE = frozenset({"state_dir", "ipv6_prefix", "portal_ports", "portal_proxies", "wan"})  # told by another key of the file


class Reload:
    """The reloads of one daemon, one at a time.

    File and disk are waited for in a thread, so that no grant waits for them; kernel and portal are told from the
    gate's loop, which calls `go_on` when `fileno` becomes readable.
    """

    def __init__(self, config: Config, gate: Gate, server: Server, closed: Closed, systemd: Systemd) -> None:
        self._config = config
        self._gate = gate
        self._server = server
        self._closed = closed
        self._systemd = systemd
        self.certificate_is_old = False
        """What the portal tells: newer certificate files are not taken up."""
        self._wanted = self._failed = self.is_open = False
        self._reading: threading.Thread | None = None
        self._read: Config | Exception | None = None
        self._told: list[str] = []
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor that becomes readable when `go_on` has something to do."""
        return self._done

    def open(self) -> None:
        """Portal and gate both answer: from now on `ask` is heard, and if it was called before, now."""
        self.is_open = True
        self._systemd.ready(self.status())
        self._begin()

    def status(self) -> str:
        """How the daemon is, in the line that `systemctl status` shows."""
        told = [f"keeps {plural(len(self._config.policy.services), 'service')} closed, {plural(self._gate.grants, 'grant')}"]
        if self._failed:
            told.append("the last reload changed nothing, see the log")
        if self.certificate_is_old:
            told.append("newer certificate files are not taken up, see safeip status")
        if self._gate.unrecorded is not None:
            told.append(self._gate.unrecorded)
        return "; ".join(told)

    def ask(self) -> None:
        """Reload, after the one that is under way."""
        self._wanted = True
        self._begin()

    def go_on(self) -> None:
        """The file has been read: change what it says, or tell what is wrong with it; not before the gate is through with the last."""
        if not self._gate.settled:
            return  # and again after its next slice: the descriptor stays readable
        os.eventfd_read(self._done)
        self._join()
        read, self._read = self._read, None
        self._failed = True
        if isinstance(read, Config):
            self._failed = not self._change(read)
        elif isinstance(read, KernelError):
            self._refused(read)
        elif isinstance(read, ConfigError | NotSaved):
            for line in str(read).splitlines():
                journal.say(line)
            journal.say("not reloaded: nothing was changed")
        elif read is not None:
            raise read
        self._systemd.ready(self.status())
        self._begin()

    def close(self) -> None:
        """Wait for the thread: it ends with the file that it writes."""
        self._join()
        os.close(self._done)

    def _begin(self) -> None:
        if self._wanted and self.is_open and self._reading is None:
            self._wanted = False
            self._systemd.reloading()
            self._reading = threading.Thread(target=self._prepare)
            self._reading.start()

    def _prepare(self) -> None:
        """In the thread."""
        try:
            new = read_config(self._config.path)
            if refused := fixed(self._config, new):
                raise ConfigError(refused)  # noqa: TRY301 (the same way as every other problem of the file)
            self._gate.try_rules(new.policy)
            self._closed.write(new.policy)
            self._told = warnings(new)
            self._read = new
        except Exception as error:  # noqa: BLE001 (raised in the loop, if it is none of those that are told)
            self._read = error
        os.eventfd_write(self._done, 1)

    def _change(self, new: Config) -> bool:
        try:
            self._gate.reload(new.policy)
        except KernelError as error:
            try:
                self._closed.write(self._config.policy)
            except NotSaved as second:
                journal.say(f"{second}; it closes what {new.path} says, from the next boot on")
            self._refused(error)
            return False
        for event in events(new, self._told):
            self._server.tell(event)
        journal.say(f"reloaded {new.path}: {changes(self._config, new)}", journal.INFO)
        for warning in self._told:
            journal.say(f"warning: {warning}", journal.WARNING)
        self._config = new
        return True

    def _refused(self, error: KernelError) -> None:
        journal.say(f"not reloaded: the kernel refuses the ruleset: {error}; nothing was changed")

    def _join(self) -> None:
        if self._reading is not None:
            self._reading.join()
            self._reading = None


def fixed(old: Config, new: Config) -> list[Problem]:
    """What differs and cannot change while the daemon runs, by its dotted path in the file."""
    keys = [key for key in ("state_dir", "runtime_dir") if getattr(old, key) != getattr(new, key)]
    for section, kind, live in (("portal", Settings, _LIVE_SETTINGS), ("gate", Policy, _LIVE_POLICY)):
        before, after = (config.settings if kind is Settings else config.policy for config in (old, new))
        names = {field.name for field in fields(kind)} - live - _ELSEWHERE
        differ = [name for name in names if getattr(before, name) != getattr(after, name)]
        keys += [f"{section}.{'table' if name == 'family' else name.removesuffix('_s')}" for name in sorted(differ)]
    if old.policy.ipv6_prefix != new.policy.ipv6_prefix:
        keys.append("gate.ipv6_prefix")
    right = "systemctl restart safeip"
    return [Problem(new.path, key, "has changed, which needs a restart", right) for key in dict.fromkeys(keys)]


def changes(old: Config, new: Config) -> str:
    """In words, what differs of what can change while the daemon runs."""
    before, after = _services(old), _services(new)
    told = [f"{name} is closed from now on" for name in after if name not in before]
    told += [f"{name} is open to everybody from now on" for name in before if name not in after]
    for name, service in after.items():
        if name in before and (keys := [key for key, value in service.items() if value != before[name][key]]):
            told.append(f"{name} has other {', '.join(keys)}")
    if old.policy.trusted != new.policy.trusted:
        told.append("other trusted_networks")
    if old.policy.max_grants != new.policy.max_grants:
        told.append(f"max_grants is {new.policy.max_grants}")
    return "; ".join(told) or "it says what it said before"


def events(config: Config, warnings: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What the portal is to know, in parts that fit a line of the wire; all but the last say that there is more."""
    rows: list[tuple[str, Any]] = [("services", asdict(service)) for service in config.settings.services.values()]
    rows += [("trusted", str(network)) for network in config.settings.trusted_networks]
    rows += [("warnings", warning) for warning in warnings]
    part: dict[str, list[Any]] = {"services": [], "trusted": [], "warnings": []}
    size = 0
    for kind, row in rows:
        length = len(json.dumps(row))
        if size and size + length > _PART:
            yield {"event": "services", "more": True, **part}
            part, size = {kind: [] for kind in part}, 0
        part[kind].append(row)
        size += length
    yield {"event": "services", "more": False, **part}


def _services(config: Config) -> dict[str, dict[str, object]]:
    """Each service by its name, with its keys as the file calls them."""
    return {
        name: {
            "title": service.title,
            "ports": service.ports,
            "url": service.url,
            "default_duration": service.default_duration_s,
            "max_duration": service.max_duration_s,
            "existing": config.policy.services[name].existing,
        }
        for name, service in config.settings.services.items()
    }
