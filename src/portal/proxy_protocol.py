"""The PROXY protocol's header, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): who is behind a connection that a proxy made."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

MOST = 2048
"""Bytes of a header. HAProxy's longest, with all that it tells of a client's certificate, has some hundred."""
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_WORD = b"PROXY "
_SHORTEST = 15  # PROXY UNKNOWN and the line's end
_LINE_MOST = 107  # section 2.1
_HEAD = 16  # of version 2: the signature, what is meant, whose family, how much follows
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS = r"([0-9A-Fa-f:.]{2,39})"
_PORT = r"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rf"PROXY TCP([46]) {_ADDRESS} {_ADDRESS} {_PORT} {_PORT}\r\n")


class BadHeader(Exception):
    """What comes first is no header that is taken. The message says why, and quotes nothing of it."""


def missing(data: bytes) -> int:
    """How many bytes a header that begins with `data` has yet at least; 0 where it is whole.

    Whoever reads no more than that at a time never reads beyond its end. Raises BadHeader, as soon as it can be told.
    """
    if not (_WORD.startswith(data[:6]) or _SIGNATURE.startswith(data[:12])):
        raise BadHeader("it does not begin with a PROXY header")
    if len(data) < _SHORTEST:
        return _SHORTEST - len(data)
    return _missing_line(data) if data.startswith(_WORD) else _missing_block(data)


def source(header: bytes) -> str | None:
    """The address that a whole header names; None for the proxy's own (LOCAL, UNKNOWN). Raises BadHeader."""
    return _line_source(header) if header.startswith(_WORD) else _block_source(header)


def _missing_line(data: bytes) -> int:
    end = data.find(b"\r\n")
    if 0 <= end < len(data) - 2 or (end < 0 and len(data) >= _LINE_MOST):
        raise BadHeader("its PROXY line has no such length")
    if end >= 0:
        return 0
    return 1 if data.endswith(b"\r") else min(2, _LINE_MOST - len(data))


def _missing_block(data: bytes) -> int:
    if data[12] not in {_LOCAL, _PROXY}:
        raise BadHeader("its PROXY header is of another version, or says something else than PROXY and LOCAL")
    if len(data) < _HEAD:
        return _HEAD - len(data)
    whole = _HEAD + int.from_bytes(data[14:16])
    if whole > MOST:
        raise BadHeader(f"its PROXY header is longer than {MOST} bytes")
    return whole - len(data)


def _line_source(line: bytes) -> str | None:
    if line == b"PROXY UNKNOWN\r\n" or line.startswith(b"PROXY UNKNOWN "):
        return None
    found = _LINE.fullmatch(line.decode("latin-1"))
    try:
        if found is not None and int(found[4]) <= 0xFFFF and int(found[5]) <= 0xFFFF:
            origin, target = ip_address(found[2]), ip_address(found[3])
            if origin.version == target.version == int(found[1]):
                return str(origin)
    except ValueError:
        pass
    raise BadHeader("its PROXY line names no two addresses of TCP4 or TCP6")


def _block_source(block: bytes) -> str | None:
    if block[12] == _LOCAL:
        return None
    family, rest = block[13], block[_HEAD:]
    if family == _TCP4 and len(rest) >= 12:
        return str(IPv4Address(rest[:4]))
    if family == _TCP6 and len(rest) >= 36:
        return str(IPv6Address(rest[:16]))
    raise BadHeader("its PROXY header names no two addresses of TCP over IPv4 or IPv6")
