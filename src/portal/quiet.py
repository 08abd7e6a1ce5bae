"""aiohttp's own log without what it quotes: the request lines of its errors hold tokens."""

import logging

from aiohttp.http_exceptions import HttpProcessingError


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
