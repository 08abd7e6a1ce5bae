"""Hears what others do to the table: netlink's notifications, our own transactions left out."""

import errno
import socket
import struct
from array import array
from dataclasses import dataclass, field
from typing import Self

from nft import netlink
from nft.elements import elements
from nft.netlink import Message
from nft.netlink_sets import NetlinkSocket

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER = 26
_PORT_OFFSET = 12  # of nlmsghdr.nlmsg_pid


@dataclass(slots=True)
class Heard:
    """What somebody else changed in the table.

    `structure`: a chain, rule, map or set came or went. `lost`: sets that were deleted, made again
    or not. `touched`: set and key of elements put or taken out. `overflow`: more than could be heard.
    """

    structure: bool = False
    lost: set[str] = field(default_factory=set)
    touched: dict[tuple[str, bytes], None] = field(default_factory=dict)
    overflow: bool = False

    def __bool__(self) -> bool:
        return self.structure or self.overflow or bool(self.lost) or bool(self.touched)


    def __ior__(self, more: "Heard") -> Self:
        self.structure |= more.structure
        self.lost |= more.lost
        self.touched |= more.touched
        self.overflow |= more.overflow
        return self


class Listener:
    """A member of netlink's group of nf_tables notifications, for one table.

    `own_port` is the netlink port of our own element changes: the kernel drops those notifications before
    they wake the process. Transactions that libnftables made for us are named with `own_generation`.
    """

    def __init__(self, family: str, table: str, own_port: int) -> None:
        self._family = netlink.FAMILIES[family]
        self._table = table
        self._socket = NetlinkSocket()
        self._own_generations: set[int] = set()
        self._heard = Heard()
        _drop_from(self._socket.socket, own_port)
        self._socket.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, netlink.NFNLGRP_NFTABLES)

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is something to hear."""
        return self._socket.socket.fileno()

    def close(self) -> None:
        """Leave the group."""
        self._socket.close()

    def own_generation(self, generation: int) -> None:
        """The transaction that made this generation of the ruleset was ours."""
        self._own_generations.add(generation)

    def hear(self) -> Heard:
        """What has been changed by others since the last call, by whole transactions."""
        heard = Heard()
        try:
            for message in self._socket.answers():
                self._note(message)
                if message.kind == netlink.SUBSYSTEM << 8 | Message.NEWGEN:
                    self._finish(message, heard)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            heard.overflow = True
            self._heard = Heard()
        return heard

    def _finish(self, message: netlink.Received, heard: Heard) -> None:
        """A transaction is complete: ours is forgotten, another's is told."""
        generation = dict(netlink.attributes(message.body)).get(netlink.GEN_ID)
        number = netlink.number(generation) if generation is not None else -1
        if number in self._own_generations:
            self._own_generations = {own for own in self._own_generations if own > number}
        else:
            heard |= self._heard
        self._heard = Heard()

    def _note(self, message: netlink.Received) -> None:
        if message.kind >> 8 != netlink.SUBSYSTEM or message.family != self._family:
            return
        kind = message.kind & 0xFF
        if kind == Message.NEWGEN:
            return
        values = dict(netlink.attributes(message.body))
        if netlink.TABLE not in values or netlink.name(values[netlink.TABLE]) != self._table:
            return
        if kind in (Message.NEWSETELEM, Message.DELSETELEM):
            set_name, changed = elements(message.body)
            for element in changed:
                self._heard.touched[set_name, element.key] = None
            return
        self._heard.structure = True
        if kind == Message.DELSET and netlink.SET_NAME in values:
            self._heard.lost.add(netlink.name(values[netlink.SET_NAME]))


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
