"""Each metric of GET /metrics: its kind, its labels, and what it means. Listed in safeip(8) too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """What a name stands for. No label has a value that a visitor chooses."""

    kind: Literal["gauge", "counter", "histogram"]
    means: str
    labels: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "safeip_build_info": Family("gauge", "The version that runs; always 1.", ("version",)),
    "safeip_start_time_seconds": Family("gauge", "When the portal started, in seconds since 1970."),
    "safeip_gate_up": Family("gauge", "Whether the gate answers; while it does not, what it counts is missing."),
    "safeip_resident_memory_bytes": Family("gauge", "Resident memory of gate and portal.", ("process",)),
    "safeip_grants": Family("gauge", "Grants that hold now.", ("service", "family")),
    "safeip_grants_max": Family("gauge", "The most that may hold at once (gate.max_grants)."),
    "safeip_grants_recorded": Family("gauge", "Whether what is open is on the disk, so that it survives a reboot."),
    "safeip_grants_given_total": Family("counter", "Grants given or renewed, by the kind of who holds them.", ("service", "holder")),
    "safeip_grants_refused_total": Family("counter", "Refused openings.", ("holder", "reason")),
    "safeip_blocked_packets_total": Family("counter", "Packets that were dropped at the ports of a service.", ("service",)),
    "safeip_flooded_packets_total": Family("counter", "Connections to the portal that were dropped, as too many of their source."),
    "safeip_masked_sources": Family("gauge", "Trusted sources that came from afar, or from outside, in the last day."),
    "safeip_bans": Family("gauge", "Addresses that are banned now."),
    "safeip_bans_given_total": Family("counter", "Bans, by what failed too often; hand: an admin's.", ("reason",)),
    "safeip_sign_ins_total": Family("counter", "Sign-ins; a password that is asked for once more counts where it is refused.", ("outcome",)),
    "safeip_tokens_refused_total": Family("counter", "Requests with a token that is none.", ("reason",)),
    "safeip_token_requests_refused_total": Family("counter", "Requests with a good token that were refused, by the type of problem.", ("reason",)),
    "safeip_repairs_total": Family("counter", "How often others flushed or changed table and rules, and they were put back."),
    "safeip_transaction_duration_seconds": Family("histogram", "Transactions that changed grants and bans in the kernel."),
    "safeip_http_request_duration_seconds": Family("histogram", "Requests to the portal, by route.", ("method", "route")),
    "safeip_http_responses_total": Family("counter", "Answers of the portal.", ("status",)),
    "safeip_links": Family("gauge", "Links.", ("state",)),
    "safeip_people": Family("gauge", "People.", ("role", "state")),
    "safeip_tokens": Family("gauge", "API tokens."),
    "safeip_certificate_expires_timestamp_seconds": Family("gauge", "When the portal's certificate ends, in seconds since 1970."),
    "safeip_certificate_stale": Family("gauge", "Whether newer certificate files lie there that cannot be taken up."),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A histogram's figures: how many up to each bound, one more for those beyond, and their sum."""

    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    total: float


Samples = Mapping[str, list[tuple[tuple[str, ...], float | Spread]]]
"""By name: the values of the labels, and the figure."""
