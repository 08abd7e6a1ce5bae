"""What AbuseIPDB's API v2 answers to a report (https://docs.abuseipdb.com/#report-endpoint)."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from teller.clean import clean

LONGEST_BODY = 64 * 1024
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 60, 2 * 86_400
_USUAL_PAUSE_S = 3600

Verdict = Literal["taken", "known", "refused", "pause", "key"]
"""taken: it has the report. known: the same address was reported within 15 minutes. refused: the report is no good (422).
pause: no report at all for some time (429 of the day's limit, 5xx, silence). key: the key is none (401, 403)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`pause_s`: for how long nothing is to be sent, None: nothing was said of it. `detail` is the service's sentence, clean."""

    verdict: Verdict
    detail: str
    pause_s: int | None = None


def read_answer(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
    """What an answer means. `headers` by their names in lower case; `now` in seconds since 1970."""
    detail, parameter = _error(body)
    said = f"{status} {detail}".strip()
    if status == 200:
        return Answer("taken", said)
    if status == 429:
        return Answer("known", said) if parameter == "ip" else Answer("pause", said, _pause_s(headers, now))
    if status == 422:
        return Answer("refused", said)
    if status in {401, 402, 403}:
        return Answer("key", said, _USUAL_PAUSE_S)
    return Answer("pause", said, _pause_s(headers, now) if "retry-after" in headers else None)


def _pause_s(headers: Mapping[str, str], now: float) -> int:
    """Retry-After in seconds, or until X-RateLimit-Reset in seconds since 1970; between a minute and two days."""
    wait = _USUAL_PAUSE_S
    for name, since in (("x-ratelimit-reset", now), ("retry-after", 0.0)):
        text = headers.get(name, "")
        if text.isascii() and text.isdigit() and len(text) <= 12:
            wait = int(int(text) - since) + 1
    return max(_SHORTEST_PAUSE_S, min(wait, _LONGEST_PAUSE_S))


def _error(body: bytes) -> tuple[str, str]:
    """The sentence and the parameter of the first error, or "" and ""."""
    with suppress(ValueError, RecursionError, LookupError, TypeError, AttributeError):
        error = json.loads(body)["errors"][0]
        source = error.get("source")
        return clean(error.get("detail", "")), str(source.get("parameter")) if isinstance(source, dict) else ""
    return "", ""
