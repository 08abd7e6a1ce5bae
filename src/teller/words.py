"""What messages say."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from teller.happenings import Happening
from teller.outbox import Message
from teller.settings import Event

_LATE_S = 600


class Language(Protocol):
    """A catalogue of texts."""

    def gettext(self, message: str) -> str:
        """The text for `message`."""

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        """The text for `number` of something."""


@dataclass(frozen=True, slots=True)
class Words:
    """Makes messages in a language. `house` is the portal's host name."""

    language: Language
    house: str

    def message(self, happening: Happening, now: int) -> Message:
        """The message of one thing. What is told late says when it was, in local time."""
        body = self._said(happening)
        if now - happening.at > _LATE_S:
            body = f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(happening.at))}: {body}"
        return Message(self._title(), body, happening.kind in {"ban", "repair", "backup-failed"}, now)

    def summary(self, beyond: Mapping[Event, int], now: int) -> Message:
        """The message of what was not told one by one."""
        counts = "; ".join(self._count(kind, number) for kind, number in beyond.items())
        text = self.language.gettext("More happened than is told one by one: %(counts)s.")
        return Message(self._title(), text % {"counts": counts}, warning=True, at=now)

    def trial(self, now: int) -> Message:
        """The message of `safeip tell --try`."""
        return Message(self._title(), self.language.gettext("This is a trial: messages of SafeIP arrive here."), warning=False, at=now)

    def _title(self) -> str:
        return f"SafeIP, {self.house}"

    def _said(self, it: Happening) -> str:
        gettext = self.language.gettext
        kind, _, name = it.holder.partition(":")
        values = {"name": it.label or name, "addresses": ", ".join(it.addresses), "services": ", ".join(it.services), "by": it.by, "reason": it.reason.rstrip(".")}
        if it.kind == "first-use":
            text = gettext("The link of %(name)s was opened for the first time, from %(addresses)s: %(services)s.")
        elif it.kind == "new-address" and kind == "link":
            text = gettext("The link of %(name)s was opened from an address that is new to it, %(addresses)s: %(services)s.")
        elif it.kind == "new-address":
            values["name"] = name
            text = gettext("%(name)s opened for an address that is new to them, %(addresses)s: %(services)s.")
        elif it.kind == "ban" and it.by == "safeip":
            text = gettext("%(addresses)s failed too often at signing in, or guessed, and is banned for a while.")
        elif it.kind == "ban":
            text = gettext("%(addresses)s was banned by %(by)s.")
        elif it.kind == "backup-failed":
            text = gettext("A backup failed: %(reason)s.")
        else:
            text = gettext("Another program had taken the rules of SafeIP out of the kernel; they are back.")
        return text % values

    def _count(self, kind: Event, number: int) -> str:
        ngettext = self.language.ngettext
        text = {
            "first-use": lambda: ngettext("%(num)d first use of a link", "%(num)d first uses of links", number),
            "new-address": lambda: ngettext("%(num)d new address", "%(num)d new addresses", number),
            "ban": lambda: ngettext("%(num)d ban", "%(num)d bans", number),
            "repair": lambda: ngettext("%(num)d time rules put back", "%(num)d times rules put back", number),
            "backup-failed": lambda: ngettext("%(num)d failed backup", "%(num)d failed backups", number),
        }[kind]()
        return text % {"num": number}
