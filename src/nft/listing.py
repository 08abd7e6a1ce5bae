"""What the gate tells: grants, bans, who knocks. In parts that fit a line of the wire.

Grants and bans come from the book, their counters from the kernel, some at a time: a whole set of 100,000
takes the kernel a second or two, and nobody may have to wait for that.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from nft import checks
from nft.book import Book, Entry
from nft.netlink_sets import NetlinkSets
from nft.policy import Policy
from nft.sets import Element, key_text

Items = list[dict[str, Any]]

_PART = 40  # some 1 ms; and 64 KiB hold three times as many grants with the longest notes
_RECORDED_MS = 86_400_000  # the timeout of the sets, which the kernel does not tell with each element
_MASKS = 8
_PROTOCOLS = {6: "tcp", 17: "udp"}


def now_ms() -> int:
    """The clock of every end: monotonic, as the kernel's own timeouts, so no set clock moves one."""
    return time.monotonic_ns() // 1_000_000


def show(policy: Policy, book: Book, entries: Sequence[Entry], counted: Sequence[Element | None] = ()) -> Items:
    """Grants as the wire has them; without `counted` nothing has passed yet. `others`: somebody else is let in at the address too."""
    now = now_ms()
    counts = counted or [None] * len(entries)
    return [
        {
            "service": entry.set[:-1],
            "address": checks.address(policy, entry.key),
            "holder": entry.holder,
            "note": entry.note,
            "remaining_ms": max(0, entry.end_ms - now),
            "packets": count.packets if count else 0,
            "bytes": count.bytes if count else 0,
            "others": book.others(entry, now),
        }
        for entry, count in zip(entries, counts, strict=True)
    ]


def grants(sets: NetlinkSets, policy: Policy, book: Book, entries: Sequence[Entry]) -> Iterator[Items]:
    """Grants with their counters of this moment."""
    for part, counted in _counted(sets, entries):
        yield show(policy, book, part, counted)


def held(policy: Policy, book: Book, entries: Sequence[Entry]) -> Iterator[Items]:
    """Grants as the book has them: the kernel is not asked."""
    for start in range(0, len(entries), _PART):
        yield show(policy, book, entries[start : start + _PART])


def banned(sets: NetlinkSets, policy: Policy, entries: Sequence[Entry]) -> Iterator[Items]:
    """Bans with the packets that were dropped."""
    for part, counted in _counted(sets, entries):
        now = now_ms()
        yield [
            {
                "address": checks.address(policy, entry.key),
                "remaining_ms": max(0, entry.end_ms - now),
                "packets": count.packets if count else 0,
            }
            for entry, count in zip(part, counted, strict=True)
        ]


def blocked(sets: NetlinkSets, policy: Policy) -> Iterator[Items]:
    """Sources of the last day with the port that they tried.

    `last_ms` is the time since the last packet in milliseconds: each one renews its element's timeout.
    A key is address, protocol and port, each padded to four bytes (nf_tables' concatenations).
    """
    for name, size in (("blocked4", 4), ("blocked6", 16)):
        for part in sets.dump(name):
            for start in range(0, len(part), _PART):
                yield [_knock(policy, found, size) for found in part[start : start + _PART]]


def masks(sets: NetlinkSets) -> dict[str, Any]:
    """Trusted sources of the last day that are perhaps no neighbours: `count`, and the `latest`, the last one first.

    `connections` counts since the source came to be known. Raises KernelError.
    """
    found = [one for name in ("masks4", "masks6") for part in sets.dump(name) for one in part]
    found.sort(key=lambda one: one.left_ms or 0, reverse=True)
    return {
        "count": len(found),
        "latest": [
            {"address": key_text(one.key), "connections": one.packets, "last_ms": max(0, _RECORDED_MS - (one.left_ms or 0))}
            for one in found[:_MASKS]
        ],
    }


def _knock(policy: Policy, found: Element, size: int) -> dict[str, Any]:
    protocol = found.key[size]
    return {
        "address": checks.address(policy, found.key[:size]),
        "protocol": _PROTOCOLS.get(protocol, str(protocol)),
        "port": int.from_bytes(found.key[size + 4 : size + 6], "big"),
        "packets": found.packets,
        "bytes": found.bytes,
        "last_ms": max(0, _RECORDED_MS - (found.left_ms or 0)),
    }


def _counted(
    sets: NetlinkSets, entries: Sequence[Entry]
) -> Iterator[tuple[Sequence[Entry], list[Element | None]]]:
    for start in range(0, len(entries), _PART):
        part = entries[start : start + _PART]
        yield part, sets.read([(entry.set, entry.key) for entry in part])
