"""Faults of a gateway while packets flow: what is lost, what gets in, how long until all is right again.

`python3 -m bench.faults [--times N] [FAULT]…`; a word of a fault's name is enough.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import quote

from bench._figures import shown, table
from lab.checkout import copy_program
from lab.config import SERVICES
from lab.flows import PERIOD_S, Flows, Span
from lab.gateway import Gateway
from lab.process import LabError, Process, wait_for
from nft.netlink_sets import NetlinkSets
from nft.sets import KernelError, whole
from safeip.control import Control

TIMES = 20
OTHERS = 200  # grants beside the visitor's
STATE_SIZE = "2m"
CLOUD = {**SERVICES["cloud"], "ports": ["tcp/80", "udp/4433"]}
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LATER_MS = 100  # by which an end may move: a busy machine keeps the gate waiting between its clock and the kernel


@dataclass
class Harm:
    """A fault. `opens`: somebody else takes away what closes, so the port is open until it is repaired.

    `boots`: the machine is off for a while. After both visitors wait until their grants are back: closed comes first.
    """

    name: str
    do: Callable[["Day"], Span | None]
    opens: bool = False
    boots: bool = False
    needs: Path | None = None
    tried: list["Tried"] = field(default_factory=list)


@dataclass(frozen=True)
class Tried:
    """What one fault did: grants lost or longer, packets, and seconds from the first that fared wrongly to the last."""

    lost: int
    longer: int
    accepted: int
    dropped: int
    away: int
    waited: int
    repair_s: float


class Installed(Gateway):
    """A gateway that runs a copy of the tree, so that it can be replaced, with its state on a small file system."""

    def __init__(self) -> None:
        self.clock: str | None = None
        super().__init__(services={**SERVICES, "cloud": CLOUD}, start=False, prefix="sipb")
        self.install()
        self.record = self.gate_state / "grants.jsonl"
        self.state_dir.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_SIZE},mode=755", "safeip", str(self.state_dir)], check=True)

    def install(self) -> None:
        """Put a fresh copy of the tree into the place of the one that is there, as a package manager does."""
        tree, new, old = (self.directory / name for name in ("tree", "tree.new", "tree.old"))
        copy_program(new)
        if tree.exists():
            tree.rename(old)
        new.rename(tree)
        shutil.rmtree(old, ignore_errors=True)

    def launch(self) -> Process:
        """Start the copy; its wall clock is as `clock` says (faketime(1)), its monotonic clock is the machine's."""
        environment = dict(os.environ)
        if self.clock is not None:
            (self.state_dir / "clock").write_text(self.clock, "ascii")
            environment |= {
                "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.state_dir / "clock"), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        safeip = self.directory / "tree" / "bin" / "safeip"
        self.daemon = self.host.start(str(safeip), "--config", str(self.config), "run", log=self.log, env=environment)
        return self.daemon

    def close(self) -> None:
        """As the lab's, and the file system."""
        with contextlib.suppress(LabError):
            self.stop()
        subprocess.run(["umount", "--lazy", str(self.state_dir)], check=False, capture_output=True)
        super().close()


class Day:
    """The gateway, who is in, and packets that flow."""

    def __init__(self, gateway: Installed) -> None:
        self.gateway = gateway
        gateway.start()
        self.file = gateway.config.read_text("utf-8")
        self.door = Control(str(gateway.runtime / "control.sock"))
        for service in ("cloud", "game"):
            self.grant(service, gateway.visitor.ipv4, "2001:db8:1::/64")
        self.grant("films", *(f"203.1.{number >> 8}.{number & 255}" for number in range(OTHERS)))
        self.wanted = {"visitor": True, "stranger": False}
        self.flows = Flows(gateway, {"visitor": gateway.visitor.namespace, "stranger": gateway.stranger.namespace})
        self.changed: set[tuple[str, bytes]] = set()  # by the fault itself, on purpose
        self._turn = 0

    def grant(self, service: str, *addresses: str) -> None:
        """By the command line's door."""
        for address in addresses:
            self.door.ask("PUT", f"/grants/{service}/{quote(address, safe='')}", body={"for": "30d"})

    def turn(self) -> int:
        """0 and 1 in turn."""
        self._turn ^= 1
        return self._turn

    def nft(self, text: str) -> None:
        """As an admin would."""
        self.gateway.nft(text)

    def ends(self) -> dict[tuple[str, bytes], Span]:
        """When each grant ends, in milliseconds of the monotonic clock: not before, and not after."""
        with self.gateway.host.entered(), contextlib.closing(NetlinkSets("inet", "safeip")) as sets:
            found: dict[tuple[str, bytes], Span] = {}
            for name in ("cloud4", "cloud6", "game4", "game6", "films4", "films6"):
                with contextlib.suppress(KernelError):
                    begin_ms = time.monotonic() * 1000
                    for part in whole(sets, name):
                        now_ms = time.monotonic() * 1000  # this program may have been kept waiting since the kernel told
                        found |= {(name, it.key): (begin_ms + (it.left_ms or 0), now_ms + (it.left_ms or 0)) for it in part}
            return found

    def kill_gate(self) -> None:
        """SIGKILL; the portal dies with it."""
        self.gateway.kill()

    def settle(self, what: str, after: float) -> None:
        """Wait until visitors are in and strangers out. LabError where they are not in a minute."""
        wait_for(f"{what}: everybody's packets", lambda: self.flows.settled(self.wanted, after), 60)

    def try_one(self, harm: Harm) -> Tried:
        """Do it once, and wait until everything is right."""
        self.settle("before", time.monotonic())
        before, begin = self.ends(), time.monotonic()
        self.changed.clear()
        off = harm.do(self)
        done = time.monotonic()
        self.settle(harm.name, done)
        wait_for(f"{harm.name}: the daemon", self.gateway.healthy, 60)
        after = self.ends()
        until = time.monotonic() - 0.05
        known = before.keys() - self.changed
        lost = sum(place not in after for place in known)
        longer = sum(after[place][0] > before[place][1] + LATER_MS for place in known & after.keys())
        longer += sum(place in after for place in self.changed)
        accepted = dropped = away = waited = 0
        first, last = math.inf, -math.inf
        for name, right in self.wanted.items():
            for fates in self.flows.fates(name, begin, until):
                excused, was_wrong = harm.opens or (right and harm.boots), False
                for fate in fates:
                    if off is not None and off[0] <= fate.sent <= off[1]:
                        continue
                    if fate.through == right:
                        excused = excused and not (was_wrong and fate.sent > done)
                        continue
                    was_wrong, first, last = True, min(first, fate.sent), max(last, fate.sent)
                    if right:
                        waited, dropped = waited + excused, dropped + (not excused)
                    else:
                        away, accepted = away + excused, accepted + (not excused)
        repair_s = 0.0 if last < first else last - first + PERIOD_S
        return Tried(lost, longer, accepted, dropped, away, waited, repair_s)


def killed_gate(day: Day) -> None:
    day.kill_gate()
    day.gateway.start()


def killed_portal(day: Day) -> None:
    os.kill(day.gateway.portal_pid(), signal.SIGKILL)
    _daemon(day).wait()
    day.gateway.start()


def flushed(day: Day) -> None:
    day.nft("flush ruleset")


def table_deleted(day: Day) -> None:
    day.nft("delete table inet safeip")


def chain_deleted(day: Day) -> None:
    day.nft("flush chain inet safeip gate\ndelete chain inet safeip gate")


def rules_deleted(day: Day) -> None:
    day.nft("flush chain inet safeip service-cloud\nflush chain inet safeip service-game")


def set_deleted(day: Day) -> None:
    day.nft("flush chain inet safeip service-cloud\ndelete set inet safeip cloud4\ndelete set inet safeip cloud6")


def same_name(day: Day) -> None:
    day.nft("table inet safeip { chain mine { type filter hook prerouting priority -160; udp dport 4433 accept; }\n}")
    wait_for("the other's chain to go", lambda: "mine" not in day.gateway.host.run("nft", "list", "chains", "inet").stdout)


def replaced(day: Day) -> None:
    day.nft("table inet safeip\ndelete table inet safeip\ntable inet safeip { chain gate { type filter hook prerouting priority 0; accept; }\n}")


def base_chain(day: Day) -> None:
    day.nft("table inet foreign { chain early { type filter hook prerouting priority -160; counter accept; }\n}")
    day.nft("delete table inet foreign")


def element_deleted(day: Day) -> None:
    place, _ = next(item for item in day.ends().items() if item[0][0] == "films4")
    day.changed.add(place)
    day.nft(f"delete element inet safeip films4 {{ {'.'.join(map(str, place[1]))} }}")


def restarted(day: Day) -> None:
    day.gateway.restart()


def upgraded(day: Day) -> None:
    day.gateway.install()
    day.gateway.restart()


def reloaded(day: Day) -> None:
    added = '\n[services.more]\nports = ["udp/5000-5100", "tcp/5000"]\n' if day.turn() else ""
    day.gateway.config.write_text(day.file + added, "utf-8")
    lines = day.gateway.log.read_text("utf-8").count("safeip: reloaded")
    _daemon(day).signal(signal.SIGHUP)
    wait_for("the reload", lambda: day.gateway.log.read_text("utf-8").count("safeip: reloaded") > lines)


def bad_reload(day: Day) -> None:
    day.gateway.config.write_text(day.file.replace("udp/4433", "udp/443333"), "utf-8")
    lines = day.gateway.log.read_text("utf-8").count("nothing was changed")
    _daemon(day).signal(signal.SIGHUP)
    wait_for("the refusal", lambda: day.gateway.log.read_text("utf-8").count("nothing was changed") > lines)
    day.gateway.config.write_text(day.file, "utf-8")


def disk_full(day: Day) -> None:
    """Grant, revoke and restart without a byte of room for the state; restart with room, so that all is recorded again."""
    fill = day.gateway.state_dir / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    address = f"203.2.0.{day.turn()}"
    day.grant("films", address)
    day.door.ask("DELETE", "/grants", query={"address": address})
    day.gateway.restart()
    fill.unlink()
    day.gateway.restart()


def rebooted(day: Day) -> Span:
    return _reboot(day)


def torn(day: Day) -> Span:
    def tear() -> None:
        with day.gateway.record.open("ab") as file:
            file.write(b'{"put": "films4", "address": "203.0')  # the last line that the disk was about to get

    return _reboot(day, tear)


_NO_NETWORK = "table inet power { chain off { type filter hook forward priority 0; policy drop; }\n}"


def _reboot(day: Day, meanwhile: Callable[[], None] = lambda: None) -> Span:
    """Power cut, boot: no network, closed.nft as the boot unit loads it, the network, the daemon.

    The record is told to be of another boot, so that the clocks decide how much time has passed.
    """
    host, internet = day.gateway.host, day.gateway.internet
    internet.run("nft", "-f", "-", input=_NO_NETWORK)
    begin = time.monotonic()
    day.kill_gate()
    host.run("nft", "flush", "ruleset")
    text = day.gateway.record.read_text("utf-8")
    day.gateway.record.write_text(text.replace(BOOT_ID.read_text("ascii").strip(), str(uuid.uuid4()), 1), "utf-8")
    meanwhile()
    host.run("nft", "-f", str(day.gateway.gate_state / "closed.nft"))
    internet.run("nft", "delete", "table", "inet", "power")
    end = time.monotonic()
    day.gateway.start()
    return begin, end


def clock_back(day: Day) -> Span:
    return _clock(day, "-20000d")


def clock_forward(day: Day) -> Span:
    return _clock(day, "+1h")


def _clock(day: Day, shift: str) -> Span:
    """Reboot with a clock that is off, and set right while the daemon runs."""
    day.gateway.clock = shift
    try:
        off = _reboot(day)
        wait_for("the record of a daemon whose clock is off", lambda: _stamp_is_off(day.gateway.record))
        (day.gateway.state_dir / "clock").write_text("+0d", "ascii")
        day.settle("with the right time", time.monotonic())
    finally:
        day.gateway.clock = None
    day.gateway.restart()
    return off


def _stamp_is_off(record: Path) -> bool:
    stamp = json.loads(record.read_text("utf-8").partition("\n")[0])["time"]
    return abs(datetime.fromisoformat(stamp).timestamp() - time.time()) > 3000


def foreign_set(day: Day) -> None:
    hosts = ", ".join(f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(0, 200_000, 2))
    day.nft(f"table inet country {{ set them {{ type ipv4_addr; flags interval; elements = {{ {hosts} }}; }}\n}}")
    day.nft("delete table inet country")


def two_at_once(day: Day) -> None:
    """The gate is killed, and somebody flushes everything before it is back."""
    day.kill_gate()
    day.nft("flush ruleset")
    day.gateway.start()


def _daemon(day: Day) -> Process:
    if day.gateway.daemon is None:
        raise LabError("there is no daemon")
    return day.gateway.daemon


HARMS = [
    Harm("kill -9 of the gate", killed_gate),
    Harm("kill -9 of the portal", killed_portal),
    Harm("restart", restarted),
    Harm("upgrade", upgraded),
    Harm("reload: a service more, a service less", reloaded),
    Harm("reload of a bad file", bad_reload),
    Harm("nft flush ruleset", flushed, opens=True),
    Harm("table deleted", table_deleted, opens=True),
    Harm("table replaced by another's", replaced, opens=True),
    Harm("chain deleted", chain_deleted, opens=True),
    Harm("rules deleted", rules_deleted, opens=True),
    Harm("set deleted", set_deleted, opens=True),
    Harm("chain of another's in the table", same_name),
    Harm("base chain of another program", base_chain),
    Harm("element deleted by hand", element_deleted),
    Harm("100,000 elements of another's", foreign_set),
    Harm("disk full: grant, revoke, restart", disk_full),
    Harm("reboot", rebooted, boots=True),
    Harm("reboot with a torn record", torn, boots=True),
    Harm("reboot with the clock back, then set", clock_back, boots=True, needs=FAKETIME),
    Harm("reboot with the clock ahead, then set", clock_forward, boots=True, needs=FAKETIME),
    Harm("kill -9 of the gate and flush ruleset", two_at_once, opens=True),
]
HEAD = (
    "fault", "times", "grants lost", "grants longer", "wrongly accepted", "wrongly dropped", "in while taken away", "waited for grants",
    "repaired: median", "worst",
)  # fmt: skip


@contextlib.contextmanager
def the_day() -> Iterator[Day]:
    """A gateway with everything on it."""
    with Installed() as gateway:
        yield Day(gateway)


def row(harm: Harm) -> tuple[str, ...]:
    """A fault's line."""
    sums = [sum(getattr(tried, name) for tried in harm.tried) for name in ("lost", "longer", "accepted", "dropped", "away", "waited")]
    took = [tried.repair_s * 1e6 for tried in harm.tried]
    return (harm.name, str(len(took)), *(f"{number:,}" for number in sums), *(shown(time_us) if time_us else "-" for time_us in (median(took), max(took))))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.faults")
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("fault", nargs="*")
    given = parser.parse_args()
    chosen = [harm for harm in HARMS if not given.fault or any(word in harm.name for word in given.fault)]
    with the_day() as day:
        for harm in chosen:
            if harm.needs is not None and not harm.needs.exists():
                print(f"{harm.name}: left out, {harm.needs} is missing (apt-get install faketime)", flush=True)
                continue
            for _ in range(given.times):
                harm.tried.append(day.try_one(harm))
            print(" | ".join(row(harm)), flush=True)
        day.flows.stop()
        unheard = day.flows.unheard()
    print()
    table(HEAD, [row(harm) for harm in chosen if harm.tried])
    if unheard:
        sys.exit(f"{unheard} packets that came were not counted: the figures are worth nothing")
    if any(one.lost + one.longer + one.accepted + one.dropped for harm in chosen for one in harm.tried):
        sys.exit("promises were broken")


if __name__ == "__main__":
    main()
