"""Reading the kernel's sets as an admin would, through `nft -j`."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any, Protocol

from lab.process import LabError


class Place(Protocol):
    """Where nft is run: a namespace, a container."""

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]: ...


@dataclass(frozen=True)
class Element:
    """An element of a set as the kernel lists it; times in whole seconds."""

    value: str
    timeout_s: int
    expires_s: int
    comment: str
    packets: int
    bytes: int


def read_set(place: Place, name: str, table: str = "safeip") -> list[Element]:
    """The elements of one set of `table inet TABLE`. LabError where table or set is missing."""
    for entry in json.loads(place.run("nft", "-j", "list", "set", "inet", table, name).stdout)["nftables"]:
        if "set" in entry:
            return [_element(element) for element in entry["set"].get("elem", [])]
    raise LabError(f"no set {name}")


def read_sets(place: Place, table: str = "safeip") -> dict[str, list[Element]]:
    """The elements of every set of `table inet TABLE` by the set's name; empty without the table."""
    listed = place.run("nft", "-j", "list", "table", "inet", table, check=False)
    if listed.returncode != 0:
        return {}
    return {
        entry["set"]["name"]: [_element(element) for element in entry["set"].get("elem", [])]
        for entry in json.loads(listed.stdout)["nftables"]
        if "set" in entry
    }


def has_table(place: Place, table: str = "safeip") -> bool:
    """Whether the kernel has `table inet TABLE`; cheap, however full its sets are."""
    listed = place.run("nft", "-j", "list", "chains", "inet", check=False)
    if listed.returncode != 0:
        return False
    entries = json.loads(listed.stdout)["nftables"]
    return any(entry["chain"]["table"] == table for entry in entries if "chain" in entry)


def _element(listed: Any) -> Element:  # noqa: ANN401 (JSON has no narrower type)
    """Read an element: {"elem": {"val": …}} where it has attributes, its bare value where not."""
    bare = not (isinstance(listed, dict) and "elem" in listed)
    attributes: dict[str, Any] = {"val": listed} if bare else listed["elem"]
    counter = attributes.get("counter", {})
    return Element(
        value=_text(attributes["val"]),
        timeout_s=attributes.get("timeout", 0),
        expires_s=attributes.get("expires", 0),
        comment=attributes.get("comment", ""),
        packets=counter.get("packets", 0),
        bytes=counter.get("bytes", 0),
    )


def _text(value: Any) -> str:  # noqa: ANN401 (JSON has no narrower type)
    """An element's value: concatenations joined by " . ", prefixes with their length, ranges with a dash."""
    if isinstance(value, dict):
        if "concat" in value:
            return " . ".join(_text(part) for part in value["concat"])
        if "prefix" in value:
            return f"{value['prefix']['addr']}/{value['prefix']['len']}"
        if "range" in value:
            return "-".join(_text(part) for part in value["range"])
    return str(value)
