"""What the portal needs of the configuration, read once at start.

Light on purpose: `safeip.config` fills these types in the gate's process too, which must import
neither asyncio nor aiohttp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal
from urllib.parse import urlsplit

from access.limits import Limits
from access.services import Service

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the portal listens: a literal address and a TCP port (0 to 65535)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate (with its chain) and its key, both PEM, by path. Taken up again when they change."""

    certificate: str
    key: str


Tls = Literal["auto", "off"] | Files
"""`auto`: a self-signed certificate, made at first start. `off`: plain HTTP, as behind a proxy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The portal's part of safeip.toml, checked by `safeip.config`.

    `url`, `url_ipv4` and `url_ipv6` are origins without a path and without a trailing slash; links are
    built on `url`. At `listen_proxy_protocol` every connection begins with a PROXY header. `trusted_proxies` are the
    peers whose PROXY header and `client_ip_header` are believed, empty: none.
    Who comes from `metrics_networks` sees the metrics without a token.
    `trusted_networks` are never closed, so nothing needs opening for them, but for who comes in by an interface of `wan`
    (`eth0`, `ppp*`), where no source is trusted. A session that is
    not used for `session_idle_s` ends, and each after `session_lifetime_s`; `ban_after` failures within 15 minutes ban an
    address for `ban_duration_s`. `warnings` are sentences about the configuration for the admin; filled by the daemon.
    """

    url: str
    listen: tuple[Listen, ...]
    services: Mapping[str, Service]
    state_dir: str
    listen_proxy_protocol: tuple[Listen, ...] = ()
    url_ipv4: str | None = None
    url_ipv6: str | None = None
    tls: Tls = "auto"
    trusted_proxies: tuple[Network, ...] = ()
    client_ip_header: str = "X-Forwarded-For"
    metrics_networks: tuple[Network, ...] = ()
    registration: Literal["closed", "approval"] = "closed"
    session_idle_s: int = 12 * 3600
    session_lifetime_s: int = 30 * 86400
    ban_after: int = 10
    ban_duration_s: int = 3600
    ipv6_prefix: int = 64
    trusted_networks: tuple[Network, ...] = ()
    wan: tuple[str, ...] = ()
    warnings: Sequence[str] = ()

    @property
    def listens(self) -> tuple[Listen, ...]:
        """Where the portal listens, where for a PROXY header last."""
        return self.listen + self.listen_proxy_protocol

    @property
    def limits(self) -> Limits:
        """What of this is access's to keep."""
        return Limits(
            self.session_idle_s,
            self.session_lifetime_s,
            self.ban_after,
            self.ban_duration_s,
            urlsplit(self.url).hostname or "",
        )
