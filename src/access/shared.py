"""Shared addresses: a grant lets in everybody behind them. Here is decided which they are, and what that changes."""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from access.address import Address

Why = Literal["carrier", "others"]
"""carrier: a provider gives the address to many customers. others: somebody else is let in at it too, by the gate's book."""

_CARRIER = IPv4Network("100.64.0.0/10")  # RFC 6598


def is_carrier(address: Address | str) -> bool:
    """Whether an address is of a provider's own network, in which nobody is seen from outside. An address's text will do."""
    text = str(address)
    return text.startswith("100.") and IPv4Address(text) in _CARRIER


def why(address: Address | str, *, others: bool) -> Why | None:
    """Why an address is a shared one, or None. `others`: whether somebody else is let in at it."""
    if is_carrier(address):
        return "carrier"
    return "others" if others else None
