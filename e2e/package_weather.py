"""Bad weather: somebody flushes the ruleset, somebody writes nonsense into the configuration."""

from e2e.package_life import Times
from e2e.package_scene import Scene
from e2e.package_service import CONFIG

_EX_CONFIG = 78  # sysexits.h


def flush(scene: Scene) -> None:
    """What empties the kernel's tables, with the daemon and without it."""
    report = scene.report
    for words in ("nft flush ruleset", "systemctl restart nftables", "systemctl reload nftables"):
        times = Times(scene)
        with scene.watched(words, opens=True) as packets:
            scene.sh(words)
        report.figure(f"{words}: right again within", f"{packets.settled_s:.1f} s, {packets.accepted} packets got in")
        times.check()
    times = Times(scene)
    with scene.watched("systemctl stop safeip"):
        scene.sh("systemctl stop safeip")
        report.check("the table stays", scene.has_table())
    for words in ("systemctl restart nftables", "systemctl reload nftables"):
        scene.sh(words)
        scene.settle(visitor=False, what=f"{words} without a daemon: closed again")
        report.check(f"{words} without a daemon: closed again", scene.has_table())
    scene.sh("systemctl start safeip")
    scene.settle()
    times.check()
    scene.sh("systemctl stop safeip; nft flush ruleset")
    scene.settle(stranger=True, what="nobody is there who could close again")
    scene.sh("systemctl start safeip")
    scene.settle()
    times.check()
    scene.nothing_failed()


def broken(scene: Scene) -> None:
    """A configuration that is no good at a start: it is seen, nothing opens, and mending it heals."""
    report = scene.report
    scene.sh(f"cp -a {CONFIG} /root/good.toml")
    with scene.watched("restart with a broken configuration"):
        done = scene.container.run("bash", "-c", f"echo 'ports = [' >>{CONFIG}; systemctl restart safeip", check=False)
        report.check("systemctl restart fails", done.returncode != 0)
        scene.settle()
        state = (scene.property("ActiveState"), scene.property("ExecMainStatus"), scene.property("SubState"))
        report.check("the unit has failed with 78, and is not tried again", state == ("failed", str(_EX_CONFIG), "failed"), state)
        said = scene.sh("systemctl status --no-pager --full safeip", check=False)
        report.check("systemctl status names CONFIG and the file", "CONFIG" in said and CONFIG in said, said)
        listed = scene.sh("systemctl list-units --failed --plain --no-legend --no-pager")
        report.check("it is the only unit that has failed", [line.split()[0] for line in listed.splitlines()] == ["safeip.service"], listed)
    scene.off_and_on(lambda: scene.container.power_off("reboot"))
    scene.settle(visitor=False, what="a boot with a broken configuration: closed")
    report.check("after a boot too, it has failed", scene.property("ActiveState") == "failed")
    scene.sh(f"cp -a /root/good.toml {CONFIG}; systemctl restart safeip")
    scene.settle()
    report.check("mended, it runs", scene.active())
    scene.nothing_failed()
