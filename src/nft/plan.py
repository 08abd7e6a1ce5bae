"""One transaction in the making: requests change the book at once, the kernel in one commit, or neither."""

import sys
from collections.abc import Iterator

from nft import checks
from nft.book import BANS, Beside, Book, Entry
from nft.policy import Policy
from nft.sets import Change, Element, New, Remove, Replace
from nft.wire import Ban, Grant, Revoke

MOST_AT_ONCE = 1000
"""Grants that a request takes back at once: where somebody listens, the kernel keeps 6.5 KB for each change until all are made."""
_MOST_LEAVE = 1000  # addresses, which the answer names in one line
_MOST_BESIDE = 8  # that are remembered of a place, the newest: one is enough to know that it is shared


Changed = tuple[str, bytes, Entry | None, Entry | None]
"""A set's name, a key, and its entry before and after."""


class Plan:
    """Collects what the requests that wait change, each seeing what those before it did."""

    def __init__(self, policy: Policy, book: Book, now_ms: int) -> None:
        self._policy = policy
        self._book = book
        self._now_ms = now_ms
        self._before: list[tuple[str, bytes, Entry | None, Beside]] = []

    def __len__(self) -> int:
        return len(self._before)

    def undo(self) -> None:
        """Put the book back as it was."""
        while self._before:
            set_name, key, entry, beside = self._before.pop()
            if self._book.get(set_name, key) is not entry:
                self._book.take(set_name, key)
                if entry is not None:
                    self._book.put(entry)
            self._book.put_beside(set_name, key, beside)

    def changed(self) -> list[Changed]:
        """Each key with what was there before and what is there now, where that is another."""
        first: dict[tuple[str, bytes], Entry | None] = {}
        for set_name, key, entry, _beside in self._before:
            first.setdefault((set_name, key), entry)
        found = ((*place, before, self._book.get(*place)) for place, before in first.items())
        return [one for one in found if one[2] != one[3]]

    def changes(self, changed: list[Changed]) -> list[Change]:
        """What the kernel is to do: one change for each key."""
        changes: list[Change] = []
        for set_name, key, before, after in changed:
            if after is None:
                changes.append(Remove(set_name, key))
            else:
                put = element(after, self._now_ms)
                changes.append(New(put) if before is None else Replace(put))
        return changes

    def grant(self, request: Grant) -> tuple[list[Entry], list[str], bool]:
        """The grants that hold now, the addresses that had to leave, and whether the holder had all of it open before.

        Raises checks.Refusal, before anything is changed. A grant that already lasts longer stays as it is, its holder too.
        """
        checks.holder(request.holder)
        checks.note(request.note)
        key = checks.key(self._policy, request.address)
        checks.open_to(self._policy, key)
        family = 4 if len(key) == 4 else 6
        # many grants have the same texts, which are held once in memory
        holder, note = sys.intern(request.holder), sys.intern(request.note)
        places, new = [], 0
        for name, seconds in request.services.items():
            checks.duration(checks.service(self._policy, name), seconds)
            set_name = sys.intern(f"{name}{family}")
            held = self._book.get(set_name, key)
            new += held is None
            places.append((held, Entry(set_name, key, holder, note, self._now_ms + seconds * 1000, seconds * 1000)))
        if new and self._book.grants() + new > self._policy.max_grants:
            raise checks.Refusal("too-many", f"{self._policy.max_grants} grants are open, the most allowed")
        granted, renewed = [], not new
        for held, asked in places:
            lasting = asked if held is None or held.end_ms < asked.end_ms else held
            if lasting is asked:
                self._put(asked, held)
            if held is not None and held.holder != holder:
                self._beside(lasting, held if lasting is asked else asked)
                renewed = False
            granted.append(lasting)
        left = self._leave(request.holder, key, request.addresses) if request.addresses else []
        return granted, left, renewed

    def revoke(self, request: Revoke) -> int:
        """How many grants were taken back; `MOST_AT_ONCE`: there may be more. Raises checks.Refusal."""
        if request.service is not None:
            checks.service(self._policy, request.service)
        key = None if request.address is None else checks.key(self._policy, request.address)
        matching = grants(self._policy, self._book, request.service, key, request.holder)[:MOST_AT_ONCE]
        for entry in matching:
            self._take(entry)
        beside = [] if request.holder is None else self._book.places_beside(request.holder, key)
        for name, place in beside:
            if request.service in {None, name[:-1]}:
                left = tuple(one for one in self._book.beside(name, place) if one[0] != request.holder)
                self._put_beside(name, place, left)
        return len(matching)

    def ban(self, request: Ban) -> None:
        """Ban an address or lift its ban. Raises checks.Refusal."""
        key = checks.key(self._policy, request.address)
        checks.ban_duration(request.duration_s)
        name = BANS[0] if len(key) == 4 else BANS[1]
        held = self._book.get(name, key)
        if request.duration_s == 0:
            if held is not None:
                self._take(held)
            return
        checks.open_to(self._policy, key)
        if self._policy.mode == "sets":
            raise checks.Refusal("no-bans", 'with mode = "sets" nobody is banned: the ruleset is the admin\'s own')
        if held is None and self._book.count(*BANS) >= self._policy.max_grants:
            raise checks.Refusal("too-many", f"{self._policy.max_grants} bans hold, the most allowed")
        end_ms = self._now_ms + request.duration_s * 1000
        if held is None or held.end_ms < end_ms:
            self._put(Entry(name, key, "cli", "", end_ms, request.duration_s * 1000), held)

    def _leave(self, holder: str, newest: bytes, most: int) -> list[str]:
        """Let the holder's oldest addresses of this family go until `most` are left, the newest among them; so many at once."""
        held = grants(self._policy, self._book, None, None, holder)
        held = [entry for entry in held if len(entry.key) == len(newest) and entry.key != newest]
        oldest_first = list(dict.fromkeys(entry.key for entry in reversed(held)))[::-1]
        leaving = set(oldest_first[: min(max(0, len(oldest_first) + 1 - most), _MOST_LEAVE)])
        for entry in held:
            if entry.key in leaving:
                self._take(entry)
        return [checks.address(self._policy, key) for key in oldest_first if key in leaving]

    def _beside(self, entry: Entry, other: Entry) -> None:
        """The entry names its own holder alone; another is let in there until the end of theirs, which never comes nearer."""
        ends = dict(self._book.beside(entry.set, entry.key))
        end_ms = max(ends.pop(other.holder, 0), other.end_ms)
        stay = [(who, end) for who, end in ends.items() if who != entry.holder and end > self._now_ms]
        self._put_beside(entry.set, entry.key, (*stay, (other.holder, end_ms))[-_MOST_BESIDE:])

    def _put(self, entry: Entry, before: Entry | None) -> None:
        self._remember(entry.set, entry.key, before)
        self._book.put(entry)

    def _take(self, entry: Entry) -> None:
        self._remember(entry.set, entry.key, entry)
        self._book.take(entry.set, entry.key)

    def _put_beside(self, set_name: str, key: bytes, beside: Beside) -> None:
        self._remember(set_name, key, self._book.get(set_name, key))
        self._book.put_beside(set_name, key, beside)

    def _remember(self, set_name: str, key: bytes, entry: Entry | None) -> None:
        self._before.append((set_name, key, entry, self._book.beside(set_name, key)))


def notes(changed: list[Changed]) -> Iterator[tuple[str, bytes, Entry | None]]:
    """What the record is told: what ends earlier than what it replaces is taken out first."""
    for set_name, key, before, after in changed:
        if before is not None and after is not None and after.end_ms < before.end_ms:
            yield set_name, key, None
        yield set_name, key, after


def element(entry: Entry, now_ms: int) -> Element:
    """An entry as the kernel is to hold it. One that ends this instant gets a millisecond."""
    left_ms = max(1, entry.end_ms - now_ms)
    comment = checks.comment(entry.holder, entry.note)
    return Element(entry.set, entry.key, max(entry.timeout_ms, left_ms), left_ms, comment)


def grants(
    policy: Policy, book: Book, service: str | None, key: bytes | None, holder: str | None
) -> list[Entry]:
    """The grants, not the bans, that match all that is given."""
    families = (4, 6) if key is None else (4 if len(key) == 4 else 6,)
    names = [f"{name}{family}" for name in ([service] if service else policy.services) for family in families]
    if key is not None:
        found = [entry for name in names if (entry := book.get(name, key)) is not None]
    elif holder is not None:
        found = [entry for entry in book.of_holder(holder) if entry.set in names]
    else:
        return [entry for name in names for entry in book.of_set(name)]
    return [entry for entry in found if holder is None or entry.holder == holder]


def beside(
    policy: Policy, book: Book, service: str | None, key: bytes, holder: str, now_ms: int
) -> list[Entry]:
    """What a holder was let in for at an address where an entry names another, each until the end of their own time."""
    family = 4 if len(key) == 4 else 6
    names = [f"{name}{family}" for name in ([service] if service else policy.services)]
    return [
        Entry(name, key, holder, "", end_ms, end_ms - now_ms)
        for name in names
        for who, end_ms in book.beside(name, key)
        if who == holder and end_ms > now_ms and (found := book.get(name, key)) is not None and found.holder != holder
    ]
