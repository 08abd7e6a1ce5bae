"""The stage for examples/relay: the relay is the lab's gateway, home lies behind a neighbour's NAT. Real sshd, ssh, nginx and daemon."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.examples import EXAMPLES, example, replaced
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.net import Namespace, veth
from lab.nginx import Nginx
from lab.process import LabError, Process, wait_for

NAMES = dict.fromkeys(("cloud.example.org", "films.example.org", "open.example.org", "other.example.org"), (GATEWAY4, GATEWAY6))
WITHIN_S = 30.0
ACCOUNT = "relay-tunnel"
# the neighbour lets out whoever asks, under its own address, and nothing in. A connection that it forgot is dropped in silence
NAT = """
table inet nat {
    chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iifname "lan" accept
    }
}
"""
# what came past SafeIP, by who sent it
COUNT = """
table inet arrived {
    chain input {
        type filter hook input priority filter;
        ip saddr 203.0.113.66 tcp dport 443 counter comment "stranger"
        ip6 saddr 2001:db8:66::66 tcp dport 443 counter comment "stranger"
        ip saddr 192.0.2.10 tcp dport 443 counter comment "visitor"
        ip6 saddr 2001:db8:1::10 tcp dport 443 counter comment "visitor"
    }
}
"""
# as the relay has it: its own files in /etc, for this program alone
AT_HOME = """
for file in passwd group shadow gshadow; do mount --bind "$1/etc/$file" "/etc/$file"; done
mount --bind "$1/etc/ssh" /etc/ssh
exec /usr/sbin/sshd -D -e
"""


class Relay:
    """The lab's gateway as the relay, and a home of private address behind a neighbour's NAT."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.gateway = stack.enter_context(Gateway(prefix="sipt", start=False))
        self.pair = self._configure()
        self.gateway.start()
        self.place = self.gateway.directory / "relay"
        self.place.mkdir(mode=0o700)
        for visitor in (self.gateway.visitor, self.gateway.second, self.gateway.stranger):
            visitor.names = {**visitor.names, **NAMES}
        self.neighbour = stack.enter_context(Namespace("neighbour", "sipt"))
        self.home = stack.enter_context(Namespace("home", "sipt"))
        self._line()
        self._patience()
        self.gateway.nft(COUNT)
        self._programs()
        self.keys()
        self.accounts()
        self.sshd = self.start_sshd()
        self.nginx = self._nginx()
        self.tunnel: Process | None = None

    def _configure(self) -> tuple[str, str]:
        """The example, with certificate and key as certbot would have brought them; both."""
        certificate, key = self.gateway._certificate()
        Path(key).chmod(0o644)  # the lab's portal has no account of its own
        files = (("/etc/safeip/tls/certificate.pem", certificate), ("/etc/safeip/tls/key.pem", key))
        config = tomllib.loads(example("relay/safeip.toml", *files))
        assert config.keys() == {"portal", "gate", "services"}, "then the rest has to be taken, too"
        self.gateway.configure(services=config["services"], portal=config["portal"], gate=config["gate"])
        return certificate, key

    def _line(self) -> None:
        veth(
            self.gateway.internet, "neighbour", ("198.51.101.254/24",),
            right=self.neighbour, right_name="wan", right_addresses=("198.51.101.7/24",),
        )  # fmt: skip
        veth(
            self.neighbour, "lan", ("100.64.7.1/24",), right=self.home, right_name="eth0", right_addresses=("100.64.7.2/24",),
        )  # fmt: skip
        self.neighbour.configure("route add default via 198.51.101.254")
        self.home.configure("route add default via 100.64.7.1")
        self.neighbour.sysctl("net.ipv4.ip_forward", 1)
        self.neighbour.run("nft", "-f", "-", input=NAT)
        self.neighbour.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)

    def _patience(self) -> None:
        """The relay's kernel gives up sooner, as the example has it, and sooner still."""
        found = re.search(r"(?m)^(net\.\S+) = (\d+)$", example("relay/sysctl.conf", ("= 8", "= 4")))
        assert found
        self.gateway.host.sysctl(found[1], int(found[2]))

    def _programs(self) -> None:
        self.gateway.serve(self.home, "program", 80)
        echo = (sys.executable, str(Path(__file__).with_name("echo_service.py")), "8096")
        films = self.home.start(*echo, log=self.gateway.directory / "echo.log")
        wait_for("the second program", lambda: "ready" in films.tail(), WITHIN_S)

    def keys(self, options: str | None = None) -> None:
        """The keys of both ends, made once; `options` are the words before home's key, else those of the example."""
        here, ssh = self.place / "home", self.place / "etc/ssh"
        if not here.exists():
            here.mkdir()
            shutil.copytree("/etc/ssh", ssh, ignore=lambda _, names: [name for name in names if "_key" in name or name == "sshd_config.d"])
            (ssh / "sshd_config.d").mkdir()
            for file in (here / "key", here / "strange", ssh / "ssh_host_ed25519_key"):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], check=True)
            host = (ssh / "ssh_host_ed25519_key.pub").read_text("ascii")
            (here / "known_hosts").write_text(f"{GATEWAY4} {host}", "ascii")
        public = (here / "key.pub").read_text("ascii").strip()
        line = replaced(example("relay/authorized_keys"), ("ssh-ed25519 AAAA... home", public))
        (ssh / "relay-tunnel.keys").write_text(line if options is None else f"{options}{public}\n", "ascii")
        (ssh / "relay-tunnel.keys").chmod(0o644)  # sshd reads it as the account
        drop_in = example("relay/sshd.conf", ("ClientAliveInterval 15", "ClientAliveInterval 1"))
        (ssh / "sshd_config.d/relay-tunnel.conf").write_text(drop_in, "ascii")

    def accounts(self) -> None:
        """The README's command, in files of the relay's own."""
        for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
            shutil.copy(Path("/etc", name), self.place / "etc" / name)
        found = re.search(r"(?m)^ +useradd (.*)$", example("relay/README"))
        assert found
        words = shlex.split(found[1])
        assert words[-1] == ACCOUNT
        subprocess.run(["useradd", "--prefix", self.place, *words], check=True, capture_output=True)

    def start_sshd(self) -> Process:
        """Debian's sshd with Debian's configuration, and the example's beside it."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = ("unshare", "--mount", "--propagation", "private", "sh", "-euc", AT_HOME, "sshd", str(self.place))
        self.sshd = self.gateway.host.start(*command, log=self.gateway.directory / "sshd.log")
        wait_for("sshd", self._greets, WITHIN_S)
        return self.sshd

    def _greets(self) -> bool:
        if self.sshd.poll() is not None:
            raise LabError(self.sshd.tail())
        try:
            with self.home.connect(GATEWAY4, 22, 1.0) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _nginx(self) -> Nginx:
        certificate, key = self.pair
        shutil.copytree(EXAMPLES / "relay", self.place / "www", ignore=lambda _, names: [name for name in names if not name.endswith(".html")])
        site = example(
            "relay/nginx.conf",
            ("/etc/letsencrypt/live/open.example.org/fullchain.pem", certificate),
            ("/etc/letsencrypt/live/open.example.org/privkey.pem", key),
            ("/var/www/relay", str(self.place / "www")),
        )
        return Nginx(self.gateway.host, self.place / "nginx", site)

    # home's end

    def up(self) -> bool:
        """Whether the tunnel's ports are there."""
        return self.listening() >= {8001, 8002}

    def unit(self) -> str:
        """The unit of the example, with the lab's address and files, and less patience."""
        return example(
            "relay/relay-tunnel.service",
            ("\\\n", ""), ("relay.example.org", GATEWAY4),
            ("${CREDENTIALS_DIRECTORY}", str(self.place / "home")), ("/etc/relay-tunnel/", f"{self.place}/home/"),
            ("ServerAliveInterval=15", "ServerAliveInterval=1"), ("ConnectTimeout=15", "ConnectTimeout=2"), ("RestartSec=5s", "RestartSec=1"),
        )  # fmt: skip

    def setting(self, key: str) -> str:
        found = re.findall(rf"(?m)^{key}=(.*)$", self.unit())
        assert len(found) == 1
        return str(found[0])

    def start_tunnel(self) -> None:
        """What systemd does with the unit: ssh, and ssh again however it ended."""
        assert self.setting("Restart") == "always"
        loop = f'while :; do "$@" || true; sleep {self.setting("RestartSec")}; done'
        self.tunnel = self.home.start("sh", "-c", loop, "sh", *shlex.split(self.setting("ExecStart")), log=self.gateway.directory / "tunnel.log")
        wait_for("the tunnel", self.up, WITHIN_S)

    def stop_tunnel(self) -> None:
        if self.tunnel is not None:
            self.tunnel.kill()
            self.tunnel = None
        wait_for("the ports to be free", lambda: not self.listening() & {8001, 8002}, WITHIN_S)

    def ssh(self, *words: str, account: str = ACCOUNT, key: str = "key", before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """ssh with home's key as the unit has it, for something else, to its end."""
        command = shlex.split(self.setting("ExecStart"))
        kept = [word for word in command if word not in ("-N", "-R") and not word.startswith("127.0.0.1:")]
        assert kept.pop() == f"{ACCOUNT}@{GATEWAY4}"
        kept[kept.index("-i") + 1] = str(self.place / "home" / key)
        return self.home.run(*kept, *before, f"{account}@{GATEWAY4}", *words, check=False, timeout=WITHIN_S)

    @contextlib.contextmanager
    def other_ssh(self, *words: str) -> Iterator[tuple[Process, Callable[[], str]]]:
        """ssh with home's key and other forwardings, which stays whatever is refused; it, and what it says."""
        command = [word for word in shlex.split(self.setting("ExecStart")) if word != "-R" and not word.startswith("127.0.0.1:")]
        command[command.index("ExitOnForwardFailure=yes")] = "ExitOnForwardFailure=no"
        log = self.gateway.directory / "other.log"
        log.unlink(missing_ok=True)
        process = self.home.start(*command[:-1], *words, command[-1], log=log)
        try:
            yield process, lambda: process.tail(1000)
            assert process.poll() is None, process.tail()
        finally:
            process.stop()

    def listening(self) -> set[int]:
        """The TCP ports of the relay that somebody listens on."""
        listed = self.gateway.host.run("ss", "-Hltn").stdout
        return {int(line.split()[3].rpartition(":")[2]) for line in listed.splitlines()}

    def arrived(self, who: str) -> int:
        """How many packets of somebody to tcp/443 came past SafeIP."""
        entries = json.loads(self.gateway.host.run("nft", "-j", "list", "chain", "inet", "arrived", "input").stdout)["nftables"]
        rules = [entry["rule"] for entry in entries if "rule" in entry and entry["rule"].get("comment") == who]
        return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)
