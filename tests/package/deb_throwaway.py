"""This host's own system with what a script changes in it thrown away: real dpkg, no systemd running, a network of its own."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# $1: a directory; $2: the script; the rest runs it, as the first process or, behind a chroot, as a later one
_PREPARE = """
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$1/root/tmp"
printf '%s\n' no-triggers force-unsafe-io >"$1/root/run/dpkg"  # quicker; nothing here asks for manual pages
mount --bind "$1/root/run/dpkg" "$1/root/etc/dpkg/dpkg.cfg"
mkdir "$1/root/changed"
mount --rbind "$1/up" "$1/root/changed"
ip link set lo up
cp "$2"/* "$1/root/tmp"
cd /
place=$1
shift 2
"""
_BEGIN = """
set -eu
export DEBIAN_FRONTEND=noninteractive
cd /tmp
"""


@dataclass
class Throwaway:
    """`place` is an empty directory. /tmp/safeip.deb is the package; what `put` names lies in /tmp as well."""

    place: Path
    deb: Path
    _files: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, content: str | bytes) -> None:
        self._files[name] = content.encode() if isinstance(content, str) else content

    def run(self, script: str, *, as_chroot: bool = False, without: str = "") -> str:
        """Run a script of sh as root; what it said. A script that fails is the test's failure. /changed is what has changed.

        `as_chroot`: as in a chroot of this host; `without`: a capability that nothing in it has.
        """
        tree, files = self.place / "tree", self.place / "files"
        for directory in (tree, files):
            directory.mkdir(exist_ok=True)
        for name, content in {**self._files, "script": (_BEGIN + script).encode(), "safeip.deb": self.deb.read_bytes()}.items():
            (files / name).write_bytes(content)
        inside = 'chroot "$place/root" "$@"'
        command = ["/bin/sh", "/tmp/script"]
        if without:
            command = ["setpriv", f"--bounding-set=-{without}", f"--inh-caps=-{without}", *command]
        done = subprocess.run(
            [
                "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private",
                "/bin/sh", "-euc", _PREPARE + (inside if as_chroot else f"exec {inside}"), "sh", str(tree), str(files), *command,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}"
        return done.stdout
