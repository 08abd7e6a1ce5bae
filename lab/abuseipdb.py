"""A server that speaks AbuseIPDB's API v2 as it documents its report endpoint, failures included.

`python -m lab.abuseipdb PORT KEY` prints each report that it takes, one JSON object a line.
"""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from urllib.parse import parse_qs

from lab.outside import Outside

DAY_S = 86_400
AGAIN_S = 900
_CATEGORIES = range(1, 24)
_Refusal = tuple[int, str, str | None]


class AbuseIpdb(Outside):
    """Listens on loopback. `taken` are the reports it took. `failing`: "500", "503", "garbage", "hang", "drip", "redirect" or "huge"."""

    def __init__(self, port: int = 0, *, key: str = "k" * 80, daily: int = 1000) -> None:
        super().__init__(port, _Handler)
        self.key, self.daily, self.failing = key, daily, ""
        self.taken: list[dict[str, str]] = []
        self.asked = 0
        self.last: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/v2/report"

    def refusal(self, key: str | None, given: Mapping[str, str]) -> _Refusal | None:
        """Status, sentence and parameter of what is wrong with a request."""
        if key != self.key:
            return 401, "Authentication failed. Your API key is either missing, incorrect, or revoked.", None
        if len(self.taken) >= self.daily:
            return 429, f"Daily rate limit of {self.daily} requests exceeded for this endpoint. See headers for additional details.", None
        try:
            ip = str(ip_address(given.get("ip", "")))
        except ValueError:
            return 422, "The ip must be a valid IPv4 or IPv6 address (e.g. 8.8.8.8 or 2001:4860:4860::8888).", "ip"
        numbers = given.get("categories", "").split(",")
        if not all(number.isdigit() and int(number) in _CATEGORIES for number in numbers):
            return 422, "The categories field is invalid.", "categories"
        return self._too_soon(ip) if _past(given.get("timestamp")) else (422, "The timestamp is invalid or in the future.", "timestamp")

    def _too_soon(self, ip: str) -> _Refusal | None:
        if ip == "127.0.0.2" or time.time() - self.last.get(ip, 0) < AGAIN_S:  # the documented address to try this with
            return 429, f"You can only report the same IP address (`{ip}`) once in 15 minutes.", "ip"
        self.last[ip] = time.time()
        return None


def _past(timestamp: str | None) -> bool:
    """Whether it is ISO 8601 with an offset and not to come; it may be missing."""
    with suppress(ValueError, TypeError):
        return timestamp is None or datetime.fromisoformat(timestamp) <= datetime.now(UTC) + timedelta(minutes=1)
    return False


class _Handler(BaseHTTPRequestHandler):
    server: AbuseIpdb
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        server.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        given = {name: values[0] for name, values in parse_qs(body).items()}
        if server.failing and self._fail(server.failing):
            return
        found = (404, "Not found.", None) if self.path != "/api/v2/report" else server.refusal(self.headers.get("Key"), given)
        if found is not None:
            status, detail, parameter = found
            error: dict[str, object] = {"detail": detail, "status": status}
            if parameter is not None:
                error["source"] = {"parameter": parameter}
            reset = int(time.time()) + 29_241
            limits = {"Retry-After": "29241", "X-RateLimit-Reset": str(reset)} if status == 429 and parameter is None else {}
            self._answer(status, json.dumps({"errors": [error]}).encode(), limits)
            return
        server.taken.append(given)
        print(json.dumps(given), flush=True)
        self._answer(200, json.dumps({"data": {"ipAddress": given["ip"], "abuseConfidenceScore": 52}}).encode(), {})

    def _fail(self, how: str) -> bool:
        match how:
            case "hang":
                self.server.released.wait()
            case "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not self.server.released.wait(0.2):
                    self.wfile.write(b" ")
            case "garbage":
                self.wfile.write(b"\x00\xff not HTTP at all\r\n\r\n")
            case "redirect":
                self._answer(302, b"", {"Location": self.server.url.replace("127.0.0.1", "localhost")})
            case "huge":
                self._answer(422, b'{"errors": [{"detail": "' + b"x" * (1 << 20), {})
            case _:
                self._answer(int(how), b"<html>Bad gateway</html>", {})
        self.close_connection = True
        return True

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        remaining = max(0, self.server.daily - len(self.server.taken))
        limits = {"X-RateLimit-Limit": str(self.server.daily), "X-RateLimit-Remaining": str(remaining)}
        for name, value in {"Content-Type": "application/json", **limits, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass


if __name__ == "__main__":
    AbuseIpdb(int(sys.argv[1]), key=sys.argv[2]).serve_forever()
