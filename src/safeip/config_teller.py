"""The tables [notifications] and [abuseipdb] of the configuration: what the teller does."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from safeip import values
from safeip.problem import WrongValueError, shown
from safeip.section import Section
from teller.settings import EVENTS, REPORT_URL, AbuseIpdb, Event, Notifications, TellerSettings

LANGUAGES = ("en", "de", "es", "fr")
"""Those of locale/, and English."""


def read_teller(root: Section) -> TellerSettings:
    """Both tables; a table that is missing asks for nothing."""
    notifications, abuseipdb = root.section("notifications"), root.section("abuseipdb")
    told, reported = Notifications(), AbuseIpdb()
    settings = TellerSettings(
        Notifications(
            urls_file=notifications.get("urls_file", secret_file, told.urls_file),
            events=_events(notifications),
            at_most=notifications.get("at_most", values.whole_number(1, 1000), told.at_most),
            language=notifications.get("language", values.choice(*LANGUAGES), told.language),
        ),
        AbuseIpdb(
            key_file=abuseipdb.get("key_file", secret_file, reported.key_file),
            url=abuseipdb.get("url", report_url, REPORT_URL),
            scans=abuseipdb.get("scans", values.true_or_false, reported.scans),
            ports=abuseipdb.get("ports", values.whole_number(2, 1000), reported.ports),
            quiet_s=abuseipdb.get("quiet", values.duration_between("15m", "30d"), reported.quiet_s),
            daily=abuseipdb.get("daily", values.whole_number(1, 100_000), reported.daily),
            allow=tuple(network for _, network in abuseipdb.many("allow", values.network, reported.allow, '["203.0.113.0/24"]')),
            dry_run=abuseipdb.get("dry_run", values.true_or_false, reported.dry_run),
        ),
    )
    for section in (notifications, abuseipdb):
        section.close()
    return settings


def _events(section: Section) -> tuple[Event, ...]:
    return tuple(dict.fromkeys(one for _, one in section.need_many("events", event, EVENTS, '["ban", "repair"]')))


def secret_file(value: object) -> str:
    """The path of a file that holds a secret. Who wrote the secret itself does not read it again in the log."""
    try:
        return values.absolute_path(value)
    except WrongValueError:
        right = "write the secret into a file that root and safeip-teller alone can read, and its absolute path here"
        raise WrongValueError("is not an absolute path", right) from None


def event(value: object) -> Event:
    """A kind of what can be told."""
    return values.choice(*EVENTS)(value)


def report_url(value: object) -> str:
    """Where reports go: by https, since the key goes along; plain HTTP to this host alone."""
    address = values.url(value)
    parts = urlsplit(address)
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        raise WrongValueError(f"{shown(address)} would send the key in the clear", f'write "https{address[4:]}"')
    return address


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
