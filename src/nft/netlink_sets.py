"""Elements over netlink, without libnftables.

libnftables reads every interval set of the host before it changes one element: 2 s beside a country list
of 100,000 addresses. Here a change costs the change.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Container, Iterable, Iterator, Sequence

from nft import netlink
from nft.elements import counted, element, elements, steps
from nft.netlink import Message
from nft.sets import Change, Element, KernelError, New, Replace

_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER = 8 << 20  # bytes: 5,000 elements each way, with the kernel's overhead
_PER_MESSAGE = 300  # elements: an attribute has at most 64 KiB, an element at most 180 bytes
_PER_READ = 200  # answers that fit the receive buffer with the kernel's overhead many times over
_LAST = 0xFFFF_FFFF  # sequence number, after which they begin again
_TRIES = 100
_PAUSE_S = 0.001


class NetlinkSocket:
    """A netlink socket of nf_tables. Needs CAP_NET_ADMIN; raises PermissionError without."""

    def __init__(self) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink.NETLINK_NETFILTER
        )
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self.socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # errors need not repeat the request
            self.socket.bind((0, 0))
        except OSError:
            self.socket.close()
            raise
        self.port: int = self.socket.getsockname()[0]

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()

    def answers(self) -> Iterator[netlink.Received]:
        """What waits in the socket; ends when nothing does."""
        while True:
            try:
                datagram = self.socket.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from netlink.messages(datagram)


class NetlinkSets:
    """`nft.sets.Sets` of one table over netlink."""

    def __init__(self, family: str, table: str) -> None:
        self.family, self.table = family, table
        self._family = netlink.FAMILIES[family]
        self._table = netlink.text(netlink.TABLE, table)
        self._socket = NetlinkSocket()
        # Sockets for dumps, kept: closing one waits, 20 ms and more, for what earlier transactions left
        # for the kernel to clear away.
        self._readers: list[NetlinkSocket] = []
        self._sequence = 0
        self.port = self._socket.port

    def close(self) -> None:
        """See nft.sets.Sets."""
        for reader in (self._socket, *self._readers):
            reader.close()
        self._readers.clear()

    def commit(self, changes: Sequence[Change]) -> None:
        """See nft.sets.Sets.

        An element that the kernel's collector is just removing makes a transaction fail with EBUSY, and
        another program's transaction at the same instant with EAGAIN or ERESTART. Nothing has happened then, so
        it is tried again, for 100 ms at most.
        """
        for _ in range(_TRIES):
            failed = self._transact(changes)
            if failed == errno.EEXIST:
                changes = [Replace(change.element) if isinstance(change, New) else change for change in changes]
            elif failed in {errno.EBUSY, errno.EAGAIN, errno.ERESTART}:
                time.sleep(_PAUSE_S)
            else:
                break
        if failed:
            raise KernelError(failed, f"the kernel refused the change: {os.strerror(failed)}")

    def read(self, keys: Iterable[tuple[str, bytes]]) -> list[Element | None]:
        """See nft.sets.Sets. 9 µs an element, whatever the set's size."""
        wanted, found = list(keys), []
        for start in range(0, len(wanted), _PER_READ):
            found += self._read(wanted[start : start + _PER_READ])
        return found

    def dump(self, set_name: str, known: Container[bytes] = ()) -> Iterator[list[Element]]:
        """See nft.sets.Sets. 300 elements at a time; each has a socket of its own, so others need not wait."""
        for part in self._dump(Message.GETSETELEM, netlink.text(netlink.LIST_SET, set_name)):
            yield [found for message in part for found in elements(message.body, known)[1]]

    def names(self, kind: Message) -> list[str]:
        """The names of the table's sets and maps (GETSET), chains (GETCHAIN) or counters (GETOBJ); none without a table.

        Sets within a rule, `{ 80, 443 }`, are that rule's, and go with it.
        """
        attribute = netlink.CHAIN_NAME if kind == Message.GETCHAIN else netlink.SET_NAME  # which is an object's too
        found = self._sets() if kind == Message.GETSET else self._table_dump(kind)
        # before Linux 6.5 a dump of chains does not mind the table that it was asked for
        return [netlink.name(values[attribute]) for values in found if netlink.name(values[netlink.TABLE]) == self.table]

    def handles(self) -> dict[str, tuple[int, int]]:
        """The table's sets and maps by name, each with what no other set ever has: the handles of table and set."""
        for answer in self._ask(Message.GETTABLE, b""):
            table = netlink.number(dict(netlink.attributes(answer.body))[netlink.TABLE_HANDLE])
            return {
                netlink.name(values[netlink.SET_NAME]): (table, netlink.number(values[netlink.SET_HANDLE])) for values in self._sets()
            }
        return {}

    def owned(self) -> bool:
        """Whether the table is one that a program keeps from all others (`flags owner`, Linux 5.12), until it ends."""
        return any(netlink.TABLE_OWNER in dict(netlink.attributes(answer.body)) for answer in self._ask(Message.GETTABLE, b""))

    def definition(self, set_name: str) -> dict[int, memoryview] | None:
        """What a set is, by the numbers of enum nft_set_attributes; None where there is none."""
        for answer in self._ask(Message.GETSET, netlink.text(netlink.SET_NAME, set_name)):
            return dict(netlink.attributes(answer.body))
        return None

    def counter(self, name: str) -> tuple[int, int]:
        """Packets and bytes of a named counter; 0, 0 where there is none."""
        return self.counters([name]).get(name, (0, 0))

    def counters(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Packets and bytes of named counters, without those that are not there. At most some hundred at once."""
        kind = netlink.attribute(netlink.OBJ_TYPE, struct.pack(">I", netlink.OBJ_COUNTER))
        bodies = [self._table + netlink.text(netlink.OBJ_NAME, name) + kind for name in names]
        before = self._sequence
        self._socket.socket.send(b"".join(self._message(Message.GETOBJ, netlink.REQUEST, body) for body in bodies))
        answers = [dict(netlink.attributes(one.body)) for one in self._answers(before) if one.kind != netlink.NLMSG_ERROR]
        return {netlink.name(values[netlink.OBJ_NAME]): counted(values[netlink.OBJ_DATA]) for values in answers}

    def generation(self) -> int:
        """The id of the host's ruleset, which every transaction of anybody changes."""
        for answer in self._ask(Message.GETGEN, b"", table=False):
            for kind, value in netlink.attributes(answer.body):
                if kind == netlink.GEN_ID:
                    return netlink.number(value)
        raise KernelError(errno.EIO, "the kernel did not tell its ruleset's generation")

    def _ask(self, kind: Message, body: bytes, *, table: bool = True) -> list[netlink.Received]:
        before = self._sequence
        self._socket.socket.send(self._message(kind, netlink.REQUEST, self._table + body if table else body))
        return [answer for answer in self._answers(before) if answer.kind != netlink.NLMSG_ERROR]

    def _answers(self, before: int) -> Iterator[netlink.Received]:
        """The answers to what was sent after the number `before`; earlier ones, which were left unread, are dropped."""
        for answer in self._socket.answers():
            if 0 < (answer.sequence - before) & _LAST <= (self._sequence - before) & _LAST:
                yield answer

    def _message(self, kind: Message, flags: int, body: bytes) -> bytes:
        self._sequence = (self._sequence + 1) & _LAST
        return netlink.message(kind, flags, self._family, self._sequence, body)

    def _element_message(self, kind: Message, flags: int, set_name: str, items: Sequence[bytes]) -> bytes:
        listed = netlink.nested(netlink.LIST_ELEMENTS, b"".join(items)) if items else b""
        body = self._table + netlink.text(netlink.LIST_SET, set_name) + listed
        return self._message(kind, netlink.REQUEST | flags, body)

    def _transact(self, changes: Sequence[Change], generation: int = 0) -> int:
        """Send one transaction; its error's number, 0 if it took effect. `generation`: see netlink.batch."""
        pieces = [
            (kind, flags, set_name, items[start : start + _PER_MESSAGE])
            for kind, flags, set_name, items in steps(changes)
            for start in range(0, max(len(items), 1), _PER_MESSAGE)
        ]
        if not pieces:
            return 0
        before = self._sequence
        self._sequence = begin = (before + 1) & _LAST  # what is wrong with the whole is told of its first message
        messages = [self._element_message(*piece) for piece in pieces[:-1]]
        kind, flags, set_name, part = pieces[-1]  # an error of any other is told without being asked for
        messages.append(self._element_message(kind, flags | netlink.ACK, set_name, part))
        try:
            self._socket.socket.send(netlink.batch(messages, begin, generation))
        except OSError as error:
            return error.errno or errno.EIO
        failed = 0
        for answer in self._answers(before):
            if answer.kind == netlink.NLMSG_ERROR:
                failed = failed or answer.error
                if answer.sequence == self._sequence and not failed:
                    return 0  # errors come in the order of the messages: nothing follows
        return failed or errno.EIO

    def _read(self, keys: list[tuple[str, bytes]]) -> list[Element | None]:
        before, failed = self._sequence, 0
        requests, places = [], {}
        for place, (set_name, key) in enumerate(keys):
            requests.append(self._element_message(Message.GETSETELEM, 0, set_name, [element(key)]))
            places[self._sequence] = place
        found: list[Element | None] = [None] * len(keys)
        self._socket.socket.send(b"".join(requests))
        for answer in self._answers(before):
            if answer.kind != netlink.NLMSG_ERROR:
                found[places[answer.sequence]] = next(iter(elements(answer.body)[1]), None)
            elif answer.error != errno.ENOENT:
                failed = failed or answer.error
        if failed:
            raise KernelError(failed, f"reading an element: {os.strerror(failed)}")
        return found

    def _sets(self) -> Iterator[dict[int, memoryview]]:
        """The table's sets and maps that have names of their own."""
        for values in self._table_dump(Message.GETSET):
            if not netlink.number(values.get(netlink.SET_FLAGS, memoryview(b""))) & netlink.ANONYMOUS:
                yield values

    def _table_dump(self, kind: Message) -> Iterator[dict[int, memoryview]]:
        """What the table holds of a kind; nothing without a table."""
        try:
            for part in self._dump(kind, b""):
                yield from (dict(netlink.attributes(one.body)) for one in part)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise

    def _dump(self, kind: Message, body: bytes) -> Iterator[list[netlink.Received]]:
        reader = self._readers.pop() if self._readers else NetlinkSocket()
        finished = False
        try:
            flags = netlink.REQUEST | netlink.DUMP
            reader.socket.send(netlink.message(kind, flags, self._family, 0, self._table + body))
            while not finished:
                part = list(netlink.messages(reader.socket.recv(1 << 17)))
                # a set that goes in the middle is told with the end
                errors = [message.error for message in part if message.error]
                finished = bool(errors) or part[-1].kind == netlink.NLMSG_DONE
                if errors:
                    raise KernelError(errors[0], f"listing: {os.strerror(errors[0])}")
                yield [message for message in part if message.kind != netlink.NLMSG_DONE]
        finally:
            if finished:
                self._readers.append(reader)
            else:  # there is more in it than anybody wants to read
                reader.close()
