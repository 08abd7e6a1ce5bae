"""What hosts may have by now: the package of an earlier commit, as that commit itself builds it; and people who use it."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from e2e.package_begin import PASSWORD, open_link
from e2e.package_scene import PORTAL, Scene
from e2e.package_service import CONFIG
from lab import deb
from lab.checkout import ROOT
from lab.process import PATIENCE

COMMIT = "49503109f70fc95574e5e8b0610faa7cb0b79165"
_APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes"
_NAME = "mamie"


def build(out: Path, version: str) -> Path:
    """The .deb of COMMIT under that version. BuildError."""
    if _run("git", "-C", str(ROOT), "cat-file", "-e", f"{COMMIT}^{{commit}}").returncode != 0:
        raise deb.BuildError(f"the upgrade begins with commit {COMMIT[:7]}, which this clone does not have: git fetch --unshallow")
    with tempfile.TemporaryDirectory(prefix="safeip-earlier-") as directory:
        tree = Path(directory, "tree")
        for words in (
            ("git", "clone", "--quiet", "--no-checkout", "--shared", str(ROOT), str(tree)),
            ("git", "-C", str(tree), "checkout", "--quiet", "--detach", COMMIT),
            ("/usr/bin/python3", "-m", "lab.deb", "--version", version, "--out", str(out)),
        ):
            done = _run(*words, cwd=tree if tree.exists() else None)
            if done.returncode != 0:
                raise deb.BuildError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return out / f"safeip_{version}_all.deb"


def begin(scene: Scene) -> None:
    """Purge what is there and begin with the earlier package: a person, a token, a link that is opened."""
    scene.put(scene.earlier, "/root")
    scene.sh(f"cp -a {CONFIG} /root/kept.toml; {_APT} purge safeip")
    scene.settle(stranger=True, what="everybody gets in between two installations")
    scene.sh(f"{_APT} install /root/{scene.earlier.name}", timeout=300)
    scene.sh(f"cp -a /root/kept.toml {CONFIG}; systemctl start safeip")
    scene.until_active()
    scene.container.run("safeip", "person", "add", _NAME, "--password-stdin", input=f"{PASSWORD}\n")
    scene.sh("safeip token add box --scope read")
    scene.link = scene.sh("safeip link add Mamie --service web").strip().splitlines()[-1]
    open_link(scene, scene.world.visitor)
    scene.settle()


def known(scene: Scene) -> dict[str, Any]:
    """Who is known, and what they hold."""
    return {kind: sorted(str(one.get("id") or one["name"]) for one in scene.safeip_json(kind, "list")) for kind in ("person", "token", "link")}


def check(scene: Scene, before: dict[str, Any]) -> None:
    """After the upgrade: all that was known is, the person signs in, the link opens."""
    now = known(scene)
    scene.report.check("people, tokens and links are those of before", now == before and all(now.values()), (before, now))
    visitor = scene.world.visitor
    open_link(scene, visitor)
    signed_in = visitor.submit(visitor.fetch(f"{PORTAL}/sign-in"), {"name": _NAME, "password": PASSWORD, "code": ""})
    own = visitor.fetch(f"{PORTAL}/me")
    scene.report.check("the person signs in", (signed_in.status, own.status) == (303, 200), (signed_in.status, own.status))
    visitor.submit(own)  # its first form signs out again


def _run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=300 * PATIENCE)
