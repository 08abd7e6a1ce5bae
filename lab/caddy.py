"""Caddy in a namespace, without its own door for orders and without any authority."""

import json
from pathlib import Path
from typing import Self

from lab.net import Namespace
from lab.process import LabError, wait_for

WITHIN_S = 30.0


class Caddy:
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

        def ready() -> bool:
            if self.process.poll() is not None:
                raise LabError(f"caddy ended: {self.process.tail()}")
            return "serving initial configuration" in self.log.read_text("utf-8", "replace")

        try:
            wait_for("caddy", ready, WITHIN_S)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it. A second call does nothing."""
        self.process.stop()

    def logs(self) -> list[dict[str, object]]:
        """What it logged, an object a line."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
