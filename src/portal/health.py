"""GET /healthz: whether portal and gate both answer."""

import time
from collections.abc import Callable

from aiohttp import web

from access.gate import Gate, GateUnavailable
from portal.headers import NO_STORE

_FRESH_S = 1.0


class Health:
    """Asks the gate at most once a second, because anyone may ask here."""

    def __init__(self, gate: Gate, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gate = gate
        self._monotonic = monotonic
        self._good_until = -1.0

    async def show(self, _request: web.Request, _caller: object) -> web.Response:
        """200 "ok", else 503 "the gate does not answer"."""
        if self._monotonic() >= self._good_until:
            try:
                await self._gate.status()
            except GateUnavailable:
                return _text("the gate does not answer\n", 503)
            self._good_until = self._monotonic() + _FRESH_S
        return _text("ok\n", 200)


def _text(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, headers={"Cache-Control": NO_STORE})
