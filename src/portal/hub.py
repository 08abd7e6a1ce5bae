"""What happens, for everybody who watches the admin's first page: one follower of the history, one look at the counters.

Nobody watches: nothing runs. A watcher has no queue, only what changed since they were told last: whoever reads
slowly is told less often, and nobody holds more memory than for one page.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from access.actor import Actor
from access.address import BadAddress, parse_address
from access.gate import GateUnavailable, Grant
from access.history import LARGEST_WAIT, Entry, Follower
from portal.grant_rows import GrantRows
from portal.knocks import Hour, day
from portal.paging import paged
from portal.problems import where
from portal.scopes import Scope, changed
from portal.site import Site
from portal.traffic import Key, Traffic, key
from portal.watcher import MOST_ROWS, MOST_SCOPES, Watcher

log = logging.getLogger(__name__)

MOST = 16
"""Watchers of all admins together."""
MOST_OF_ONE = 4
LAST = 8
"""Lines of the history that are shown."""

_TOGETHER_S = 0.2  # what happens within it is looked up and told together
_SAMPLE_S = (2.0, 60.0)  # at most and at least so often
_SHARE = 40  # a look at all the counters is followed by this many times its length without one
_HURRY = 4  # the same where everything changes all the time
_KNOCKS_S = 60.0
_FORGET_S = 600.0  # how long the counters' last look is kept where nobody watches


class Hub:
    """Watchers of one portal. `number` says up to which entry of the history they can have been told."""

    def __init__(self, site: Site) -> None:
        self.traffic = Traffic()
        self.rows = GrantRows(site, self.traffic)
        self.last: deque[Entry] = deque(maxlen=LAST)
        self.hours: list[Hour] = []
        self._site = site
        self._boot = secrets.token_hex(4)
        self._number = self._heard_of = 0
        self._soonest = 0.0
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def now(self) -> str:
        """A mark of this moment, for a page that is made from now on."""
        return f"{self._boot}-{self._site.access.history.number}"

    @property
    def told(self) -> str:
        """The mark of what watchers are told now."""
        return f"{self._boot}-{self._number}"

    def full(self, by: Actor) -> bool:
        """Whether there is no place for one more."""
        there = [watcher for watcher in self._watchers if not watcher.gone]
        mine = sum(watcher.by.holder == by.holder for watcher in there)
        return self._closed or len(there) >= MOST or mine >= MOST_OF_ONE

    def look(self, grants: list[Grant]) -> None:
        """A page lists all there is. Where nobody watches this is a look at the counters, too."""
        if not self._watchers:
            self.traffic.look_at_all(grants, self._site.clock())
            self._forget_later()

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Tell `watcher` what happens, within the block; from its begin on nothing is missed."""
        self._watchers.add(watcher)
        if self._task is None:
            self._number = self._heard_of = self._site.access.history.number
            follower = self._site.access.history.follow()
            self._task = asyncio.get_running_loop().create_task(self._run(follower))
            self._task.add_done_callback(self._ended)
        try:
            yield
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._rest()

    def close(self) -> None:
        """The portal ends: let everybody go."""
        self._closed = True
        self._let_go()
        self._rest()

    def _let_go(self) -> None:
        for watcher in self._watchers:
            watcher.over = True
            watcher.wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A defect ends it: nobody is to believe that what they see is live."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("who watches is told no more: %s", where(error))
            self._task = None
            self._let_go()

    def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._closed and self._forgetting is not None:
            self._forgetting.cancel()
        elif not self._closed:
            self._forget_later()

    def _forget_later(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = asyncio.get_running_loop().call_later(_FORGET_S, self._forget)

    def _forget(self) -> None:
        if not self._watchers:
            self.traffic.forget()

    async def _run(self, entries: Follower) -> None:
        with entries:
            self.last = deque(await self._site.access.history.read(LAST), LAST)
            sample_at = knocks_at = time.monotonic()
            untold: list[Entry] = []
            while True:
                now = time.monotonic()
                try:
                    if now >= sample_at:
                        sample_at = await self._sample()
                        self._told(untold)
                        untold = []
                    if now >= knocks_at:
                        knocks_at = now + _KNOCKS_S
                        await self._knock()
                    happened = await self._heard(entries, min(sample_at, knocks_at))
                    everything = await self._tell_of(happened)
                    if everything:
                        sample_at = min(sample_at, self._soonest)
                    if everything or untold:
                        untold = [*untold, *happened][-LAST:]
                    else:
                        self._told(happened)
                except GateUnavailable as error:
                    # Nothing was told of what happened meanwhile.
                    log.warning("who watches is not told what is open: %s", error)
                    self._everybody_again()
                    await asyncio.sleep(_SAMPLE_S[0])

    async def _heard(self, entries: Follower, until: float) -> list[Entry]:
        """What happened together next; nothing where nothing does until then."""
        try:
            async with asyncio.timeout(max(0, until - time.monotonic())):
                first = await anext(entries)
        except TimeoutError:
            return []
        await asyncio.sleep(_TOGETHER_S)
        # What is told as withdrawn is still being closed.
        while self._site.access.underway.closes():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(_TOGETHER_S)
        self._heard_of = self._site.access.history.number
        return [first, *entries.waiting()]

    async def _tell_of(self, happened: list[Entry]) -> bool:
        """Tell what is open now where something happened. True where everything has to be looked at instead."""
        state = self._site.access.state
        scopes = dict.fromkeys(scope for entry in happened for scope in changed(entry, state))
        if None in scopes or len(scopes) > MOST_SCOPES or len(happened) >= LARGEST_WAIT:
            return True
        for scope in scopes:
            if scope is not None:
                await self._tell(scope)
        return False

    def _told(self, happened: list[Entry]) -> None:
        """Last of all the lines of the history: whoever has them was told the rest."""
        self._number = self._heard_of
        for entry in happened:
            if entry not in self.last:
                self.last.append(entry)
        for watcher in self._watchers if happened else ():
            watcher.last = True
            watcher.wake.set()

    async def _tell(self, scope: Scope) -> None:
        kind, text = scope
        if kind == "holder":
            found = await self._site.gate.grants(holder=text)
        else:
            try:
                address = parse_address(text, self._site.settings.ipv6_prefix)
            except BadAddress:
                return
            found = await self._site.gate.grants(address=address)
        self.traffic.look(found, self._site.clock())
        for watcher in self._watchers:
            watcher.tell(scope, found)

    async def _sample(self) -> float:
        """Look at everything, tell what changed unheard, and the counters. Gives back when to look again."""
        begin = time.monotonic()
        grants = await self._site.gate.grants()
        counted, moved = self.traffic.look_at_all(grants, self._site.clock())
        there = {key(grant): grant for grant in grants}
        at: dict[str, list[Grant]] = {address: [] for address in moved}
        for grant in grants if len(moved) <= MOST_SCOPES else ():
            if grant.address in at:
                at[grant.address].append(grant)
        for watcher in self._watchers:
            self._count(watcher, grants, there, counted, changed=bool(moved))
            if len(moved) > MOST_SCOPES:
                watcher.load_again()
                continue
            for address, rows in at.items():
                watcher.tell(("address", address), rows)
        took = time.monotonic() - begin
        self._soonest = time.monotonic() + took * _HURRY
        return time.monotonic() + min(max(took * _SHARE, _SAMPLE_S[0]), _SAMPLE_S[1])

    def _count(
        self, watcher: Watcher, grants: list[Grant], there: dict[Key, Grant], counted: set[Key], *, changed: bool
    ) -> None:
        if watcher.shown is None or changed:
            chosen = self.rows.chosen(watcher.by, grants, watcher.wanted)
            page = {key(grant) for _, grant in paged(chosen, watcher.wanted.page).rows}
            watcher.shown = page | ((watcher.shown or set()) & there.keys())
            if len(watcher.shown) > MOST_ROWS:
                watcher.shown = page
            if len(chosen) != watcher.total:
                watcher.total = watcher.all = len(chosen)
                watcher.wake.set()
        for place in counted & watcher.shown:
            watcher.counts[place] = there[place]
            watcher.wake.set()

    async def _knock(self) -> None:
        hours = await day(self._site)
        if [hour.packets for hour in hours] != [hour.packets for hour in self.hours]:
            self.hours = hours
            for watcher in self._watchers:
                watcher.knocks = True
                watcher.wake.set()

    def _everybody_again(self) -> None:
        for watcher in self._watchers:
            watcher.load_again()
