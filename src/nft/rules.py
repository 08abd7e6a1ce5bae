"""The rules of the table: loaded, checked and taken away through libnftables, in one transaction each."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nft import render
from nft.bindings import Bindings
from nft.netlink import Message
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy
from nft.sets import KernelError


class Rules:
    """The rules that a policy asks for. `custom` is the path of the admin's own, which need not be there."""

    def __init__(self, sets: NetlinkSets, custom: str | None, warn: Callable[[str], None]) -> None:
        self._sets = sets
        self._custom = custom
        self._warn = warn
        self._bindings = Bindings()

    def present(self) -> render.Present:
        """What the table holds at this moment."""
        return _present(self._sets)

    def load(self, policy: Policy, present: render.Present) -> bool:
        """Make the rules what `policy` says, and leave every element of a set that stays where it is.

        In doubt closed: if nft refuses the admin's own rules they are left out aloud, and if it refuses the
        rest the table is made anew, aloud too. True says that this was so, and the elements are gone.

        Raises KernelError; with ENOENT where somebody changes the table at this very moment.
        """
        custom = _existing(self._custom)
        try:
            self._bindings.load(render.script(policy, present, custom))
        except KernelError as error:
            if error.errno == errno.ENOENT and self.present() != present:
                raise
            return self._load_less(policy, custom, error)
        return False

    def _load_less(self, policy: Policy, custom: str | None, error: KernelError) -> bool:
        if custom is not None:
            self._warn(f"{custom} is left out: {error}")
            try:
                self._bindings.load(render.script(policy, self.present()))
            except KernelError as second:
                error = second
            else:
                return False
        if policy.mode == "sets":
            raise error  # the table is the admin's
        self._warn(f"the table is made anew: {error}")
        self._bindings.load(render.teardown(policy) + render.script(policy, render.Present()))
        return True


def check(policy: Policy, custom: str | None = None) -> list[str]:
    """Try the ruleset in the kernel without changing it: nft's words against it, none if it is good."""
    sets = NetlinkSets(policy.family, policy.table)
    present = _present(sets)
    sets.close()
    problem = Bindings().check(render.script(policy, present, _existing(custom)))
    return [] if problem is None else [problem]


def know_connections(policy: Policy) -> None:
    """Make the table without any service, where there is none: nothing is closed, and the kernel begins to track connections.

    One that stands and is tracked by the time its service is closed goes on with `existing` "keep"; one of which the kernel
    knows nothing would look like a stranger's. Raises KernelError.
    """
    sets = NetlinkSets(policy.family, policy.table)
    present = _present(sets)
    sets.close()
    if not present.chains:
        Bindings().load(render.script(replace(policy, services={}), present))


def down(policy: Policy) -> None:
    """Take the table away: every protected port is as open as without SafeIP. Raises KernelError."""
    Bindings().load(render.teardown(policy))


def _present(sets: NetlinkSets) -> render.Present:
    return render.Present(sets.names(Message.GETSET), sets.names(Message.GETCHAIN))


def _existing(path: str | None) -> str | None:
    return path if path is not None and Path(path).exists() else None
