"""nginx in a namespace, with a main file like Debian's around the text of a site."""

import re
from pathlib import Path

from lab.listening import WITHIN_S, Listening
from lab.net import Namespace
from lab.process import LabError, Process, wait_for

_STREAM = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Listening):
    """nginx with `site` in `http { }` and `stream` in `stream { }`, listening when this returns. LabError, also where `nginx -t` warns.

    `/var/log/nginx/` becomes `directory`, which holds every file of this nginx; two need two directories. It ends with
    `stop`, with the `with` block, or with the namespace.
    """

    def __init__(self, namespace: Namespace, directory: Path, site: str = "", *, stream: str = "", workers: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.namespace = namespace
        self.directory = directory
        self.config = directory / "main.conf"
        self.write(site, stream=stream, workers=workers)
        self.process = self.start()

    def write(self, site: str = "", *, stream: str = "", workers: int = 1) -> None:
        """Write the main file anew and have nginx look at it; `reload` takes it up. LabError."""
        here = self.directory
        lines = [
            *([_STREAM] if stream else []),
            # the lab's files are root's alone
            f"daemon off; user root; worker_processes {workers}; pid {here}/pid; error_log {here}/error.log;",
            "events { worker_connections 1024; }",
            "http {",
            "types { text/html html; } default_type application/octet-stream; gzip on; sendfile on; tcp_nopush on;",
            f"access_log {here}/access.log;",
            *(f"{kind}_temp_path {here}/{kind};" for kind in _TEMPORARY),
            *([site] if site else []),
            "}",
            *(["stream {", stream, "}"] if stream else []),
        ]
        self.config.write_text("\n".join(lines).replace("/var/log/nginx/", f"{here}/") + "\n", "utf-8")
        tried = self.namespace.run(*self._command(), "-t", check=False)
        if tried.returncode != 0 or re.search(r"\[(?:warn|error|crit|alert|emerg)\]", tried.stderr):
            raise LabError(f"nginx -t: {tried.stderr.strip()}")

    def start(self) -> Process:
        """Start it, again after `stop`."""
        pid = self.directory / "pid"
        pid.unlink(missing_ok=True)
        self.process = self.namespace.start(*self._command(), log=self.directory / "output.log")

        def ready() -> bool:
            if self.process.poll() is not None:
                raise LabError(f"nginx ended: {self.process.tail()}\n{self.logs()}")
            # written after every socket listens
            return pid.exists() and pid.read_text("ascii").strip() != ""

        wait_for("nginx", ready, WITHIN_S)
        return self.process

    def reload(self) -> None:
        """`nginx -s reload`: connections go on, new ones meet the new configuration a moment later."""
        self.namespace.run(*self._command(), "-s", "reload")

    def logs(self) -> dict[str, str]:
        """What it logged, by the file's name, such as `access.log`."""
        return {path.name: path.read_text("utf-8", "replace") for path in sorted(self.directory.glob("*.log"))}

    def _command(self) -> list[str]:
        return ["nginx", "-e", str(self.directory / "first.log"), "-c", str(self.config)]
