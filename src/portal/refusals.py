"""Why a link opened nothing, as an answer."""

from access.opened import Reason, Refused
from portal.problems import Problem

_STATUS = {
    Reason.UNKNOWN: 404,
    Reason.PAUSED: 410,
    Reason.EXPIRED: 410,
    Reason.USED_UP: 410,
    Reason.NO_SERVICE: 410,
    Reason.ENDED: 409,
    Reason.TICKET: 403,
    Reason.SAME_FAMILY: 409,
    Reason.OTHER_FAMILY: 409,
    Reason.PIN_NEEDED: 403,
    Reason.SHARED: 403,
    Reason.TRUSTED: 409,
    Reason.ADDRESS: 403,
    Reason.PIN_LOCKED: 429,
}
"""What is not here is the gateway's own trouble: 503."""


def link_problem(refused: Refused) -> Problem:
    """The problem that stands for a refusal."""
    return Problem(
        refused.reason.value,
        _STATUS.get(refused.reason, 503),
        detail=refused.detail if refused.reason is Reason.ADDRESS else "",
        retry_after_s=refused.retry_after_s,
        link=refused.link,
    )
