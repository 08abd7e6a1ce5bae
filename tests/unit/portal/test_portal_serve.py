"""The portal's whole life, as a process: start, ready, end."""

import json
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from portal_house import ROOT, SERVICES

from access import files
from portal.settings import Files, Settings

CHILD = """
import asyncio, os, pickle, socket, sys
sys.path.insert(0, sys.argv[1])
from portal.serve import serve
gate, control, listener, ready = map(int, sys.argv[2:6])
settings = pickle.loads(bytes.fromhex(sys.argv[6]))
sys.exit(asyncio.run(serve(settings, socket.socket(fileno=gate), [socket.socket(fileno=listener)],
    socket.socket(fileno=control), lambda: os.write(ready, b"x"), owner=os.getuid())))
"""


@dataclass
class Child:
    process: subprocess.Popen[str]
    gate: socket.socket
    ready: int
    port: int

    def answer(self, ok: dict[str, Any] | None = None) -> dict[str, Any]:
        """Hear one request and answer it."""
        request: dict[str, Any] = json.loads(self.gate.makefile("rb").readline())
        self.gate.sendall(json.dumps({"id": request["id"], "ok": ok or {}}).encode() + b"\n")
        return request

    def until_ready(self) -> None:
        assert self.answer()["verb"] == "watch"
        assert os.read(self.ready, 1) == b"x"

    def end(self) -> tuple[int, str]:
        _out, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


@contextmanager
def child(tmp_path: Path, tree: Path = ROOT, **settings: Any) -> Iterator[Child]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    chosen = replace(
        Settings(url="http://127.0.0.1", listen=(), services=SERVICES, state_dir=str(state), tls="off"),
        **settings,
    )
    control_path = tmp_path / "control.sock"
    control_path.unlink(missing_ok=True)
    near, far = socket.socketpair()
    read, write = os.pipe()
    with closing(near), socket.socket() as listener, socket.socket(socket.AF_UNIX) as control:
        listener.bind(("127.0.0.1", 0))
        control.bind(str(control_path))
        numbers = (far.fileno(), control.fileno(), listener.fileno(), write)
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tree / "src"), *map(str, numbers), pickle.dumps(chosen).hex()],
            pass_fds=numbers, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        far.close()
        near.settimeout(20)
        try:
            yield Child(process, near, read, listener.getsockname()[1])
        finally:
            process.kill()
            process.communicate()
            os.close(read)
            os.close(write)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal_although_browsers_hold_connections(
    tmp_path: Path, number: signal.Signals
) -> None:
    with child(tmp_path) as portal:
        portal.until_ready()
        with socket.create_connection(("127.0.0.1", portal.port)) as browser:
            browser.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert browser.recv(12) == b"HTTP/1.1 404"
            with socket.create_connection(("127.0.0.1", portal.port)):
                began = time.monotonic()
                portal.process.send_signal(number)
                assert portal.end() == (0, "")
                assert time.monotonic() - began < 8


def test_it_ends_in_peace_when_the_gate_closes_the_wire(tmp_path: Path) -> None:
    with child(tmp_path) as portal:
        portal.until_ready()
        with socket.create_connection(("127.0.0.1", portal.port)):
            portal.gate.close()
            assert portal.end() == (0, "")


def test_it_ends_when_the_gate_talks_garbage(tmp_path: Path) -> None:
    with child(tmp_path) as portal:
        portal.until_ready()
        portal.gate.sendall(b"what\n")
        code, words = portal.end()
        assert code == 1
        assert "garbage" in words
        assert words.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("state.json", '{"version": 1, "links": {', "line 1"),
        ("state.json", '{"version": 2, "links": {}, "people": {}, "tokens": {}}', "version"),
        ("secret.key", "short", "key of 32 bytes"),
    ],
)
def test_state_that_cannot_be_taken(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / name
    file.write_text(text)
    file.chmod(0o600)
    with child(tmp_path) as portal:
        code, said = portal.end()
        assert code == os.EX_DATAERR
        assert said.startswith(f"safeip: {file}: ")
        assert words in said
        assert said.count("\n") == 1
        assert file.read_text() == text


def test_a_certificate_that_cannot_be_taken(tmp_path: Path) -> None:
    with child(tmp_path, tls=Files("/nowhere/cert.pem", "/nowhere/key.pem")) as portal:
        code, said = portal.end()
        assert code == os.EX_CONFIG
        assert said == (
            'safeip: portal.tls.certificate: "/nowhere/cert.pem" is not there; name a file that is, or write tls = "auto"\n'
        )


def test_state_that_another_has_may_be_free_when_it_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    other = files.lock_directory(str(tmp_path / "state"))
    try:
        with child(tmp_path) as portal:
            code, said = portal.end()
    finally:
        os.close(other)
    assert (code, said) == (1, f"safeip: {tmp_path}/state: is in use by another SafeIP; stop that one first\n")


def test_https_with_the_tree_seen_through_a_descriptor(tmp_path: Path) -> None:
    """As in the daemon, whose portal may not walk to the tree's real path."""
    number = os.open(ROOT, os.O_PATH | os.O_DIRECTORY)
    os.set_inheritable(number, True)
    try:
        with child(
            tmp_path, Path(f"/proc/{os.getpid()}/fd/{number}"), tls="auto", url="https://127.0.0.1"
        ) as portal:
            portal.until_ready()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(tmp_path / "state" / "tls" / "certificate.pem")
            with (
                socket.create_connection(("127.0.0.1", portal.port)) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as browser,
            ):
                browser.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                page = b"".join(iter(lambda: browser.recv(65536), b""))
            assert b"There is no such page" in page
            assert b"Strict-Transport-Security" not in page
            portal.process.terminate()
            assert portal.end() == (0, "")
    finally:
        os.close(number)
