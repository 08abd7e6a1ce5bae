"""Somebody who watches the admin's first page, and what they were not told yet."""

import asyncio
from dataclasses import dataclass, field

from access.actor import Actor
from access.gate import Grant
from portal.grant_rows import Wanted
from portal.paging import PAGE
from portal.scopes import Scope
from portal.traffic import Key

MOST_SCOPES = 50
"""Places that are told one by one; of more the page is loaded anew."""
MOST_ROWS = 2 * PAGE
"""Rows that are told at once."""


@dataclass(eq=False, slots=True)
class Watcher:
    """No queue: what happens to a place twice is told once, as it is then.

    `rows`: what is open now at an address, or for a holder. `all`: how many grants are wanted in all, None: as
    before. `again`: more changed than can be told. `shown`: what they may have on their page, None: not known yet.
    """

    by: Actor
    wanted: Wanted
    transport: asyncio.BaseTransport | None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    rows: dict[Scope, list[Grant]] = field(default_factory=dict)
    counts: dict[Key, Grant] = field(default_factory=dict)
    all: int | None = None
    again: bool = False
    last: bool = False
    knocks: bool = False
    shown: set[Key] | None = None
    total: int = -1
    over: bool = False

    @property
    def gone(self) -> bool:
        """Whether the connection has ended, which their own task may notice only at its next event."""
        return self.transport is None or self.transport.is_closing()

    def tell(self, scope: Scope, grants: list[Grant]) -> None:
        """Note what is open there now."""
        self.rows.pop(scope, None)
        self.rows[scope] = grants
        if len(self.rows) > MOST_SCOPES or sum(map(len, self.rows.values())) > MOST_ROWS:
            self.load_again()
        self.wake.set()

    def load_again(self) -> None:
        """Note that too much changed."""
        self.again = True
        self.rows.clear()
        self.counts.clear()
        self.wake.set()
