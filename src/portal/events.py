"""What the gate tells unasked enters the history."""

from typing import Any

from access.history import History


class EventKeeper:
    """A listener for GateClient.watch. Takes what it knows of an event and leaves out the rest."""

    def __init__(self, history: History) -> None:
        self._history = history

    def __call__(self, event: dict[str, Any]) -> None:
        """Record one event."""
        name = str(event["event"])
        grant = event.get("grant")
        if isinstance(grant, dict):
            self._history.record(
                name,
                holder=_text(grant, "holder"),
                note=_text(grant, "note") or None,
                address=_text(grant, "address"),
                services=[service] if (service := _text(grant, "service")) else [],
            )
        elif name == "repaired":
            self._history.record(name, reason=f"{event.get('grants')} grants back in {event.get('ms')} ms")
        elif name == "unrecorded":
            self._history.record(name, reason=_text(event, "error"))
        else:
            self._history.record(name, address=_text(event, "address"))


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) else None
