"""The PINs of links, and who tries them too often."""

import math
import time

from access.address import Address
from access.guard import Guard
from access.hashes import Busy, Hashes
from access.inputs import PIN_LONGEST, clean_pin
from access.link import Link
from access.moment import Clock
from access.opened import Reason, Refused
from access.throttle import Throttle


class Pins:
    """Wrong ones: 5 by link and address and 20 by link within 15 minutes, then none for 15 minutes. Strikes against the address too (Guard)."""

    def __init__(self, hashes: Hashes, guard: Guard, *, monotonic: Clock = time.monotonic) -> None:
        self._hashes = hashes
        self._guard = guard
        self._by_address = Throttle(5, 900, 900, clock=monotonic)

    async def check(self, link: Link, address: Address, pin: str | None, *, trusted: bool) -> None:
        """Raise Refused unless it is the link's PIN."""
        given = clean_pin(pin or "")
        if not given or link.pin is None:
            raise Refused(Reason.PIN_NEEDED, link)
        here = (link.id, str(address))
        waits_s = self._guard.may_try_s(address, trusted=trusted, name=link.holder)
        if locked_s := max(self._by_address.locked_s(here), waits_s):
            raise Refused(Reason.PIN_LOCKED, link, retry_after_s=math.ceil(locked_s))
        # Counted before the hash runs: guesses in parallel find the lock that they make.
        self._by_address.count(here)
        with self._guard.attempt("pin", address, trusted=trusted, name=link.holder) as attempt:
            try:
                right = len(given) <= PIN_LONGEST and await self._hashes.matches(link.pin, given)
            except Busy:
                self._by_address.forgive(here)
                attempt.untried()
                raise Refused(Reason.BUSY, link, retry_after_s=1) from None
            if not right:
                raise Refused(Reason.PIN_WRONG, link)
            self._by_address.forget(here)
            # Only this try is taken back: guesses between the family's right PINs add up.
            attempt.untried()
