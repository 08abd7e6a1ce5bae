"""Elements of the kernel's sets, and the one narrow interface through which the gate changes them."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol


class KernelError(Exception):
    """The kernel refused a transaction; nothing of it took effect. `errno` is the kernel's number."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno


class Element(NamedTuple):
    """One element of a set whose key is an address.

    `key` is the address in network byte order, 4 or 16 bytes. `timeout_ms` is the whole time it was given
    and `left_ms` what remains, both in milliseconds, 0 < left <= timeout; None: it never ends (nobody but
    an admin makes such an element). `comment` has at most 127 bytes. Counters count since the element
    was last put.
    """

    set: str
    key: bytes
    timeout_ms: int | None
    left_ms: int | None
    comment: str = ""
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """An element that is to be in its set."""

    element: Element

    @property
    def set(self) -> str:
        """The name of the set that changes."""
        return self.element.set


class Add(Put):
    """Puts an element that the set does not hold yet. On one that is there the result is not promised."""

    __slots__ = ()


class Replace(Put):
    """Puts an element whether or not the set holds one with its key.

    Before Linux 6.12 a second add does not refresh a timeout, on later ones not with the same timeout, and
    a delete of an absent element fails: so this is add, delete, add. No packet sees the steps between.
    """

    __slots__ = ()


class New(Replace):
    """Replaces an element that is most likely not there: a third of the work then, and more than all of it if it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """Takes an element out; one that is not there, or has just expired, is no error."""

    set: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Takes all elements out of a set."""

    set: str


Change = Add | Replace | Remove | Flush


class Sets(Protocol):
    """The elements of one table's sets. Each call blocks for as long as the kernel needs."""

    def close(self) -> None:
        """Give back what the kernel lent; the elements stay."""

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes in order, in one transaction. A key may occur in one change only.

        Raises KernelError; then nothing has changed.
        """

    def read(self, keys: Iterable[tuple[str, bytes]]) -> list[Element | None]:
        """One element for each (set, key), None where the kernel holds none."""

    def dump(self, set_name: str, known: Container[bytes] = ()) -> Iterator[list[Element]]:
        """All elements of a set but those with `known` keys, some at a time; between two of them anything may change.

        While the kernel moves a set that has grown into a larger table, it may skip some and tell others
        twice (seen with Linux 6.1): see `whole`. Raises KernelError, with ENOENT where there is no such set.
        """


def whole(sets: Sets, set_name: str) -> Iterator[list[Element]]:
    """Every element of a set once, some at a time: dumps until one brings nothing new. Raises KernelError."""
    known: set[bytes] = set()
    while True:
        before = len(known)
        for part in sets.dump(set_name, known):
            new = {element.key: element for element in part if element.key not in known}
            known.update(new)
            yield list(new.values())
        if len(known) == before:
            return


def key_text(key: bytes) -> str:
    """The address of a key: `203.0.113.7`, or an IPv6 address without its prefix length."""
    return str(IPv4Address(key) if len(key) == 4 else IPv6Address(key))
