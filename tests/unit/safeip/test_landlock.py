"""What a process that Landlock holds can reach, as each version of the kernel's interface has it. In children: it is for good."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from safeip import landlock
from safeip.landlock import Access

NO_NEW_PRIVS = 38
VERSIONS = range(1, landlock.version() + 1)


def in_child(work) -> str:
    """What a child says of `work` once it is over: what it gave back, or the name of the error."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(work())
        except OSError as error:
            said = errno.errorcode[error.errno]
        except Exception as error:  # noqa: BLE001 (told by the parent's assertion)
            said = repr(error)
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as file:
        said = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return said


@pytest.fixture
def held(tmp_path, monkeypatch):
    """Runs something where `readable` may be read, `replaceable` be replaced in, and nothing else be reached."""
    for name in ("readable", "replaceable", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)

    def run(work, known: int | None = None) -> str:
        if known is not None:
            monkeypatch.setattr(landlock, "version", lambda: known)

        def restricted():
            ctypes.CDLL(None).prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
            allowed = {"readable": Access.READ, "replaceable": Access.REPLACE, "missing": Access.READ}
            landlock.restrict({str(tmp_path / name): access for name, access in allowed.items()}, signals=False)
            return work()

        return in_child(restricted)

    return run


@pytest.mark.skipif(not VERSIONS, reason="this kernel has no Landlock, or it is switched off")
@pytest.mark.parametrize("known", VERSIONS)
def test_files_that_are_not_named_are_closed_whatever_the_version(held, tmp_path, known):
    readable, replaceable, other = (tmp_path / name / "file" for name in ("readable", "replaceable", "other"))
    assert held(readable.read_text, known) == "readable"
    assert held(lambda: len(list((tmp_path / "readable").iterdir())), known) == "1"
    assert held(lambda: replaceable.write_text("new"), known) == "3"
    assert held(lambda: (replaceable.with_name("new").write_text("n"), replaceable.with_name("new").rename(replaceable)), known)
    assert replaceable.read_text() == "n"
    refused = {
        "read": other.read_text,
        "write": lambda: other.write_text("x"),
        "list": lambda: list((tmp_path / "other").iterdir()),
        "write where it may be read": lambda: readable.write_text("x"),
        "read where it may be replaced": replaceable.read_text,
        "make": lambda: (tmp_path / "other" / "new").write_text("x"),
        "make a directory": (tmp_path / "replaceable" / "new").mkdir,
        "make a link": lambda: (tmp_path / "replaceable" / "new").symlink_to("/etc/shadow"),
        "remove": other.unlink,
        "through proc": lambda: Path("/proc/1/status").read_text(),
        "execute": lambda: os.execv("/bin/true", ["true"]),
    }
    assert {name: held(work, known) for name, work in refused.items()} == dict.fromkeys(refused, "EACCES")
    assert held(lambda: other.rename(tmp_path / "replaceable" / "moved"), known) in {"EACCES", "EXDEV"}
    assert held(lambda: os.link(other, tmp_path / "replaceable" / "linked"), known) in {"EACCES", "EXDEV"}


@pytest.mark.skipif(landlock.version() < 3, reason="Linux 6.2 and later")
def test_no_file_is_cut(held, tmp_path):
    assert held(lambda: os.truncate(tmp_path / "other" / "file", 0)) == "EACCES"
    assert held(lambda: os.truncate(tmp_path / "replaceable" / "file", 0)) == "None"


@pytest.mark.skipif(landlock.version() < 4, reason="Linux 6.7 and later")
def test_no_connection_and_no_listener(held):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as inherited:
        assert held(lambda: socket.create_connection(server.getsockname())) == "EACCES"
        assert held(lambda: inherited.connect(server.getsockname())) == "EACCES"
        assert held(lambda: inherited.bind(("127.0.0.1", 0))) == "EACCES"


@pytest.mark.skipif(landlock.version() < 6, reason="Linux 6.12 and later")
def test_no_signal_and_no_abstract_socket_of_those_outside(held):
    with subprocess.Popen(["sleep", "60"]) as other:
        assert held(lambda: os.kill(other.pid, signal.SIGKILL)) == "EPERM"
        other.kill()
    name = f"\0safeip-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outside:
        outside.bind(name)
        assert held(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", name)) == "EPERM"


@pytest.mark.skipif(not VERSIONS, reason="this kernel has no Landlock, or it is switched off")
def test_without_no_new_privs_nothing_is_restricted_in_silence(tmp_path):
    def restrict():
        os.setresuid(65534, 65534, 65534)  # with CAP_SYS_ADMIN it would be allowed
        landlock.restrict({}, signals=False)

    assert in_child(restrict) == "EPERM"
