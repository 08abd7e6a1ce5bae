"""Sends messages through apprise, in a child."""

from collections.abc import Callable

from teller import apprise_child, child
from teller.outbox import Message, mark
from teller.secret_file import BadSecret, lines_of

_KILLED_S = apprise_child.WITHIN_S + 5


class Postman:
    """Knows the file of the notification URLs. The log gets a line when something changes, never a URL."""

    def __init__(self, urls_file: str | None, log: Callable[[str], None]) -> None:
        self._urls_file = urls_file
        self._log = log
        self._said = ""
        self.wrong: set[str] = set()
        """The marks of the URLs that apprise did not know the last time."""
        self.missing = False
        """Whether there was no apprise the last time."""

    def urls(self) -> list[str]:
        """What the file holds now; nothing where it is no good."""
        if self._urls_file is None:
            return []
        try:
            return lines_of(self._urls_file)
        except BadSecret as error:
            self._say(str(error))
            return []

    def send(self, urls: list[str], tried: list[tuple[Message, list[str]]], stopped: Callable[[], bool]) -> set[tuple[int, str]]:
        """Try each message; which of them (place, mark) were sent."""
        by_mark = {mark(url): url for url in urls}
        job = {
            "urls": {one: by_mark[one] for one in sorted({one for _, to in tried for one in to})},
            "messages": [{"title": message.title, "body": message.body, "warning": message.warning, "to": to} for message, to in tried],
        }
        said = child.run("teller.apprise_child", job, _KILLED_S, stopped)
        self.missing = any("missing" in answer for answer in said)
        if self.missing:
            self._say("messages wait: apprise is not there (apt install apprise)")
            return set()
        taken = {(answer["message"], answer["to"]) for answer in said if answer.get("sent") is True}
        self.wrong = {str(answer["wrong"]) for answer in said if "wrong" in answer}
        places = list(by_mark)
        failed = sorted({places.index(one) + 1 for at, (_, to) in enumerate(tried) for one in to if (at, one) not in taken})
        names = ", ".join(f"{number} ({'not one that apprise knows' if places[number - 1] in self.wrong else 'not reached'})" for number in failed)
        self._say(f"messages wait: notification URL {names}; tried again later" if failed else "")
        return taken

    def _say(self, line: str) -> None:
        if line and line != self._said:
            self._log(line)
        self._said = line
