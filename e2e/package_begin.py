"""How it begins: what installing does and does not do, the first steps at a terminal, a link and somebody who opens it."""

import re
import shlex
import subprocess
import time
from collections.abc import Mapping

import pyotp

from e2e.package_readme import Shell, commands
from e2e.package_scene import PATIENT_S, PORTAL, Scene, StoryError
from lab.checkout import ROOT
from lab.process import PATIENCE
from lab.visitor import Visitor

PASSWORD = "vivid otter ladder 81"
_START = "Start SafeIP now? (yes or no) [yes]: "
_HERE = "/root/safeip"
_INSTALL_S = 300.0
_LESS_THAN = 300_000
_LINK = re.compile(re.escape(PORTAL) + r"/l/[A-Za-z0-9_-]+")


def installed(scene: Scene) -> Mapping[str, int]:
    """The packages of the gateway, and their KiB."""
    text = scene.sh("dpkg-query --show --showformat='${Package} ${Installed-Size} ${db:Status-Status}\\n'")
    return {name: int(size or 0) for name, size, status in (line.split(" ") for line in text.splitlines()) if status == "installed"}


def boot(scene: Scene) -> None:
    """A server without SafeIP, on which nothing is closed."""
    report = scene.report
    report.figure("boot of the bare server", f"{scene.container.boot():.1f} s")
    scene.nothing_failed()
    report.check("nftables.service runs", scene.property("ActiveState", "nftables.service") == "active")
    scene.check_reached(stranger=True)
    scene.settle(stranger=True)
    scene.notes["packages"] = installed(scene)
    scene.files.before()


def install(scene: Scene) -> None:
    """The README's way to `apt install`: it closes nothing and says how to go on."""
    report = scene.report
    size = scene.deb.stat().st_size
    report.figure(".deb", f"{size / 1000:.1f} kB")
    report.check("the .deb has less than 300 kB", size < _LESS_THAN, size)
    begin = time.monotonic()
    shell = scene.notes["shell"] = Shell(scene.container)
    scene.notes["commands"] = waiting = commands(ROOT / "README.md")
    while waiting and not waiting[0].startswith("safeip "):
        _follow(scene, shell, waiting.pop(0))
    report.check("the README's way leads to safeip setup", bool(waiting) and waiting[0].startswith("safeip setup"), waiting)
    fates = [fate for name in ("visitor", "stranger") for flow in scene.flows.fates(name, begin, time.monotonic() - 0.05) for fate in flow]
    report.check("nobody's packet was dropped", all(fate.through for fate in fates), sum(not fate.through for fate in fates))
    before = scene.notes["packages"]
    drawn = {name: size for name, size in installed(scene).items() if name not in before and name != "safeip"}
    report.figure("packages drawn in", f"{len(drawn)}, {sum(drawn.values()) / 1024:.1f} MB")
    report.figure("safeip itself, installed", f"{installed(scene)['safeip'] / 1024:.1f} MB")
    report.drawn = drawn
    _closed_nothing(scene)


def _follow(scene: Scene, shell: Shell, command: str) -> None:
    """One command of the README's. What needs another's repository or a build is done outside, with the same outcome."""
    words = shlex.split(command)
    if words[0] == "git":
        _put_checkout(scene, f"/root/{words[-1]}")
        print(f"  (outside, as a copy of the checkout) {command}", flush=True)
    elif words[0] == "./dev":
        scene.container.run("mkdir", "--parents", f"{_HERE}/build/deb")
        scene.put(scene.deb, f"{_HERE}/build/deb")
        _without_recommended(scene, f"{_HERE}/build/deb/{scene.deb.name}")
        print(f"  (outside, on a machine with the tools) {command}", flush=True)
    else:
        shell.begin(command)
        if words[0] in {"apt", "apt-get"}:
            shell.terminal.answer("ontinue? [Y/n] ", "y", 60)
        code, shown = shell.end(_INSTALL_S)
        scene.report.check(f"README: {command}", code == 0, shown[-1500:])
        if words[0] in {"apt", "apt-get"}:
            scene.report.check("the message names safeip setup", "safeip setup" in shown, shown[-500:])


def _without_recommended(scene: Scene, package: str) -> None:
    """The figure of what would come where apt is told to leave out what packages recommend; nothing is installed."""
    said = scene.sh(f"apt-get --assume-no --no-install-recommends install {package}", check=False)
    found = re.search(r"(\d+) newly installed.*After this operation, ([0-9.,]+ .B)", said, re.DOTALL)
    if found is None:
        raise StoryError(f"apt does not say what it would install: {said}")
    scene.report.figure("without recommended ones, with safeip", f"{found[1]}, {found[2]}")


def _put_checkout(scene: Scene, to: str) -> None:
    scene.container.run("mkdir", to)
    with scene.checkout.open("rb") as archive:
        subprocess.run(
            scene.container.command("tar", "--extract", "--directory", to), stdin=archive, check=True, timeout=60 * PATIENCE
        )


def _closed_nothing(scene: Scene) -> None:
    report = scene.report
    scene.nothing_failed()
    for unit in ("safeip.service", "safeip-closed.service"):
        report.check(f"{unit} is enabled", scene.property("UnitFileState", unit) == "enabled")
        state = (scene.property("ActiveState", unit), scene.property("ConditionResult", unit))
        report.check(f"{unit} is skipped by its condition", state[0] == "inactive" and state[1] == "no", state)
    teller = "safeip-teller.service"
    report.check(f"{teller} is enabled", scene.property("UnitFileState", teller) == "enabled")
    scene.sh(f"systemctl start {teller}")
    state = (scene.property("ActiveState", teller), scene.property("Result", teller))
    report.check(f"{teller} is skipped with nothing to tell", state == ("inactive", "exec-condition"), state)
    report.check("there is no table", not scene.has_table())
    report.check("there is no closed.nft", scene.sh("find /var/lib/safeip -name closed.nft") == "")
    scene.check_reached(stranger=True)
    scene.settle(stranger=True)
    report.check("/etc/safeip is empty", scene.sh("ls -A /etc/safeip") == "")
    owners = scene.sh("stat -c '%n %U %G %a' /var/lib/safeip /var/lib/safeip/*").splitlines()
    wanted = [
        "/var/lib/safeip root root 755", "/var/lib/safeip/gate safeip safeip 700",
        "/var/lib/safeip/portal safeip-portal safeip-portal 700", "/var/lib/safeip/teller safeip-teller safeip-teller 700",
    ]  # fmt: skip
    report.check("the state's directories have their owners and modes", owners == wanted, owners)
    verified = scene.sh("dpkg --verify safeip", check=False).strip()
    report.check("dpkg --verify finds nothing changed", not verified, verified)
    said = scene.container.run("safeip", "status", check=False)
    report.check("safeip status says what to do", said.returncode == 1 and "safeip setup" in said.stderr, said.stderr)


def setup(scene: Scene) -> None:
    """`safeip setup`, asked at the terminal: from its end on the service is closed."""
    report, shell, command = scene.report, scene.notes["shell"], scene.notes["commands"].pop(0)
    terminal = shell.terminal
    shell.begin(command)
    terminal.answer("as seen from the Internet [", "home.test")
    terminal.answer("Port on which the portal listens [8443]: ", "")
    offered = terminal.read("Numbers of those to close, or none [")
    web = re.search(r"(?m)^ *(\d+) +(?:\S+, )*tcp/80\b.*nginx", offered)
    ssh = re.search(r"(?m)^ *(\d+) +(?:\S+, )*tcp/22\b", offered)
    report.check("nginx and sshd are offered", web is not None and ssh is not None, offered)
    if web is None:
        raise StoryError("the service to protect is not offered")
    terminal.type(web[1])
    terminal.answer("Other ports to close", "udp/4433 udp/25565-25570")
    terminal.answer("Name of the service", "web")  # as the README's next command calls it
    terminal.answer("Title", "Website")
    terminal.answer("URL to which people go", "")
    for _ in range(2):  # the other two take the same name
        terminal.answer("Name of the service", "web")
    terminal.answer("Networks that are never closed [", "")
    # a draft may lie beside its place by now
    report.check("nothing is configured before the last answer", scene.sh("ls -A /etc/safeip").strip() in {"", "safeip.toml.new"})
    terminal.answer("Name of the admin", "yves")
    terminal.answer("Password of yves", PASSWORD)
    terminal.answer("The same again: ", PASSWORD)
    found = re.search(r"otpauth://totp/\S*secret=([A-Z2-7]+)", terminal.read("The six digits that the app shows now: "))
    if found is None:
        raise StoryError("setup shows no key for an app")
    scene.notes["totp"] = pyotp.TOTP(found[1])
    begin = time.monotonic()
    terminal.type(scene.notes["totp"].now())
    terminal.answer(_START, "", PATIENT_S)
    code, shown = shell.end(PATIENT_S)
    report.figure("setup's last answer until it runs", f"{time.monotonic() - begin:.1f} s")
    report.check(f"README: {command}", code == 0, shown[-1500:])
    report.check("setup says where to sign in", f"{PORTAL}/sign-in" in shown, shown[-1500:])
    report.check("setup has started the service", scene.active(), scene.sh("systemctl status --no-pager safeip", check=False))
    scene.nothing_failed()
    report.check("nft knows the table", scene.has_table())
    report.check("closed.nft is there", scene.sh("stat -c '%U %a' /var/lib/safeip/gate/closed.nft", check=False).startswith("safeip"))
    scene.check_reached(visitor=False)
    scene.settle(visitor=False)
    who = scene.world.stranger.fetch(f"{PORTAL}/")
    report.check("a stranger sees the portal", who.status == 200, who.status)


def link(scene: Scene) -> None:
    """A link is made as the README says, and opened by somebody."""
    report, shell = scene.report, scene.notes["shell"]
    for command in scene.notes["commands"]:
        code, shown = shell.run(command)
        report.check(f"README: {command}", code == 0, shown)
        if found := _LINK.search(shown):
            scene.link = found[0]
    report.check("a link was made", bool(scene.link))
    shell.close()
    visitor = scene.world.visitor
    before = scene.sets()
    for method in ("HEAD", "GET"):
        seen = visitor.fetch(scene.link, method)
        report.check(f"{method} of the link answers 200", seen.status == 200, seen.status)
    report.check("fetching the link granted nothing", scene.sets() == before == {}, scene.sets())
    scene.check_reached(visitor=False)
    open_link(scene, visitor)
    listed = scene.sh("nft list set inet safeip web4; nft list set inet safeip web6")
    report.check("nft lists the addresses", visitor.ipv4 in listed and "2001:db8:1::" in listed, listed)
    report.check("nft names the holder", "link:" in listed, listed)
    scene.check_reached()
    scene.settle()
    knocks = scene.safeip_json("blocked")
    report.check("safeip blocked names the stranger", scene.world.stranger.ipv4 in str(knocks), knocks)


def open_link(scene: Scene, visitor: Visitor) -> None:
    """Open the link over both families, and check that both are in the sets."""
    for family in (4, 6):
        answer = visitor.open_link(scene.link, family=family)
        scene.report.check(f"the link opens over IPv{family}", answer.status == 200, answer.status)
    found = scene.sets()
    scene.report.check("both addresses are in the kernel's sets", found.keys() == {visitor.ipv4, "2001:db8:1::"}, found)
