"""Where the package's story is told: a lab whose gateway is a container, packets that flow all the time, and what was checked."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from e2e.container import Container
from e2e.debian import Release
from e2e.package_files import Files
from e2e.package_trees import larder, server
from lab.checkout import ROOT
from lab.flows import Flows
from lab.gateway import GATEWAY6, NAME, Gateway
from lab.kernel import read_sets
from lab.process import PATIENCE, LabError, wait_for
from lab.visitor import Visitor

PERIOD_S = 0.005
PATIENT_S = 90.0
PORTAL = f"https://{NAME}:8443"
SERVICE_URL = f"http://{NAME}/"
# what an administrator's own network has at boot: the wire is plugged in at the first moment at which there may be a network
_WIRES = f"""[Unit]
Description=The wire to the Internet
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set wan up
ExecStart=/usr/sbin/ip address replace {GATEWAY6}/64 dev wan nodad
ExecStart=/usr/sbin/ip route replace default via 198.51.100.254
ExecStart=/usr/sbin/ip route replace default via 2001:db8:100::fe
[Install]
WantedBy=sysinit.target
"""


class StoryError(LabError):
    """A step could not go on; the message says why."""


@dataclass
class Report:
    """What was checked in each step, and the figures."""

    release: str
    step: str = ""
    held: int = 0
    failed: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)
    """Packages that came with it, in KiB."""

    def check(self, what: str, held: bool, detail: object = "") -> bool:
        """Note whether it holds."""
        if held:
            self.held += 1
        else:
            self.failed.append(f"{self.step}: {what}{f': {detail}' if detail != '' else ''}")
        print(f"  {'held  ' if held else 'FAILED'} {what}{f': {detail}' if not held and detail != '' else ''}", flush=True)
        return held

    def figure(self, name: str, value: str) -> None:
        """Note a figure for the table at the end."""
        self.figures[name] = value
        print(f"         {name}: {value}", flush=True)


@dataclass
class Packets:
    """How many packets fared wrongly: a stranger's that were accepted, a visitor's that were dropped; of how many."""

    accepted: int = 0
    dropped: int = 0
    sent: int = 0
    settled_s: float = 0.0
    """From the end of what was done until all were treated as they should."""


class World(Gateway):
    """The lab's namespaces, with nothing of the lab's on the gateway itself."""

    def __init__(self) -> None:
        super().__init__(start=False, prefix="sipp")
        for pid in self.host.pids():  # its service at tcp/80: the container's own stands there
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.host.run("nft", "flush", "ruleset")


@dataclass
class Scene:
    """One release's gateway. `deb` is what is installed first, `newer` the next version, `earlier` that of an earlier commit."""

    release: Release
    report: Report
    world: World
    container: Container
    directory: Path
    deb: Path
    newer: Path
    earlier: Path
    checkout: Path
    layers: tuple[Path, ...]
    flows: Flows
    files: Files
    link: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def set_up(
        cls, release: Release, report: Report, directory: Path, *, deb: Path, newer: Path, earlier: Path, checkout: Path
    ) -> Iterator[Self]:
        """Everything but the product, booted. `checkout` is a tar archive. SetupError, LabError."""
        own = directory / f"own-{release.codename}"
        unit = own / "etc/systemd/system/wires.service"
        wanted = unit.parent / "sysinit.target.wants" / unit.name
        wanted.parent.mkdir(parents=True)
        unit.write_text(_WIRES, "utf-8")
        wanted.symlink_to(f"../{unit.name}")
        layers = (own, larder(release, deb, _for_tests()), server(release))
        with World() as world, Container(layers, directory, world.host) as container:
            flows = Flows(world, {"visitor": world.visitor.namespace, "stranger": world.stranger.namespace}, PERIOD_S)
            try:
                yield cls(
                    release, report, world, container, directory, deb=deb, newer=newer, earlier=earlier, checkout=checkout,
                    layers=layers, flows=flows, files=Files(container),
                )  # fmt: skip
            finally:
                flows.stop()

    # asking the container

    def sh(self, words: str, *, check: bool = True, timeout: float = 120.0) -> str:
        """Words for root's shell on the gateway; what they print."""
        return self.container.shell(words, check=check, timeout=timeout)

    def property(self, name: str, unit: str = "safeip.service") -> str:
        """A property of a unit, as systemd has it."""
        return self.sh(f"systemctl show --value --property {name} {unit}").strip()

    def active(self) -> bool:
        """Whether the daemon runs."""
        return self.sh("systemctl is-active safeip", check=False).strip() == "active"

    def until_active(self) -> None:
        """Wait for the daemon. StoryError with what its units said."""
        try:
            wait_for("the daemon", self.active, PATIENT_S, 0.1)
        except LabError as error:
            said = self.sh("journalctl --no-pager -n 30 -u safeip -u safeip-closed -u nftables", check=False)
            raise StoryError(f"{error}\n{said}") from None

    def nothing_failed(self) -> None:
        """Check `systemctl --failed`."""
        found = self.sh("systemctl list-units --failed --plain --no-legend --no-pager", check=False).strip()
        self.report.check("systemctl --failed is empty", not found, found)

    def sets(self) -> dict[str, int]:
        """Seconds that each address of the service's sets has left; empty without a table."""
        return {
            element.value: element.expires_s
            for name, elements in read_sets(self.container).items()  # its own nft: another version may not read what this one wrote
            if re.fullmatch(r"web[46]", name)
            for element in elements
        }

    def has_table(self) -> bool:
        """Whether nft, the container's own, knows the table."""
        return self.container.run("nft", "list", "table", "inet", "safeip", check=False).returncode == 0

    def safeip_json(self, *words: str) -> Any:  # noqa: ANN401 (JSON has no narrower type)
        """What `safeip WORDS --json` prints, read."""
        return json.loads(self.container.run("safeip", *words, "--json").stdout)

    def certificate(self) -> bytes:
        """What the portal shows to a visitor, DER."""
        with self.world.visitor.connect(PORTAL) as connection:
            if not isinstance(connection, ssl.SSLSocket):
                raise StoryError("the portal does not speak TLS")
            return connection.getpeercert(binary_form=True) or b""

    def put(self, file: Path, folder: str, to: Container | None = None) -> None:
        """Copy a file of the host into a directory of the gateway, or of another container."""
        with file.open("rb") as content:
            words = (to or self.container).command("sh", "-c", f"cat >{folder}/{file.name}")
            subprocess.run(words, stdin=content, check=True, timeout=60 * PATIENCE)

    # visitors

    def connects(self, who: Visitor, port: int) -> bool:
        """Whether somebody can connect to a TCP port of the gateway."""
        try:
            who.connect(f"http://{NAME}:{port}/", timeout=2.0).close()
        except OSError:
            return False
        return True

    def _reaches(self, who: Visitor, timeout: float) -> list[bool]:
        """Whether somebody reaches the service, over IPv4 and over IPv6."""
        return [who.reaches(SERVICE_URL, family=4, timeout=timeout), who.reaches(SERVICE_URL, family=6, timeout=timeout)]

    def check_reached(self, *, visitor: bool = True, stranger: bool = False) -> None:
        """Check who reaches the service."""
        for name, who, wanted in (("visitor", self.world.visitor, visitor), ("stranger", self.world.stranger, stranger)):
            found = self._reaches(who, 10.0 if wanted else 1.0)
            self.report.check(f"a {name} {'reaches' if wanted else 'does not reach'} the service", found == [wanted] * 2, found)

    # packets

    def settle(self, *, visitor: bool = True, stranger: bool = False, what: str = "everybody's packets") -> float:
        """Wait until packets fare so; the seconds that it took. LabError."""
        after = time.monotonic()
        return wait_for(what, lambda: self.flows.settled({"visitor": visitor, "stranger": stranger}, after), PATIENT_S)

    @contextlib.contextmanager
    def watched(self, what: str, *, waits: bool = False, opens: bool = False, away: bool = False) -> Iterator[Packets]:
        """Count the packets that fare wrongly during a `with` block and until all is right again, and check that none did.

        `waits`: visitors may wait until it is repaired. `opens`: somebody else takes away what closes, so that strangers may
        get in until it is repaired. `away`: there is no network for a while.
        """
        packets = Packets()
        self.settle(what=f"{what}: everybody's packets before")
        begin = time.monotonic()
        yield packets
        packets.settled_s = self.settle(what=f"{what}: everybody's packets")
        seen = self.count(begin)
        packets.accepted, packets.dropped, packets.sent = seen.accepted, seen.dropped, seen.sent
        wrongly = f"{packets.accepted} accepted, {packets.dropped} dropped, of {packets.sent}"
        if not opens:
            self.report.check(f"{what}: no packet of a stranger was accepted", packets.accepted == 0, wrongly)
        if not (waits or opens or away):
            self.report.check(f"{what}: no packet of a visitor was dropped", packets.dropped == 0, wrongly)

    def count(self, begin: float) -> Packets:
        """What fared wrongly since `begin` (monotonic seconds)."""
        packets = Packets()
        until = time.monotonic() - 0.05
        for fates in self.flows.fates("stranger", begin, until):
            packets.accepted += sum(fate.through for fate in fates)
            packets.sent += len(fates)
        for fates in self.flows.fates("visitor", begin, until):
            packets.dropped += sum(not fate.through for fate in fates)
            packets.sent += len(fates)
        return packets

    # boots

    def off_and_on(self, switch: Callable[[], None]) -> float:
        """Off by `switch`, and on again with a kernel that knows no rule and no network; seconds of the boot.

        The wire is there until the container has gone, and again as soon as its own unit has plugged it in.
        """
        switch()
        self.world.host.configure("link set wan down")
        self.world.host.run("nft", "flush", "ruleset")
        return self.container.boot()


def _for_tests() -> tuple[str, ...]:
    """What autopkgtest and the package's tests need beside the package."""
    control = (ROOT / "packaging" / "debian" / "tests" / "control").read_text("utf-8")
    named = re.findall(r"[a-z0-9][a-z0-9.+-]+", " ".join(re.findall(r"(?m)^Depends: (.*)$", control)))
    return ("autopkgtest", "dpkg-dev", *sorted(set(named)))
