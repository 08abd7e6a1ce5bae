"""Tickets by which a visitor whose address was let in opens their other family's address too."""

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from access.address import Address, read_address
from access.link import Link
from access.secret import Key, same

LIFE_S = 60
_TICKET = re.compile(
    r"(?P<end>[0-9]{1,12})-(?P<family>[46])-(?P<adds>[01])(?P<pin>[01])-(?P<link>[a-z2-7]{1,16})-(?P<generation>[0-9]{1,9})"
    r"-(?P<asked>[0-9a-f.:_]{2,49})-(?P<nonce>[0-9a-f]{32})-(?P<proof>[0-9a-f]{64})",
    re.ASCII,
)


class BadTicket(Exception):
    """Not one of ours, or of before this start, or too old, or used already."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says. `family` may be opened with it; `asked` is the address that got it.

    `adds`: it opens an address that was not open; else it only renews. `pin`: one was given for it.
    """

    link_id: str
    generation: int
    family: Literal[4, 6]
    asked: Address
    adds: bool
    pin: bool
    nonce: str


class Tickets:
    """Made and looked at by one process alone: its key is random, so none outlives a start.

    A ticket is good for LIFE_S and once. While `most` used ones are remembered, no other is good.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        self._key = Key(secrets.token_bytes(32))
        self._clock = clock
        self._most = most
        self._used: OrderedDict[str, float] = OrderedDict()  # nonce: when it may be forgotten

    def give(self, link: Link, asked: Address, *, adds: bool, pin: bool = False) -> str:
        """A ticket for the family that `asked` is not of. A secret, of characters that a URL's path holds."""
        parts = (
            str(int(self._clock()) + LIFE_S),
            "6" if asked.version == 4 else "4",
            f"{int(adds)}{int(pin)}",
            link.id,
            str(link.generation),
            str(asked).replace("/", "_"),
            secrets.token_hex(16),
        )
        said = "-".join(parts)
        return f"{said}-{self._proof(said)}"

    def read(self, text: str) -> Ticket:
        """What a ticket says, if it is good. Takes any text; raises BadTicket."""
        match = _TICKET.fullmatch(text)
        if match is None or not same(match["proof"], self._proof(text.rpartition("-")[0])):
            raise BadTicket
        if self._clock() >= int(match["end"]) or match["nonce"] in self._used:
            raise BadTicket
        return Ticket(
            link_id=match["link"],
            generation=int(match["generation"]),
            family=4 if match["family"] == "4" else 6,
            asked=read_address(match["asked"].replace("_", "/")),
            adds=match["adds"] == "1",
            pin=match["pin"] == "1",
            nonce=match["nonce"],
        )

    def use_up(self, ticket: Ticket) -> None:
        """From now on it is not good. Call it before anything is granted; raises BadTicket where it was used up."""
        now = self._clock()
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        if ticket.nonce in self._used or len(self._used) >= self._most:
            raise BadTicket
        self._used[ticket.nonce] = now + LIFE_S

    def _proof(self, said: str) -> str:
        return self._key.mark(said).hex()
