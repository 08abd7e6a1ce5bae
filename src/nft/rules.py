"""The rules of the table: loaded, checked and taken away through libnftables, in one transaction each."""

import contextlib
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nft import render
from nft.admin_sets import AdminSets
from nft.bindings import Bindings
from nft.netlink import Message
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy
from nft.sets import KernelError, Remove, whole

_AT_ONCE = 5000  # elements in one transaction


class Rules:
    """The rules that a policy asks for. `custom` is the path of the admin's own, which need not be there."""

    def __init__(self, sets: NetlinkSets, custom: str | None, warn: Callable[[str], None], over: Callable[[str], None]) -> None:
        self._sets = sets
        self._custom = custom
        self._warn = warn
        self._over = over
        self._bindings = Bindings()
        self.unfit: frozenset[str] = frozenset()

    def present(self) -> render.Present:
        """What the table holds at this moment."""
        return _present(self._sets)

    def problems(self, policy: Policy) -> list[str]:
        """What keeps the admin's own sets from holding grants, a sentence each; in mode "table" nothing does."""
        return list(_unfit(self._sets, policy).values())

    def load(self, policy: Policy, present: render.Present) -> bool:
        """Make the rules what `policy` says, and leave every element of a set that stays where it is.

        In mode "sets" it makes the sets that are missing; `unfit` are then those that the admin made so that they
        hold no grants, told aloud when that begins and when it is over.

        In doubt closed: if nft refuses the admin's own rules they are left out aloud, and if it refuses the
        rest the table is made anew, aloud too, with the admin's own if those are not wrong as well. True says that
        this was so, and the elements are gone.

        Raises KernelError; with ENOENT where somebody changes the table at this very moment.
        """
        if policy.mode == "sets":
            self._bindings.load(render.script(policy, present))
            self._tell_unfit(policy)
            return False
        custom = _existing(self._custom)
        try:
            self._bindings.load(render.script(policy, present, custom))
        except KernelError as error:
            if error.errno == errno.ENOENT and self.present() != present:
                raise
            return self._load_less(policy, custom, error)
        return False

    def prepare(self, policy: Policy, present: render.Present) -> bool:
        """The step before `replace`, after which no packet passes between the two. Raises KernelError."""
        if policy.mode == "table":
            self._bindings.load(render.ahead(policy, present))
        return False

    def replace(self, policy: Policy, present: render.Present) -> bool:
        """As `load`, but where nft refuses anything nothing has changed. Raises KernelError."""
        self._bindings.load(render.script(policy, present, _existing(self._custom)))
        self._tell_unfit(policy)
        return False

    def close(self, policy: Policy) -> bool:
        """Load what closes before there is a network. Raises KernelError."""
        self._bindings.load(render.closed(policy))
        return False

    def _load_less(self, policy: Policy, custom: str | None, error: KernelError) -> bool:
        if custom is not None:
            try:
                self._bindings.load(render.script(policy, self.present()))
            except KernelError as second:
                error = second
            else:
                self._warn(f"{custom} is left out: {error}")
                return False
        self._warn(f"the table is made anew: {error}")
        teardown, nothing = render.teardown(policy), render.Present()
        try:
            self._bindings.load(teardown + render.script(policy, nothing, custom))
        except KernelError as third:
            if custom is None:
                raise
            self._warn(f"{custom} is left out: {third}")
            self._bindings.load(teardown + render.script(policy, nothing))
        return True

    def _tell_unfit(self, policy: Policy) -> None:
        found = _unfit(self._sets, policy)
        for name in found.keys() - self.unfit:
            self._warn(f"{found[name]}; until then nobody is let in through it")
        for name in sorted((self.unfit - found.keys()).intersection(render.service_sets(policy))):
            self._over(f"set {name} of table {policy.family} {policy.table} holds grants again")
        self.unfit = frozenset(found)


def sets_of(policy: Policy) -> NetlinkSets:
    """The sets of the policy's table. Raises PermissionError."""
    return (AdminSets if policy.mode == "sets" else NetlinkSets)(policy.family, policy.table)


def check(policy: Policy, custom: str | None = None, bindings: Bindings | None = None) -> list[str]:
    """Try the ruleset in the kernel without changing it: a sentence for each thing that is against it.

    `bindings`: those of whoever does it again and again. Raises KernelError, PermissionError.
    """
    with contextlib.closing(sets_of(policy)) as sets:
        problem = (bindings or Bindings()).check(render.script(policy, _present(sets), _existing(custom)))
        return [*_unfit(sets, policy).values(), *([] if problem is None else [problem])]


def know_connections(policy: Policy) -> None:
    """Make the table without any service, where there is none: nothing is closed, and the kernel begins to track connections.

    One that stands and is tracked by the time its service is closed goes on with `existing` "keep"; one of which the kernel
    knows nothing would look like a stranger's. Raises KernelError.
    """
    with contextlib.closing(sets_of(policy)) as sets:
        present = _present(sets)
    if not present.chains:
        Bindings().load(render.script(replace(policy, services={}), present))


def down(policy: Policy) -> None:
    """Take the table away: every protected port is as open as without SafeIP. Raises KernelError.

    In mode "sets" every grant is taken out of the admin's sets, so that their ruleset lets nobody in by them.
    """
    if policy.mode == "table":
        Bindings().load(render.teardown(policy))
        return
    with contextlib.closing(AdminSets(policy.family, policy.table)) as sets:
        for name in set(render.service_sets(policy)) & set(_present(sets).sets) - sets.unfit(render.service_sets(policy)).keys():
            held = [found.key for part in whole(sets, name) for found in part]
            for start in range(0, len(held), _AT_ONCE):
                sets.commit([Remove(name, key) for key in held[start : start + _AT_ONCE]])


def _present(sets: NetlinkSets) -> render.Present:
    return render.Present(*(sets.names(kind) for kind in (Message.GETSET, Message.GETCHAIN, Message.GETOBJ)))


def _unfit(sets: NetlinkSets, policy: Policy) -> dict[str, str]:
    return sets.unfit(render.service_sets(policy)) if isinstance(sets, AdminSets) else {}


def _existing(path: str | None) -> str | None:
    """The path, unless there is certainly nothing; what cannot be looked at is nft's to refuse."""
    with contextlib.suppress(OSError):
        return path if path is not None and Path(path).exists() else None
    return path
