"""A token's row in state.json."""

import re
from typing import Any, cast

from access.duration import format_duration
from access.files import StateError
from access.inputs import check_label
from access.moment import moment_text
from access.shape import Fields
from access.token import SCOPES, Scope, Token

TOKEN_ID = re.compile(r"[a-z2-7]{6}")

_SCOPE = re.compile("|".join(SCOPES))
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,23}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(r"[0-9a-f.:/]{2,49}")


def read_token(fields: Fields, token_id: str) -> Token:
    """Raises StateError."""
    if not TOKEN_ID.fullmatch(token_id):
        raise StateError(fields.file, fields.place, "is not a token's id: 6 characters of a-z and 2-7")
    token = Token(
        id=token_id,
        label=fields.checked("label", check_label),
        scopes=cast("tuple[Scope, ...]", fields.names("scopes", _SCOPE)),
        services=fields.maybe("services", lambda key: fields.names(key, _SERVICE)),
        digest=fields.match("digest", _DIGEST, "a SHA-256 in hex"),
        duration_s=fields.maybe("duration", fields.duration),
        created_at=fields.moment("created_at"),
        expires_at=fields.maybe("expires_at", fields.moment),
        last_used_at=fields.maybe("last_used_at", fields.moment),
        last_address=fields.maybe("last_address", lambda key: fields.match(key, _ADDRESS, "an address")),
    )
    fields.end()
    return token


def token_row(token: Token) -> dict[str, Any]:
    """As a JSON object."""
    return {
        "label": token.label,
        "scopes": token.scopes,
        "services": token.services,
        "digest": token.digest,
        "duration": None if token.duration_s is None else format_duration(token.duration_s),
        "created_at": moment_text(token.created_at),
        "expires_at": _moment(token.expires_at),
        "last_used_at": _moment(token.last_used_at),
        "last_address": token.last_address,
    }


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else moment_text(seconds)
