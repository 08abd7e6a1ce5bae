"""Caddy in a namespace, without its own door for orders and without any authority."""

import json
from pathlib import Path

from lab.listening import Listening
from lab.net import Namespace


class Caddy(Listening):
    """Caddy with the sites of `text`, listening when this returns; `servers` are lines of the option of that name. LabError.

    `directory` holds every file of it. It ends with `stop`, with the `with` block, or with the namespace.
    """

    def __init__(self, namespace: Namespace, directory: Path, text: str, *, servers: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "Caddyfile"
        options = ["admin off", "auto_https disable_redirects", f"storage file_system {directory}", "skip_install_trust"]
        options += [f"servers {{\n{servers}\n}}"] if servers else []
        config.write_text("\n".join(["{", *options, "}", text, ""]), "utf-8")
        command = ["env", f"HOME={directory}", "caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
        self.log = directory / "caddy.log"
        self.process = namespace.start(*command, log=self.log)

        self.wait_until(lambda: "serving initial configuration" in self.log.read_text("utf-8", "replace"), "caddy")

    def logs(self) -> list[dict[str, object]]:
        """What it logged, an object a line."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
