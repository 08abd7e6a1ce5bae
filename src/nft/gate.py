"""The gate: the only one who changes the kernel. Decides, and keeps what is open as it was decided."""

import contextlib
import errno
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nft import checks, listing, render, rules
from nft.adoption import Adoption
from nft.beginning import Beginning
from nft.bindings import Bindings
from nft.book import BANS
from nft.ledger import Event, Ledger, sooner
from nft.listing import now_ms
from nft.measures import Measures
from nft.plan import MOST_AT_ONCE, Changed, Plan, beside, grants, notes
from nft.policy import Policy
from nft.repair import Repair
from nft.rules import Rules, sets_of
from nft.sets import KernelError
from nft.wire import Ban, Grant, List, Request, Revoke

_TRIES = 5

Answer = dict[str, Any]


class Gate:
    """Table, sets and book of one policy. Calls block, for milliseconds at most but where it is said."""

    def __init__(
        self,
        policy: Policy,
        custom: str | None = None,
        warn: Callable[[str], None] = print,
        over: Callable[[str], None] = print,
        record: Path | None = None,
    ) -> None:
        """Open netlink and libnftables; the kernel is not changed yet. Raises PermissionError.

        `custom` is the path of a file of the admin's rules, `record` that of the record of what is open, from which
        it comes back where the kernel forgets it. For the log, `warn` takes a line of what is wrong, `over` one of
        what was wrong and is right again.
        """
        self._measures = Measures()
        self._custom = custom
        self._trials: Bindings | None = None
        self._revoked = 0  # by the transactions of a revocation that goes on
        self._sets = sets_of(policy)
        self._rules = Rules(self._sets, custom, warn, over)
        self._ledger = Ledger(policy, record)
        self._repair = Repair(self._ledger, self._sets, self._rules, warn, over)
        self._adoption = Adoption(self._ledger, self._sets, self._repair)

    def fileno(self) -> int:
        """The descriptor that becomes readable when somebody else has changed a ruleset: call `repair`."""
        return self._repair.fileno()

    def close(self) -> None:
        """Let go of the kernel; everything in it stays. Waits for the disk to have the record."""
        self._ledger.close()
        self._repair.close()
        self._sets.close()
        self._measures.close()

    def start(self) -> int:
        """Adopt what the kernel holds, load the rules, put back what the kernel forgot. Gives back how much is open.

        An element that never ends, or ends later than its service allows, gets the service's maximum. Takes some
        seconds for 100,000 grants.

        Raises KernelError with nft's words, and RecordError where the record cannot be taken; then the table is closed.
        """
        Beginning(self._ledger, self._sets, self._rules, self._repair, self._adoption).begin()
        return len(self._ledger.book)

    def try_rules(self, policy: Policy) -> None:
        """Have nft try what `reload` would load, without changing anything: for one thread beside the gate's own.

        Raises KernelError with nft's words.
        """
        self._trials = self._trials or Bindings()  # of its own: a context is not for two threads
        try:
            problems = rules.check(policy, self._custom, self._trials)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, f"the ruleset could not be tried: {error.strerror}") from None
        if problems:
            raise KernelError(errno.EINVAL, "; ".join(problems))

    def reload(self, policy: Policy) -> None:
        """Decide by another policy. Services, trusted networks and max_grants may differ; `try_rules` had nothing against it.

        A service that is gone loses its grants, one that stays keeps all, cut to its new maximum: the kernel at once,
        the rest by `work`, or where one that went comes back before it is `settled`, at once, however much that is. Raises
        KernelError with nft's words; then all is as before, but that the admin's own rules are left out if they are what is wrong.
        """
        before = self._ledger.policy
        if problems := self._rules.problems(policy):
            raise KernelError(errno.EINVAL, "; ".join(problems))
        if self._repair.moved():
            self._repair.mend()  # somebody has taken the table away, which has not been heard yet
        self._repair.load(lambda present: self._rules.prepare(policy, present))
        try:
            self._repair.load(lambda present: self._rules.replace(policy, present))
        except KernelError:
            self._repair.mend()
            raise
        old = self._repair.names
        self._ledger.policy = policy
        self._repair.heed()
        self._repair.learn(self._repair.names - old)
        for name in old - self._repair.names:
            self._adoption.end(name)
        for name in self._repair.names - old:
            self._adoption.finish(name)  # it had gone, and is back before all of it was struck out
        for name in old & self._repair.names - set(BANS):
            if policy.services[name[:-1]].max_duration_s < before.services[name[:-1]].max_duration_s:
                self._adoption.shorten(name)

    def work(self) -> None:
        """One slice, some 2 ms, of what waits: repairs, changes made by hand, a reload's consequences, the record."""
        self._ledger.expire()
        if self._repair.waits():
            self._repair.slice()
        else:
            self._adoption.slice()
        self._ledger.go_on()

    def decide(self, requests: Sequence[Grant | Revoke | Ban], until_s: float = math.inf) -> list[Answer]:
        """Carry out requests and answer each, in their order; those that are not, at that monotonic time, are left for the next call.

        They share transactions. A refused one changes nothing, and does not touch the others. If the kernel refuses a
        transaction each is tried alone. A revocation of more than `MOST_AT_ONCE` takes several, and calls, until it is answered;
        what it took before the kernel refuses one stays taken.
        """
        answers: list[Answer] = []
        while len(answers) < len(requests):
            answers += self._summed(self._transaction(requests[len(answers) :], until_s))
            if time.monotonic() >= until_s:
                break
        return answers

    def _summed(self, answers: list[Answer]) -> list[Answer]:
        """The answers to what is done. The last may be to a part of a revocation, and the first to the rest of one."""
        goes_on = answers[-1].get("ok", {}).get("revoked") == MOST_AT_ONCE
        earlier, self._revoked = self._revoked, 0
        if earlier and "ok" in answers[0]:
            answers[0]["ok"]["revoked"] += earlier
        if goes_on:
            self._revoked = answers.pop()["ok"]["revoked"]
        return answers

    def _transaction(self, requests: Sequence[Grant | Revoke | Ban], until_s: float) -> list[Answer]:
        """The first of the requests in one transaction: one at least."""
        for attempt in range(_TRIES):
            plan = Plan(self._ledger.policy, self._ledger.book, now_ms())
            answers: list[Answer] = []
            for request in requests:
                answers.append(self._apply(plan, request))
                if len(plan) >= MOST_AT_ONCE or time.monotonic() >= until_s:
                    break
            changed = plan.changed()
            changes, begin = plan.changes(changed), time.perf_counter()
            try:
                self._sets.commit(changes)
            except KernelError as error:
                plan.undo()
                if error.errno == errno.ENOENT and attempt + 1 < _TRIES:
                    self._repair.mend()  # the table went an instant ago, and its notification is on the way
                elif len(answers) == 1:
                    return [_refusal(requests[0], "kernel", str(error))]
                else:
                    return self._each(requests[: len(answers)], until_s)
            else:
                if changes:
                    self._measures.took(time.perf_counter() - begin)
                self._committed(changed)
                return answers
        raise AssertionError("unreachable")

    def _each(self, requests: Sequence[Grant | Revoke | Ban], until_s: float) -> list[Answer]:
        """A transaction for each."""
        answers: list[Answer] = []
        for request in requests:
            answers += self._transaction([request], until_s)
            if time.monotonic() >= until_s:
                break
        return answers

    def tell(self, request: List) -> Iterator[listing.Items]:
        """What is asked for, in parts that fit a line; between two of them others may be served.

        Raises checks.Refusal before the first part, KernelError at any.
        """
        if request.service is not None:
            checks.service(self._ledger.policy, request.service)
        key = None if request.address is None else checks.key(self._ledger.policy, request.address)
        match request.of:
            case "grants" | "held":
                chosen = grants(self._ledger.policy, self._ledger.book, request.service, key, request.holder)
                if key is not None and request.holder is not None:
                    chosen += beside(self._ledger.policy, self._ledger.book, request.service, key, request.holder, now_ms())
                if request.of == "held":
                    return listing.held(self._ledger.policy, self._ledger.book, chosen)
                return listing.grants(self._sets, self._ledger.policy, self._ledger.book, chosen)
            case "banned":
                bans = [entry for name in BANS for entry in self._ledger.book.of_set(name)]
                return listing.banned(self._sets, self._ledger.policy, bans)
            case "blocked":
                return listing.blocked(self._sets, self._ledger.policy) if self._ledger.policy.mode == "table" else iter(())
            case "status":
                return iter([[self._status()]])

    def events(self) -> list[Event]:
        """What happened since the last call, beside the answers: ends, repairs, changes made by hand.

        Of more than some thousands at once the rest is left out.
        """
        return self._ledger.events()

    def next_s(self) -> float | None:
        """Seconds until `work` has something to do; None: not before something happens."""
        kernel = self._repair if self._repair.waits() else self._adoption
        return sooner(self._ledger.next_s(), kernel.next_s())

    @property
    def settled(self) -> bool:
        """Whether `work` has done what the last reload left to it; also where the kernel lets it do nothing."""
        return not self._adoption.behind or bool(self._repair.next_s())

    @property
    def grants(self) -> int:
        """How many are open."""
        return self._ledger.book.grants()

    @property
    def unrecorded(self) -> str | None:
        """Why what is open cannot be written down; None: it is."""
        return self._ledger.unrecorded

    def repair(self) -> None:
        """Hear what others did: table and rules are put right at once, the rest by `work`.

        Chains, rules, maps and sets become what the policy says, a set that was deleted gets its elements
        back with the time that they have left. An element that somebody put or took out by hand is taken
        over as they wanted it. What the kernel refuses is told aloud and tried again.
        """
        self._repair.hear()

    def _committed(self, changed: list[Changed]) -> None:
        """What was decided is in the kernel: it is newer than what others did before."""
        for set_name, key, *_ in changed if self._repair.heard.touched else ():
            self._repair.heard.touched.pop((set_name, key), None)
        self._ledger.note(notes(changed))

    def _apply(self, plan: Plan, request: Grant | Revoke | Ban) -> Answer:
        answer: Answer = {}
        try:
            match request:
                case Grant():
                    granted, left, renewed = plan.grant(request)
                    shown = listing.show(self._ledger.policy, self._ledger.book, granted)
                    answer = {"grants": shown, "left": left, "renewed": renewed}
                case Revoke():
                    answer = {"revoked": plan.revoke(request)}
                case Ban():
                    plan.ban(request)
        except checks.Refusal as refusal:
            return _refusal(request, refusal.code, str(refusal))
        return {"id": request.id, "ok": answer}

    def _status(self) -> dict[str, Any]:
        policy, book = self._ledger.policy, self._ledger.book
        blocked = {name: render.blocked_counter(name) for name in policy.services}
        # another's objects in mode "sets"
        counted = self._sets.counters(["closed", "flooded", *blocked.values()]) if policy.mode == "table" else {}
        packets, size = counted.get("closed", (0, 0))
        return {
            "mode": policy.mode,
            "table": f"{policy.family} {policy.table}",
            "grants": book.grants(),
            "max_grants": policy.max_grants,
            "bans": book.count(*BANS),
            "repairs": self._repair.repairs,
            "closed_packets": packets,
            "closed_bytes": size,
            "record": self._ledger.unrecorded,
            "flooded_packets": counted.get("flooded", (0, 0))[0],
            "masks": self._masks(),
            "services": {
                name: {
                    "grants": book.count(f"{name}4", f"{name}6"),
                    "families": [book.count(f"{name}4"), book.count(f"{name}6")],
                    "closed_packets": counted.get(blocked[name], (0, 0))[0],
                    "ports": [str(port) for port in rule.ports],
                }
                for name, rule in policy.services.items()
            },
            **self._measures.status(),
        }

    def _masks(self) -> dict[str, Any]:
        if self._ledger.policy.mode == "table":
            with contextlib.suppress(KernelError):  # somebody has taken the table away an instant ago
                return listing.masks(self._sets)
        return {"count": 0, "latest": []}


def _refusal(request: Request, code: str, message: str) -> Answer:
    return {"id": request.id, "error": {"code": code, "message": message}}
