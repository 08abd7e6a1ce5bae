"""A gateway's bad days, on Debian 12 with its own kernel and systemd: boots, power cuts, clocks, restarts, upgrades.

From the first moment of a network on, strangers and visitors each send a packet to a protected port every 20 ms.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from e2e.checkout import pack, working_directory
from e2e.debian import BOOKWORM, CACHE, TRIXIE, SetupError
from e2e.gateway import STRANGERS, VISITORS, Gateway
from e2e.image import image
from e2e.machine import MachineError
from e2e.table import aligned

LOG = CACHE / "logs" / "boot.log"
REVOKED = STRANGERS[-1]
OTHERS = tuple(f"192.0.2.{number}" for number in range(101, 121))
GRANT_S = 20 * 86400
DAY_S = 86400


@dataclass(frozen=True)
class Try:
    """What one fault did: grants that were lost or got longer, packets that fared wrongly, and for how long.

    `leaving` is how many packets of strangers were accepted while the machine went down.
    """

    lost: int
    longer: int
    accepted: int
    dropped: int
    repair_ms: int
    leaving: int = 0


@dataclass(frozen=True)
class Fault:
    """A fault and how to cause it.

    `loses`: visitors wait until it is repaired. `opens`: the port is open until then, because somebody else has
    taken the table away. `doubts`: nobody can know how long the machine was off, so that grants may end.
    """

    name: str
    times: int
    cause: Callable[[], Try]
    loses: bool = False
    opens: bool = False
    doubts: bool = False
    tries: list[Try] = field(default_factory=list)

    def broken(self, one: Try) -> bool:
        """Whether a promise was broken."""
        broken = (0 if self.doubts else one.lost) + one.longer + one.leaving + (0 if self.opens else one.accepted)
        return broken + (0 if self.loses or self.opens else one.dropped) > 0


class Day:
    """A gateway with grants, and ways to harm it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        gateway.boot()
        self.until_ready()
        self.grant(REVOKED)
        gateway.run(f"safeip revoke {REVOKED}")
        self.begin()

    def begin(self) -> None:
        """Visitors with a grant, everybody treated as they should."""
        if len(self.left()) < len(VISITORS) + len(OTHERS):
            self.grant(*VISITORS, *OTHERS)
        self.gateway.wait_for("everybody's packets", lambda: self.gateway.seen(self.gateway.now() - 2000).well())

    def grant(self, *addresses: str) -> None:
        """Grants, by the command line's door."""
        self.gateway.run(f"python3 /root/safeip/e2e/guest/grants.py {GRANT_S} {' '.join(addresses)}")

    def journal(self) -> str:
        """What the units of this boot said last."""
        return self.gateway.run("journalctl -b -n 25 -o short-monotonic -u safeip -u safeip-closed -u nftables", check=False)

    def until_ready(self) -> None:
        """Wait for the daemon."""
        try:
            self.gateway.wait_for("the daemon", lambda: self.state() == "active", 300)
        except MachineError as error:
            raise MachineError(f"{error}\n{self.journal()}") from None

    def state(self) -> str:
        """`active`, `failed` and the like, as systemd has it."""
        return self.gateway.run("systemctl is-active safeip", check=False).strip()

    def left(self) -> dict[str, float]:
        """Seconds that each grant has left, as the kernel has it; empty without a table."""
        found: dict[str, float] = {}
        for name in ("cloud4", "cloud6"):
            text = self.gateway.run(f"nft -j list set inet safeip {name}", check=False)
            if text.startswith("{"):
                for element in json.loads(text)["nftables"][-1]["set"].get("elem", []):
                    found[element["elem"]["val"]] = element["elem"]["expires"]
        return found

    # ways to harm it

    def live(self, harm: str, *, restarts: bool = False) -> Try:
        """Words for root's shell, while all runs; with `restarts` they bring another daemon."""
        before, began, process = self.left(), time.monotonic(), self._process()
        since = self.gateway.now()
        self.gateway.run(harm)
        if restarts:
            self.gateway.wait_for("another daemon", lambda: self._process() not in {process, "0"})
        self.until_ready()
        return self._judge(before, began, since, 0)

    def off(self, switch: Callable[[float | None], None], ahead_s: float | None = 0, *, known: bool = True) -> Try:
        """Off and on again, with a clock as in Gateway.boot.

        No grant may have more than it had less the time that passed, and less what the clock is ahead. Where it was not
        right before, so that it is not `known` how long that was, or where it is at 1970, no more than it had.
        """
        before, began, since = self.left(), time.monotonic(), self.gateway.now()
        switch(ahead_s)
        self.until_ready()
        leaving = self.gateway.seen(since, "last").accepted(*STRANGERS)
        return replace(self._judge(before, began, 0, ahead_s if known else None), leaving=leaving)

    def without_a_daemon(self, harm: Callable[[], object], mend: str) -> Try:
        """The daemon is gone while `harm` is done: strangers must stay outside. `mend` brings it back."""
        before, began = self.left(), time.monotonic()
        harm()
        self.gateway.wait_for("the network", lambda: self.gateway.seen().network)
        time.sleep(10)
        accepted = self.gateway.seen().accepted(*STRANGERS)
        since = self.gateway.now()
        self.gateway.run(mend)
        self.until_ready()
        tried = self._judge(before, began, since, 0)
        return replace(tried, accepted=tried.accepted + accepted)

    def clock(self, ahead_s: float = 0) -> str:
        """The words that set the machine's clock so far ahead of the truth."""
        return f"date -s @{time.time() + ahead_s:.0f}"

    def _process(self) -> str:
        return self.gateway.run("systemctl show --property MainPID --value safeip").strip()

    def _judge(self, before: Mapping[str, float], began: float, since: int, ahead_s: float | None) -> Try:
        """Wait until everybody is treated as they should, or a long time, and count what went wrong since."""
        end = time.monotonic() + 120
        while not self.gateway.seen(self.gateway.now() - 1500).well() and time.monotonic() < end:
            time.sleep(0.5)
        passed = 0 if ahead_s is None else time.monotonic() - began + ahead_s
        after = self.left()
        seen = self.gateway.seen(since)
        return Try(
            lost=len(before.keys() - after.keys()),
            # clocks and listings have whole seconds
            longer=sum(left > before.get(address, 0) - passed + 2 for address, left in after.items()),
            accepted=seen.accepted(*STRANGERS),
            dropped=seen.dropped(*VISITORS),
            repair_ms=seen.wrong_ms(),
        )


def faults(day: Day) -> list[Fault]:
    """What a gateway meets, boots first."""
    gateway = day.gateway
    restart = "systemctl restart safeip"
    upgrade = (
        "cp -a /usr/share/safeip /usr/share/safeip.new && mv /usr/share/safeip /usr/share/safeip.old && "
        f"mv /usr/share/safeip.new /usr/share/safeip && rm -r /usr/share/safeip.old && {restart}"
    )
    reload = (
        "grep -q services.more /etc/safeip/safeip.toml && sed -i '/services.more/,$d' /etc/safeip/safeip.toml || "
        "printf '[services.more]\\nports = [\"tcp/25565-25570\"]\\n' >>/etc/safeip/safeip.toml; systemctl reload safeip"
    )
    spoil = "cp /etc/safeip/safeip.toml /root/good.toml; echo 'ports = [' >>/etc/safeip/safeip.toml"
    mend = f"cp /root/good.toml /etc/safeip/safeip.toml; systemctl reset-failed safeip; {restart}"

    def harmed(words: str, then: Callable[[], Try]) -> Try:
        gateway.run(words)
        return then()

    def unable() -> Try:
        gateway.run(spoil)
        return day.without_a_daemon(gateway.reboot, mend)

    def unable_and_flushed() -> Try:
        gateway.run("systemctl stop safeip")
        return day.without_a_daemon(lambda: gateway.run("systemctl restart nftables"), "systemctl start safeip")

    return [
        Fault("reboot", 3, lambda: day.off(gateway.reboot), loses=True),
        Fault("power cut", 3, lambda: day.off(gateway.cut_power), loses=True),
        Fault("reboot, clock at 1970", 1, lambda: day.off(gateway.reboot, None), loses=True),
        Fault("power cut, clock at 1970", 1, lambda: day.off(gateway.cut_power, None), loses=True),
        Fault("reboot, clock right again", 1, lambda: day.off(gateway.reboot, known=False), loses=True, doubts=True),
        Fault("reboot, clock a day ahead", 1, lambda: day.off(gateway.reboot, DAY_S), loses=True),
        Fault("power cut, clock right again", 1, lambda: day.off(gateway.cut_power, known=False), loses=True),
        Fault("set back a day, then a power cut", 1,
              lambda: harmed(day.clock(-DAY_S), lambda: day.off(gateway.cut_power, known=False)), loses=True),
        Fault("boot with a broken configuration", 2, unable, loses=True),
        Fault("reload, a service more or less", 4, lambda: day.live(reload)),
        Fault("kill -9 of the gate", 3, lambda: day.live("systemctl kill --kill-whom=main -s KILL safeip", restarts=True)),
        Fault("kill -9 of the portal", 3, lambda: day.live("pkill -KILL -P $(systemctl show -P MainPID safeip)", restarts=True)),
        Fault("restart", 3, lambda: day.live(restart, restarts=True)),
        Fault("upgrade: files replaced, restart", 3, lambda: day.live(upgrade, restarts=True)),
        Fault("clock set back a day", 1, lambda: day.live(day.clock(-DAY_S))),
        Fault("restart with that clock", 1, lambda: day.live(restart, restarts=True)),
        Fault("clock set forward two days", 1, lambda: day.live(day.clock(DAY_S))),
        Fault("restart with that clock, too", 1, lambda: day.live(restart, restarts=True)),
        Fault("clock set right", 1, lambda: day.live(day.clock())),
        Fault("nftables restarted", 5, lambda: day.live("systemctl restart nftables"), loses=True, opens=True),
        Fault("nftables restarted, no daemon", 2, unable_and_flushed, loses=True, opens=True),
    ]


def control(day: Day) -> bool:
    """Whether the watch sees what must never be: a boot without the unit that closes lets strangers in."""
    day.gateway.run("systemctl mask safeip-closed")
    day.gateway.reboot()
    day.until_ready()
    open_for = day.gateway.seen().accepted(*STRANGERS)
    day.gateway.run("systemctl unmask safeip-closed")
    print(f"control: without safeip-closed.service {open_for} packets of strangers are accepted at boot", flush=True)
    return open_for > 0


def main(arguments: Sequence[str]) -> int:
    """Cause the faults, print what they did; 0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="./dev e2e boot", description="A gateway's boots and faults.")
    parser.add_argument("--on", choices=("6.1", "6.12"), default="6.1", help="the kernel; Debian 12's, or 13's")
    parser.add_argument("faults", nargs="*", help="only faults whose names have one of these words")
    given = parser.parse_args(arguments)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    failed = passed = 0
    with working_directory() as directory:
        pack(directory / "checkout.tar")
        release = BOOKWORM if given.on == "6.1" else TRIXIE
        gateway = Gateway(image(release), directory, directory / "checkout.tar", LOG)
        try:
            day = Day(gateway)
            print(f"Linux {gateway.run('uname -r').strip()}, nft {gateway.run('nft --version').split()[1]}", flush=True)
            chosen = [
                fault for fault in faults(day) if not given.faults or any(word in fault.name for word in given.faults)
            ]
            for fault in chosen:
                for number in range(1, fault.times + 1):
                    try:
                        day.begin()
                        tried = fault.cause()
                    except (MachineError, TimeoutError) as error:
                        print(f"{fault.name} {number}: FAILED: {error}", flush=True)
                        failed += 1
                        break
                    fault.tries.append(tried)
                    broken = fault.broken(tried)
                    failed, passed = failed + broken, passed + (not broken)
                    print(f"{fault.name} {number}: {'FAILED' if broken else 'passed'} {tried}", flush=True)
                    if broken:
                        print(day.journal(), flush=True)
            if not given.faults:
                seen = control(day)
                failed, passed = failed + (not seen), passed + seen
        except (MachineError, TimeoutError, SetupError) as error:
            print(f"FAILED: {error}")
            failed += 1
            chosen = []
        finally:
            gateway.kill()
    print(table(chosen))
    print(f"{passed} passed, {failed} failed")
    if failed:
        print(f"The machine's console: {LOG}")
    return 1 if failed else 0


def table(tried: Sequence[Fault]) -> str:
    """A row for each fault."""
    rows: list[tuple[str, ...]] = [("fault", "times", "grants lost", "longer", "wrongly accepted", "going down", "wrongly dropped", "repair: median", "worst")]
    rows += [
        (
            fault.name, str(len(fault.tries)), *(
                str(sum(getattr(one, what) for one in fault.tries)) for what in ("lost", "longer", "accepted", "leaving", "dropped")
            ), _seconds(statistics.median(one.repair_ms for one in fault.tries)),
            _seconds(max(one.repair_ms for one in fault.tries)),
        )
        for fault in tried if fault.tries
    ]
    return aligned(rows)


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds else "-"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
