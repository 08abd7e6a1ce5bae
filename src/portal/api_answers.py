"""What the API answers with, as schemas. Tests hold every answer against them."""

from typing import Any

from access.token import SCOPES
from portal.api_kinds import Schema

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
YES: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time", "examples": ["2026-11-21T09:30:00Z"]}
ADDRESS: Schema = {"type": "string", "examples": ["203.0.113.7", "2001:db8:1::/64"]}
NAMES: Schema = {"type": "array", "items": TEXT}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def many(schema: Schema) -> Schema:
    """A list of them."""
    return {"type": "array", "items": schema}


def an_object(title: str, about: str, /, **properties: Schema) -> Schema:
    """An object with these keys, all of them, and no others; the description of the API keeps it under its title."""
    return {
        "title": title,
        "type": "object",
        "description": about,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def more(schema: Schema, title: str, about: str, /, **properties: Schema) -> Schema:
    """The same object with more keys."""
    return {
        **schema,
        "title": title,
        "description": about,
        "properties": {**schema["properties"], **properties},
        "required": [*schema["required"], *properties],
    }


GRANT = an_object(
    "Grant", "A grant. Holder and note of somebody else's are null to who has no scope that shows them. Counters begin anew with each renewal. "
    "`shared`: why others behind the address get in too: it is a carrier's, or others are let in there; null: nothing is known of it. "
    "`reached`: whether the service has the address' family at all.",
    service=TEXT, address=ADDRESS, holder=maybe(TEXT), note=maybe(TEXT), expires_at=MOMENT, remaining_s=WHOLE, packets=WHOLE, bytes=WHOLE,
    shared={"enum": ["carrier", "others", None]}, reached=YES,
)  # fmt: skip
REVOKED = an_object("Revoked", "How many grants ended.", revoked=WHOLE)
LINK = an_object(
    "Link", "A link, without its URL.",
    id=TEXT, label=TEXT, owner=maybe(TEXT), services=NAMES, uses=maybe(WHOLE), used=WHOLE, addresses=maybe(WHOLE), pin=YES,
    paused=YES, to=maybe(TEXT), created_at=MOMENT, expires_at=maybe(MOMENT), last_used_at=maybe(MOMENT),
    state={"enum": ["open", "paused", "expired", "used-up"]}, **{"for": maybe(TEXT)},
)  # fmt: skip
LINK_WITH_URL = more(
    LINK, "LinkWithUrl", "A link. Its URL is a secret. `wants_pin`: services for which it opens nothing at shared addresses, for want of a PIN.",
    url=TEXT, wants_pin=NAMES,
)  # fmt: skip
PERSON = an_object(
    "Person", "A person.",
    name=TEXT, role={"enum": ["admin", "member"]}, state={"enum": ["asked", "invited", "active"]}, services=NAMES, links=YES, totp=YES,
    recovery_left=WHOLE, invitation_expires_at=maybe(MOMENT), message=maybe(TEXT), created_at=MOMENT, last_seen_at=maybe(MOMENT),
)  # fmt: skip
INVITATION = more(PERSON, "Invitation", "A person, and the URL with which they set password and TOTP, a secret.", url=TEXT, expires_at=MOMENT)
ADDED_PERSON: Schema = {"anyOf": [PERSON, INVITATION]}
SESSION = an_object("Session", "Where a person is signed in.", id=TEXT, address=TEXT, agent=TEXT, created_at=MOMENT, seen_at=MOMENT, expires_at=MOMENT)
TOTP_OFFER = an_object("TotpOffer", "What an authenticator app is to learn. Secret, but for the seed.", seed=TEXT, secret=TEXT, uri=TEXT)
RECOVERY_CODES = an_object("RecoveryCodes", "Shown this once.", recovery_codes=NAMES)
NAME = an_object("Name", "Who it was.", name=TEXT)
TOKEN = an_object(
    "Token", "A token, without its text. `services` null: all.",
    id=TEXT, label=TEXT, scopes={"type": "array", "items": {"enum": list(SCOPES)}}, services=maybe(NAMES), created_at=MOMENT,
    expires_at=maybe(MOMENT), last_used_at=maybe(MOMENT), last_address=maybe(ADDRESS), state={"enum": ["good", "expired"]},
    **{"for": maybe(TEXT)},
)  # fmt: skip
TOKEN_WITH_TEXT = more(TOKEN, "TokenWithText", "A token and its text, a secret, which is shown this once.", text=TEXT)
WHO = more(
    TOKEN, "Who",
    "The token that asks. `address`: where from; `trusted`: so near that nothing needs opening; `opens`: the services within its reach.",
    holder=TEXT, address=ADDRESS, trusted=YES, opens=NAMES,
)  # fmt: skip
BLOCKED = an_object(
    "Blocked", "Packets to a protected port from an address without a grant, within a day.",
    address=TEXT, protocol=TEXT, port=WHOLE, packets=WHOLE, bytes=WHOLE, last_at=MOMENT,
)  # fmt: skip
BANNED = an_object("Banned", "Who may not even reach the portal.", address=ADDRESS, expires_at=MOMENT, remaining_s=WHOLE, packets=WHOLE)
BAN = an_object("Ban", "A ban. An earlier one that lasts longer holds.", address=ADDRESS, expires_at=MOMENT)
UNBANNED = an_object("Unbanned", "Who is not banned.", address=ADDRESS)
STATUS: dict[str, Any] = {
    "title": "Status",
    "type": "object",
    "description": "What runs. A token that is limited to services sees those, and nothing of the house.",
    "properties": {
        "url": TEXT,
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "title": TEXT,
                    "grants": WHOLE,
                    "families": {"type": "array", "items": WHOLE, "description": "The grants of IPv4 and of IPv6."},
                    "closed_packets": WHOLE,
                    "ports": NAMES,
                },
            },
        },
        "grants": WHOLE,
        "max_grants": WHOLE,
        "bans": WHOLE,
        "links": an_object("Links", "How many links there are, and are open.", all=WHOLE, open=WHOLE),
        "certificate": maybe(TEXT),
        "record": maybe(TEXT),
        "closed_packets": WHOLE,
        "closed_bytes": WHOLE,
        "flooded_packets": WHOLE,
        "masks": an_object(
            "Masks", "Trusted sources of the last day that are perhaps no neighbours, the last one first.",
            count=WHOLE,
            latest=many(an_object("Mask", "One of them.", address=TEXT, connections=WHOLE, last_ms=WHOLE)),
        ),
        "warnings": {"type": "array", "items": TEXT, "description": "What the configuration, or what comes in, gives reason to warn of."},
        "repairs": WHOLE,
    },
    "required": ["url", "services"],
}
ENTRY: dict[str, Any] = {
    "title": "Entry",
    "type": "object",
    "description": "Something that happened. Keys that say nothing are left out.",
    "properties": {
        "at": MOMENT,
        "event": TEXT,
        "outcome": {"enum": ["allowed", "refused"]},
        "services": NAMES,
        **dict.fromkeys(("by", "from", "person", "holder", "note", "address", "reason"), TEXT),
    },
    "required": ["at", "event", "outcome"],
}
PROBLEM_TYPE = an_object("ProblemType", "What a problem means.", type=TEXT, title=TEXT, status=WHOLE, means=TEXT)
