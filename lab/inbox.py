"""A server that takes what apprise's json:// URLs send; `python -m lab.inbox PORT` prints each message, one JSON object a line."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from lab.outside import Outside


class Inbox(Outside):
    """Listens on loopback. `messages` are those it took, `paths` where they went. While `hung`, it answers nobody; `status` is its answer."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port, _Handler)
        self.messages: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.asked = threading.Event()
        self.hung = False
        self.status = 200

    def url(self, path: str = "secret-token") -> str:
        """A URL of apprise's, with a secret in it."""
        return f"json://127.0.0.1:{self.server_address[1]}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.asked.set()
        if self.server.hung:
            self.server.released.wait()
        elif self.server.status == 200:
            self.server.messages.append(message)
            self.server.paths.append(self.path)
            print(json.dumps(message), flush=True)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass


if __name__ == "__main__":
    Inbox(int(sys.argv[1])).serve_forever()
