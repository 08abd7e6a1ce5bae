"""SafeIP as the package installs it, under a real systemd, in seconds: this host's own files below, SafeIP's above."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from e2e.container import Container
from lab.checkout import ROOT, copy_program
from lab.net import Namespace


@contextlib.contextmanager
def installed(prefix: str) -> Iterator[Container]:
    """A host that has booted as far as basic.target. Nothing is configured, and none of this host's services runs.

    Its namespace, of that prefix, has nothing but `lo`. /etc/safeip and /var/lib are its own.
    """
    # overlayfs takes no layer that lies within another
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="safeip-installed-") as place, Namespace("host", prefix) as network:
        layer = Path(place, "layer")
        _install(layer)
        with Container([layer, Path("/")], Path(place), network) as container:
            container.boot()
            yield container


def _install(layer: Path) -> None:
    share, units = layer / "usr/share/safeip", layer / "usr/lib/systemd/system"
    copy_program(share)
    shutil.copy(ROOT / "packaging/certbot/deploy-hook", share / "certbot-deploy-hook")
    shutil.copytree(ROOT / "packaging/systemd", units, ignore=shutil.ignore_patterns("*.d"))
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(ROOT / "packaging" / kind, layer / "etc" / kind)
    shutil.copytree(ROOT / "packaging/fail2ban", layer / "etc/fail2ban")
    (layer / "etc/systemd/system").mkdir(parents=True)
    (layer / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/basic.target")
    (layer / "usr/sbin").mkdir()
    (layer / "usr/sbin/safeip").symlink_to("../share/safeip/bin/safeip")
    for name in ("etc/safeip", "etc/letsencrypt", "var/lib"):
        (layer / name).mkdir(parents=True)
    for name in ("etc/safeip", "etc/letsencrypt"):  # what this host may have there is not seen
        os.setxattr(layer / name, "trusted.overlay.opaque", b"y")
    os.mknod(layer / "var/lib/safeip", 0o020000, 0)  # a whiteout
