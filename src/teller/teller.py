"""The teller: reads what happened, sends messages and reports, and remembers how far it is."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from access import journal
from access.files import NotSaved
from access.moment import Clock
from teller import granted
from teller import state as states
from teller.clean import clean
from teller.cursor import moment
from teller.follower import Follower
from teller.granted import Granted
from teller.happenings import happened, merged
from teller.known import Known
from teller.limits import Limits
from teller.outbox import Outbox
from teller.postman import Postman
from teller.reporter import Reporter
from teller.settings import TellerSettings
from teller.source import Json, Silent, Source
from teller.words import Words

MOST_READ = 10_000
"""Entries that the daemon gives at once."""

_USUALLY_READ = 200
_SETTLE_S = 2.0  # what belongs together, such as both families of a visitor, comes within that
_LOOK_S = 300
_AGAIN_S = 30
_HELD = ("granted", "link-opened", "prolonged", "moved", "undone", "foreign-grant", "grant-expired", "revoked")


@dataclass(frozen=True, slots=True)
class House:
    """Where the teller is at home: a directory of its own, and the networks that are trusted."""

    directory: str
    trusted: tuple[IPv4Network | IPv6Network, ...]


class Teller:
    """What is not on the disk is not sent: after a power cut, or while the disk is full, nothing is told twice.

    `stop` ends run() from a signal's handler; children end with it.
    """

    def __init__(
        self, settings: TellerSettings, house: House, source: Source, words: Words, log: journal.Log, *, clock: Clock = time.time
    ) -> None:
        """Read the state. Raises StateError."""
        self._settings = settings
        self._source = source
        self._words = words
        self._log = log
        self._clock = clock
        self._path = f"{house.directory}/{states.FILE}"
        self._state = states.load(self._path)
        self._known = Known(self._state.addresses)
        self._limits = Limits(settings.notifications.at_most, self._state.told, self._state.beyond)
        self._outbox = Outbox(self._state.messages)
        self._granted = Granted(f"{house.directory}/{granted.FILE}")
        self._reporter = Reporter(settings.abuseipdb, house.trusted, self._granted, self._state.book, log)
        self._postman = Postman(settings.notifications.urls_file, log)
        self._bell = threading.Event()
        self._stopped = False
        self._dirty = False
        self._full = False
        self._again_at = 0.0
        self._look_at = 0.0
        if unsure := self._outbox.begin():
            log(f"{unsure} messages may have been sent or not when this ended the last time; they are not sent again")

    def stop(self) -> None:
        """End run(), in a second or two."""
        self._stopped = True
        self._bell.set()

    def run(self) -> None:
        """Until stop()."""
        follower = Follower(self._source, self._bell, self._log)
        follower.start()
        self._bell.set()
        while not self._stopped:
            rung = self._bell.wait(self._wait_s())
            if rung and not self._stopped:
                time.sleep(_SETTLE_S)
            self._bell.clear()
            if not self._stopped:
                self.step(rung=rung)
        follower.end()
        self._save()

    def step(self, *, rung: bool) -> None:
        """Read what is new, where something rang; send what is due."""
        now = int(self._clock())
        if rung or self._again_at:
            self._again_at = 0.0
            try:
                self._read(now)
            except Silent as error:
                self._log(f"the history could not be read: {error}")
                self._again_at = self._clock() + _AGAIN_S
        if beyond := self._limits.summary(now):
            self._outbox.add(self._words.summary(beyond, now))
            self._dirty = True
        self._send(now)
        # outside of these five minutes: it is time, or the clock was set back
        ready = self._settings.abuseipdb.key_file is not None and self._state.cursor.begun and not self._again_at
        if ready and not self._look_at - _LOOK_S <= now < self._look_at:
            self._look_at = now + _LOOK_S
            with suppress(Silent):  # the follower has said so
                self._report(now)
        self._save()

    # reading

    def _read(self, now: int) -> None:
        cursor = self._state.cursor
        entries = self._source.history(_USUALLY_READ if cursor.begun else MOST_READ)
        if not cursor.begun:
            self._begin(entries, now)
            return
        if not cursor.found(entries):
            entries = self._source.history(MOST_READ)
            if cursor.tail and entries and not cursor.found(entries):
                self._granted.begin(moment(entries[0]))  # what was between is lost
        new = cursor.new(entries)
        self._take(new, now, tell=True)
        cursor.move(new)

    def _begin(self, entries: list[Json], now: int) -> None:
        """What was before is known and not told."""
        self._take(entries, now, tell=False)
        self._state.cursor.begin(entries, now)
        self._dirty = True
        # fewer are all that there ever were
        self._granted.begin(moment(entries[0]) if len(entries) >= MOST_READ else 0)

    def _take(self, entries: list[Json], now: int, *, tell: bool) -> None:
        happenings = []
        for entry in entries:
            if address := once_held(entry):
                self._granted.held_once(address, now)
            one = happened(entry, self._known)
            if tell:
                self._reporter.reports.banned(entry)
                happenings += [one] if one is not None and one.kind in self._settings.notifications.events else []
        self._dirty |= bool(entries)
        if self._settings.notifications.urls_file is None:
            return
        for one in merged(happenings):
            if self._limits.takes(one.kind, now):
                self._outbox.add(self._words.message(one, now))

    # sending

    def _send(self, now: int) -> None:
        if lost := self._outbox.tidy(now):
            self._log(f"{lost} messages could not be sent within a day and are given up")
            self._dirty = True
        due_at = self._outbox.due_at()
        if due_at is None or due_at > now:
            return
        urls = self._postman.urls()
        tried = self._outbox.due(urls, now) if urls else []
        if not tried:
            return
        for message, _ in tried:
            message.sending = True
        self._dirty = True
        if not self._save():
            for message, _ in tried:
                message.sending = False
            return
        taken = self._postman.send(urls, tried, lambda: self._stopped)
        self._outbox.settle(tried, taken, int(self._clock()))
        self._dirty = True

    def _report(self, now: int) -> None:
        self._granted.held_now((grant["address"] for grant in self._source.grants()), now)
        knocks = self._source.blocked() if self._settings.abuseipdb.scans else []
        reports = self._reporter.reports.due(knocks, now)
        if not reports:
            return
        self._reporter.reports.sending(reports, now)
        self._dirty = True
        if self._save():
            self._reporter.send(reports, now, lambda: self._stopped)
            self._dirty = True
        else:
            self._reporter.forget(reports)

    # the disk and the clock

    def _save(self) -> bool:
        """Whether the disk has what is known now."""
        try:
            self._granted.save()  # first: what is remembered of reports must not be newer
            if self._dirty:
                self._state.messages = self._outbox.messages
                states.save(self._path, self._state)
                self._dirty = False
        except NotSaved as error:
            if not self._full:
                self._log(f"{error}; nothing is sent until it can be")
            self._full = True
            return False
        self._full = False
        return True

    def _wait_s(self) -> float | None:
        """Until something is due; None: until it rings."""
        moments = [self._limits.due_at(), self._outbox.due_at(), self._again_at or None]
        moments += [self._look_at] if self._settings.abuseipdb.key_file is not None else []
        due = min((moment for moment in moments if moment is not None), default=None)
        if due is None and not self._full:
            return None
        wait_s = _AGAIN_S if due is None or self._full else due - self._clock()
        return min(wait_s if wait_s > 0 else _AGAIN_S, float(_LOOK_S))  # what was due was tried just now


def once_held(entry: Json) -> str | None:
    """The address that held a grant, as an entry tells."""
    address = entry.get("address")
    return clean(address) if entry.get("event") in _HELD and entry.get("outcome") == "allowed" and isinstance(address, str) else None
