"""What the configuration says of sessions and bans."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `ban_after`: failures within 15 minutes. `host`: the portal's name."""

    session_idle_s: int = 12 * 3600
    session_lifetime_s: int = 30 * 86400
    ban_after: int = 10
    ban_duration_s: int = 3600
    host: str = ""
