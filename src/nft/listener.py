"""Hears what others do to the table: netlink's notifications, our own transactions left out."""

import errno
import socket
import struct
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from nft import netlink
from nft.elements import elements
from nft.netlink import Message
from nft.netlink_sets import NetlinkSocket

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER = 26
_PORT_OFFSET = 12  # of nlmsghdr.nlmsg_pid
_NEWGEN = netlink.SUBSYSTEM << 8 | Message.NEWGEN
_SLICE_S = 0.002
_MANY = 5000  # elements that are remembered one by one


@dataclass(slots=True)
class Heard:
    """What somebody else changed in the table.

    `structure`: a chain, rule, map or set came or went, or an element of a set that is none of ours.
    `lost`: sets that were deleted, made again or not. `touched`: set and key of elements that were put (False)
    or taken out (True) last. `taken`: those that had been taken out when their set was lost. `many`: sets with more
    touched elements than are remembered. `overflow`: more than could be heard.
    """

    structure: bool = False
    lost: set[str] = field(default_factory=set)
    touched: dict[tuple[str, bytes], bool] = field(default_factory=dict)
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    many: set[str] = field(default_factory=set)
    overflow: bool = False

    def __bool__(self) -> bool:
        return self.structure or self.overflow or bool(self.lost or self.touched or self.taken or self.many)

    def __ior__(self, later: Self) -> Self:
        self.structure |= later.structure
        self.overflow |= later.overflow
        for name in later.lost:
            self.lose(name)
        self.taken += later.taken
        self.many |= later.many
        for place, out in later.touched.items():
            self.touch(place, out=out)
        return self

    def touch(self, place: tuple[str, bytes], *, out: bool) -> None:
        """Somebody put an element, or took it out."""
        if place in self.touched or len(self.touched) < _MANY:
            self.touched[place] = out
        else:
            self.many.add(place[0])

    def lose(self, set_name: str) -> None:
        """Somebody deleted a set, and with it what had been touched."""
        self.lost.add(set_name)
        self.many.discard(set_name)
        for place in [place for place in self.touched if place[0] == set_name]:
            if self.touched.pop(place):
                self.taken.append(place)


class Listener:
    """A member of netlink's group of nf_tables notifications, for one table.

    `own_port` is the netlink port of our own element changes: the kernel drops those notifications before
    they wake the process. Transactions that libnftables made for us are named with `own_generation`; the port
    that one of them came from is known as ours from then on.
    """

    def __init__(self, family: str, table: str, own_port: int) -> None:
        self._family = netlink.FAMILIES[family]
        # the table's name is the first attribute of every message but NEWGEN
        self._table = netlink.text(netlink.TABLE, table)[: 5 + len(table.encode())]
        self._socket = NetlinkSocket()
        self._own_generations: set[int] = set()
        self._own_ports: set[int] = set()
        self._heard = Heard()  # of the transaction that is not yet whole
        self._sets: frozenset[str] = frozenset()
        self._passed: frozenset[str] = frozenset()
        _drop_from(self._socket.socket, own_port)
        self._socket.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, netlink.NFNLGRP_NFTABLES)

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is something to hear."""
        return self._socket.socket.fileno()

    def close(self) -> None:
        """Leave the group."""
        self._socket.close()

    def heed(self, sets: Iterable[str], passed: Iterable[str]) -> None:
        """From now on tell the elements of `sets`; those of `passed` are nobody's business, all others' are structure."""
        self._sets, self._passed = frozenset(sets), frozenset(passed)

    def own_generation(self, generation: int) -> None:
        """The transaction that made this generation of the ruleset was ours."""
        self._own_generations.add(generation)

    def hear(self) -> Heard:
        """What others have changed since the last call, by whole transactions; as much as 2 ms are enough for.

        When more waits, the descriptor stays readable.
        """
        heard, until = Heard(), time.monotonic() + _SLICE_S
        while time.monotonic() < until:
            try:
                datagram = self._socket.socket.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                heard.overflow = True
                self._heard = Heard()
            else:
                self._take(datagram, heard)
        return heard

    def _take(self, datagram: bytes, heard: Heard) -> None:
        """One datagram. What others do to their tables is most of what there is to hear: a look for our table's name is enough."""
        if len(datagram) >= netlink.HEADERS and netlink.kind(datagram) == _NEWGEN:
            for message in netlink.messages(datagram):
                self._finish(message, heard)
        elif self._table in datagram:
            for message in netlink.messages(datagram):
                if (
                    message.kind >> 8 == netlink.SUBSYSTEM
                    and message.family == self._family
                    and message.body[: len(self._table)] == self._table
                ):
                    self._note(message)

    def _finish(self, message: netlink.Received, heard: Heard) -> None:
        """A transaction is complete: ours is forgotten, another's is told."""
        generation = dict(netlink.attributes(message.body)).get(netlink.GEN_ID)
        number = netlink.number(generation) if generation is not None else -1
        if number in self._own_generations:
            self._own_generations = {own for own in self._own_generations if own > number}
            self._own_ports.add(message.port)
        elif message.port not in self._own_ports:
            heard |= self._heard
        self._heard = Heard()

    def _note(self, message: netlink.Received) -> None:
        kind = message.kind & 0xFF
        if kind in (Message.NEWSETELEM, Message.DELSETELEM):
            set_name = netlink.name(dict(netlink.attributes(message.body))[netlink.LIST_SET])
            if set_name in self._sets:
                for element in elements(message.body)[1]:
                    self._heard.touch((set_name, element.key), out=kind == Message.DELSETELEM)
            elif set_name not in self._passed:
                self._heard.structure = True
            return
        self._heard.structure = True
        if kind == Message.DELSET:
            self._heard.lose(netlink.name(dict(netlink.attributes(message.body))[netlink.SET_NAME]))


def _drop_from(listener: socket.socket, port: int) -> None:
    """Have the kernel drop datagrams whose first message comes from `port`.

    A transaction's notifications come in datagrams of their own, all from its sender's port.
    """
    program = [
        (0x20, 0, 0, _PORT_OFFSET),  # load the port, as a number in network byte order
        (0x15, 0, 1, socket.ntohl(port)),  # equal: go on, else: skip one
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFF_FFFF),  # keep
    ]
    code = array("B", b"".join(struct.pack("=HBBI", *step) for step in program))
    address, _ = code.buffer_info()  # the kernel copies the program during the call
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), address))
