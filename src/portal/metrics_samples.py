"""What is known at this moment, as samples. Looks at counts alone: nothing here is as long as what is open, or blocked."""

from collections import Counter
from itertools import product
from typing import Any, get_args

from access.guard import Kind
from access.link import LinkState
from access.opened import Reason
from access.person import PersonState, Role
from portal.api_problem import OF_GOOD_TOKENS
from portal.measures import BOUNDS_S
from portal.metrics_families import Samples, Spread
from portal.site import Site
from portal.version import VERSION

_Rows = list[tuple[tuple[str, ...], float | Spread]]

_HOLDERS = ("link", "person", "token", "cli")
_FAMILIES = ("ipv4", "ipv6")
_OUTCOMES = ("signed-in", "wrong", "locked", "busy", "not-saved")
# what the gate, which opens a link's services too, refuses the others
_GATE_REASONS = ("trusted-address", "special-address", "too-many", "kernel", "gate-unavailable")


def samples(site: Site, status: dict[str, Any] | None) -> Samples:
    """Everything, in the order of FAMILIES. `status` is the gate's, None where it does not answer."""
    return {**_portal(site, status), **(_gate(status) if status is not None else {}), **_counted(site), **_state(site)}


def _portal(site: Site, status: dict[str, Any] | None) -> Samples:
    measures = site.measures
    memory = {"gate": status and status["memory"], "portal": measures.memory()}
    times: _Rows = [
        (key, Spread(BOUNDS_S, tuple(took.buckets), took.seconds)) for key, took in sorted(measures.times.items())
    ]
    return {
        "safeip_build_info": [((VERSION,), 1)],
        "safeip_start_time_seconds": [((), measures.started)],
        "safeip_gate_up": [((), status is not None)],
        "safeip_resident_memory_bytes": [((name,), size) for name, size in memory.items() if size],
        "safeip_http_request_duration_seconds": times,
        "safeip_http_responses_total": [((str(code),), count) for code, count in sorted(measures.statuses.items())],
    }


def _gate(status: dict[str, Any]) -> Samples:
    services: dict[str, Any] = status["services"]
    took = status["transactions"]
    found: dict[str, _Rows] = {
        "safeip_grants": [
            ((name, family), count)
            for name, service in services.items()
            for family, count in zip(_FAMILIES, service["families"], strict=True)
        ],
        "safeip_grants_max": [((), status["max_grants"])],
        "safeip_grants_recorded": [((), status["record"] is None)],
        "safeip_bans": [((), status["bans"])],
        "safeip_repairs_total": [((), status["repairs"])],
        "safeip_transaction_duration_seconds": [
            ((), Spread(tuple(took["bounds"]), tuple(took["buckets"]), took["seconds"]))
        ],
    }
    if status["mode"] == "table":  # in "sets" another's ruleset closes, and nobody counts
        found["safeip_blocked_packets_total"] = [((name,), one["closed_packets"]) for name, one in services.items()]
        found["safeip_flooded_packets_total"] = [((), status["flooded_packets"])]
        found["safeip_masked_sources"] = [((), status["masks"]["count"])]
    return found


def _counted(site: Site) -> Samples:
    tally, gate = site.access.history.tally, site.gate
    given = Counter(dict.fromkeys(product(site.settings.services, _HOLDERS), 0))
    given.update(gate.given)
    refused = Counter(dict.fromkeys([*product(_HOLDERS[1:], _GATE_REASONS), *(("link", reason.value) for reason in Reason)], 0))
    # of a link's openings access knows all reasons, the gate's too
    refused.update({key: count for key, count in gate.refused.items() if key[0] != "link"})
    refused.update({("link", reason): count for (event, reason), count in tally.items() if event == "link-refused"})
    sign_ins = Counter(dict.fromkeys(_OUTCOMES, 0))
    for (event, reason), count in tally.items():
        if event == "sign-in":  # which of name, code and password was wrong is the history's to tell
            sign_ins[reason if reason in _OUTCOMES else "wrong"] += count
    return {
        "safeip_grants_given_total": list(given.items()),
        "safeip_grants_refused_total": list(refused.items()),
        "safeip_bans_given_total": [((reason,), tally["banned", reason]) for reason in (*get_args(Kind), "hand")],
        "safeip_sign_ins_total": [((outcome,), count) for outcome, count in sign_ins.items()],
        "safeip_tokens_refused_total": [((reason,), tally["token-refused", reason]) for reason in ("unknown", "expired")],
        "safeip_token_requests_refused_total": [((name,), tally["denied", name]) for name in OF_GOOD_TOKENS],
    }


def _state(site: Site) -> Samples:
    now, state = site.clock(), site.access.state
    links = Counter(link.state(now) for link in state.links.values())
    people = Counter((person.role, person.state) for person in state.people.values())
    found: dict[str, _Rows] = {
        "safeip_links": [((name,), links[name]) for name in get_args(LinkState)],
        "safeip_people": [(key, people[key]) for key in product(get_args(Role), get_args(PersonState))],
        "safeip_tokens": [((), len(state.tokens))],
    }
    if (certificate := site.certificate) is not None:
        certificate.look()
        found["safeip_certificate_stale"] = [((), certificate.trouble is not None)]
        if certificate.ends_at is not None:
            found["safeip_certificate_expires_timestamp_seconds"] = [((), certificate.ends_at)]
    return found
