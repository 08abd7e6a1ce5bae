"""What to say of trusted sources that are perhaps no neighbours (nft/safeip.nft, masks4 and masks6)."""

from collections.abc import Mapping, Sequence
from typing import Any

Masks = Mapping[str, Any]
"""`count`, and the `latest` with their `address`, as in the gate's status."""


def addresses(masks: Masks) -> str:
    """Those of the gate's status, in short: `192.168.1.1, fd00::1, … (12)`; empty where there are none."""
    shown = [str(one["address"]) for one in masks["latest"][:3]]
    return ", ".join(shown) + (f", \N{HORIZONTAL ELLIPSIS} ({masks['count']})" if masks["count"] > len(shown) else "")


def sentences(masks: Masks, wan: Sequence[str]) -> list[str]:
    """A warning for the admin, with what to do; none without a reason. `wan`: gate.wan_interfaces."""
    if not masks["count"]:
        return []
    who = addresses(masks)
    if wan:
        told = (
            f"gate.wan_interfaces: a trusted source came in by one of them, or from afar by another interface ({who}): a router in front "
            "hides where visitors come from; who comes by these is closed out: have the router pass on their addresses, without masquerading"
        )
    else:
        told = (
            f"gate.trusted_networks: connections of a trusted source came from afar ({who}): a router in front hides where visitors "
            "come from (double NAT), and everybody who comes so is let in; name the interface that they come by in "
            "gate.wan_interfaces, or leave that address out of gate.trusted_networks"
        )
    return [told]
