"""The command line's side of the control socket: HTTP over a Unix socket, JSON in and out."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

_PATIENCE_S = 30.0
_LONGEST_ANSWER = 256 << 20  # bytes; a million grants fit


class ControlError(Exception):
    """The daemon refused, or could not be asked. The message is one line for the admin; `field` is the key to blame."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Control:
    """The daemon that listens at `path`. Each call is a connection of its own and raises ControlError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 (JSON has no narrower type)
        """One request to /api/v1 + `path`; the answer's JSON, None where it is empty. Keys that are None are not sent."""
        with self._request(method, path, query or {}, body) as response:
            return self._json(self._read(response))

    def follow(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The objects of an answer that has no end, one a line, as they come; ends when the daemon does."""
        with self._request("GET", path, query, None, endless=True) as response:
            while True:
                try:
                    line = response.readline()
                except (OSError, http.client.HTTPException):
                    return
                if not line:
                    return
                yield self._json(line)

    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, endless: bool = False
    ) -> http.client.HTTPResponse:
        target = f"/api/v1{path}" + (f"?{urlencode(query, errors='replace')}" if query else "")
        headers = {"Accept": "application/json", "Connection": "close"}
        sent = None
        if body is not None:
            sent = json.dumps({key: value for key, value in body.items() if value is not None}).encode()
            headers["Content-Type"] = "application/json"
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, sent, headers)
            if endless:
                connection.sock.settimeout(None)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ControlError(self._silence(error)) from error
        if response.status >= http.client.BAD_REQUEST:
            with response:
                raise self._refusal(response.status, self._read(response))
        return response

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            content = response.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(self._silence(error)) from error
        if response.length:  # an answer that was cut off; read() with a limit does not mind
            raise ControlError(self._silence(http.client.IncompleteRead(content)))
        return content

    def _json(self, content: bytes) -> Any:  # noqa: ANN401 (JSON has no narrower type)
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise ControlError(f"what answers at {self._path} is not SafeIP") from error

    def _silence(self, error: Exception) -> str:
        if isinstance(error, PermissionError):
            return f"this user may not use {self._path}: run it as root (sudo safeip …)"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            from safeip import service  # noqa: PLC0415 (needed after a failure only)

            return service.silence(self._path)
        if isinstance(error, TimeoutError):
            return f"the daemon did not answer at {self._path} within {_PATIENCE_S:.0f} s (journalctl -u safeip)"
        return f"the daemon does not answer at {self._path} as it should: systemctl status safeip, or its log, says more"

    def _refusal(self, status: int, content: bytes) -> ControlError:
        """The sentence and the field out of an application/problem+json of RFC 9457."""
        try:
            problem = json.loads(content)
            return ControlError(str(problem.get("detail") or problem["title"]), problem.get("field"))
        except (ValueError, KeyError, AttributeError):
            return ControlError(f"the daemon answered {status} {http.client.responses.get(status, '')}".rstrip())
