r"""A gateway with SafeIP on it, an Internet with visitors before it and a LAN behind it.

    visitor  192.0.2.10    2001:db8:1::10   \
    second   192.0.2.130   2001:db8:2::10    internet -- wan  gateway  lan -- server 10.9.0.10
    stranger 203.0.113.66  2001:db8:66::66  /     198.51.100.1, 2001:db8:100::1

Every visitor has an IPv6 /64 of its own. `home.test` is the gateway's name. `cloud` (tcp/80) is served by the
gateway itself, `films` (tcp/8096) is forwarded to the server by a table of the admin's own, `inet lab`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lab.config import PORTAL, SERVICES, Table, render
from lab.kernel import Element, read_set, read_sets
from lab.net import Namespace, veth
from lab.process import LabError, Process, ended, wait_for
from lab.visitor import Visitor

ROOT = Path(__file__).resolve().parent.parent
NAME = "home.test"
DIRECTORY = "safeip-lab-"
GATEWAY4, GATEWAY6 = "198.51.100.1", "2001:db8:100::1"
ADMIN_RULES = """
table inet lab
delete table inet lab
table inet lab {
    chain forwarded {
        type nat hook prerouting priority dstnat;
        iifname "wan" meta nfproto ipv4 tcp dport 8096 dnat ip to 10.9.0.10:80
        iifname "wan" meta nfproto ipv6 tcp dport 8096 dnat ip6 to [fd00:9::10]:80
    }
}
"""


class Gateway:
    """The namespaces, the services and the daemon. Everything ends with `close` or with the `with` block.

    `services`, `portal`, `gate` and `top` change the configuration: services replace the lab's own, keys of the
    others are added to the lab's own. With `start=False` the daemon waits for `start()`.
    """

    def __init__(
        self, *, services: Mapping[str, Table] | None = None, portal: Table | None = None, gate: Table | None = None,
        top: Table | None = None, start: bool = True, prefix: str = "sipl",
    ) -> None:  # fmt: skip
        _sweep_directories()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY}{os.getpid()}-"))
        self.directory.chmod(0o755)  # the portal, which is not root, finds its files in it
        self.config = self.directory / "safeip.toml"
        self.state_dir = self.directory / "state"
        self.gate_state = self.state_dir / "gate"
        self.state = self.state_dir / "portal"
        self.runtime = self.directory / "run"
        self.log = self.directory / "daemon.log"
        self.daemon: Process | None = None
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            self._build(prefix)
            self.configure(services=services, portal=portal, gate=gate, top=top)
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the daemon and delete namespaces and files. A second call does nothing."""
        self._stack.close()

    # the world around the daemon

    def _build(self, prefix: str) -> None:
        def make(label: str) -> Namespace:
            return self._stack.enter_context(Namespace(label, prefix))

        internet, self.host, self.server = make("internet"), make("gateway"), make("server")
        veth(
            internet, "home", ("198.51.100.254/24", "2001:db8:100::fe/64"),
            right=self.host, right_name="wan", right_addresses=(f"{GATEWAY4}/24", f"{GATEWAY6}/64"),
        )  # fmt: skip
        veth(
            self.host, "lan", ("10.9.0.1/24", "fd00:9::1/64"),
            right=self.server, right_name="eth0", right_addresses=("10.9.0.10/24", "fd00:9::10/64"),
        )  # fmt: skip
        self.host.configure("route add default via 198.51.100.254", "route add default via 2001:db8:100::fe")
        self.server.configure("route add default via 10.9.0.1", "route add default via fd00:9::1")
        for router in (internet, self.host):
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.internet = internet

        def visitor(label: str, ipv4: str, hop4: str, ipv6: str, hop6: str) -> Visitor:
            namespace = make(label)
            bits = 25 if ipv4.startswith("192.") else 24
            veth(
                internet, label, (f"{hop4}/{bits}", f"{hop6}/64"),
                right=namespace, right_name="eth0", right_addresses=(f"{ipv4}/{bits}", f"{ipv6}/64"),
            )  # fmt: skip
            namespace.configure(f"route add default via {hop4}", f"route add default via {hop6}")
            return Visitor(namespace, ipv4, ipv6, {NAME: (GATEWAY4, GATEWAY6)})

        self.visitor = visitor("visitor", "192.0.2.10", "192.0.2.1", "2001:db8:1::10", "2001:db8:1::1")
        self.second = visitor("second", "192.0.2.130", "192.0.2.129", "2001:db8:2::10", "2001:db8:2::1")
        self.stranger = visitor("stranger", "203.0.113.66", "203.0.113.1", "2001:db8:66::66", "2001:db8:66::1")
        self.local = Visitor(self.host, "127.0.0.1", "::1", {NAME: ("127.0.0.1", "::1")})
        self.admin_rules()
        self.serve(self.host, "cloud", 80)
        self.serve(self.server, "films", 80)

    def serve(self, namespace: Namespace, name: str, port: int, *, tls: bool = False) -> Process:
        """A web service that answers its name (`lab.web`), by https with `tls`, until it is stopped. LabError."""
        log = self.directory / f"{name}.log"
        files = self._certificate() if tls else ()
        # PYTHONPATH: it runs as a module from any working directory
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        service = namespace.start(sys.executable, "-m", "lab.web", name, str(port), *files, log=log, env=env)

        def ready() -> bool:
            if service.poll() is not None:
                raise LabError(f"the service {name} ended: {service.tail()}")
            return "ready" in service.tail()

        wait_for(f"the service {name}", ready)
        return service

    def _certificate(self) -> tuple[str, str]:
        """A certificate that nobody trusts, and its key."""
        certificate, key = str(self.directory / "service.pem"), str(self.directory / "service.key")
        self.host.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
            "-subj", f"/CN={NAME}", "-days", "2", "-keyout", key, "-out", certificate,
        )  # fmt: skip
        return certificate, key

    def admin_rules(self) -> None:
        """Load the admin's own table, which forwards `films`; again after a flush of the whole ruleset."""
        self.nft(ADMIN_RULES)

    # configuration and daemon

    def configure(
        self, *, services: Mapping[str, Table] | None = None, portal: Table | None = None, gate: Table | None = None,
        top: Table | None = None,
    ) -> None:  # fmt: skip
        """Write safeip.toml anew; the daemon reads it at its next start."""
        tables: dict[str, Table] = {"portal": {**PORTAL, **(portal or {})}}
        if gate:
            tables["gate"] = gate
        tables |= {f"services.{name}": table for name, table in (SERVICES if services is None else services).items()}
        files = {"state_dir": str(self.state_dir), "runtime_dir": str(self.runtime), **(top or {})}
        self.config.write_text(render(files, tables), "utf-8")
        listen = tables["portal"]["listen"]
        self.portal_port = int(str(listen[0]).rpartition(":")[2]) if isinstance(listen, list | tuple) and listen else 0
        self.portal_scheme = "http" if tables["portal"].get("tls") == "off" else "https"

    def launch(self) -> Process:
        """Start `bin/safeip run` and do not wait for it; for starts that are meant to fail."""
        if self.daemon is not None and self.daemon.poll() is None:
            raise LabError("the daemon runs already")
        self.daemon = self.host.start(
            str(ROOT / "bin" / "safeip"), "--config", str(self.config), "run", log=self.log
        )
        return self.daemon

    def start(self, timeout: float = 60.0) -> float:
        """Start the daemon and wait until portal and gate both answer; the seconds that it took. LabError."""
        begin = time.monotonic()
        daemon = self.launch()

        def ready() -> bool:
            if daemon.poll() is not None:
                raise LabError(f"the daemon ended with {daemon.poll()}")
            return self.healthy()

        try:
            wait_for("the daemon's start", ready, timeout)
        except LabError as error:
            raise LabError(f"{error}\n{daemon.tail()}") from None
        return time.monotonic() - begin

    def healthy(self) -> bool:
        """Whether /healthz answers 200, asked from the gateway itself; where it has no port, the control socket answers."""
        if not self.portal_port:
            return self.cli("status", check=False).returncode == 0
        return self.local.reaches(f"{self.portal_scheme}://127.0.0.1:{self.portal_port}/healthz", timeout=5.0)

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM to the daemon; its exit code."""
        return self._running().stop(timeout)

    def kill(self) -> None:
        """SIGKILL to the gate; back when the portal, which dies with it, is gone as well."""
        portal = self.portal_pid()
        self._running().kill()
        wait_for("the portal's end", lambda: ended(portal), 30.0)

    def restart(self) -> float:
        """Stop and start; the seconds that the start took."""
        self.stop()
        return self.start()

    def _running(self) -> Process:
        if self.daemon is None:
            raise LabError("the daemon was never started")
        return self.daemon

    def gate_pid(self) -> int:
        """The process id of the gate, which is the one that was started."""
        return self._running().pid

    def portal_pid(self) -> int:
        """The process id of the portal, the gate's only child. LabError where there is none."""
        gate = self.gate_pid()
        lists = Path(f"/proc/{gate}/task").glob("*/children")  # a thread lists the children that it started
        children = [child for of_thread in lists for child in of_thread.read_text("ascii").split()]
        if len(children) != 1:
            raise LabError(f"the gate has {len(children)} children")
        return int(children[0])

    # asking

    def cli(
        self, *args: str, input: str | None = None, check: bool = True, timeout: float = 30.0  # noqa: A002 (subprocess' name)
    ) -> subprocess.CompletedProcess[str]:
        """`safeip --config … ARGS` on the gateway. With `check`, another exit code than 0 is a LabError."""
        return self.host.run(
            str(ROOT / "bin" / "safeip"), "--config", str(self.config), *args,
            input=input, check=check, timeout=timeout,
        )  # fmt: skip

    def cli_json(self, *args: str) -> Any:  # noqa: ANN401 (JSON has no narrower type)
        """What `safeip ARGS --json` prints, read."""
        return json.loads(self.cli(*args, "--json").stdout)

    def add_link(self, label: str = "Mamie", services: Sequence[str] = ("cloud",), *args: str) -> str:
        """`safeip link add`; the URL."""
        named = [word for service in services for word in ("--service", service)]
        return self.cli("link", "add", label, *named, *args).stdout.strip()

    def add_token(self, label: str, *scopes: str, service: str | Sequence[str] = (), args: Sequence[str] = ()) -> str:
        """`safeip token add`, for one service, several, or all where none is named; the token's text."""
        services = (service,) if isinstance(service, str) else service
        named = [word for scope in scopes for word in ("--scope", scope)]
        named += [word for name in services for word in ("--service", name)]
        return self.cli("token", "add", label, *named, *args).stdout.strip()

    def nft(self, text: str) -> None:
        """Run nft commands on the gateway as one transaction. LabError."""
        self.host.run("nft", "-f", "-", input=text)

    def elements(self, name: str) -> list[Element]:
        """The elements of a set of table inet safeip. LabError where table or set is missing."""
        return read_set(self.host, name)

    def sets(self) -> dict[str, list[Element]]:
        """The elements of every set of table inet safeip by the set's name; empty without the table."""
        return read_sets(self.host)


def _sweep_directories() -> None:
    """Remove the directories of labs whose maker is dead."""
    for path in Path(tempfile.gettempdir()).glob(f"{DIRECTORY}*-*"):
        maker = path.name.removeprefix(DIRECTORY).partition("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            shutil.rmtree(path, ignore_errors=True)
