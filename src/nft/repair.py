"""What others broke: heard, made what the policy says, and every grant put back with the time that it has left."""

import errno
import select
import time
from collections.abc import Callable, Iterable, Sequence

from nft import render
from nft.book import BANS, Entry
from nft.ledger import Ledger
from nft.listener import Heard, Listener
from nft.listing import now_ms
from nft.netlink_sets import NetlinkSets
from nft.plan import element
from nft.rules import Rules
from nft.sets import Add, Flush, KernelError

_SLICE = 250  # elements put back in one transaction: some 1 ms; larger ones make the whole hardly quicker
_AT_ONCE = 5000  # the same, where nobody waits
_AGAIN_S = 1.0


class Repair:
    """Listens to what others do to the table of a ledger's policy, and puts it right.

    What cannot be put right is told aloud once, and tried again each second and whenever more is heard.
    """

    def __init__(
        self, ledger: Ledger, sets: NetlinkSets, rules: Rules, warn: Callable[[str], None], over: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._sets = sets
        self._rules = rules
        self._warn = warn
        self._over = over
        self._table = f"{ledger.policy.family} {ledger.policy.table}"
        self._listener = Listener(ledger.policy.family, ledger.policy.table, sets.port)
        self.heard = Heard()
        self.names: set[str] = set()
        self.repairs = 0
        self._known: dict[str, tuple[int, int]] = {}
        self._owed: dict[str, list[Entry]] = {}  # still to be put back, the last first, what the book has by then
        self._full: set[str] = set()  # the sets into which no more fits of what is owed
        self._since_s = self._again_s = 0.0
        self._told = ""
        self.heed()

    def fileno(self) -> int:
        """The descriptor that becomes readable when somebody else has changed a ruleset."""
        return self._listener.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def heed(self) -> None:
        """Keep the sets that the policy has now; what is owed to others is forgotten."""
        policy = self._ledger.policy
        self.names = set(render.service_sets(policy)) | (set(BANS) if policy.mode == "table" else set())
        self._heed_what_fits()
        self._owed = {name: owed for name, owed in self._owed.items() if name in self.names}
        self._known = {name: handles for name, handles in self._known.items() if name in self.names}

    @property
    def fit(self) -> set[str]:
        """The policy's sets that can hold what the book says."""
        return self.names - self._rules.unfit

    def load(self, load: Callable[[render.Present], bool]) -> bool:
        """Have the rules loaded, and see to it that the listener does not take them for another's. Raises KernelError.

        In mode "sets" it is mostly nothing that is loaded, and where it is, that it is heard does no harm.
        """
        if self._sets.owned():
            raise KernelError(errno.EPERM, f"another program keeps table {self._table} from all others (flags owner) until it ends")
        before = self._sets.generation()
        anew = load(self._rules.present())
        after = self._sets.generation()
        # else somebody else was at it too: better hear it all
        if self._ledger.policy.mode == "table" and after == (before + 1) & 0xFFFF_FFFF:
            self._listener.own_generation(after)
        return anew

    def learn(self, names: Iterable[str]) -> None:
        """These sets, as the table holds them at this moment, are those that the book speaks of."""
        standing = self._sets.handles()
        self._known.update((name, standing[name]) for name in names if name in standing)

    def moved(self) -> bool:
        """Whether a set is another than the one that the book speaks of."""
        return self.differs(self.names)

    def differs(self, names: Iterable[str]) -> bool:
        """Whether one of these sets is."""
        standing = self._sets.handles()
        return any(standing.get(name) != self._known.get(name) for name in names)

    def forget(self) -> None:
        """What others did until now is no news: all of it will be looked at. What takes more than a second to hear stays news."""
        until_s = time.monotonic() + 1.0
        while select.select([self], [], [], 0)[0] and time.monotonic() < until_s:
            self._listener.hear()

    def put_back(self, changes: Sequence[Add]) -> int:
        """Put elements into one set; gives back how many, the first ones, fit into it: an admin's may hold too few.

        Raises KernelError, with some of them put.
        """
        fit, size = 0, min(len(changes), _AT_ONCE)
        while fit < len(changes):
            try:
                self._sets.commit(changes[fit : fit + size])
            except KernelError as error:
                if error.errno != errno.ENFILE or self.moved():
                    raise
                if size == 1:
                    break
                size = (size + 1) // 2
            else:
                fit += size
        return min(fit, len(changes))

    def hear(self) -> None:
        """Hear what others did, some 2 ms of it, and put table and rules right at once; the rest is left to `slice`."""
        self.heard |= self._listener.hear()
        if self._wrong():
            self.mend()

    def mend(self) -> None:
        """Put table, rules and sets right. Elements that are lost are owed from then on."""
        generation = self._sets.generation()
        self._since_s = self._since_s or time.monotonic()
        broken = self._ledger.policy.mode == "table" and (self.heard.structure or bool(self.heard.lost))
        self.heard.structure = True  # until it is done
        try:
            broken |= bool(self._mend())
        except KernelError as error:
            self._again_s = time.monotonic()
            if self._sets.generation() == generation:  # else somebody else was at it, and may have been the reason
                self._refused(f"cannot be put right, so that what it protects may be open: {error}")
        else:
            self._again_s = 0.0
            if not self._owed:
                self._done(told=broken)

    def slice(self) -> None:
        """Some 2 ms of what waits."""
        if time.monotonic() < self._again_s:
            return
        if self._wrong():
            self.mend()
        elif self._owed:
            self._restore()

    def waits(self) -> bool:
        """Whether something of the table is not yet put right."""
        return self._wrong() or bool(self._owed)

    def next_s(self) -> float | None:
        """Seconds until `slice` has something to do; None: not before more is heard."""
        return max(0.0, self._again_s - time.monotonic()) if self.waits() else None

    def _wrong(self) -> bool:
        return self.heard.structure or self.heard.overflow or bool(self.heard.lost)

    def _mend(self) -> set[str]:
        """Gives back the sets that were lost."""
        heard, standing = self.heard, self._sets.handles()
        lost = {name for name in self.names if name in heard.lost or standing.get(name) != self._known.get(name)}
        if lost or self._ledger.policy.mode == "table":
            if self.load(lambda present: self._rules.load(self._ledger.policy, present)):
                lost = set(self.names)
            self._heed_what_fits()
            self._sets.commit([Flush(name) for name in sorted(lost)])
        self.learn(lost)
        for name in lost:
            heard.lose(name)
        for place in heard.taken:
            self._ledger.take(*place, "foreign-revoke")
        self._full -= lost
        for name in lost & self.fit:
            self._owed[name] = self._ledger.book.of_set(name)
        if heard.overflow:
            heard.many |= self.fit - lost
        heard.taken.clear()
        heard.lost.clear()
        heard.structure = heard.overflow = False
        return lost

    def _heed_what_fits(self) -> None:
        """What is in a set that cannot hold ours is nobody's business."""
        self._listener.heed(self.fit, self._rules.unfit.union(render.RECORDS))

    def _restore(self) -> None:
        name, owed = next(iter(self._owed.items()))
        now, book = now_ms(), self._ledger.book
        entries = [old for old in owed[-_SLICE:] if book.get(name, old.key) is old]  # what was renewed is in the kernel
        try:
            fit = 0 if name in self._full else self.put_back([Add(element(entry, now)) for entry in entries])
        except KernelError as error:
            if error.errno == errno.ENOENT or self.moved():
                self.mend()  # flushed once more in the middle of it
            else:
                self._refused(f"does not get its grants back yet: {error}")
            return
        if fit < len(entries):
            self._full.add(name)
        for entry in entries[fit:]:
            self._ledger.take(name, entry.key, "foreign-revoke")
        del owed[-_SLICE:]
        if not owed:
            del self._owed[name]
            self._full.discard(name)
        if not self._owed:
            self._done()

    def _done(self, *, told: bool = True) -> None:
        """All is back. What was only looked after, because it could not be heard, is not told."""
        took_ms = round((time.monotonic() - self._since_s) * 1000, 1)
        self._since_s = 0.0
        if self._told:
            self._told = ""
            self._over(f"table {self._table} is as it should be again")
        if told:
            self.repairs += 1
            self._ledger.tell({"event": "repaired", "grants": self._ledger.book.grants(), "ms": took_ms})

    def _refused(self, what: str) -> None:
        """Later, then; and said once."""
        self._again_s = time.monotonic() + _AGAIN_S
        if self._told != what:
            self._told = what
            self._warn(f"table {self._table} {what}")
