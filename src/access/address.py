"""What a grant is for: one IPv4 host, or one IPv6 prefix that stands for one line."""

from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Network
"""Always normalised. str() is its only text, on the wire and in files: "203.0.113.7", "2001:db8:1::/64"."""

_LONGEST = 64  # no address is longer than 45 characters, with its prefix 49


class BadAddress(ValueError):
    """Text that is no address to grant. The message says what is wrong and what would be right."""


def parse_address(text: str, ipv6_prefix: int) -> Address:
    """Read an address as a person, a header or a socket gives it.

    An IPv6 host becomes its network of `ipv6_prefix` bits, as does a network that lies within one;
    an IPv4-mapped address is IPv4. Whether the address may be granted (loopback, trusted, …) is the
    gate's to say. Raises BadAddress.
    """
    if len(text) > _LONGEST:
        raise BadAddress(f"an address has at most {_LONGEST} characters, this has {len(text)}")
    host, slash, bits = text.partition("/")
    if "%" in host:
        raise BadAddress(f"{text!a} has a scope, which means nothing beyond its own link; write it without")
    length = _prefix_length(text, bits) if slash else None
    if ":" not in host:
        return _ipv4(text, host, length)
    try:
        address = IPv6Address(host)
    except AddressValueError:
        raise _garbage(text) from None
    if address.ipv4_mapped is not None:
        if length not in {None, 128}:
            raise BadAddress(f"{text!a} is a range of IPv4 addresses; write one host, such as 203.0.113.7")
        return address.ipv4_mapped
    if length is not None and length > 128:
        raise _garbage(text)
    if length is not None and length < ipv6_prefix:
        raise BadAddress(f"{text!a} is wider than one line; write at most a /{ipv6_prefix}")
    return IPv6Network((address, ipv6_prefix), strict=False)


def read_address(text: str) -> Address:
    """An address from its own text, as str() gave it. Raises ValueError."""
    return IPv6Network(text) if ":" in text else IPv4Address(text)


def _ipv4(text: str, host: str, length: int | None) -> IPv4Address:
    try:
        address = IPv4Address(host)
    except AddressValueError:
        raise _garbage(text) from None
    if length is not None and length > 32:
        raise _garbage(text)
    if length not in {None, 32}:
        raise BadAddress(f"{text!a} is a range; write one host, such as 203.0.113.7")
    return address


def _prefix_length(text: str, bits: str) -> int:
    # ipaddress would also take netmasks and "/064".
    if not (bits.isascii() and bits.isdigit() and len(bits) <= 3 and str(int(bits)) == bits):
        raise _garbage(text)
    return int(bits)


def _garbage(text: str) -> BadAddress:
    return BadAddress(f"{text!a} is not an address; write one such as 203.0.113.7 or 2001:db8:1::5")
