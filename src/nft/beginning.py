"""A start: what the kernel holds is adopted, and what it has forgotten comes back from the record."""

import errno

from nft import render
from nft.adoption import Adoption
from nft.book import Entry
from nft.ledger import Ledger
from nft.listing import now_ms
from nft.netlink_sets import NetlinkSets
from nft.plan import element
from nft.repair import Repair
from nft.rules import Rules
from nft.sets import Add, KernelError

_TRIES = 5


class Beginning:
    """One start of a gate.

    The kernel has forgotten the whole of a set that is missing, and everything that the record says where the
    ruleset is the one loaded at boot, or an admin's own after a boot.
    """

    def __init__(self, ledger: Ledger, sets: NetlinkSets, rules: Rules, repair: Repair, adoption: Adoption) -> None:
        self._ledger = ledger
        self._sets = sets
        self._rules = rules
        self._repair = repair
        self._adoption = adoption
        self._handles: dict[str, tuple[int, int]] = {}
        self._forgotten: set[str] = set()

    def begin(self) -> None:
        """Do it, and anew where somebody takes the table away meanwhile. Raises as `Gate.start`."""
        self._close()  # reading takes its time
        self._handles = self._sets.handles()
        recorded = self._ledger.recorded()
        for left in reversed(range(_TRIES)):
            try:
                self._all(recorded)
                break
            except KernelError as error:
                if error.errno != errno.ENOENT or not left:
                    raise
                # what was adopted is newer
                recorded = list({(entry.set, entry.key): entry for entry in (*recorded, *self._ledger.book)}.values())
                self._ledger.clear()
        self._ledger.begin()

    def _close(self) -> None:
        """Where there is no table. It says that it is the one loaded at boot, so that a start that ends early can be done again."""
        policy = self._ledger.policy
        if policy.mode == "table" and self._rules.present() == render.Present([], [], []):
            self._repair.load(lambda _: self._rules.close(policy))

    def _all(self, recorded: list[Entry]) -> None:
        policy, names, book = self._ledger.policy, self._repair.names, self._ledger.book
        self._close()
        self._repair.forget()
        self._repair.learn(names)  # first: what comes in the place of a set from now on differs, here or at the end
        before, self._handles = self._handles, self._sets.handles()
        standing = names & self._handles.keys()
        if problems := self._rules.problems(policy):
            raise KernelError(errno.EINVAL, "; ".join(problems))
        # an admin's ruleset, mode "sets", makes its sets at boot and says no more than that
        booted = render.AT_BOOT in self._rules.present().chains or (policy.mode == "sets" and self._ledger.rebooted())
        self._forgotten |= names if booted else {name for name in names if name not in standing or self._handles[name] != before.get(name)}
        for name in standing:
            self._adoption.everything(name)
        if self._repair.differs(standing):
            raise KernelError(errno.ENOENT, "somebody else changes the table at this moment")
        lost = [entry for entry in recorded if entry.set in self._forgotten and book.get(entry.set, entry.key) is None]
        self._put_back([entry for entry in lost if entry.set in standing])
        anew = self._repair.load(lambda found: self._rules.load(policy, found))
        self._repair.learn(names if anew else names - standing)
        self._put_back([*(book if anew else ()), *(entry for entry in lost if entry.set not in standing)])

    def _put_back(self, entries: list[Entry]) -> None:
        """Put into the kernel what is not in it, and into the book what is not in that, and tell what does not fit."""
        over: set[Entry] = set()
        sets: dict[str, list[Entry]] = {}
        for entry in entries:
            sets.setdefault(entry.set, []).append(entry)
        for of_set in sets.values():
            over.update(of_set[self._repair.put_back([Add(element(entry, now_ms())) for entry in of_set]) :])
        for entry in entries:
            if self._ledger.book.get(entry.set, entry.key) is not entry:
                self._ledger.put(entry)
            if entry in over:
                self._ledger.take(entry.set, entry.key, "foreign-revoke")
