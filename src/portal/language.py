"""Which language a visitor reads: their choice, else what their browser asks for, else English."""

import re
from collections.abc import Collection

DEFAULT = "en"
"""The language that the templates are written in; it needs no catalogue."""

COOKIE = "safeip-lang"
_COOKIE = re.compile(rf"(?:^|;)\s*(?:__Host-)?{COOKIE}=([a-z]{{2,3}})\s*(?:;|$)")
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*")


def choose(languages: Collection[str], accepted: str, cookies: str) -> str:
    """One of `languages`, given the headers Accept-Language (RFC 9110, 12.5.4) and Cookie as they came."""
    if (match := _COOKIE.search(cookies)) and match[1] in languages:
        return match[1]
    best, best_quality = DEFAULT, 0.0
    for part in accepted.split(",", 20)[:20]:
        match = _RANGE.fullmatch(part)
        if match is None:
            continue
        quality = float(match[2] or 1)
        if match[1].lower() in languages and quality > best_quality:
            best, best_quality = match[1].lower(), quality
    return best
