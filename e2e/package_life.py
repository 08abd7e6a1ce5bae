"""What a host lives through: restarts, upgrades, boots, certificates that are renewed."""

import hashlib
import re
import subprocess
import time
from collections.abc import Callable

from e2e import package_earlier
from e2e.package_scene import PATIENT_S, PORTAL, Scene
from e2e.package_service import CONFIG, processes
from lab.process import wait_for

_HOOK = "/usr/share/safeip/certbot-deploy-hook"
_TLS = "/etc/safeip/tls"
_STAMPS_S = 60  # a record that a power cut left counts for no longer than until its next stamp
_SLACK_S = 3  # listings have whole seconds, and a boot has two clocks


def upgrade(scene: Scene) -> None:
    """Restart; an earlier commit's package, and from it to the present one: all that it knew stays, no packet notices."""
    report = scene.report
    config = scene.sh(f"sha256sum {CONFIG}")
    times = Times(scene)
    gate = processes(scene)[0]
    with scene.watched("restart"):
        scene.sh("systemctl restart safeip")
    report.check("another process runs", processes(scene)[0] != gate)
    times.check()
    package_earlier.begin(scene)
    known, times = package_earlier.known(scene), Times(scene)
    gate = processes(scene)[0]
    scene.put(scene.newer, "/root")
    with scene.watched("upgrade"):
        begin = time.monotonic()
        said = scene.sh(f"DEBIAN_FRONTEND=noninteractive apt-get install --yes /root/{scene.newer.name}")
        report.figure("upgrade by apt", f"{time.monotonic() - begin:.1f} s")
    wanted = subprocess.run(["dpkg-deb", "--field", str(scene.newer), "Version"], capture_output=True, text=True, check=True).stdout.strip()
    version = scene.sh("dpkg-query --show --showformat='${Version}' safeip")
    report.check(f"version {wanted} is installed", version == wanted, version)
    report.check("another process runs", processes(scene)[0] != gate)
    answer = scene.world.visitor.fetch(f"{PORTAL}/healthz")
    report.check("the portal answers", answer.status == 200, answer.status)
    report.check("it runs the files that are there now", "(deleted)" not in scene.sh(f"ls -l /proc/{processes(scene)[0]}/fd /proc/{processes(scene)[0]}/cwd"))
    report.check("nobody is told to begin with safeip setup", "safeip setup" not in said, said[-800:])
    report.check("the configuration is kept", scene.sh(f"sha256sum {CONFIG}") == config)
    times.check()
    package_earlier.check(scene, known)
    scene.nothing_failed()


class Times:
    """What each grant had left at a moment."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._before, self._at = scene.sets(), time.monotonic()
        scene.report.check("there are grants", len(self._before) == 2, self._before)

    def check(self, less_s: int = 0) -> None:
        """Check that each has it less the time that has passed: no more, and no less but for `less_s`."""
        passed = time.monotonic() - self._at
        now = self._scene.sets()
        off = {address: now.get(address, 0) - (left - passed) for address, left in self._before.items()}
        held = now.keys() == self._before.keys() and all(-less_s - _SLACK_S <= by <= _SLACK_S for by in off.values())
        self._scene.report.check("every grant has the time that it had left", held, (self._before, now, round(passed)))


def reboot(scene: Scene) -> None:
    """Reboot, power off, power cut: closed from the first moment to the last, and the grants come back."""
    container = scene.container
    ways: list[tuple[str, Callable[[], None], int]] = [
        ("reboot", lambda: container.power_off("reboot"), 0),
        ("power off", lambda: container.power_off("poweroff"), 0),
        ("power cut", container.kill, _STAMPS_S),
    ]
    for name, switch, less_s in ways:
        times = Times(scene)
        with scene.watched(name, away=True):
            took = scene.off_and_on(switch)
            scene.until_active()
        scene.report.figure(f"boot after a {name}", f"{took:.1f} s")
        times.check(less_s)
        scene.nothing_failed()
    scene.check_reached()
    _control(scene)


def _control(scene: Scene) -> None:
    """Whether the watch sees what must never be: a boot without what closes lets strangers in."""
    scene.sh("systemctl mask safeip-closed.service safeip.service")
    begin = time.monotonic()
    scene.off_and_on(lambda: scene.container.power_off("reboot"))
    scene.settle(stranger=True)
    seen = scene.count(begin)
    scene.report.check("control: without the two units the watch sees strangers come in", seen.accepted > 0, seen)
    scene.sh("systemctl unmask safeip-closed.service safeip.service")
    scene.off_and_on(lambda: scene.container.power_off("reboot"))
    scene.until_active()
    scene.settle()


def certificate(scene: Scene) -> None:
    """Self-signed at first; then what certbot's hook installs, taken up as it is renewed; a wrong pair is not."""
    report = scene.report
    own = _shown(scene)
    report.check("the first certificate is self-signed, for the portal's name", own[0] == own[1] and "home.test" in own[2], own)
    report.check("it is not where others could read its key", _modes(scene, "/var/lib/safeip/portal/tls") <= {"600", "700", "640"})
    scene.sh(f"cp -a {CONFIG} /root/good.toml")
    _renew(scene, "first")
    modes = scene.sh(f"stat -c '%n %U %G %a' {_TLS} {_TLS}/*").splitlines()
    wanted = [f"{_TLS} root safeip-portal 750", *(f"{_TLS}/{name}.pem root safeip-portal 640" for name in ("certificate", "key"))]
    report.check("the hook's files have their owners and modes", modes == wanted, modes)
    scene.sh(f"sed -i '/^tls *=/d; s|^\\[portal\\]|&\\ntls = {{ certificate = \"{_TLS}/certificate.pem\", key = \"{_TLS}/key.pem\" }}|' {CONFIG}")
    with scene.watched("restart with another certificate"):
        scene.sh("safeip check && systemctl restart safeip")
    report.check("the portal shows the first certificate", _fingerprint(scene) == _fingerprint_of(scene, "first"))
    gate = processes(scene)
    with scene.watched("renewal"):
        _renew(scene, "second")
        second = _fingerprint_of(scene, "second")
        wait_for("the renewed certificate", lambda: _fingerprint(scene) == second, PATIENT_S, 0.2)
    report.check("it was taken up without a restart", processes(scene) == gate)
    _wrong(scene, second)
    scene.sh(f"cp -a /root/good.toml {CONFIG}; systemctl restart safeip")
    report.check("without the key it is the self-signed one again", _shown(scene) == own)
    scene.nothing_failed()


def _wrong(scene: Scene, kept: str) -> None:
    """A pair that does not match: refused by the hook, and by the portal where somebody puts it there by hand."""
    report = scene.report
    _make(scene, "third")
    scene.sh("cp -a /root/second/privkey.pem /root/third/privkey.pem")
    before = scene.sh(f"sha256sum {_TLS}/*")
    done = scene.container.run("env", "RENEWED_LINEAGE=/root/third", _HOOK, check=False)
    report.check("the hook refuses a pair that does not match", done.returncode != 0 and bool(done.stderr), done.stderr)
    report.check("the files stay", scene.sh(f"sha256sum {_TLS}/*") == before)
    mark = scene.sh("date +%s").strip()
    scene.sh(f"cp /root/third/fullchain.pem {_TLS}/certificate.pem")

    def told() -> bool:
        _fingerprint(scene)  # it looks when somebody asks
        return "certificate" in scene.sh(f"journalctl --no-pager --since @{mark} -u safeip -o cat")

    wait_for("the journal tells of the wrong pair", told, PATIENT_S, 0.2)
    report.check("a wrong pair keeps the old one", _fingerprint(scene) == kept)
    scene.notes["wrong pair"] = scene.sh(f"journalctl --no-pager --since @{mark} -u safeip -o cat").strip()
    print(f"         {scene.notes['wrong pair']}")
    _renew(scene, "first")
    first = _fingerprint_of(scene, "first")
    wait_for("the right pair after the wrong one", lambda: _fingerprint(scene) == first, PATIENT_S, 0.2)


def _make(scene: Scene, name: str) -> None:
    scene.sh(
        f"mkdir -p /root/{name} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj /CN=home.test "
        f"-addext subjectAltName=DNS:home.test -days 2 -keyout /root/{name}/privkey.pem -out /root/{name}/fullchain.pem"
    )


def _renew(scene: Scene, name: str) -> None:
    """As certbot does after a renewal."""
    _make(scene, name)
    done = scene.container.run("env", f"RENEWED_LINEAGE=/root/{name}", "RENEWED_DOMAINS=home.test", _HOOK, check=False)
    scene.report.check(f"the hook installs the {name} pair", done.returncode == 0, done.stderr)


def _modes(scene: Scene, folder: str) -> set[str]:
    return set(scene.sh(f"find {folder} -printf '%m\\n'").split())


def _fingerprint(scene: Scene) -> str:
    return hashlib.sha256(scene.certificate()).hexdigest()


def _fingerprint_of(scene: Scene, name: str) -> str:
    said = scene.sh(f"openssl x509 -in /root/{name}/fullchain.pem -noout -fingerprint -sha256")
    return said.partition("=")[2].strip().replace(":", "").lower()


def _shown(scene: Scene) -> tuple[str, str, str]:
    """Subject, issuer and names of the portal's certificate."""
    done = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-issuer", "-ext", "subjectAltName"],
        input=scene.certificate(), capture_output=True, check=True,
    )  # fmt: skip
    said = done.stdout.decode()
    subject = re.search(r"subject=(.*)", said)
    issuer = re.search(r"issuer=(.*)", said)
    return (subject[1] if subject else "", issuer[1] if issuer else "?", said)
