"""Bytes of netlink and nf_tables: attributes and messages, built and taken apart. No sockets here.

Numbers are those of linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.
Headers and attribute headers are in the host's byte order, nf_tables' own numbers in network byte order.
"""

import struct
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES

NLMSG_ERROR, NLMSG_DONE = 2, 3
BATCH_BEGIN, BATCH_END = 16, 17
REQUEST, ACK, DUMP, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x200, 0x400

FAMILIES = {"inet": 1, "ip": 2, "ip6": 10}


class Message(IntEnum):
    """enum nf_tables_msg_types, as far as it is used or heard here."""

    NEWTABLE = 0
    GETTABLE = 1
    DELTABLE = 2
    NEWCHAIN = 3
    GETCHAIN = 4
    DELCHAIN = 5
    NEWRULE = 6
    DELRULE = 8
    NEWSET = 9
    GETSET = 10
    DELSET = 11
    NEWSETELEM = 12
    GETSETELEM = 13
    DELSETELEM = 14
    NEWGEN = 15
    GETGEN = 16
    NEWOBJ = 18
    GETOBJ = 19
    DELOBJ = 20
    NEWFLOWTABLE = 22
    DELFLOWTABLE = 24


# enum nft_set_elem_list_attributes, nft_list_attributes, nft_set_elem_attributes, nft_data_attributes
LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
LIST_ELEM = 1
ELEM_KEY, ELEM_TIMEOUT, ELEM_EXPIRATION, ELEM_USERDATA, ELEM_EXPR, ELEM_EXPRESSIONS = 1, 4, 5, 6, 7, 11
DATA_VALUE = 1
EXPR_NAME, EXPR_DATA = 1, 2
COUNTER_BYTES, COUNTER_PACKETS = 1, 2
# Table, chain, set and object messages all carry their table's name as attribute 1.
TABLE = 1
CHAIN_NAME, SET_NAME = 3, 2
SET_FLAGS, SET_KEY_TYPE, SET_KEY_LEN, SET_HANDLE = 3, 4, 5, 16
ANONYMOUS = 0x1  # enum nft_set_flags
TABLE_HANDLE, TABLE_OWNER = 4, 7
OBJ_NAME, OBJ_TYPE, OBJ_DATA = 2, 3, 4
OBJ_COUNTER = 1
GEN_ID = 1
BATCH_GENID = 1

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_ATTRIBUTE = struct.Struct("=HH")
_PADDING = (b"", bytes(3), bytes(2), bytes(1))
_GENERIC = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource id
HEADERS = _HEADER.size + _GENERIC.size
_ENDS = _HEADER.size + 4  # an error or an end with its number


class Received(NamedTuple):
    """A message as it arrived. `kind` is a whole netlink type; `body` begins after struct nfgenmsg."""

    kind: int
    sequence: int
    port: int
    family: int
    body: memoryview
    error: int


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes. `value` has at most 65,531 bytes (struct.error beyond)."""
    size = len(value)
    return _ATTRIBUTE.pack(4 + size, kind) + value + _PADDING[size & 3]


def nested(kind: int, value: bytes) -> bytes:
    """One attribute that holds others."""
    return attribute(kind | _NESTED, value)


def text(kind: int, value: str) -> bytes:
    """One attribute that holds a name."""
    return attribute(kind, value.encode() + b"\0")


def message(kind: Message, flags: int, family: int, sequence: int, body: bytes) -> bytes:
    """One nf_tables message."""
    return _raw(SUBSYSTEM << 8 | kind, flags, family, 0, sequence, body)


def batch(messages: list[bytes], sequence: int, generation: int = 0) -> bytes:
    """A transaction: all of the messages or none; ERESTART where `generation` is given and the ruleset is of another."""
    only = attribute(BATCH_GENID, struct.pack(">I", generation)) if generation else b""
    begin = _raw(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, sequence, only)
    end = _raw(BATCH_END, REQUEST, 0, SUBSYSTEM, sequence, b"")
    return begin + b"".join(messages) + end


def _raw(kind: int, flags: int, family: int, resource: int, sequence: int, body: bytes) -> bytes:
    header = _HEADER.pack(HEADERS + len(body), kind, flags, sequence, 0)
    return header + _GENERIC.pack(family, 0, resource) + body


def kind(datagram: bytes) -> int:
    """The whole netlink type of a datagram's first message; it holds a header at least."""
    return int.from_bytes(datagram[4:6], sys.byteorder)


def messages(datagram: bytes) -> Iterator[Received]:
    """Take a datagram from the kernel apart. `error` is an errno; an acknowledgement and a good end have 0."""
    view, offset = memoryview(datagram), 0
    while offset + _HEADER.size <= len(view):
        length, kind, _flags, sequence, port = _HEADER.unpack_from(view, offset)
        if length < _HEADER.size or offset + length > len(view):
            return
        error = family = 0
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            error = -struct.unpack_from("=i", view, offset + _HEADER.size)[0] if length >= _ENDS else 0
        else:
            family = view[offset + _HEADER.size]
        yield Received(kind, sequence, port, family, view[offset + HEADERS : offset + length], error)
        offset += (length + 3) & ~3


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes in a message's body, or in an attribute that holds others."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def values(data: memoryview) -> dict[int, memoryview]:
    """`attributes` by their kind, where each occurs once."""
    found, offset, end = {}, 0, len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def name(value: memoryview) -> str:
    """The text of an attribute that holds a name."""
    return bytes(value).rstrip(b"\0").decode("utf-8", "replace")


def number(value: memoryview) -> int:
    """The number in an attribute of nf_tables' own."""
    return int.from_bytes(value, "big")
