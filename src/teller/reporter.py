"""Sends reports to AbuseIPDB, in a child."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network

from access import journal
from teller import abuse_child, child
from teller.clean import clean
from teller.granted import Granted
from teller.reports import Book, Report, Reports
from teller.secret_file import BadSecret, lines_of
from teller.settings import AbuseIpdb

_KILLED_S = abuse_child.WITHIN_S
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60, 3600


class Reporter:
    """`reports` decides; here they are sent, or with dry_run told in the log."""

    def __init__(
        self, settings: AbuseIpdb, trusted: Iterable[IPv4Network | IPv6Network], granted: Granted, book: Book, log: journal.Log
    ) -> None:
        self._settings = settings
        self._log = log
        self._book = book
        self._failures = 0
        self.reports = Reports(settings, trusted, granted, book)

    def send(self, reports: list[Report], now: int, stopped: Callable[[], bool]) -> None:
        """Try each. What the service surely has not is tried again."""
        if self._settings.dry_run:
            for report in reports:
                self._log(f"would report {told(report)}", journal.INFO)
                self.reports.settle(report, "taken")
            return
        try:
            keys = lines_of(self._settings.key_file or "")
        except BadSecret as error:
            self._log(f"nobody is reported: {error}")
            self._pause(now, _LONGEST_WAIT_S)
            self.forget(reports)
            return
        job = {"url": self._settings.url, "key": keys[0], "reports": [asdict(report) for report in reports]}
        said = {answer.get("report"): answer for answer in child.run("teller.abuse_child", job, _KILLED_S, stopped)}
        last = max((place for place in said if isinstance(place, int)), default=-1)
        for place, report in enumerate(reports):
            answer = said.get(place)
            if answer is not None:
                self._take(report, answer, now)
            elif place == last + 1 and not self._paused(now):  # the child was killed over it
                self._log(f"AbuseIPDB did not answer about {report.ip}")
                self._pause(now, self._backoff())
                self.reports.settle(report, None)
            else:
                self.reports.settle(report, "pause")

    def forget(self, reports: Iterable[Report]) -> None:
        """They were not sent."""
        for report in reports:
            self.reports.settle(report, "pause")

    def _take(self, report: Report, answer: dict[str, object], now: int) -> None:
        verdict, detail = answer.get("verdict"), clean(answer.get("detail"))
        match verdict:
            case "taken" | "known":
                self._failures = 0
                self._log(f"reported {told(report)}" if verdict == "taken" else f"{report.ip} is reported already", journal.INFO)
                self.reports.settle(report, "taken")
            case "refused":
                self._log(f"AbuseIPDB refuses the report of {report.ip}: {detail}")
                self.reports.settle(report, "refused")
            case _:
                pause_s = answer.get("pause_s")
                wait_s = pause_s if isinstance(pause_s, int) else self._backoff()
                self._log(f"AbuseIPDB takes no reports ({detail}); tried again in {wait_s} s")
                self._pause(now, wait_s)
                self.reports.settle(report, "key" if verdict == "key" else "pause")

    def _backoff(self) -> int:
        self._failures += 1
        return min(_FIRST_WAIT_S << (self._failures - 1), _LONGEST_WAIT_S)

    def _pause(self, now: int, wait_s: int) -> None:
        self._book.not_before = now + wait_s

    def _paused(self, now: int) -> bool:
        return self._book.not_before > now


def told(report: Report) -> str:
    """A report in a line."""
    return f"{report.ip} (categories {report.categories}, {report.timestamp}): {report.comment}"
