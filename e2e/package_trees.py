"""What the package's story boots: a bare Debian server, and beside it the packages that it will ask for without a network."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from e2e.debian import CACHE, TIDY_HOOK, Release, SetupError, digest, made_once, made_tree

# a minimal server with a ruleset of its own (Debian's nftables.conf flushes all), and something to protect
SERVER = (
    "systemd", "systemd-sysv", "dbus", "nftables", "iproute2", "procps", "netbase", "ca-certificates", "nginx",
    "openssh-server",
)  # fmt: skip
# nothing is downloaded twice, apt keeps its lists, and it is not the machine's first boot
_HOOKS = (
    'rm -f "$1"/var/cache/apt/archives/*.deb',
    'chroot "$1" systemctl enable nftables.service',
    'systemd-machine-id-setup --root="$1"',
    TIDY_HOOK,
)
_DOWNLOAD = """
mount -t overlay overlay -o "lowerdir=$TREE,upperdir=$TOP/upper,workdir=$TOP/work" "$TOP/root"
cp /etc/resolv.conf "$TOP/root/etc/resolv.conf"
cp "$DEB" "$TOP/root/tmp/"
chroot "$TOP/root" apt-get -qq update
chroot "$TOP/root" apt-get -qq install --download-only "/tmp/${DEB##*/}"
chroot "$TOP/root" apt-get -qq install --download-only --no-install-recommends $MORE
"""


def server(release: Release) -> Path:
    """The bare server. SetupError."""
    return made_tree(release.codename, SERVER, _HOOKS, "server", unused=(), options=("--skip=cleanup/apt",))


def larder(release: Release, deb: Path, more: Sequence[str]) -> Path:
    """A layer for `server`: apt's lists and every package that the .deb and `more` draw in. SetupError."""
    tree = server(release)
    fields = subprocess.run(
        ["dpkg-deb", "--field", str(deb), "Pre-Depends", "Depends", "Recommends"], capture_output=True, text=True, check=True
    )
    label = f"larder-{release.codename}"
    path = CACHE / f"{label}-{digest(tree.name, fields.stdout, more, _DOWNLOAD)}"
    with made_once(path, f"{label}-*") as new:
        if new is None:
            return path
        print(f"Downloading what the package draws in on {release.name}", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"{label}.", dir=CACHE) as name:
            top = Path(name)
            for part in ("upper", "work", "root"):
                (top / part).mkdir()
            # a mount namespace of its own, so that nothing stays mounted, however this ends
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-euc", _DOWNLOAD],
                env={**os.environ, "TREE": str(tree), "TOP": name, "DEB": str(deb), "MORE": " ".join(more), "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise SetupError(f"apt in the tree of {release.name} could not download: {done.stderr.strip()[-2000:]}")
            for part in ("var/lib/apt", "var/cache/apt"):
                (new / part).parent.mkdir(parents=True, exist_ok=True)
                # not overlayfs' own attributes, which mean something else in a lower layer
                subprocess.run(
                    ["cp", "-r", "--preserve=mode,ownership,timestamps", str(top / "upper" / part), str(new / part)], check=True
                )
            for cache in (new / "var/cache/apt").glob("*.bin"):
                cache.unlink()
            shutil.rmtree(new / "var/lib/apt/periodic", ignore_errors=True)
    return path
