"""libnftables through its python bindings: loads and checks rules, and knows elements too.

The gate's elements go over netlink (nft.netlink_sets). The element half here has the same contract and
passes the same tests; what it costs beside it is measured in bench/.
"""

import errno
import json
import re
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import nftables

from nft.sets import Add, Change, Element, Flush, KernelError, Remove, key_text

_ERRORS = {
    "No such file or directory": errno.ENOENT,
    "Operation not permitted": errno.EPERM,
    "Device or resource busy": errno.EBUSY,
    "File exists": errno.EEXIST,
}
_ONE_AT_A_TIME = threading.Lock()  # a context is one thread's; what libnftables keeps beside them nobody says to be safe for two


class Bindings:
    """One libnftables context. Calls block; a call that fails has changed nothing.

    Keep it: a process that makes one for each load grows by up to a kilobyte with each (nft 1.0.6 and 1.1.3),
    with one that is kept it does not grow (bench/long_run.py).
    """

    def __init__(self) -> None:
        self._nft = nftables.Nftables()

    def load(self, script: str) -> None:
        """Run a script of nft's language as one transaction. Raises KernelError with nft's own words."""
        self.run(script)

    def check(self, script: str) -> str | None:
        """Try a script in the kernel without changing anything: None, or nft's own words against it."""
        self._nft.set_dry_run(True)
        try:
            self.run(script)
        except KernelError as error:
            return str(error)
        finally:
            self._nft.set_dry_run(False)
        return None

    def run(self, script: str, *, as_json: bool = False) -> str:
        """Run a script and give back what it prints."""
        self._nft.set_json_output(as_json)
        with _ONE_AT_A_TIME:
            code, *told = self._nft.cmd(script.encode())
        output, error = (str(text, errors="replace") for text in told)  # nft quotes what it was given, whatever that is
        if code:
            words = re.search(r"Error: (.+)", error)
            number = next((n for text, n in _ERRORS.items() if text in error), errno.EINVAL)
            raise KernelError(number, words[1].strip() if words else error.strip() or "nft refused the ruleset")
        return output


class BindingsSets:
    """`nft.sets.Sets` of one table through libnftables."""

    def __init__(self, family: str, table: str) -> None:
        self._bindings = Bindings()
        self._table = f"{family} {table}"

    def close(self) -> None:
        """See nft.sets.Sets. The context ends with its last reference."""
        del self._bindings

    def commit(self, changes: Sequence[Change]) -> None:
        """See nft.sets.Sets."""
        lines = [line for change in changes for line in self._lines(change)]
        if lines:
            self._bindings.load("\n".join(lines) + "\n")

    def read(self, keys: Iterable[tuple[str, bytes]]) -> list[Element | None]:
        """See nft.sets.Sets. Reads the whole of each set."""
        wanted = list(keys)
        held = {
            (element.set, element.key): element
            for set_name in {set_name for set_name, _ in wanted}
            for part in self.dump(set_name)
            for element in part
        }
        return [held.get(key) for key in wanted]

    def dump(self, set_name: str, known: Container[bytes] = ()) -> Iterator[list[Element]]:
        """See nft.sets.Sets. All at once, and times to the second only: nft's JSON has no more."""
        answer = json.loads(self._bindings.run(f"list set {self._table} {set_name}", as_json=True))
        for item in answer["nftables"]:
            if "set" in item:
                found = (_parse(set_name, element) for element in item["set"].get("elem", []))
                yield [element for element in found if element.key not in known]

    def _lines(self, change: Change) -> list[str]:
        if isinstance(change, Flush):
            return [f"flush set {self._table} {change.set}"]
        if isinstance(change, Remove):
            place, key = f"element {self._table} {change.set}", key_text(change.key)
            return [f"add {place} {{ {key} timeout 1s }}", f"delete {place} {{ {key} }}"]
        place, key = f"element {self._table} {change.element.set}", key_text(change.element.key)
        add = f"add {place} {{ {key} {_attributes(change.element)} }}"
        return [add] if isinstance(change, Add) else [add, f"delete {place} {{ {key} }}", add]


def _attributes(element: Element) -> str:
    if not element.timeout_ms or not element.left_ms or not 0 < element.left_ms <= element.timeout_ms:
        raise ValueError(f"an element needs an end: {element}")  # 0 would be for ever
    comment = f' comment "{element.comment}"' if element.comment else ""
    return f"timeout {element.timeout_ms}ms expires {element.left_ms}ms{comment}"


def _parse(set_name: str, item: Any) -> Element:  # noqa: ANN401 (nft's JSON)
    value = item["elem"] if isinstance(item, dict) else {"val": item}
    counter, timeout = value.get("counter", {}), value.get("timeout")
    return Element(
        set_name,
        ip_address(value["val"]).packed,
        timeout * 1000 if timeout else None,
        value["expires"] * 1000 if timeout else None,
        value.get("comment", ""),
        counter.get("packets", 0),
        counter.get("bytes", 0),
    )
