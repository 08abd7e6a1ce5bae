"""Believing the kernel: elements that others put or took out, and grants that a new policy cuts or ends."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from nft import checks
from nft.book import Entry
from nft.ledger import Ledger
from nft.listing import now_ms
from nft.netlink_sets import NetlinkSets
from nft.plan import element
from nft.repair import Repair
from nft.sets import Change, Element, KernelError, Remove, Replace, whole

_SLICE = 200  # elements read, or changed, at once: some 2 ms
_NEAR_MS = 100  # the kernel counts in ticks of 1 to 10 ms
_KEY_BYTES = {"4": 4, "6": 16}  # by the end of a set's name


class Adoption:
    """Keeps a ledger's book true to the kernel, a slice at a time."""

    def __init__(self, ledger: Ledger, sets: NetlinkSets, repair: Repair) -> None:
        self._ledger = ledger
        self._sets = sets
        self._repair = repair
        self._work: deque[tuple[Callable[[str], Iterator[None]], str]] = deque()
        self._begun: Iterator[None] | None = None

    def everything(self, set_name: str) -> None:
        """Take over all that a set holds. Takes some seconds for 100,000 elements. Raises KernelError."""
        for part in whole(self._sets, set_name):
            self._adopt(part, now_ms())

    def shorten(self, set_name: str) -> None:
        """The set's elements may last less long than before."""
        self._work.append((self._shorten, set_name))

    def end(self, set_name: str) -> None:
        """The set's service is gone, and with it every grant."""
        self._work.append((self._end, set_name))

    def finish(self, set_name: str) -> None:
        """Do what waits for a set now."""
        for work, _ in [item for item in self._work if item[1] == set_name]:
            for _ in work(set_name):
                pass
        self._begun = None
        self._work = deque(item for item in self._work if item[1] != set_name)

    @property
    def behind(self) -> bool:
        """Whether something of a reload waits."""
        return any(work != self._compare for work, _ in self._work)

    def slice(self) -> None:
        """Some milliseconds of what waits."""
        heard = self._repair.heard
        try:
            if heard.touched:
                places = list(islice(heard.touched, _SLICE))
                self._take_over(places)
            elif self._work or heard.many:
                self._go_on()
        except KernelError:  # somebody changes the table at this moment: once that is mended it is begun again
            self._begun = None
            heard.structure = True

    def next_s(self) -> float | None:
        """Seconds until `slice` has something to do: 0, or None."""
        return 0.0 if self._work or self._repair.heard.touched or self._repair.heard.many else None

    def _go_on(self) -> None:
        if not self._work:
            self._work.append((self._compare, self._repair.heard.many.pop()))
        if self._begun is None:
            work, set_name = self._work[0]
            self._begun = work(set_name)
        if next(self._begun, self) is self:
            self._begun = None
            self._work.popleft()

    def _take_over(self, places: list[tuple[str, bytes]]) -> None:
        """Believe the kernel for elements that somebody may have changed."""
        for place in [(name, key) for name, key in places if len(key) != _KEY_BYTES[name[-1]]]:
            places.remove(place)  # of an admin's set that holds something else
            self._repair.heard.touched.pop(place, None)
        held = self._sets.read(places)
        if self._repair.moved():
            raise KernelError(errno.ENOENT, "what was read was another's set")
        now, book = now_ms(), self._ledger.book
        self._adopt([found for found in held if found is not None and not _alike(book.get(found.set, found.key), found, now)], now)
        for (set_name, key), found in zip(places, held, strict=True):
            self._repair.heard.touched.pop((set_name, key), None)
            if found is None:
                self._ledger.take(set_name, key, "foreign-revoke")

    def _adopt(self, elements: list[Element], now: int) -> None:
        """Write elements of the kernel's into the book, and have the kernel cut those that last too long."""
        changes: list[Change] = []
        entries: list[Entry] = []
        for found in elements:
            if checks.key_of_network(self._ledger.policy, found.key) != found.key:
                continue  # with bits beyond the prefix no packet matches it: it opens nothing
            most_ms = self._ledger.most_ms(found.set)
            holder, note = checks.read_comment(found.comment)
            left_ms = most_ms if found.left_ms is None else min(found.left_ms, most_ms)
            timeout_ms = max(left_ms, min(found.timeout_ms or most_ms, most_ms))
            if left_ms <= 0:
                changes.append(Remove(found.set, found.key))
                continue
            entries.append(Entry(found.set, found.key, holder, note, now + left_ms, timeout_ms))
            if left_ms != found.left_ms:
                changes.append(Replace(element(entries[-1], now)))
        self._sets.commit(changes)
        for entry in entries:
            known = self._ledger.book.get(entry.set, entry.key)
            self._ledger.put(entry, "foreign-grant" if known is None and self._ledger.begun else None)

    def _compare(self, set_name: str) -> Iterator[None]:
        """Find what was put or taken out unheard. What the kernel tells of a set may skip some: so each missing one is asked for."""
        if set_name not in self._repair.fit:
            return
        seen: set[bytes] = set()
        for part in self._sets.dump(set_name):
            now, other = now_ms(), []
            for found in part:
                held = self._ledger.book.get(set_name, found.key)
                if held is not None:
                    seen.add(found.key)
                if not _alike(held, found, now):
                    other.append((set_name, found.key))
            self._take_over(other)
            yield
        for entries in self._parts(set_name):
            self._take_over([(set_name, entry.key) for entry in entries if entry.key not in seen])
            yield

    def _shorten(self, set_name: str) -> Iterator[None]:
        for entries in self._parts(set_name):
            if set_name not in self._repair.names:
                return
            now, most_ms = now_ms(), self._ledger.most_ms(set_name)
            long = [entry for entry in entries if entry.end_ms > now + most_ms]
            cut = [replace(entry, end_ms=now + most_ms, timeout_ms=most_ms) for entry in long]
            self._commit(set_name, [Replace(element(entry, now)) for entry in cut])
            for entry in cut:
                self._ledger.put(entry)
            yield

    def _end(self, set_name: str) -> Iterator[None]:
        for entries in self._parts(set_name):
            self._commit(set_name, [Remove(set_name, entry.key) for entry in entries])
            for entry in entries:
                self._ledger.take(set_name, entry.key, "revoked")
            yield

    def _commit(self, set_name: str, changes: list[Change]) -> None:
        """But to a set that went with its service, and to an admin's that came to be one which holds no grants."""
        if set_name in self._sets.handles():
            try:
                self._sets.commit(changes)
            except KernelError as error:
                if error.errno != errno.EINVAL:
                    raise

    def _parts(self, set_name: str) -> Iterator[list[Entry]]:
        """The entries of a set, some at a time, each as it is at its turn."""
        all_entries = self._ledger.book.of_set(set_name)
        for start in range(0, len(all_entries), _SLICE):
            entries = (self._ledger.book.get(set_name, old.key) for old in all_entries[start : start + _SLICE])
            yield [entry for entry in entries if entry is not None]


def _alike(entry: Entry | None, found: Element, now: int) -> bool:
    """Whether an element is still the one that the book has."""
    if entry is None or found.left_ms is None or found.comment != checks.comment(entry.holder, entry.note):
        return False
    return abs(entry.end_ms - now - found.left_ms) <= _NEAR_MS
