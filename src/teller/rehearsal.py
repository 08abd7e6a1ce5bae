"""What the teller would send, without sending or keeping anything."""

from collections.abc import Iterator
from copy import deepcopy

from teller import granted, state
from teller.cursor import moment
from teller.granted import Granted
from teller.happenings import happened, merged
from teller.known import Known
from teller.limits import Limits
from teller.reporter import told
from teller.reports import Reports
from teller.settings import TellerSettings
from teller.source import Json, Source
from teller.teller import MOST_READ, House, once_held
from teller.words import Words

_DAY_S = 86_400
_WHY_NOT = {
    "ipv6": "is a prefix, no host", "not-internet": "is not an Internet address", "own": "is this host's own", "trusted": "is trusted",
    "allowed": "is in abuseipdb.allow", "granted": "held a grant in the last 30 days, or may have", "quiet": "was reported just now",
    "ceiling": "is beyond the day's ceiling",
}  # fmt: skip


def rehearse(settings: TellerSettings, house: House, source: Source, words: Words, now: int) -> Iterator[str]:
    """Lines: the messages for what happened in the last day, as if it happened now, and who would be reported now, or why not.

    Raises Silent, and StateError.
    """
    entries = source.history(MOST_READ)
    recent = [entry for entry in entries if now - moment(entry) < _DAY_S]
    if settings.notifications.urls_file is not None:
        yield from _messages(settings, entries, recent, words, now)
    if settings.abuseipdb.key_file is not None:
        yield from _reports(settings, house, source, entries, now)


def _messages(settings: TellerSettings, entries: list[Json], recent: list[Json], words: Words, now: int) -> Iterator[str]:
    known, limits = Known({}), Limits(settings.notifications.at_most, [], {})
    for entry in entries[: len(entries) - len(recent)]:
        happened(entry, known)
    for one in merged(one for entry in recent if (one := happened(entry, known)) and one.kind in settings.notifications.events):
        if limits.takes(one.kind, now):
            yield f"message: {words.message(one, now).body}"
    if limits.beyond:
        yield f"message, within the hour: {words.summary(limits.beyond, now).body}"


def _reports(settings: TellerSettings, house: House, source: Source, entries: list[Json], now: int) -> Iterator[str]:
    known = Granted(f"{house.directory}/{granted.FILE}")
    if known.since is None:
        known.begin(moment(entries[0]) if len(entries) >= MOST_READ else 0)
    for entry in entries:
        if address := once_held(entry):
            known.held_once(address, moment(entry))
    known.held_now((grant["address"] for grant in source.grants()), now)
    book = deepcopy(state.load(f"{house.directory}/{state.FILE}").book)
    reports = Reports(settings.abuseipdb, house.trusted, known, book)
    for entry in entries:
        if moment(entry) > book.reported.get(str(entry.get("address")), 0):
            reports.banned(entry)
    knocks = source.blocked() if settings.abuseipdb.scans else []
    for address in reports.candidates(knocks, now):
        if why := reports.why_not(address, now):
            yield f"no report: {address} {_WHY_NOT[why]}"
    for report in reports.due(knocks, now):
        yield f"report: {told(report)}"
