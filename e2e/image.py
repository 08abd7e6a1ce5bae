"""What a machine boots: kernel, initrd and disk, made from a tree and kept beside it."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.debian import CACHE, Release, SetupError, digest, made_once, tree

# what Debian's cloud kernel needs before it sees its disk; each is loaded after those that it needs
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
    "crc32c_generic", "libcrc32c", "crc16", "mbcache", "jbd2", "ext4",
)  # fmt: skip
SIZE_MIB = 2048
FIRST = Path(__file__).parent / "guest" / "first"
BUSYBOX = Path("/bin/busybox")

_INIT = """#!/busybox sh
/busybox mkdir -p /bin /proc /dev /disk
/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module.ko"; done
tries=0
until [ -b /dev/vda ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 /dev/vda /disk
umount /proc
mount --move /dev /disk/dev
exec switch_root /disk /sbin/first
"""


@dataclass(frozen=True)
class Image:
    """A directory with `vmlinuz`, `initrd` and `disk`; the last is never written, machines boot copies."""

    release: Release
    path: Path


def image(release: Release) -> Image:
    """The image of a release. SetupError."""
    root = tree(release)
    label = f"image-{release.codename}"
    path = CACHE / f"{label}-{digest(root.name, MODULES, _INIT, SIZE_MIB, FIRST.read_text('utf-8'))}"
    with made_once(path, f"{label}-*") as new:
        if new is not None:
            print(f"Making an image of {release.name}", flush=True)
            new.mkdir()
            kernels = sorted(root.glob("boot/vmlinuz-*"))
            if len(kernels) != 1:
                raise SetupError(f"{root} has {len(kernels)} kernels: remove it, so that it is made again")
            shutil.copyfile(kernels[0], new / "vmlinuz")
            _initrd(root, kernels[0].name.removeprefix("vmlinuz-"), new / "initrd")
            _disk(root, new / "disk")
    return Image(release, path)


def _initrd(root: Path, version: str, to: Path) -> None:
    """Busybox, the modules and a script that hands over to the disk."""
    with tempfile.TemporaryDirectory(prefix="safeip-e2e-") as name:
        top = Path(name)
        (top / "modules").mkdir()
        order = []
        for module in MODULES:
            found = next((root / "lib" / "modules" / version).rglob(f"{module}.ko*"), None)
            if found is None:
                continue  # built in, or gone with this kernel
            order.append(module)
            copy = top / "modules" / found.name
            shutil.copyfile(found, copy)
            if found.suffix == ".xz":
                _run("xz", "--decompress", str(copy))
        (top / "modules" / "order").write_text("\n".join(order) + "\n", "ascii")
        shutil.copy(BUSYBOX, top / "busybox")
        (top / "init").write_text(_INIT, "ascii")
        (top / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(top)) for path in sorted(top.rglob("*")))
        archive = subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc"], cwd=top, input=names.encode(), capture_output=True,
            check=True,
        )  # fmt: skip
        to.write_bytes(archive.stdout)


def _disk(root: Path, to: Path) -> None:
    """An ext4 disk with the tree and guest/first on it; SetupError where it does not fit."""
    with tempfile.TemporaryDirectory(prefix="safeip-e2e-", dir=CACHE) as name:
        merged, upper, work = (Path(name, part) for part in ("merged", "upper", "work"))
        for part in (merged, upper, work):
            part.mkdir()
        (upper / "usr" / "sbin").mkdir(parents=True)
        shutil.copy(FIRST, upper / "usr" / "sbin" / "first")
        # a mount namespace of its own, so that nothing stays mounted, however this ends
        _run(
            "unshare", "--mount", "sh", "-euc",
            'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"\n'
            'exec mke2fs -q -t ext4 -E root_owner=0:0 -d "$4" "$5" "$6M"',
            "sh", str(root), str(upper), str(work), str(merged), str(to), str(SIZE_MIB),
        )  # fmt: skip


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{command[0]}: exit {done.returncode}: {done.stderr.strip()}")
