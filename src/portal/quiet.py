"""The logs of aiohttp and asyncio without what they quote: the request lines of errors hold tokens."""

import asyncio
import logging
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

from portal.problems import where

log = logging.getLogger(__name__)


class _WithoutRequests(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            return False  # anybody can send what is no HTTP; it was answered with 400
        kind = f" ({type(error).__name__})" if error is not None else ""
        record.msg, record.args = f"an answer failed{kind}", ()
        record.exc_info = record.exc_text = None
        return True


def http_logger() -> logging.Logger:
    """The logger to give to aiohttp's server."""
    logger = logging.getLogger("portal.http")
    logger.setLevel(logging.WARNING)
    if not logger.filters:
        logger.addFilter(_WithoutRequests())
    return logger


def unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler: an exception's kind and place, never its text or what it was about."""
    error = context.get("exception")
    if isinstance(error, ValueError) and "protocol" in context:
        return  # a target that is no URL, which aiohttp's parser does not expect; the connection is closed
    log.error("%s%s", context["message"].partition("\n")[0], f": {where(error)}" if error is not None else "")
