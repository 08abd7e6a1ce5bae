"""Sets in a table of the admin's (mode "sets"): which of them can hold grants, and what in them is the admin's own."""

import errno
from collections.abc import Container, Iterable, Iterator, Sequence

from nft import netlink
from nft.netlink_sets import NetlinkSets
from nft.sets import Add, Change, Element, Flush, KernelError, Put, Remove, Replace

# enum nft_set_flags; others (dynamic, expressions such as a counter) do no harm
_CONSTANT, _INTERVAL, _MAP, _TIMEOUT, _CONCATENATION = 0x2, 0x4, 0x8, 0x10, 0x80
_TYPES = {"4": ("ipv4_addr", 7, 4), "6": ("ipv6_addr", 8, 16)}  # nft's names and numbers (datatype.h), bytes of a key


class AdminSets(NetlinkSets):
    """`nft.sets.Sets` of a table that somebody else writes, and may replace at any instant.

    An element without an end is the admin's own: it is neither told nor changed. Every transaction is for the
    ruleset that was just looked at and no later one (NFNL_BATCH_GENID, Linux 4.12), because an address that is
    put into an interval set opens everything from there on.
    """

    def __init__(self, family: str, table: str) -> None:
        super().__init__(family, table)
        self._mixed: set[str] = set()  # where the admin had elements of their own when it was last flushed

    def unfit(self, set_names: Iterable[str]) -> dict[str, str]:
        """Those of the sets that are there and cannot hold grants, each with a sentence that says what to write."""
        table = f"{self.family} {self.table}"
        found = {}
        for name in set_names:
            if wrong := self._wrong(name):
                kind = _TYPES[name[-1]][0]
                right = f"set {name} {{ type {kind}; flags timeout; counter; }}"
                found[name] = f'set {name} of table {table} {wrong}: write "{right}"'
        return found

    def read(self, keys: Iterable[tuple[str, bytes]]) -> list[Element | None]:
        """See nft.sets.Sets."""
        return [None if _own(found) else found for found in super().read(keys)]

    def dump(self, set_name: str, known: Container[bytes] = ()) -> Iterator[list[Element]]:
        """See nft.sets.Sets."""
        for part in super().dump(set_name, known):
            yield [found for found in part if not _own(found)]

    def _transact(self, changes: Sequence[Change], generation: int = 0) -> int:
        generation = self.generation()
        unfit = self.unfit({change.set for change in changes})
        if put := {change.set for change in changes if isinstance(change, Put)} & unfit.keys():
            raise KernelError(errno.EINVAL, "; ".join(unfit[name] for name in sorted(put)))
        # what is taken out of the others is not held up by one that holds nothing of ours
        return super()._transact(self._sparing([change for change in changes if change.set not in unfit]), generation)

    def _sparing(self, changes: Sequence[Change]) -> list[Change]:
        """The changes without those that would touch an element of the admin's."""
        flushed = {name: self._held_by_both(name) for name in {change.set for change in changes if isinstance(change, Flush)}}
        self._mixed = self._mixed - flushed.keys() | {name for name, held in flushed.items() if held}
        keys = [
            (change.set, change.key) if isinstance(change, Remove) else (change.element.set, change.element.key)
            for change in changes
            # of what is put back there is much: it is looked at where the set, when it was flushed, held something
            if isinstance(change, Remove | Replace) or (isinstance(change, Add) and change.element.set in self._mixed)
        ]
        own = {key for key, found in zip(keys, super().read(keys), strict=True) if _own(found)}
        spared: list[Change] = []
        for change in changes:
            match change:
                case Flush(name) if flushed[name]:
                    spared += [Remove(name, found.key) for found in flushed[name] if not _own(found)]
                case Remove(name, key) if (name, key) in own:
                    pass
                case (Add(element) | Replace(element)) if (element.set, element.key) in own:
                    pass
                case _:
                    spared.append(change)
        return spared

    def _held_by_both(self, set_name: str) -> list[Element]:
        """Everything in a set that holds elements of the admin's; nothing of one that holds none."""
        held = [found for part in super().dump(set_name) for found in part]
        return held if any(map(_own, held)) else []

    def _wrong(self, name: str) -> str | None:
        definition = self.definition(name)
        if definition is None:
            return None
        flags = netlink.number(definition[netlink.SET_FLAGS]) if netlink.SET_FLAGS in definition else 0
        kind, number, size = _TYPES[name[-1]]
        found = tuple(netlink.number(definition[key]) for key in (netlink.SET_KEY_TYPE, netlink.SET_KEY_LEN))
        if flags & _MAP:
            return "is a map"
        if found != (number, size) or flags & _CONCATENATION:
            return f"does not hold {kind}"
        if flags & _INTERVAL:
            return "is an interval set, in which a renewal loses packets"
        if flags & _CONSTANT:
            return "is constant"
        return None if flags & _TIMEOUT else "keeps its elements for ever"


def _own(found: Element | None) -> bool:
    return found is not None and found.left_ms is None
