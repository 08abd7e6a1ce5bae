"""The service: what systemd and the kernel know of it, reload, and processes that die or hang."""

import re
from pathlib import Path

from e2e.package_scene import PATIENT_S, PORTAL, Scene, StoryError
from lab.process import wait_for

CONFIG = "/etc/safeip/safeip.toml"
_NET_ADMIN = 1 << 12  # capabilities(7)
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_MOST_EXPOSED = 2.0
_HANGS_S = 4
_DROP_IN = "/run/systemd/system/safeip.service.d"


def service(scene: Scene) -> None:
    """Who its processes are, what they may, how much they take."""
    report = scene.report
    report.check("it is of Type=notify", scene.property("Type") == "notify")
    status = scene.property("StatusText")
    report.check("it has a status line", bool(status), status)
    report.check("it has a watchdog", scene.property("WatchdogUSec") not in {"0", "", "infinity"}, scene.property("WatchdogUSec"))
    gate, portal = processes(scene)
    total = 0
    for name, pid, user, may in (("gate", gate, "safeip", _NET_ADMIN), ("portal", portal, "safeip-portal", 0)):
        own = scene.container.path(f"/proc/{pid}/status").read_text("utf-8")
        _, *acting = re.findall(r"\d+", _field(own, "Uid"))
        wanted = scene.sh(f"id --user {user}").strip()
        # effective, saved and for files; the gate's real one is the portal's, so that the portal ends when the gate dies
        report.check(f"the {name} acts as {user}", set(acting) == {wanted}, (own, wanted))
        for which in _CAPABILITIES:
            held = int(_field(own, which), 16)
            allowed = {0, may} if which in {"CapInh", "CapAmb"} else {may}
            report.check(f"the {name}'s {which} is {held:#x}, no more than it should be", held in allowed)
        report.check(f"the {name} can gain nothing", "NoNewPrivs:\t1" in own and "Seccomp:\t2" in own)
        memory = Path(f"/proc/{scene.container.host_pid(pid)}/smaps_rollup").read_text("ascii")
        pss = int(_field(memory, "Pss").split()[0])
        report.figure(f"memory of the {name} (PSS)", f"{pss / 1024:.1f} MiB")
        total += pss
    report.figure("memory of both", f"{total / 1024:.1f} MiB")
    said = scene.sh("systemd-analyze security --no-pager safeip.service")
    exposed = re.search(r"Overall exposure level for safeip\.service: ([0-9.]+)", said)
    report.check(f"systemd-analyze security says {_MOST_EXPOSED} at most", exposed is not None and float(exposed[1]) <= _MOST_EXPOSED, said[-300:])
    if exposed:
        report.figure("systemd-analyze security", exposed[1])
    scene.sh("systemctl restart safeip")
    started = int(scene.property("ActiveEnterTimestampMonotonic")) - int(scene.property("InactiveExitTimestampMonotonic"))
    report.figure("start-up, until systemd says it runs", f"{started / 1000:.0f} ms")
    listeners = scene.sh("ss -Hltnup | grep -E 'safeip|python' || true")
    report.check("nothing listens but the portal's port", set(re.findall(r":(\d+)\s", listeners)) <= {"8443"}, listeners)


def _field(text: str, name: str) -> str:
    """A line's value in a file of /proc."""
    found = re.search(rf"(?m)^{name}:\s*(.*)$", text)
    if found is None:
        raise StoryError(f"/proc tells no {name}")
    return found[1]


def processes(scene: Scene) -> tuple[int, int]:
    """The gate's and the portal's ids in the container."""
    gate = int(scene.property("MainPID"))
    return gate, int(scene.sh(f"pgrep --parent {gate}").strip())


def reload(scene: Scene) -> None:
    """A service more, by reload; a file that is no good, and nothing changes."""
    report = scene.report
    gate = processes(scene)[0]
    scene.sh(f"cp -a {CONFIG} /root/good.toml")
    with scene.watched("reload"):
        scene.sh(f"printf '\\n[services.ssh]\\ntitle = \"Shell\"\\nports = [\"tcp/22\"]\\n' >>{CONFIG}; systemctl reload safeip")
        wait_for("the new service's set", lambda: "ssh4" in scene.sh("nft list sets inet"), PATIENT_S, 0.1)
    report.check("the process is the same", processes(scene)[0] == gate)
    report.check("closed.nft closes it too", "22" in scene.sh("nft -c -f /var/lib/safeip/gate/closed.nft; cat /var/lib/safeip/gate/closed.nft"))
    report.check("nobody reaches tcp/22 any more", not scene.connects(scene.world.stranger, 22))
    with scene.watched("reload of a bad file"):
        done = scene.container.run("bash", "-c", f"cp -a {CONFIG} /root/more.toml; echo 'ports = [' >>{CONFIG}; systemctl reload safeip", check=False)
        report.check("systemctl reload fails", done.returncode != 0, done.returncode)
        said = scene.sh("journalctl --no-pager -u safeip -n 20 -o cat")
        report.check("the journal names the file", f"{CONFIG}" in said, said)
        report.check("the service runs on", scene.active() and processes(scene)[0] == gate)
    scene.sh(f"cp -a /root/more.toml {CONFIG}; systemctl reload safeip")
    scene.sh(f"cp -a /root/good.toml {CONFIG}; systemctl reload safeip")
    wait_for("the service's end", lambda: "ssh4" not in scene.sh("nft list sets inet"), PATIENT_S, 0.1)
    report.check("a service less: tcp/22 is open again", scene.connects(scene.world.stranger, 22))
    scene.nothing_failed()


def kill(scene: Scene) -> None:
    """Kill -9 of either process, and a gate that hangs: systemd brings it back, no packet notices."""
    report = scene.report
    gate, portal = processes(scene)
    for name, victim in (("gate", gate), ("portal", portal)):
        before = scene.sets()
        with scene.watched(f"kill -9 of the {name}"):
            _kill(scene, name, processes(scene)[0 if name == "gate" else 1])
        report.check("the grants are there", scene.sets().keys() == before.keys(), (before, scene.sets()))
        report.check("it is another process", victim not in processes(scene))
    scene.sh(f"mkdir -p {_DROP_IN}; printf '[Service]\\nWatchdogSec={_HANGS_S}s\\n' >{_DROP_IN}/watchdog.conf; systemctl daemon-reload; systemctl restart safeip")
    scene.until_active()
    with scene.watched("a gate that hangs"):
        _kill(scene, "gate", processes(scene)[0], "STOP")
    report.check("it was the watchdog", "watchdog" in scene.sh("journalctl --no-pager -u safeip -n 30 -o cat").lower())
    scene.sh(f"rm -r {_DROP_IN}; systemctl daemon-reload; systemctl restart safeip")
    scene.until_active()
    answer = scene.world.visitor.fetch(f"{PORTAL}/healthz")
    report.check("the portal answers", answer.status == 200, answer.status)
    scene.nothing_failed()


def _kill(scene: Scene, name: str, victim: int, how: str = "KILL") -> None:
    old = scene.property("MainPID")
    scene.sh(f"kill -{how} {victim}")
    wait_for(f"another daemon after the {name}'s end", lambda: scene.property("MainPID") not in {old, "0"}, PATIENT_S, 0.1)
    scene.until_active()
