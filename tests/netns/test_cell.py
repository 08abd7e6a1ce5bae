"""The cells from within: what an attacker who runs any code in the gate or in the portal gets, and what still has to work."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import seccomp

from access import crack, files
from lab.checkout import copy_program
from lab.gateway import Gateway
from lab.process import ended, wait_for
from nft.gate import Gate
from safeip import cell_gate, cell_portal, landlock, privileges
from safeip.config import Config, parse_config

CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN = 6, 7, 12
PASSWORD = "vivid otter ladder 81"
NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_XFRM, NETLINK_GENERIC = 0, 12, 6, 16
AF_ALG, AF_VSOCK = 38, 40
MFD_EXEC = 0x10
KEEP_CAPABILITIES = 8
GATE = 54321  # a user of its own
CONFIG = """
state_dir = "{0}/state"
runtime_dir = "{0}/run"
[portal]
url = "https://open.example.org:8443"
[services.cloud]
ports = ["tcp/443"]
"""
_libc = ctypes.CDLL(None, use_errno=True)
assert crack  # the portal's user need not be able to read this checkout, as it can an installation's tree


@dataclass
class House:
    """Files as an installation has them, and two processes that are none of SafeIP's business."""

    directory: Path
    config: Config
    account: privileges.Account
    victims: dict[int, int]

    def path(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def house(network):
    directory = Path(tempfile.mkdtemp(prefix="safeip-test-"))
    directory.chmod(0o755)
    account = privileges.portal_account()
    for name, mode in (("etc", 0o755), ("state", 0o755), ("state/gate", 0o700), ("state/portal", 0o700), ("run", 0o755)):
        (directory / name).mkdir()
        (directory / name).chmod(mode)
    path = directory / "etc/safeip.toml"
    path.write_text(CONFIG.format(directory))
    for name in ("state/gate/closed.nft", "state/gate/grants.jsonl", "state/portal/secret.key", "state/portal/state.json"):
        (directory / name).write_text(name)
        (directory / name).chmod(0o600)
    for part in ("", "secret.key", "state.json"):
        os.chown(directory / "state/portal" / part, account.uid, account.gid)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        victims = {}
        for uid in (0, account.uid):
            process = stack.enter_context(subprocess.Popen(["sleep", "100"], user=uid))
            stack.callback(process.kill)
            victims[uid] = process.pid
        yield House(directory, parse_config(path.read_text(), str(path)), account, victims)


def in_child(enter, work) -> str:
    """What a child that has entered says of `work`: "None" or more where it went well, or an error's name, or a signal's."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter()
            said = str(work())
        except OSError as error:
            said = errno.errorcode[error.errno] if error.errno else f"{error}"
        except Exception as error:  # noqa: BLE001 (told by the parent's assertion)
            said = repr(error)
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as file:
        said = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said if code == 0 else signal.Signals(-code).name


def gate(house: House):
    """Become the gate of a daemon that root started."""
    return lambda: cell_gate.enter(house.config, house.account, print)


def gate_of_its_own_user(house: House):
    """Become the gate as under systemd: neither root nor the portal's user."""

    def become() -> None:
        for name in ("state/gate", "state/gate/closed.nft", "state/gate/grants.jsonl"):
            os.chown(house.path(name), GATE, GATE)
        _libc.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(GATE, GATE, GATE)
        os.setresuid(GATE, GATE, GATE)
        held = 1 << CAP_NET_ADMIN | 1 << CAP_SETUID | 1 << CAP_SETGID
        assert _libc.capset((ctypes.c_uint32 * 2)(0x2008_0522, 0), (ctypes.c_uint32 * 6)(held, held, 0)) == 0
        cell_gate.enter(house.config, house.account, print)

    return become


def portal(house: House):
    """Become the portal of a daemon that root started."""

    def become() -> None:
        privileges.give_up(house.account)
        cell_portal.enter(house.config.settings)

    return become


CELLS = {"gate": gate, "gate of its own user": gate_of_its_own_user, "portal": portal}


def call(name: str, *arguments: object) -> int:
    """A system call by its name, with what C would make of the arguments."""
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = _libc.syscall(ctypes.c_long(seccomp.resolve_syscall(seccomp.Arch(), name)), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def unix_stream(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def executable_memory() -> None:
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _libc.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "mprotect")


def map_a_program(path: Path) -> None:
    with path.open("rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)


# What nobody may, by what it says. A function takes the house.
EVERYWHERE = {
    "run a program": (lambda _: os.execv("/bin/true", ["true"]), {"SIGSYS"}),
    "run one by a descriptor": (lambda _: call("execveat", 0, b"", None, None, 0x1000), {"SIGSYS"}),
    "fork": (lambda _: os.fork() or os._exit(0), {"EPERM"}),
    "vfork": (lambda _: call("vfork"), {"SIGSYS"}),
    "a thread's call for a process": (lambda _: call("clone", signal.SIGCHLD, None, None, None, 0), {"EPERM"}),
    "a namespace by clone": (lambda _: call("clone", 0x1001_0000, None, None, None, 0), {"EPERM"}),
    "clone3": (lambda _: call("clone3", None, 0), {"ENOSYS"}),
    "trace another": (lambda h: call("ptrace", 16, h.victims[0], 0, 0), {"SIGSYS"}),
    "trace one of its own user": (lambda h: call("ptrace", 16, h.victims[h.account.uid], 0, 0), {"SIGSYS"}),
    "read another's memory": (lambda h: call("process_vm_readv", h.victims[h.account.uid], None, 0, None, 0, 0), {"SIGSYS"}),
    "take another's descriptor": (lambda h: call("pidfd_getfd", 3, 0, 0), {"SIGSYS"}),
    "a descriptor of another": (lambda h: os.pidfd_open(h.victims[h.account.uid]), {"EPERM"}),
    "kill root's": (lambda h: os.kill(h.victims[0], signal.SIGKILL), {"EPERM"}),
    "kill one of the portal's user": (lambda h: os.kill(h.victims[h.account.uid], signal.SIGKILL), {"EPERM"}),
    "signal everybody": (lambda _: os.kill(-1, 0), {"EPERM"}),
    "open the first process' memory": (lambda _: os.open("/proc/1/mem", os.O_RDWR), {"EACCES"}),
    "open its own memory": (lambda _: os.open("/proc/self/mem", os.O_RDWR), {"EACCES"}),
    "namespaces": (lambda _: call("unshare", 0x1000_0000), {"SIGSYS"}),
    "another's namespace": (lambda _: call("setns", 0, 0), {"SIGSYS"}),
    "mount": (lambda _: call("mount", b"none", b"/mnt", b"tmpfs", 0, None), {"SIGSYS"}),
    "mount in the new way": (lambda _: call("fsopen", b"tmpfs", 0), {"SIGSYS"}),
    "another root": (lambda _: os.chroot("/tmp"), {"SIGSYS"}),
    "load a module": (lambda _: call("init_module", b"", 0, b""), {"SIGSYS"}),
    "load one by a descriptor": (lambda _: call("finit_module", 0, b"", 0), {"SIGSYS"}),
    "another kernel": (lambda _: call("kexec_load", 0, 0, None, 0), {"SIGSYS"}),
    "bpf": (lambda _: call("bpf", 0, None, 0), {"SIGSYS"}),
    "io_uring": (lambda _: call("io_uring_setup", 8, None), {"SIGSYS"}),
    "userfaultfd": (lambda _: call("userfaultfd", 0), {"SIGSYS"}),
    "performance counters": (lambda _: call("perf_event_open", None, 0, 0, 0, 0), {"SIGSYS"}),
    "keys": (lambda _: call("keyctl", 0, 0, 0, 0, 0), {"SIGSYS"}),
    "the clock": (lambda _: call("clock_settime", 0, None), {"SIGSYS"}),
    "a filter less": (lambda _: call("seccomp", 1, 0, None), {"EPERM"}),
    "any prctl": (lambda _: call("prctl", 4, 1, 0, 0, 0), {"EPERM"}),
    "a user": (lambda _: os.setresuid(0, 0, 0), {"EPERM"}),
    "groups": (lambda _: os.setgroups([0]), {"EPERM"}),
    "capabilities": (lambda _: call("capset", None, None), {"EPERM"}),
    "more of a limit": (lambda _: call("prlimit64", 0, 7, struct.pack("QQ", 9, 9), None), {"EPERM"}),
    "another's limits": (lambda h: call("prlimit64", h.victims[h.account.uid], 7, None, None), {"EPERM"}),
    "memory that is written and run": (lambda _: mmap.mmap(-1, 4096, prot=7), {"EPERM"}),
    "memory that was written and is run": (lambda _: executable_memory(), {"EPERM"}),
    "a file without a name": (lambda _: call("memfd_create", b"x", MFD_EXEC), {"EPERM"}),
    "keys for the terminal": (lambda _: fcntl.ioctl(0, 0x5412, b"x"), {"EPERM"}),
    "a TCP connection": (lambda _: socket.socket().connect(("127.0.0.1", 9)), {"EPERM"}),
    "UDP": (lambda _: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), {"EPERM"}),
    "raw packets": (lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255), {"EPERM"}),
    "every packet": (lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300), {"EPERM"}),
    "a listener": (lambda _: socket.create_server(("127.0.0.1", 0)), {"EPERM"}),
    "the kernel's ciphers": (lambda _: socket.socket(AF_ALG, socket.SOCK_SEQPACKET), {"EPERM"}),
    "the host of a guest": (lambda _: socket.socket(AF_VSOCK, socket.SOCK_STREAM), {"EPERM"}),
    "generic netlink": (lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC), {"EPERM"}),
    "IPsec": (lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM), {"EPERM"}),
    "a daemon's socket": (lambda _: unix_stream("/run/dbus/system_bus_socket"), {"EPERM"}),
    "passwords": (lambda _: Path("/etc/shadow").read_text(), {"EACCES"}),
    "root's files": (lambda _: list(Path("/root").iterdir()), {"EACCES"}),
    "write the configuration": (lambda h: h.path("etc/safeip.toml").write_text(""), {"EACCES"}),
    "replace the configuration": (lambda h: files.replace(str(h.path("etc/safeip.toml")), b""), {"EACCES", "could not be written"}),
    "write rules of the admin's": (lambda h: h.path("etc/custom.nft").write_text("accept"), {"EACCES"}),
    "a file of the system": (lambda _: Path("/etc/safeip-test").write_text("x"), {"EACCES"}),
    "a link into the state": (lambda h: h.path("state/portal/state.json").symlink_to("/etc/shadow"), {"EPERM"}),
    "a directory": (lambda h: h.path("state/portal/new").mkdir(), {"EPERM"}),
    "another mode": (lambda h: h.path("state/gate").chmod(0o777), {"EPERM"}),
    "another owner": (lambda h: os.chown(h.path("state/gate"), 1, 1), {"EPERM"}),
}
OF_THE_GATE = {
    "the portal's key": (lambda h: h.path("state/portal/secret.key").read_text(), {"EACCES"}),
    "the portal's people": (lambda h: h.path("state/portal/state.json").read_text(), {"EACCES"}),
    "a file as a program": (lambda h: map_a_program(h.path("etc/safeip.toml")), {"EPERM"}),
    "a socket of the file system's": (lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), {"EPERM"}),
}
OF_THE_PORTAL = {
    "what boot loads": (lambda h: h.path("state/gate/closed.nft").write_text(""), {"EACCES"}),
    "the record of what is open": (lambda h: h.path("state/gate/grants.jsonl").open("a"), {"EACCES"}),
    "take what boot loads away": (lambda h: h.path("state/gate/closed.nft").unlink(), {"EACCES"}),
    "a file beside what boot loads": (lambda h: h.path("state/gate/new").write_text(""), {"EACCES"}),
    "read the configuration": (lambda h: h.path("etc/safeip.toml").read_text(), {"EACCES"}),
    "netlink for rules": (lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER), {"EPERM"}),
    "netlink for routes": (lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE), {"EPERM"}),
    "its own file as a program": (lambda h: map_a_program(h.path("state/portal/state.json")), {"EPERM"}),
    "a name for its datagrams": (lambda h: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(str(h.path("x"))), {"EPERM"}),
}
ATTACKS = [
    (who, name)
    for who in CELLS
    for name in (*EVERYWHERE, *(OF_THE_PORTAL if who == "portal" else OF_THE_GATE))
    if landlock.version() or not EVERYWHERE.get(name, (None, {"EACCES"}))[1] & {"EACCES"}
]


def test_what_an_attacker_tries_is_refused(house):
    got_through = {}
    for who, name in ATTACKS:
        attack, refusals = (EVERYWHERE | OF_THE_GATE | OF_THE_PORTAL)[name]
        said = in_child(CELLS[who](house), lambda attack=attack: attack(house))
        if not any(refusal in said for refusal in refusals):
            got_through[who, name] = said
    assert got_through == {}
    assert len(ATTACKS) > 100


# what must go on


def test_the_gate_goes_on_with_its_files(house):
    state = house.path("state/gate")

    def work() -> str:
        files.replace(str(state / "closed.nft"), b"new")
        with (state / "grants.jsonl").open("a") as record:
            record.write("more")
        thread = threading.Thread(target=(state / "grants.jsonl").rename, args=(state / "grants.jsonl.new",))
        thread.start()
        thread.join()
        return house.path("etc/safeip.toml").read_text()

    for who in (gate, gate_of_its_own_user):
        assert "[services.cloud]" in in_child(who(house), work)
        assert (state / "closed.nft").read_bytes() == b"new"
        assert (state / "grants.jsonl.new").read_text().endswith("more")
        (state / "grants.jsonl.new").rename(state / "grants.jsonl")


def test_the_portal_goes_on_with_passwords_and_its_files(house):
    """Also after the system's users have changed: /etc/passwd is another file then, to which the cell has no way."""

    def work() -> object:
        import argon2

        from access import crack

        files.replace(str(house.path("state/portal/state.json")), b"new")
        hashed: list[str] = []
        thread = threading.Thread(target=lambda: hashed.append(argon2.PasswordHasher(2, 19456, 1).hash(PASSWORD)))
        thread.start()
        thread.join()
        assert argon2.PasswordHasher().verify(hashed[0], PASSWORD)
        with pytest.raises(PermissionError):
            Path("/etc/passwd").read_text()
        return crack.weakness(PASSWORD), crack.weakness("qwertyuiop"), house.path("state/portal/state.json").read_text()

    assert in_child(portal(house), work) == "(None, 'it is based on a dictionary word', 'new')"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('iif "lo" accept', "None"),
        ("tcp dport ssh accept", "None"),
        ("meta l4proto sctp accept", "None"),
        ('include "{0}/etc/more.nft"', "None"),
        ('include "{0}/more.nft"', "will be left out after a flush: what it includes must lie in its directory: "),
    ],
)
def test_what_the_admins_own_rules_need_is_there(house, rules, said):
    """Names of interfaces and ports are looked up, and a file is included: in the cell as before it, or it is told at start."""
    house.path("etc/custom.nft").write_text(rules.format(house.directory) + "\n")
    for name in ("etc/more.nft", "more.nft"):
        house.path(name).write_text("accept\n")
    lines: list[str] = []

    def repair() -> str:
        made = Gate(house.config.policy, house.config.custom, lines.append)
        made.start()  # as after a flush
        return str(lines[0] if lines else None)

    assert said in in_child(lambda: cell_gate.enter(house.config, house.account, lines.append), repair)


def test_a_kernel_without_landlock_is_told_and_the_rest_is_closed(house, monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    told: list[str] = []

    def enter() -> None:
        cell_gate.enter(house.config, house.account, told.append)

    assert "this kernel has no Landlock" in in_child(enter, lambda: told)
    assert in_child(enter, lambda: os.execv("/bin/true", ["true"])) == "SIGSYS"
    assert in_child(enter, lambda: house.path("state/portal/secret.key").read_text()) == "EACCES"  # another user's


def test_a_way_that_only_roots_rights_open_is_told_at_start(house):
    """After its start the gate could not reload what lies there."""
    house.path("etc").chmod(0o700)
    os.chown(house.path("etc"), 12345, 12345)
    said = in_child(gate(house), lambda: None)
    assert said == f"the gate cannot be shut in: [Errno 13] Permission denied: '{house.path('etc')}'"


def test_nobody_enters_with_a_thread_that_would_stay_outside(house):
    def enter() -> None:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        gate(house)()

    assert "it has started a thread already" in in_child(enter, lambda: None)


# the daemon itself


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "9"]
    command += ["-subj", "/CN=home.test", "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)


def served(gateway: Gateway) -> str:
    with gateway.visitor.connect(f"https://home.test:{gateway.portal_port}/") as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


@pytest.fixture
def strict() -> Iterator[Gateway]:
    """A daemon that dies of a system call that nobody foresaw, with a certificate as certbot lays it, and rules of the admin's."""
    with Gateway(prefix="sipt", start=False) as gateway:
        tree = gateway.directory / "program"
        copy_program(tree)
        calls = tree / "src/safeip/syscalls.py"
        text = calls.read_text()
        calls.write_text(text.replace("OTHERWISE = seccomp.ERRNO(errno.EPERM)", "OTHERWISE = seccomp.TRAP"))
        assert calls.read_text() != text
        live = gateway.directory / "live"
        for folder in (live, gateway.directory / "archive"):
            folder.mkdir()
        make_certificate(gateway.directory / "archive")
        for name in ("certificate.pem", "key.pem"):
            (live / name).symlink_to(f"../archive/{name}")
        (gateway.directory / "custom.nft").write_text('iif "lo" tcp dport 22 accept\n')
        pair = {name: str(live / f"{name}.pem") for name in ("certificate", "key")}
        gateway.configure(portal={"tls": pair, "registration": "approval"})
        gateway.state_dir.mkdir(mode=0o755)
        gateway.state.mkdir(mode=0o700)
        account = privileges.portal_account()
        (gateway.state / "history.jsonl").write_text("{}\n" * 700_000)  # to be rotated by the first entry
        for path in (gateway.state, gateway.state / "history.jsonl"):
            os.chown(path, account.uid, account.gid)
        program = [str(tree / "bin/safeip"), "--config", str(gateway.config), "run"]
        gateway.daemon = gateway.host.start(*program, log=gateway.log)
        wait_for("the daemon's start", lambda: gateway.daemon.poll() is not None or gateway.healthy(), 20)
        assert gateway.daemon.poll() is None, gateway.daemon.tail()
        yield gateway


def test_a_daemon_in_its_cells_does_all_that_it_did_before(strict):
    gateway, visitor = strict, strict.visitor
    for pid, capabilities in ((gateway.gate_pid(), 1 << CAP_NET_ADMIN), (gateway.portal_pid(), 0)):
        found = status(pid)
        assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
        assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {capabilities}
        assert {int(found[name], 16) for name in ("CapInh", "CapAmb")} == {0}
    # links, people, passwords, codes, pictures
    assert visitor.open_link(gateway.add_link("Mamie", ("cloud",), "--pin", "4711"), pin="4711").status == 200
    assert visitor.reaches("http://home.test/")
    gateway.cli("person", "add", "yves", "--service", "cloud", "--password-stdin", input=PASSWORD + "\n")
    assert "easy to guess" in gateway.cli("person", "add", "x", "--password-stdin", input="password1234\n", check=False).stderr
    portal = f"https://home.test:{gateway.portal_port}"
    assert visitor.submit(visitor.fetch(f"{portal}/sign-in"), {"name": "yves", "password": PASSWORD, "code": ""}).status == 303
    assert visitor.fetch(f"{portal}/me").status == 200
    assert 'class="qr"' in visitor.fetch(f"{portal}/me/totp/new").text
    wish = {"name": "ann", "message": "x", "password": PASSWORD, "again": PASSWORD}
    assert gateway.second.submit(gateway.second.fetch(f"{portal}/ask"), wish).status == 303
    gateway.cli("ban", "203.0.113.200")
    assert (gateway.state / "history.jsonl.1").exists()
    assert "yves" in gateway.cli("history").stdout
    # what others broke is put right, with the admin's rules
    gateway.nft("flush ruleset")
    wait_for("the grant", lambda: len(gateway.sets().get("cloud4", [])) == 1)
    assert 'iif "lo" tcp dport 22 accept' in gateway.host.run("nft", "list", "chain", "inet", "safeip", "custom").stdout
    # a renewed certificate is taken up
    before = served(gateway)
    (gateway.directory / "archive/next").mkdir()
    make_certificate(gateway.directory / "archive/next")
    for name in ("certificate.pem", "key.pem"):
        (gateway.directory / "archive/next" / name).rename(gateway.directory / "archive" / name)
    assert served(gateway) != before
    # a file with a mistake, and a good one
    good = gateway.config.read_text()
    gateway.config.write_text(good.replace("default_duration", "default_duratoin"))
    gateway.daemon.signal(signal.SIGHUP)
    wait_for("the refusal", lambda: "not reloaded" in gateway.log.read_text())
    assert 'did you mean "default_duration"' in gateway.log.read_text()
    gateway.config.write_text(good.replace("8096", "8097"))
    gateway.daemon.signal(signal.SIGHUP)
    wait_for("the reload", lambda: "reloaded " in gateway.log.read_text().replace("not reloaded", ""))
    assert "8097" in (gateway.gate_state / "closed.nft").read_text()
    assert gateway.healthy()
    assert gateway.stop() == 0


def test_a_portal_that_does_not_end_by_itself_ends_with_the_gate():
    """The gate may signal nobody; the kernel does it when the gate is gone."""
    with Gateway(prefix="sipt") as gateway:
        portal = gateway.portal_pid()
        os.kill(portal, signal.SIGSTOP)
        gateway.daemon.kill()
        wait_for("the portal's end", lambda: ended(portal))
