"""Who is reported to AbuseIPDB, for what, and when not."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network
from typing import Literal

from access.moment import moment_text
from teller.abuse_answers import Verdict
from teller.cursor import moment
from teller.granted import Granted
from teller.settings import AbuseIpdb
from teller.source import Json

PORT_SCAN, BRUTE_FORCE, WEB_ATTACK = "14", "18", "21"  # https://www.abuseipdb.com/categories
_OF_GUARD = {"sign-in": BRUTE_FORCE, "pin": BRUTE_FORCE, "token": BRUTE_FORCE, "link": WEB_ATTACK, "invitation": WEB_ATTACK, "ask": WEB_ATTACK}
_DAY_S = 86_400
_BATCH = 20
_NOT_INTERNET = tuple(  # RFC 6890 and 5771: what no stranger on the Internet has
    IPv4Network(text)
    for text in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
                 "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
)  # fmt: skip

Reason = Literal["ipv6", "not-internet", "own", "trusted", "allowed", "granted", "quiet", "ceiling"]


@dataclass(frozen=True, slots=True)
class Report:
    """What is sent, in the API's words."""

    ip: str
    categories: str
    comment: str
    timestamp: str


@dataclass(slots=True)
class Book:
    """What is kept of reports: moments in seconds since 1970.

    `reported`: when an address was reported last, or found to be none to report. `bans` wait, each with its category. `count` reports
    were sent on the `day`, counted in UTC since 1970. Nothing is sent before `not_before`.
    """

    reported: dict[str, int] = field(default_factory=dict)
    bans: dict[str, tuple[int, str]] = field(default_factory=dict)
    day: int = 0
    count: int = 0
    not_before: int = 0


class Reports:
    """Decides.

    Knows IPv4 alone: of IPv6 SafeIP knows a prefix, and the service takes hosts. Of bans SafeIP's own alone: one that a hand
    made says nothing about what was done. Who is banned had completed a TCP handshake, as the service's policy demands.
    Who is blocked had not: the first packet was dropped, and anybody forges its sender. So scans count only where the owner
    wants them, and of them TCP alone, since the policy takes no UDP at all.
    """

    def __init__(self, settings: AbuseIpdb, trusted: Iterable[IPv4Network | IPv6Network], granted: Granted, book: Book) -> None:
        self._settings = settings
        self._trusted = tuple(trusted)
        self._granted = granted
        self.book = book
        self._undo: dict[str, tuple[int | None, tuple[int, str] | None]] = {}

    def banned(self, entry: Json) -> None:
        """Take down a ban, out of the history."""
        category, address = _OF_GUARD.get(str(entry.get("reason"))), str(entry.get("address"))
        ours = entry.get("event") == "banned" and entry.get("outcome") == "allowed" and entry.get("by") == "safeip"
        if ours and category and ":" not in address:
            self.book.bans[address] = (moment(entry), category)

    def why_not(self, address: str, now: int) -> Reason | None:
        """What keeps an address from being reported now. In doubt, something does."""
        try:
            host = IPv4Address(address)
        except AddressValueError:
            return "ipv6"
        return next((reason for reason, holds in self._reasons(host, now) if holds), None)

    def _reasons(self, host: IPv4Address, now: int) -> Iterator[tuple[Reason, bool]]:
        yield "not-internet", _within(host, _NOT_INTERNET)
        yield "trusted", _within(host, self._trusted)
        yield "allowed", _within(host, self._settings.allow)
        yield "own", _own(str(host))
        yield "granted", self._granted.may_have_held(str(host), now)
        yield "quiet", abs(now - self.book.reported.get(str(host), -_DAY_S)) < self._settings.quiet_s
        yield "ceiling", self._left(now) < 1

    def due(self, knocks: Iterable[Json], now: int) -> list[Report]:
        """The reports of this moment: at most 20, and no more than the day has left."""
        if now < self.book.not_before <= now + 3 * _DAY_S:
            return []
        found = self._hits(knocks, now)
        reports: list[Report] = []
        for address in sorted({*found, *self.book.bans}):
            if len(reports) < min(_BATCH, self._left(now)) and self.why_not(address, now) is None:
                reports.append(self._report(address, found.get(address, {}), self.book.bans.get(address)))
        return reports

    def candidates(self, knocks: Iterable[Json], now: int) -> list[str]:
        """The addresses that did enough for a report, whether or not something keeps them from it."""
        return sorted({*self._hits(knocks, now), *self.book.bans})

    def _hits(self, knocks: Iterable[Json], now: int) -> dict[str, dict[int, int]]:
        """Of each address that knocked at enough ports since its last report: by port, when last."""
        self._tidy(now)
        hits: dict[str, dict[int, int]] = {}
        for knock in knocks if self._settings.scans else ():
            address, at = str(knock.get("address")), _last(knock)
            if knock.get("protocol") == "tcp" and at > self.book.reported.get(address, 0):
                hits.setdefault(address, {})[int(knock["port"])] = at
        return {address: ports for address, ports in hits.items() if len(ports) >= self._settings.ports}

    def sending(self, reports: Iterable[Report], now: int) -> None:
        """They count as sent from here on, whatever comes of it."""
        for report in reports:
            self._undo[report.ip] = (self.book.reported.get(report.ip), self.book.bans.pop(report.ip, None))
            self.book.reported[report.ip] = now
            self.book.count += 1

    def settle(self, report: Report, verdict: Verdict | None) -> None:
        """What came of one; None: nobody knows, so that it counts. One that the service surely has not may be sent again."""
        before, ban = self._undo.pop(report.ip, (None, None))
        if verdict not in {"pause", "key"}:
            return
        self.book.count -= 1
        if before is None:
            del self.book.reported[report.ip]
        else:
            self.book.reported[report.ip] = before
        if ban is not None:
            self.book.bans.setdefault(report.ip, ban)

    def _report(self, address: str, hits: dict[int, int], ban: tuple[int, str] | None) -> Report:
        """The comment says nothing of this house: not which ports, nor what was guessed."""
        categories, said, moments = [], [], [*hits.values()]
        if hits:
            categories.append(PORT_SCAN)
            said.append(f"blocked at {len(hits)} TCP ports that are closed to strangers")
        if ban is not None:
            moments.append(ban[0])
            categories.append(ban[1])
            said.append("banned after guessing at a sign-in" if ban[1] == BRUTE_FORCE else "banned after guessing secret web addresses")
        return Report(address, ",".join(categories), f"SafeIP: {'; '.join(said)}", moment_text(max(moments)).replace("Z", "+00:00"))

    def _left(self, now: int) -> int:
        return self._settings.daily - (self.book.count if self.book.day == now // _DAY_S else 0)

    def _tidy(self, now: int) -> None:
        book = self.book
        if book.day != now // _DAY_S:
            book.day, book.count = now // _DAY_S, 0
        book.reported = {address: at for address, at in book.reported.items() if abs(now - at) < 2 * _DAY_S}
        book.bans = {address: ban for address, ban in book.bans.items() if abs(now - ban[0]) < _DAY_S}


def _last(knock: Json) -> int:
    return moment({"at": knock.get("last_at")})


def _within(host: IPv4Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(host in network for network in networks if isinstance(network, IPv4Network))


def _own(address: str) -> bool:
    """Whether it is one of this host's: a home that calls its own address from within."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
