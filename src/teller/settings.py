"""What the teller needs of the configuration. Light: `safeip.config` fills these types in the gate's process too."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, get_args

Event = Literal["first-use", "new-address", "ban", "repair", "backup-failed"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What can be told: a link's first use, an address new to a holder, a ban, the table put back, a backup that failed."""

REPORT_URL = "https://api.abuseipdb.com/api/v2/report"


@dataclass(frozen=True, slots=True)
class Notifications:
    """`urls_file` names the file of apprise's URLs; None: nothing is told. `at_most`: messages an hour."""

    urls_file: str | None = None
    events: tuple[Event, ...] = EVENTS
    at_most: int = 20
    language: str = "en"


@dataclass(frozen=True, slots=True)
class AbuseIpdb:
    """`key_file` names the file of the API's key; None: nobody is reported.

    Bans are reported. With `scans` an address that was blocked at `ports` TCP ports is, too; again after `quiet_s` at the earliest; `daily` reports
    in a day of UTC; those in `allow` never. With `dry_run` the log tells what would be sent.
    """

    key_file: str | None = None
    url: str = REPORT_URL
    scans: bool = False
    ports: int = 5
    quiet_s: int = 900
    daily: int = 1000
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class TellerSettings:
    """Both parts."""

    notifications: Notifications = Notifications()
    abuseipdb: AbuseIpdb = AbuseIpdb()

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return self.notifications.urls_file is not None or self.abuseipdb.key_file is not None
