"""The safeip.toml of a lab."""

import json
from collections.abc import Mapping

Table = Mapping[str, object]

# cloud ends on the gateway; films is forwarded to the server in the LAN; nothing listens on game
SERVICES: Mapping[str, Table] = {
    "cloud": {
        "title": "Cloud", "ports": ["tcp/80"], "url": "http://home.test/",
        "default_duration": "2h", "max_duration": "30d",
    },
    "films": {
        "title": "Films", "ports": ["tcp/8096"], "url": "http://home.test:8096/",
        "default_duration": "2h", "max_duration": "30d",
    },
    "game": {
        "title": "Game", "ports": ["tcp/25565-25570", "udp/25565-25570"],
        "default_duration": "2h", "max_duration": "30d",
    },
}  # fmt: skip
PORTAL: Table = {"url": "https://home.test:8443", "listen": ["0.0.0.0:8443", "[::]:8443"]}


def toml(value: object) -> str:
    """A value in TOML: text, numbers, booleans, lists, and mappings as inline tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # the same words in TOML for all of these


def render(top: Table, tables: Mapping[str, Table]) -> str:
    """The text of a configuration: keys of the top, then `[table]` after `[table]`."""
    lines = [f"{key} = {toml(value)}" for key, value in top.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
