"""What the key that home has on the relay is good for: the tunnel of examples/relay, and nothing else."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_scene import WITHIN_S, Relay

from lab.gateway import GATEWAY4
from lab.process import wait_for

PROGRAMS = {"shell": (), "program": ("id",), "terminal": ("-tt",), "sftp": ("-s", "sftp"), "nologin's": ("/usr/sbin/nologin",)}
ONWARD = ("127.0.0.1:22", f"{GATEWAY4}:8443", "192.0.2.1:80", "[::1]:22", "localhost:8001", "127.0.0.1:8001")
LISTENERS = (
    "127.0.0.1:8003", "127.0.0.1:443", "127.0.0.1:0", "0.0.0.0:8001", "*:8001", ":8001", "8001", "[::]:8001", "[::1]:8001",
    "localhost:8001", f"{GATEWAY4}:8001", "127.0.0.2:8001",
)  # fmt: skip


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with contextlib.ExitStack() as stack:
        there = Relay(stack)
        there.start_tunnel()
        yield there


@pytest.fixture(params=["as it is shipped", "a key without words"])
def alone(request: pytest.FixtureRequest, relay: Relay) -> Iterator[Relay]:
    """No tunnel holds the ports, so that nothing fails because they are taken."""
    relay.stop_tunnel()
    relay.keys(None if request.param == "as it is shipped" else "")
    yield relay
    relay.keys()
    relay.start_tunnel()


def test_homes_key_starts_nothing(alone: Relay) -> None:
    for name, words in PROGRAMS.items():
        options = [word for word in words if word.startswith("-")]
        done = alone.ssh(*(word for word in words if word not in options), before=options)
        assert done.returncode != 0, name
        assert done.stdout == "", name
        assert "open failed" in done.stderr, f"{name}: {done.stderr}"


def test_homes_key_holds_no_other_port_open(alone: Relay) -> None:
    before = alone.listening()
    asked = [*(f"{bind}:127.0.0.1:80" for bind in LISTENERS), f"{alone.place}/socket:127.0.0.1:80"]
    with alone.other_ssh(*(word for one in asked for word in ("-R", one))) as (_, said):
        wait_for("the refusals", lambda: said().count("remote port forwarding failed") == len(asked), WITHIN_S)
        assert alone.listening() == before
    # and by the way it uses itself, it does
    with alone.other_ssh("-R", "127.0.0.1:8002:127.0.0.1:80") as (process, said):
        wait_for("the port, or ssh's end", lambda: 8002 in alone.listening() or process.poll() is not None, WITHIN_S)
        assert alone.listening() - before == {8002}, f"{before}: {said()}"


def test_homes_key_leads_nowhere_from_the_relay(alone: Relay) -> None:
    """Neither to a port nor to a socket file, such as SafeIP's own."""
    targets = [*ONWARD, str(alone.gateway.runtime / "control.sock")]
    doors = {str(alone.place / f"door{number}"): target for number, target in enumerate(targets)}
    for door in doors:
        Path(door).unlink(missing_ok=True)
    begin = len(alone.sshd.log.read_text("utf-8"))
    with alone.other_ssh(*(word for door, target in doors.items() for word in ("-L", f"{door}:{target}"))) as (_, said):
        wait_for("ssh", lambda: doors.keys() <= set(alone.home.run("ss", "-Hlx").stdout.split()), WITHIN_S)
        for door in doors:
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionError):
                client.settimeout(WITHIN_S)
                client.connect(door)
                client.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.recv(1) == b""
        wait_for("the refusals", lambda: said().count("administratively prohibited") == len(ONWARD), WITHIN_S)
    # its log is written by another process than the one that refuses
    wait_for("the log", lambda: "refused streamlocal port forward" in alone.sshd.log.read_text("utf-8")[begin:], WITHIN_S)


def test_the_account_takes_no_password_and_no_other_key_and_no_other_account_homes_key(relay: Relay) -> None:
    passwords = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive")
    for done in (
        relay.ssh(before=("-N", *passwords)), relay.ssh(key="strange", before=("-N",)),
        relay.ssh(account="root", before=("-N",)), relay.ssh(account="nobody", before=("-N",)),
    ):  # fmt: skip
        assert done.returncode == 255
        assert "Permission denied" in done.stderr
    assert "Permission denied (publickey)." in relay.ssh(before=("-N", *passwords)).stderr


def test_a_relay_that_is_another_gets_nothing(relay: Relay) -> None:
    """As if somebody had the relay's address: home's ssh ends before it says who it is."""
    known = relay.place / "home/known_hosts"
    text = known.read_text("ascii")
    known.write_text(f"{GATEWAY4} {(relay.place / 'home/strange.pub').read_text('ascii')}", "ascii")
    try:
        done = relay.ssh(before=("-N",))
    finally:
        known.write_text(text, "ascii")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr
