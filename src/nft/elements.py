"""Elements and transactions as bytes of nf_tables, built and taken apart. No sockets here.

A restore puts 100,000 elements together, and an adoption takes them apart: so the headers are ready made.
"""

import struct
from collections.abc import Container, Iterator, Sequence
from itertools import groupby

from nft import netlink
from nft.netlink import Message
from nft.sets import Change, Element, Flush, New, Put, Remove, Replace

_NOTHING = memoryview(b"")
_TIMEOUT = netlink.attribute(netlink.ELEM_TIMEOUT, bytes(8))[:4]
_EXPIRATION = netlink.attribute(netlink.ELEM_EXPIRATION, bytes(8))[:4]
_ENDS = struct.Struct(">4sQ4sQ")
_KEYS = {
    size: netlink.nested(netlink.ELEM_KEY, netlink.attribute(netlink.DATA_VALUE, bytes(size)))[:-size] for size in (4, 16)
}


def elements(body: memoryview, known: Container[bytes] = ()) -> tuple[str, list[Element]]:
    """The set and the elements that a NEWSETELEM or DELSETELEM message names; without those with `known` keys."""
    values = netlink.values(body)
    set_name = netlink.name(values.get(netlink.LIST_SET, _NOTHING))
    items = netlink.attributes(values.get(netlink.LIST_ELEMENTS, _NOTHING))
    new = [item for _, item in items if not known or _first_key(item) not in known]
    return set_name, [_parse(set_name, netlink.values(item)) for item in new]


def _first_key(item: memoryview) -> bytes:
    """The key of an element where that comes first, as every kernel has it."""
    _, value = next(netlink.attributes(item), (0, _NOTHING))
    return bytes(value[4:])


def _parse(set_name: str, values: dict[int, memoryview]) -> Element:
    key = bytes(values.get(netlink.ELEM_KEY, _NOTHING)[4:])
    timeout = netlink.number(values[netlink.ELEM_TIMEOUT]) if netlink.ELEM_TIMEOUT in values else None
    left = netlink.number(values[netlink.ELEM_EXPIRATION]) if netlink.ELEM_EXPIRATION in values else None
    if timeout == 0 or left is None:
        timeout = left = None
    userdata, comment = values.get(netlink.ELEM_USERDATA, _NOTHING), ""
    if len(userdata) > 2 and userdata[0] == 0:
        comment = netlink.name(userdata[2 : 2 + userdata[1]])
    expression = netlink.values(values.get(netlink.ELEM_EXPR, _NOTHING))
    packets, size = counted(expression.get(netlink.EXPR_DATA, _NOTHING))
    return Element(set_name, key, timeout, left, comment, packets, size)


def counted(data: memoryview) -> tuple[int, int]:
    """Packets and bytes of a counter."""
    counts = netlink.values(data)
    packets, size = counts.get(netlink.COUNTER_PACKETS, _NOTHING), counts.get(netlink.COUNTER_BYTES, _NOTHING)
    return netlink.number(packets), netlink.number(size)


def steps(changes: Sequence[Change]) -> Iterator[tuple[Message, int, str, list[bytes]]]:
    """The messages of a transaction with their flags; changes of one kind in one set that follow each other share theirs.

    Where the set holds the element of a New, the transaction fails with EEXIST.
    """
    for (kind, set_name), run in groupby(changes, lambda change: (type(change), change.set)):
        if kind is Flush:
            yield Message.DELSETELEM, 0, set_name, []
        elif kind is Remove:
            keys = [change.key for change in run if isinstance(change, Remove)]
            # what is deleted must be there: a short-lived element, unless the set holds one
            yield Message.NEWSETELEM, netlink.CREATE, set_name, [element(key, 1000) for key in keys]
            yield Message.DELSETELEM, 0, set_name, [element(key) for key in keys]
        else:
            added = [change.element for change in run if isinstance(change, Put)]
            full = [_full(put) for put in added]
            only_new = netlink.EXCLUSIVE if kind is New else 0
            yield Message.NEWSETELEM, netlink.CREATE | only_new, set_name, full
            if kind is Replace:
                yield Message.DELSETELEM, 0, set_name, [element(put.key) for put in added]
                yield Message.NEWSETELEM, netlink.CREATE, set_name, full


def element(key: bytes, timeout_ms: int | None = None) -> bytes:
    """An element that is named by its key, or put without anything but an end."""
    end = b"" if timeout_ms is None else _TIMEOUT + timeout_ms.to_bytes(8, "big")
    return netlink.nested(netlink.LIST_ELEM, _KEYS[len(key)] + key + end)


def _full(element: Element) -> bytes:
    if not element.timeout_ms or not element.left_ms or not 0 < element.left_ms <= element.timeout_ms:
        raise ValueError(f"an element needs an end: {element}")  # 0 would be for ever
    key = element.key
    body = _KEYS[len(key)] + key + _ENDS.pack(_TIMEOUT, element.timeout_ms, _EXPIRATION, element.left_ms)
    if element.comment:
        comment = element.comment.encode() + b"\0"
        body += netlink.attribute(netlink.ELEM_USERDATA, bytes((0, len(comment))) + comment)
    return netlink.nested(netlink.LIST_ELEM, body)
