"""knocks.json: how many packets were blocked in each hour of the last day."""

import asyncio
import json
import logging
import time
from contextlib import suppress

from access import files
from access.finish import finish
from access.gate import Gate, GateUnavailable
from access.moment import Clock, moment_text, parse_moment
from access.shape import Fields, parse_document

log = logging.getLogger(__name__)

HOURS = 24
HOUR_S = 3600

_FILE = "knocks.json"
_EVERY_S = 60.0
_LARGEST = 64 * 1024
_MOST = 2**64 - 1  # of the kernel's counter


class Knocks:
    """Takes down, once a minute, how far the gate's own counter has come. Used from one event loop.

    Written at most once an hour and at the end, so that a power cut may lose the last hours' counts. What cannot
    be written (a full disk) is logged: it never stops anything.
    """

    def __init__(self, directory: str, gate: Gate, *, clock: Clock = time.time) -> None:
        """Go on with the counts of before. Blocks. Raises StateError."""
        self.seen = True
        """Whether the gate sees who knocks: not where another's ruleset does the closing (mode "sets")."""
        self._path = f"{directory}/{_FILE}"
        self._gate = gate
        self._clock = clock
        self._hours: dict[int, int] = {}  # packets, by hours since 1970
        self._counter = 0
        self._at: float | None = None  # when the counter stood there; None: never looked
        self._read()
        self._written = self._hour()
        self._writing = asyncio.Lock()

    async def watch(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            with suppress(GateUnavailable):  # who does not answer is asked again
                await self.look()
            if self._hour() != self._written:
                await finish(self._save())
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Take down the counter as it is now. Raises GateUnavailable.

        A counter that fell was begun anew. What came while nobody looked for an hour or longer is left out:
        nobody knows in which hour it came.
        """
        status = await self._gate.status()
        counter, now = int(status["closed_packets"]), self._clock()
        if self._at is not None and 0 <= now - self._at < HOUR_S:
            came = counter - self._counter if counter >= self._counter else counter
            self._hours[self._hour()] = self._hours.get(self._hour(), 0) + came
        self._counter, self._at = counter, now
        self.seen = status["mode"] == "table"
        self._hours = {hour: packets for hour, packets in self._hours.items() if self._is_of_the_day(hour)}

    def hours(self) -> list[tuple[int, int]]:
        """The last 24 hours, the oldest first: seconds since 1970 at which each began, and its packets.

        The last one is not over yet. Hours are the clock's own, in UTC.
        """
        last = self._hour()
        return [(hour * HOUR_S, self._hours.get(hour, 0)) for hour in range(last - HOURS + 1, last + 1)]

    async def close(self) -> None:
        """Write what is left."""
        await finish(self._save())

    def _hour(self) -> int:
        return int(self._clock()) // HOUR_S

    def _is_of_the_day(self, hour: int) -> bool:
        return self._hour() - HOURS < hour <= self._hour()

    async def _save(self) -> None:
        self._written = self._hour()
        if self._at is None:
            return
        async with self._writing:
            await self._write(self._at)

    async def _write(self, at: float) -> None:
        document = {
            "version": 1,
            "counter": self._counter,
            "at": moment_text(at),
            "hours": {moment_text(hour * HOUR_S): packets for hour, packets in self._hours.items()},
        }
        try:
            await asyncio.to_thread(files.replace, self._path, json.dumps(document).encode() + b"\n")
        except files.NotSaved as error:
            log.warning("%s", error)  # the next hour tries again

    def _read(self) -> None:
        data = files.read(self._path, largest=_LARGEST)
        if data is None:
            return
        top = parse_document(self._path, data)
        top.number("version", 1, 1)
        self._counter, self._at = top.number("counter", 0, _MOST), top.moment("at")
        kept = top.object("hours")
        hours = Fields(self._path, "hours", kept)
        for text in kept:
            try:
                hour = parse_moment(text) // HOUR_S
            except ValueError as error:
                raise hours.wrong(text[:40], str(error)) from None
            self._hours[hour] = hours.number(text, 0, _MOST)
        top.end()
