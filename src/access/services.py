"""Services as people see them. Their ports are the gate's business; here they are only shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """A protected service. Durations in seconds; `url`: where a visitor goes next; `ports` as "tcp/443"."""

    name: str
    title: str
    url: str | None
    default_duration_s: int
    max_duration_s: int
    ports: tuple[str, ...]
