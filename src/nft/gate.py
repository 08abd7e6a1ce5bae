"""The gate: the only one who changes the kernel. Decides, keeps the book, puts back what others broke."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nft import checks, listing, render
from nft.book import BANS, Book, Entry
from nft.listener import Heard, Listener
from nft.listing import now_ms
from nft.plan import Plan, element, grants
from nft.policy import Policy
from nft.rules import Rules, sets_of
from nft.sets import Add, Change, Element, Flush, KernelError, Remove, Replace, whole
from nft.wire import Ban, Grant, List, Request, Revoke

_RESTORE = 5000  # elements put back in one transaction
_TRIES = 5
_EVENTS = 5000

Answer = dict[str, Any]
Event = dict[str, Any]


class Gate:
    """Table, sets and book of one policy. Calls block, for microseconds but where it is said."""

    def __init__(self, policy: Policy, custom: str | None = None, warn: Callable[[str], None] = print) -> None:
        """Open netlink and libnftables; the kernel is not changed yet. Raises PermissionError.

        `custom` is the path of a file of the admin's rules. `warn` takes one line for the log.
        """
        self._policy = policy
        self._book = Book()
        self._sets = sets_of(policy)
        self._warn = warn
        self._rules = Rules(self._sets, custom, warn)
        self._listener = Listener(policy.family, policy.table, self._sets.port)
        self._names = set(render.service_sets(policy))
        if policy.mode == "table":
            self._names |= set(BANS)
        self._owed: set[str] = set()  # sets that lack what a repair could not put back
        self._repairs = 0
        self._events: list[Event] = []

    def fileno(self) -> int:
        """The descriptor that becomes readable when somebody else has changed a ruleset: call `repair`."""
        return self._listener.fileno()

    def close(self) -> None:
        """Let go of the kernel; everything in it stays."""
        self._listener.close()
        self._sets.close()

    def start(self) -> int:
        """Adopt what the kernel holds and load the rules. Gives back how many elements were adopted.

        An element that never ends, or ends later than its service allows, gets the service's maximum.
        Takes some seconds for 100,000 grants. Raises KernelError with nft's words.
        """
        if problems := self._rules.problems(self._policy):
            raise KernelError(errno.EINVAL, "; ".join(problems))
        now, changes = now_ms(), list[Change]()
        for name in self._names & set(self._rules.present().sets):
            for found in whole(self._sets, name).values():
                if (change := self._adopt(found, now)) is not None:
                    changes.append(change)
        self._load(self._rules.present())
        self._sets.commit(changes)
        return len(self._book)

    def decide(self, requests: Sequence[Grant | Revoke | Ban]) -> list[Answer]:
        """Carry out requests in one transaction and answer each, in their order.

        A refused one changes nothing, and does not touch the others. If the kernel refuses the transaction
        each is tried alone.
        """
        for attempt in range(_TRIES):
            plan = Plan(self._policy, self._book, now_ms())
            answers = [self._apply(plan, request) for request in requests]
            try:
                self._sets.commit(plan.changes())
            except KernelError as error:
                plan.undo()
                if error.errno == errno.ENOENT and attempt + 1 < _TRIES:
                    self.repair()  # the table went an instant ago, and its notification is on the way
                elif len(requests) == 1:
                    return [_refusal(requests[0], "kernel", str(error))]
                else:
                    return [answer for request in requests for answer in self.decide([request])]
            else:
                return answers
        raise AssertionError("unreachable")

    def tell(self, request: List) -> Iterator[listing.Items]:
        """What is asked for, in parts that fit a line; between two of them others may be served.

        Raises checks.Refusal before the first part, KernelError at any.
        """
        if request.service is not None:
            checks.service(self._policy, request.service)
        key = None if request.address is None else checks.key(self._policy, request.address)
        match request.of:
            case "grants":
                chosen = grants(self._policy, self._book, request.service, key, request.holder)
                return listing.grants(self._sets, self._policy, chosen)
            case "banned":
                bans = [entry for name in BANS for entry in self._book.of_set(name)]
                return listing.banned(self._sets, self._policy, bans)
            case "blocked":
                return listing.blocked(self._sets, self._policy) if self._policy.mode == "table" else iter(())
            case "status":
                return iter([[self._status()]])

    def expire(self) -> None:
        """Strike out what the kernel has forgotten by now; of very many, a part that holds up nobody."""
        for entry in self._book.expire(now_ms()):
            self._tell_of("grant-expired", entry)

    def events(self) -> list[Event]:
        """What happened since the last call, beside the answers: ends, repairs, changes made by hand.

        Of more than some thousands at once the rest is left out.
        """
        happened, self._events = self._events, []
        return happened

    def next_end_s(self) -> float | None:
        """Seconds until `expire` has something to do; None: never."""
        end_ms = self._book.next_end_ms()
        return None if end_ms is None else max(0.0, (end_ms - now_ms()) / 1000)

    def repair(self) -> None:
        """Hear what others did and put it right.

        Chains, rules, maps and sets become what the policy says, a set that was deleted gets its elements
        back with the time that they have left. An element that somebody put or took out by hand is taken
        over as they wanted it. Raises KernelError where the kernel no longer takes the rules.
        """
        heard = self._listener.hear()
        while heard:
            try:
                self._put_right(heard)
            except KernelError as error:
                more = self._listener.hear()
                if more and (error.errno == errno.ENOENT or self._policy.mode == "sets"):
                    heard |= more  # flushed once more in the middle of it
                elif self._policy.mode == "sets":
                    self._warn(f"table {self._policy.family} {self._policy.table} does not take the sets: {error}")
                    return  # it is the admin's, and tried again when they change it
                else:
                    raise
            else:
                return

    def _put_right(self, heard: Heard) -> None:
        started = time.monotonic()
        present = self._rules.present()
        lost = set(self._names) if heard.overflow else heard.lost & self._names
        lost |= self._owed | (self._names - set(present.sets))
        foreign = {name for name, _ in heard.touched} - self._names - render.RECORDS
        broken = heard.structure or heard.overflow or bool(foreign)
        if lost or (broken and self._policy.mode == "table"):
            self._owed = lost
            self._load(present)
            self._restore(lost - self._rules.unfit)
            self._owed = set()
            self._repairs += 1
            took_ms = round((time.monotonic() - started) * 1000, 1)
            self._events.append({"event": "repaired", "grants": self._book.grants(), "ms": took_ms})
        self._take_over([place for place in heard.touched if place[0] in self._names - lost - self._rules.unfit])

    def _load(self, present: render.Present) -> None:
        """Load the rules, and see to it that the listener does not take them for another's."""
        before = self._sets.generation()
        anew = self._rules.load(self._policy, present)
        after = self._sets.generation()
        if after == (before + 1) & 0xFFFF_FFFF:  # else somebody else was at it too: better hear it all
            self._listener.own_generation(after)
        if anew:
            self._restore(self._names)

    def _restore(self, names: set[str]) -> None:
        """Make the elements of sets what the book says. 10,000 take some 30 ms."""
        now = now_ms()
        changes: list[Change] = [Flush(name) for name in sorted(names)]
        changes += [Add(element(e, now)) for name in sorted(names) for e in self._book.of_set(name)]
        for start in range(0, len(changes), _RESTORE):
            self._sets.commit(changes[start : start + _RESTORE])

    def _take_over(self, touched: list[tuple[str, bytes]]) -> None:
        """Believe the kernel for elements that somebody changed by hand."""
        changes: list[Change] = []
        now = now_ms()
        for (set_name, key), found in zip(touched, self._sets.read(touched), strict=True):
            before = self._book.get(set_name, key)
            if found is None and before is not None:
                self._book.take(set_name, key)
                self._tell_of("foreign-revoke", before)
            elif found is not None:
                if (change := self._adopt(found, now)) is not None:
                    changes.append(change)
                entry = self._book.get(set_name, key)
                if before is None and entry is not None:
                    self._tell_of("foreign-grant", entry)
        self._sets.commit(changes)

    def _adopt(self, found: Element, now: int) -> Change | None:
        """Write an element of the kernel's into the book, and tell what the kernel must do for it."""
        if checks.key_of_network(self._policy, found.key) != found.key:
            return None  # with bits beyond the prefix no packet matches it: it opens nothing
        most_ms = self._most_ms(found.set)
        holder, note = checks.read_comment(found.comment)
        left_ms = most_ms if found.left_ms is None else min(found.left_ms, most_ms)
        timeout_ms = max(left_ms, min(found.timeout_ms or most_ms, most_ms))
        if left_ms <= 0:
            return Remove(found.set, found.key)
        entry = Entry(found.set, found.key, holder, note, now + left_ms, timeout_ms)
        self._book.put(entry)
        return None if left_ms == found.left_ms else Replace(element(entry, now))

    def _most_ms(self, set_name: str) -> int:
        rule = self._policy.services.get(set_name[:-1])
        return (rule.max_duration_s if rule else checks.BAN_MAX_S) * 1000

    def _apply(self, plan: Plan, request: Grant | Revoke | Ban) -> Answer:
        answer: Answer = {}
        try:
            with plan.alone():
                match request:
                    case Grant():
                        granted, left = plan.grant(request)
                        answer = {"grants": listing.show(self._policy, granted), "left": left}
                    case Revoke():
                        answer = {"revoked": plan.revoke(request)}
                    case Ban():
                        plan.ban(request)
        except checks.Refusal as refusal:
            return _refusal(request, refusal.code, str(refusal))
        return {"id": request.id, "ok": answer}

    def _status(self) -> dict[str, Any]:
        packets, size = self._sets.counter("closed")
        return {
            "mode": self._policy.mode,
            "table": f"{self._policy.family} {self._policy.table}",
            "grants": self._book.grants(),
            "repairs": self._repairs,
            "closed_packets": packets,
            "closed_bytes": size,
            "flooded_packets": self._sets.counter("flooded")[0],
            "services": {
                name: {
                    "grants": self._book.count(f"{name}4", f"{name}6"),
                    "ports": [str(port) for port in rule.ports],
                }
                for name, rule in self._policy.services.items()
            },
        }

    def _tell_of(self, name: str, entry: Entry) -> None:
        if len(self._events) >= _EVENTS:
            return
        if entry.set in BANS:
            address = checks.address(self._policy, entry.key)
            self._events.append({"event": name.replace("grant", "ban"), "address": address})
        else:
            self._events.append({"event": name, "grant": listing.show(self._policy, [entry])[0]})


def _refusal(request: Request, code: str, message: str) -> Answer:
    return {"id": request.id, "error": {"code": code, "message": message}}
