"""How it ends: removed, installed again, purged; what the journal says; piuparts and autopkgtest."""

import re
import subprocess

from e2e.container import Container
from e2e.package_begin import open_link
from e2e.package_files import EXCEPTIONS
from e2e.package_scene import Scene
from e2e.package_service import CONFIG
from lab import deb
from lab.process import PATIENCE, Process

_APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes"
_DEBCONF = "/var/cache/debconf/tmp.ci/"  # where apt asks before it installs
_ACCOUNTS = {"safeip", "safeip-portal", "safeip-teller"}

# what may stand in the journal at warning or above, how often, and why
_UNIT = r"safeip\.service: "
_SAID = r"safeip\[\d+\]: safeip: "
ALLOWED = (
    (r"dbus-daemon\[\d+\]: .*Failed to set fd limit to 65536: Operation not permitted", 99, "a container may not raise its limits"),
    (r"sshd(-session)?\[\d+\]: error: kex_exchange_identification: .*", 9, "whoever tries tcp/22 here says nothing there"),
    (r"systemd\[1\]: Reload failed for safeip\.service - .*", 1, "reload of a bad file"),
    (rf"systemd\[1\]: {_UNIT}Main process exited, code=killed, status=9/KILL", 1, "kill -9 of the gate"),
    (rf"systemd\[1\]: {_UNIT}Failed with result 'signal'\.", 1, "kill -9 of the gate"),
    (rf"systemd\[1\]: {_UNIT}Watchdog timeout \(limit 4s\)!", 1, "a gate that hangs"),
    (rf"systemd\[1\]: {_UNIT}Main process exited, code=(killed, status=6/ABRT|dumped, status=6/ABRT)", 1, "a gate that hangs"),
    (rf"systemd\[1\]: {_UNIT}Failed with result '(watchdog|core-dump)'\.", 1, "a gate that hangs"),
    (rf"systemd\[1\]: {_UNIT}Failed with result 'exit-code'\.", 3, "kill -9 of the portal; two starts with a broken configuration"),
    (r"systemd\[1\]: Failed to start safeip\.service - .*", 2, "two starts with a broken configuration"),
    (rf"{_SAID}{CONFIG}: .*: is not TOML: .*", 3, "a reload and two starts with a broken configuration"),
    (rf"{_SAID}the portal ended with status 137", 1, "kill -9 of the portal"),
    (rf"{_SAID}.*; the certificate read before stays in use", 3, "a pair that does not match; whoever looks in the middle of a renewal"),
)


def remove(scene: Scene) -> None:
    """Remove, install again, purge."""
    report = scene.report
    gone = scene.sh(f"{_APT} remove safeip")
    report.check("the table is gone", not scene.has_table(), gone[-800:])
    report.check("no other table went", "inet filter" in scene.sh("nft list tables"))
    report.check("closed.nft is gone", scene.sh("find /var/lib/safeip -name closed.nft") == "")
    scene.settle(stranger=True, what="everybody gets in after the removal")
    scene.check_reached(stranger=True)
    kept = scene.sh(f"ls {CONFIG} /var/lib/safeip/portal/state.json", check=False)
    report.check("configuration and state are kept", "No such file" not in kept, kept)
    scene.nothing_failed()
    scene.off_and_on(lambda: scene.container.power_off("reboot"))
    report.check("after a boot there is still no table", not scene.has_table())
    scene.check_reached(stranger=True)
    scene.nothing_failed()

    scene.put(scene.newer, "/root")
    scene.sh(f"{_APT} install /root/{scene.newer.name}")
    scene.until_active()
    report.check("installed again, it goes on where it was", bool(scene.safeip_json("person", "list")) and scene.has_table())
    open_link(scene, scene.world.visitor)
    scene.settle()
    scene.check_reached()
    _purge(scene)


def _purge(scene: Scene) -> None:
    report = scene.report
    scene.sh(f"echo 'ports = [' >>{CONFIG}")  # nobody can read any more what is SafeIP's
    said = scene.sh(f"{_APT} purge safeip")
    report.check("purge takes the table away, also with a broken configuration", not scene.has_table(), said[-800:])
    scene.settle(stranger=True, what="everybody gets in after the purge")
    left = scene.sh("ls -d /etc/safeip /var/lib/safeip /run/safeip /usr/share/safeip /usr/sbin/safeip /usr/share/doc/safeip 2>/dev/null", check=False)
    report.check("purge leaves nothing of its own", not left, left)
    found = scene.sh("systemctl list-units --all --plain --no-legend --no-pager 'safeip*'; systemctl list-unit-files --no-legend --no-pager 'safeip*'", check=False)
    report.check("systemd knows no unit of it any more", not found.strip(), found)
    scene.nothing_failed()
    # without the option what another package merely suggests stays
    scene.sh(f"{_APT} -o APT::AutoRemove::SuggestsImportant=false autoremove --purge")
    packages = set(scene.notes["packages"])
    now = set(scene.sh("dpkg-query --show --showformat='${Package}\\n'").split())
    report.check("what it drew in can be removed again", now == packages, sorted(now ^ packages))
    changed = scene.files.changed()
    report.check("no file is left or changed", not changed, "\n    ".join(["", *changed[:40]]))
    for file in ("passwd", "group"):
        accounts = set(re.findall(r"(?m)^([^:]+):", scene.sh(f"cat /etc/{file}")))
        were = set(re.findall(r"(?m)^([^:]+):", (scene.layers[-1] / "etc" / file).read_text("utf-8")))
        report.check(f"/etc/{file} has three more accounts and no other change", accounts - were <= _ACCOUNTS and were <= accounts, accounts ^ were)
    locked = scene.sh("getent shadow safeip safeip-portal safeip-teller", check=False).splitlines()
    report.check("all are locked", len(locked) == 3 and all(line.split(":")[1].startswith(("!", "*")) for line in locked), locked)
    scene.off_and_on(lambda: scene.container.power_off("reboot"))
    scene.nothing_failed()
    scene.check_reached(stranger=True)
    print("  files that may be others:", *(f"    {pattern}  ({why})" for pattern, why in EXCEPTIONS.items()), sep="\n", flush=True)


def journal(scene: Scene) -> None:
    """Every boot's lines at warning or above, and whatever the daemon said in a way that it must not."""
    lines = scene.sh("journalctl --no-pager --priority warning --output short-iso").splitlines()
    texts = [re.sub(r"^\S+ \S+ ", "", line) for line in lines if not line.startswith("-- ")]
    others = list(texts)
    for pattern, most, _ in ALLOWED:
        for text in [text for text in others if re.fullmatch(pattern, text)][:most]:
            others.remove(text)
    scene.report.check("nothing unexpected at warning or above in the journal", not others, "".join(f"\n    {text}" for text in others))
    scene.report.figure("journal, warning or above", f"{len(texts)} lines, {len(others)} of them unexpected")
    said = scene.sh("journalctl --no-pager -u safeip -u safeip-closed -u safeip-teller --output cat")
    scene.report.check("no traceback in the journal", "Traceback" not in said and "Exception" not in said, said[-3000:])


def suites(scene: Scene) -> None:
    """The package's tests by autopkgtest, and piuparts beside it."""
    scene.flows.stop()
    log = scene.directory / f"piuparts-{scene.release.codename}.log"
    piuparts = Process(
        [
            # its mounts and its processes go with it, however this ends
            "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
            "piuparts", f"--existing-chroot={scene.layers[-1]}", f"--tmpdir={scene.directory}", f"--distribution={scene.release.codename}",
            "--warn-on-debsums-errors", "--log-level=info", "--no-eatmydata", f"--ignore={_DEBCONF}", str(scene.deb),
        ],
        log,
    )  # fmt: skip
    try:
        _autopkgtest(scene)
        code = piuparts.wait(900)
    finally:
        piuparts.kill()
    scene.report.check("piuparts finds nothing", code == 0, piuparts.tail(60))


def _autopkgtest(scene: Scene) -> None:
    """The package's own tests, in another container of the same release, with the null backend."""
    if scene.container.is_on:
        scene.container.power_off()
    with Container(scene.layers, scene.directory, scene.world.host) as container:
        container.boot()
        source = scene.directory / f"source-{scene.release.codename}"
        deb.export(source, scene.newer.name.split("_")[1])
        container.run("mkdir", "/root/source")
        with subprocess.Popen(["tar", "--create", "--directory", str(source), "."], stdout=subprocess.PIPE) as archive:
            subprocess.run(
                container.command("tar", "--extract", "--directory", "/root/source"), stdin=archive.stdout, check=True, timeout=60 * PATIENCE
            )
        scene.put(scene.newer, "/root", container)
        container.shell(f"{_APT} install --no-install-recommends autopkgtest", timeout=300)
        done = container.run(
            "autopkgtest", "--ignore-restrictions=isolation-container", "-B", f"/root/{scene.newer.name}", "/root/source", "--", "null",
            check=False, timeout=900,
        )  # fmt: skip
        results = dict.fromkeys(re.findall(r"(?m)^(\S+) +(PASS|FAIL|SKIP|FLAKY)\b", done.stdout))
        held = done.returncode == 0 and bool(results) and all(result == "PASS" for _, result in results)
        scene.report.check("autopkgtest passes", held, f"exit {done.returncode}\n{done.stdout[-6000:]}")
        scene.report.figure("autopkgtest", ", ".join(f"{name} {result}" for name, result in results))
