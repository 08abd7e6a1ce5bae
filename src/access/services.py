"""Services as people see them. Their ports are the gate's business; here they are only shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from access.address import Address

Family = Literal["ipv4", "ipv6"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


@dataclass(frozen=True, slots=True)
class Service:
    """A protected service. Durations in seconds; `url`: where a visitor goes next; `ports` as "tcp/443".

    `families`: those by which it can be reached at all. What is granted to an address of the other one opens nothing.
    From and for a shared address (access.shared) nobody but an admin's hand opens it for longer than `shared_max_duration_s`,
    and with `shared_pin` a link opens it with a PIN only.
    """

    name: str
    title: str
    url: str | None
    default_duration_s: int
    max_duration_s: int
    ports: tuple[str, ...]
    families: tuple[Family, ...] = FAMILIES
    shared_max_duration_s: int | None = None
    shared_pin: bool = False

    def is_reached(self, address: Address | str) -> bool:
        """Whether it can be reached from an address, or from one that str() gave, by its family."""
        return ("ipv6" if ":" in str(address) else "ipv4") in self.families

    def longest_s(self, *, shared: bool) -> int:
        """For how long it opens at most."""
        most_s = self.shared_max_duration_s if shared else None
        return self.max_duration_s if most_s is None else min(most_s, self.max_duration_s)


class Services(Mapping[str, Service]):
    """The services of this moment, by name and in the order of the file, for everybody who holds this mapping.

    An iteration that is under way at a change goes on over what was.
    """

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._now = dict(services)

    def change(self, services: Mapping[str, Service]) -> None:
        """From now on it is these."""
        self._now = dict(services)

    def __getitem__(self, name: str) -> Service:
        return self._now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)
