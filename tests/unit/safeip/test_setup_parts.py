"""The parts of `safeip setup` that need no terminal: what /proc tells, and the text of the configuration."""

import os
import socket
import threading
import tomllib
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from safeip import setup_found, setup_ssh
from safeip.config import DEFAULT_TRUSTED, parse_config
from safeip.setup_file import Answers, NewService, draft, render
from safeip.setup_found import Found, Socket, listening, read_sockets
from safeip.setup_ssh import Ssh, own_connections

LISTENING, ESTABLISHED, UNCONNECTED = 0x0A, 0x01, 0x07


def sock(
    protocol: str, host: str, port: int, peer: str = "0.0.0.0", peer_port: int = 0, *, state: int = LISTENING, inode: int = 0
) -> Socket:
    return Socket(protocol, ip_address(host), port, ip_address(peer), peer_port, state, inode)


# what listens


def test_real_sockets_are_read_as_they_are() -> None:
    with ExitStack() as stack:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            server = stack.enter_context(closing(socket.create_server((host, 0), family=family)))
            client = stack.enter_context(closing(socket.create_connection(server.getsockname()[:2])))
            stack.enter_context(closing(server.accept()[0]))
            found = read_sockets()
            port, peer_port = server.getsockname()[1], client.getsockname()[1]
            (waits,) = [one for one in found if (one.port, one.state) == (port, LISTENING)]
            assert (waits.protocol, waits.host, waits.peer_port) == ("tcp", ip_address(host), 0)
            assert waits.inode == os.fstat(server.fileno()).st_ino
            (stands,) = [one for one in found if (one.port, one.peer_port) == (port, peer_port)]
            assert (stands.peer, stands.established, stands.listens) == (ip_address(host), True, False)
            assert setup_found.holders([waits]) == {waits.inode: [os.getpid()]}


def test_an_ipv4_peer_of_an_ipv6_socket_is_ipv4() -> None:
    with (
        closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as server,
        closing(socket.create_connection(("127.0.0.1", server.getsockname()[1]))) as client,
        closing(server.accept()[0]),
    ):
        ports = server.getsockname()[1], client.getsockname()[1]
        (stands,) = [one for one in read_sockets() if (one.port, one.peer_port) == ports]
        assert (str(stands.host), str(stands.peer)) == ("127.0.0.1", "127.0.0.1")


def test_ports_are_merged_by_program_and_what_nobody_else_reaches_is_left_out() -> None:
    found = listening(
        [
            sock("tcp", "0.0.0.0", 443), sock("tcp", "::", 443), sock("udp", "::", 443, "::", state=UNCONNECTED),
            sock("tcp", "127.0.0.1", 6379), sock("tcp", "::1", 6379), sock("tcp", "127.0.0.1", 25), sock("tcp", "192.0.2.1", 25),
            sock("tcp", "192.0.2.1", 40000, "203.0.113.1", 443, state=ESTABLISHED),
            sock("udp", "192.0.2.1", 40001, "203.0.113.1", 53, state=ESTABLISHED),
        ]
    )  # fmt: skip
    assert found == [Found(25, ("tcp",), ""), Found(443, ("tcp", "udp"), "")]
    assert found[1].ports == ("tcp/443", "udp/443")


@pytest.mark.parametrize(
    ("found", "why_not"),
    [
        (Found(22, ("tcp",), "sshd"), "remote shell"), (Found(2222, ("tcp",), "sshd-session"), "remote shell"),
        (Found(2222, ("tcp",), "dropbear"), "remote shell"), (Found(53, ("tcp", "udp"), "dnsmasq"), "DNS"),
        (Found(67, ("udp",), "dnsmasq"), "DHCP"), (Found(547, ("udp",), "kea"), "DHCP"), (Found(443, ("tcp", "udp"), "nginx"), ""),
        (Found(30000, ("udp",), "minetest"), ""), (Found(40404, ("udp",), "avahi"), "perhaps a program's own question"),
        (Found(40404, ("tcp",), "java"), ""),
    ],
)  # fmt: skip
def test_what_should_rather_stay_open_is_not_offered(found: Found, why_not: str) -> None:
    assert found.why_not == why_not


# the SSH connection

SERVER = sock("tcp", "0.0.0.0", 22, inode=1)
MINE = sock("tcp", "192.0.2.1", 22, "203.0.113.7", 50000, state=ESTABLISHED, inode=2)
OTHERS = sock("tcp", "192.0.2.1", 22, "203.0.113.8", 50001, state=ESTABLISHED, inode=3)
DOWNLOAD = sock("tcp", "192.0.2.1", 40000, "203.0.113.9", 443, state=ESTABLISHED, inode=4)
ALL = [SERVER, MINE, OTHERS, DOWNLOAD]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> dict[int, set[int]]:
    """Sockets by process; nobody above this one holds any."""
    held: dict[int, set[int]] = {}
    monkeypatch.setattr(setup_ssh, "inodes", lambda pid: held.get(pid, set()))
    monkeypatch.setattr(setup_ssh, "_servers", lambda: {2, 3})
    return held


def test_the_environment_tells_the_connection(processes: dict[int, set[int]]) -> None:
    said = {"SSH_CONNECTION": "203.0.113.7 50000 192.0.2.1 22"}
    assert own_connections(ALL, said) == {Ssh(ip_address("203.0.113.7"), 22)}
    mapped = {"SSH_CONNECTION": "::ffff:203.0.113.7 50000 ::ffff:192.0.2.1 22"}
    assert own_connections(ALL, mapped) == {Ssh(ip_address("203.0.113.7"), 22)}


def test_without_it_the_programs_above_do(processes: dict[int, set[int]]) -> None:
    processes[os.getppid()] = {3, 4}
    assert own_connections(ALL, {}) == {Ssh(ip_address("203.0.113.8"), 22)}, "a connection that goes out is none"
    stale = {"SSH_CONNECTION": "203.0.113.99 1 192.0.2.1 22"}
    assert own_connections(ALL, stale) == {Ssh(ip_address("203.0.113.8"), 22)}


@pytest.mark.parametrize("said", ["", "nonsense", "a b c d", "203.0.113.7 50000 192.0.2.1", "203.0.113.99 1 192.0.2.1 22"])
def test_where_nothing_tells_every_ssh_connection_is_kept(processes: dict[int, set[int]], said: str) -> None:
    assert own_connections(ALL, {"SSH_CONNECTION": said}) == {
        Ssh(ip_address("203.0.113.7"), 22), Ssh(ip_address("203.0.113.8"), 22),
    }  # fmt: skip


def test_at_a_console_there_is_none(processes: dict[int, set[int]]) -> None:
    assert own_connections([SERVER, DOWNLOAD], {}) == set()


def test_the_ancestors_are_real() -> None:
    assert setup_ssh._ancestors()[0] == os.getppid()
    assert 1 not in setup_ssh._ancestors()


# the file


def answers(**services: NewService) -> Answers:
    made = services or {"cloud": NewService("cloud", "Cloud", "", ["tcp/443"])}
    return Answers("https://open.example.org:8443", 8443, made, list(DEFAULT_TRUSTED))


def test_the_text_says_what_was_answered() -> None:
    asked = answers(
        cloud=NewService("cloud", 'Chez l\'été "\\ \U0001f600', "https://cloud.example.org/", ["tcp/443", "udp/443"]),
        ssh=NewService("ssh", "SSH", "", ["tcp/22"], "keep"),
    )
    asked.trusted.append(ip_network("203.0.113.7/32"))
    asked.port = 9443
    config = parse_config(render(asked), "safeip.toml")
    assert config.settings.url == "https://open.example.org:8443"
    assert [str(listen) for listen in config.settings.listen] == ["0.0.0.0:9443", "[::]:9443"]
    cloud = config.settings.services["cloud"]
    assert (cloud.title, cloud.url) == ('Chez l\'été "\\ \U0001f600', "https://cloud.example.org/")
    assert cloud.ports == ("tcp/443", "udp/443")
    assert [config.policy.services[name].existing for name in ("cloud", "ssh")] == ["cut", "keep"]
    assert ip_network("203.0.113.7/32") in config.policy.trusted
    assert (config.state_dir, config.runtime_dir) == ("/var/lib/safeip", "/run/safeip")


def test_places_are_written_where_they_are_others() -> None:
    asked = answers()
    assert "state_dir" not in tomllib.loads(render(asked))
    asked.state_dir, asked.runtime_dir = "/srv/state", "/srv/run"
    config = parse_config(render(asked), "safeip.toml")
    assert (config.state_dir, config.runtime_dir) == ("/srv/state", "/srv/run")


def test_every_key_has_a_word_and_no_line_is_long() -> None:
    lines = render(answers()).splitlines()
    assert lines[0].startswith("# SafeIP's configuration")
    assert all(len(line) < 120 for line in lines)
    assert sum(line.startswith("#") for line in lines) >= 6


def test_a_draft_that_is_left_is_gone_with_the_directories_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "safeip" / "safeip.toml"
    with pytest.raises(KeyboardInterrupt), draft(str(path), b"text"):
        assert path.with_name("safeip.toml.new").read_text("utf-8") == "text"
        assert not path.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "safeip.toml"
    with pytest.raises(FileExistsError), draft(str(path), b"mine") as written:
        path.write_text("theirs", "utf-8")
        written.put(replace=False)
    assert {one.name: one.read_text("utf-8") for one in tmp_path.iterdir()} == {"safeip.toml": "theirs"}


def test_what_is_replaced_is_kept_and_there_is_never_none(tmp_path: Path) -> None:
    path = tmp_path / "safeip.toml"
    path.write_text("0", "utf-8")
    missing = threading.Event()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not path.exists():
                missing.set()

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(1, 20):
        with draft(str(path), b"%d" % number) as written:
            copy = written.put(replace=True)
        assert copy
        assert copy.read_text("utf-8") == str(number - 1)
    done.set()
    looking.join()
    assert not missing.is_set()
    assert path.read_text("utf-8") == "19"
    assert path.stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 20
